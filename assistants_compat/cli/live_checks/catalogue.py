"""All live checks, by number."""

from __future__ import annotations

from . import access, background, code, files, inputs, parameters, search, tools
from .check import LiveCheck

_TOPICS = (parameters, inputs, background, code, files, search, tools, access)

CHECKS: dict[int, LiveCheck] = {
    check.number: check for check in sorted((c for topic in _TOPICS for c in topic.CHECKS), key=lambda c: c.number)
}
"""The checks in their order."""

CONTAINER_CENTS = 3
"""The price of the one container that checks 9 to 14 and some others share."""
