"""A stand-in for the Responses API: a real HTTP server on loopback, for tests without a network.

It imports only the standard library and `assistants_compat.service`. What it answers and refuses follows recordings,
the spec, the SDK's types, which are in `request_types.json`, and the public refusals of `service/`. Start reading at
`stand_in.py`, whose `StandIn` has an example.
"""

from .stand_in import Recorded, StandIn
from .turns import Fault, Turn

__all__ = ["Fault", "Recorded", "StandIn", "Turn"]
