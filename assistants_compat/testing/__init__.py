"""A stand-in upstream: the Responses side of the service as a real HTTP server on loopback, for tests offline.

    with StandIn() as upstream:
        client = assistants_compat.wrap(openai.OpenAI(base_url=upstream.base_url, api_key="sk-test"))
        upstream.script(Turn(text="The table: [sales.csv](sandbox:/mnt/data/sales.csv)", files={"sales.csv": b"a,b"}))

It imports nothing of the rest of the package and needs only what openai brings.
"""

from .stand_in import Recorded, StandIn
from .turns import Fault, Turn

__all__ = ["Fault", "Recorded", "StandIn", "Turn"]
