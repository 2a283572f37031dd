"""Checks request bodies against an openapi.json; needs its path and jsonschema.

This is stricter than the SDK's types, which know no lengths, minima or patterns. It is looser inside objects to which
the description allows any keys.
"""

from __future__ import annotations

import importlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from .exchange import Refusal
from .sdk_schema import param_from_path

# jsonschema is a development tool and never a dependency of the package, so it is imported by name when it is used.
_JSONSCHEMA = "jsonschema"


class Spec:
    """Validates bodies with the component schemas of one OpenAPI 3.1 file."""

    def __init__(self, path: str | Path) -> None:
        """Remember the path; the file is read when the first body is checked."""
        self._path = str(path)

    def check(self, name: str, body: dict[str, Any], *, is_closed: bool = True) -> None:
        """Refuse a body that the component schema `name` does not allow; `is_closed` refuses unknown top-level keys."""
        for closed in (False, True) if is_closed else (False,):
            error = _best_error(_validator(self._path, name, is_closed=closed), body)
            if error is not None:
                param = param_from_path(tuple(error.absolute_path)) or None
                raise Refusal(400, f"Invalid request: {error.message}", param=param, code="invalid_value")


def _best_error(validator: Any, body: dict[str, Any]) -> Any:
    return importlib.import_module(f"{_JSONSCHEMA}.exceptions").best_match(validator.iter_errors(body))


@cache
def _validator(path: str, name: str, *, is_closed: bool) -> Any:
    """Return the validator of a component; a closed one refuses unknown keys, even those behind an `allOf`.

    A closed validator alone would report an unknown key instead of the real error, so `check` uses the open one first.
    """
    schema: dict[str, Any] = {
        "allOf": [{"$ref": f"#/components/schemas/{name}"}],
        "components": _components(path),
    }
    if is_closed:
        # `additionalProperties` would also refuse the keys that the `allOf` brings in.
        schema["unevaluatedProperties"] = False
    return importlib.import_module(_JSONSCHEMA).Draft202012Validator(schema)


@cache
def _components(path: str) -> Any:
    return _json_schema_from_openapi(json.loads(Path(path).read_text("utf-8"))["components"])


def _json_schema_from_openapi(node: Any) -> Any:
    """Return OpenAPI as JSON Schema: `nullable` allows null, and `oneOf` becomes `anyOf`.

    The alternatives in the description overlap: a user message is both an easy message and an item. With `oneOf` such a
    body would be invalid, although the service accepts it.
    """
    if isinstance(node, list):
        return [_json_schema_from_openapi(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    schema = {"anyOf" if key == "oneOf" else key: _json_schema_from_openapi(value) for key, value in node.items()}
    if schema.pop("nullable", False) is True:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema
