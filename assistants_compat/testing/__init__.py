"""A stand-in for the Responses API: a real HTTP server on loopback, for tests without a network.

It imports nothing else from `assistants_compat`, and only the standard library. What it answers and refuses follows
recordings, the spec and the SDK's types, which are in `request_types.json`. Start reading at `stand_in.py`, whose
`StandIn` has an example.
"""

from .stand_in import Recorded, StandIn
from .turns import Fault, Turn

__all__ = ["Fault", "Recorded", "StandIn", "Turn"]
