"""The refusals of the service that are publicly known, with their sources (collected on 2026-11-30).

The rows are in three files by topic. The first row that matches an error is taken, so a row with narrow signs comes
before one with wide signs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .refusals import Refusal, recognize
from .refused_input import INPUT_ROWS
from .refused_parameters import PARAMETER_ROWS
from .refused_tools import TOOL_ROWS

TABLE: tuple[Refusal, ...] = INPUT_ROWS + PARAMETER_ROWS + TOOL_ROWS

CONTAINER_ROWS = ("container_gone", "container_id_invalid")
"""The rows of a container that is gone, or whose id is not accepted."""

FILE_ROWS = ("file_extension", "file_empty")
"""The rows of a file that is refused for what it is, at an upload and in a container."""

NOT_SERVED_STATUSES = (404, 405, 501)
"""The statuses with which an upstream without a route answers a request to it."""

_SERVER_ERROR = 500  # with which LiteLLM says that it serves no responses
_NOT_SERVED_WORDS = re.compile(r"\bnot (?:supported|implemented|available|allowed)\b|\bunsupported\b", re.IGNORECASE)
_BY_NAME = {refusal.name: refusal for refusal in TABLE}


def row(name: str) -> Refusal:
    """Return the row of this name; raises `KeyError` if there is none."""
    return _BY_NAME[name]


def container_is_gone(error: object) -> bool:
    """Whether an upstream error says that a container has expired, was deleted or has an id that is not accepted."""
    recognized = recognize(TABLE, None, error)
    return recognized is not None and recognized.row.name in CONTAINER_ROWS


def says_not_served(status: int | None, error: Mapping[str, object]) -> bool:
    """Whether an answer says that the upstream has no such route; any other server error may pass."""
    if status == _SERVER_ERROR:
        return _NOT_SERVED_WORDS.search(str(error.get("message"))) is not None
    return status in NOT_SERVED_STATUSES
