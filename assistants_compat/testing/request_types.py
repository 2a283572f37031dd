"""Reads `request_types.json`: the request types of one openai SDK, the newest on the day that the file names.

The SDK's types are generated from the service's own description, so the service does not accept a body that they do
not allow. The stand-in has them in a file, because those of an older SDK know fewer keys and values than the service.
`make request-types` writes the file; `tests/testing/sdk_request_types.py`, which does it, describes its form.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

# A scalar, the name of a type, or an object with the key `object`, `union`, `literal`, `array` or `map`.
Node = str | dict[str, Any]

SCALARS = frozenset({"string", "boolean", "integer", "decimal", "null", "any"})


@dataclass(frozen=True, slots=True)
class Description:
    """The content of the file: the SDK and its version, the date in ISO 8601, and the types by name."""

    sdk: str
    made: str
    types: dict[str, Node]


@cache
def description() -> Description:
    """Return the description; the file is read when the first body is checked."""
    content = json.loads((resources.files(__package__) / "request_types.json").read_text("utf-8"))
    return Description(**content)


def resolve(node: Node) -> Node:
    """Return a node, or the type that it names."""
    while isinstance(node, str) and node not in SCALARS:
        node = description().types[node]
    return node
