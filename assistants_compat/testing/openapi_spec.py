"""Request bodies against an openapi.json, where its path is given and jsonschema is installed.

Stricter than the SDK's types where they say nothing (lengths, minima, patterns), looser inside objects that the
description leaves open.
"""

from __future__ import annotations

import importlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from .exchange import Refusal
from .sdk_schema import param

# jsonschema is a tool of the developer, never a dependency of the package.
_TOOL = "jsonschema"


class Spec:
    """The component schemas of one OpenAPI 3.1 file as validators."""

    def __init__(self, path: str | Path) -> None:
        """Remember the file; it is read when a body is first checked."""
        self._path = str(path)

    def check(self, name: str, body: dict[str, Any], *, is_closed: bool = True) -> None:
        """Refuse a body that the component schema `name` does not allow, unknown keys at its top included."""
        for closed in (False, True) if is_closed else (False,):
            error = _best(_validator(self._path, name, is_closed=closed), body)
            if error is not None:
                where = param(tuple(error.absolute_path)) or None
                raise Refusal(400, f"Invalid request: {error.message}", param=where, code="invalid_value")


def _best(validator: Any, body: dict[str, Any]) -> Any:
    return importlib.import_module(f"{_TOOL}.exceptions").best_match(validator.iter_errors(body))


@cache
def _validator(path: str, name: str, *, is_closed: bool) -> Any:
    """`unevaluatedProperties` sees through the allOf of the description; alone it would hide the real error."""
    wrapped: dict[str, Any] = {
        "allOf": [{"$ref": f"#/components/schemas/{name}"}],
        "components": _components(path),
    }
    if is_closed:
        wrapped["unevaluatedProperties"] = False
    return importlib.import_module(_TOOL).Draft202012Validator(wrapped)


@cache
def _components(path: str) -> Any:
    return _adapted(json.loads(Path(path).read_text("utf-8"))["components"])


def _adapted(node: Any) -> Any:
    """OpenAPI as JSON Schema: `nullable` allows null, and `oneOf` becomes `anyOf`.

    The description's alternatives overlap (a user message is an easy message and an item), so that exactly one never
    holds although the service accepts the body.
    """
    if isinstance(node, list):
        return [_adapted(each) for each in node]
    if not isinstance(node, dict):
        return node
    adapted = {"anyOf" if key == "oneOf" else key: _adapted(each) for key, each in node.items()}
    if adapted.pop("nullable", False) is True:
        return {"anyOf": [adapted, {"type": "null"}]}
    return adapted
