"""What a stand-in refuses beside wrong bodies; `StandIn` describes each option."""

from __future__ import annotations

from dataclasses import dataclass

from ..service.refusal_table import CONTAINER_ROWS, row
from ..service.refusals import recognize

ENCRYPTED_REASONING = "reasoning.encrypted_content"


@dataclass(frozen=True)
class Options:
    """The options of a stand-in, see `StandIn`; `dead_links` are the image URLs that cannot be downloaded."""

    strict: bool = True
    background_refused: bool = False
    verified: bool = True
    zero_retention: bool = False
    models: frozenset[str] | None = None
    dead_links: frozenset[str] = frozenset()
    container_gone: str | None = None

    def __post_init__(self) -> None:
        """Refuse a text for a container that the table of refusals does not know."""
        text = self.container_gone
        if text is not None and recognize(map(row, CONTAINER_ROWS), None, {"message": text}) is None:
            message = (
                f"container_gone={text!r} is not a known refusal of a container; expected a text of refusal_table.py"
            )
            raise ValueError(message)
