"""What a description says of a body, as facts by which two descriptions can be compared.

A fact is a path and what is known of it, for example `.temperature: decimal`, `.tools[]<function>.strict: required` or
`.reasoning.effort: = 'minimal'`. `<function>` is an alternative by its `type`; alternatives without one are taken
together. `[]` is an entry of an array and `{}` one of a map.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from assistants_compat.testing.request_types import Node, resolve

_SCALARS = {"string": "string", "boolean": "boolean", "integer": "integer", "number": "decimal", "null": "null"}


class Fact(NamedTuple):
    path: str
    saying: str

    def __str__(self) -> str:
        """Write the fact as the head of this file does."""
        return f"{self.path}: {self.saying}"

    @property
    def is_field(self) -> bool:
        """Whether the fact is that there is such a field."""
        return self.saying in {"required", "optional"}


def facts_of_type(node: Node, path: str = "", inside: tuple[Node, ...] = ()) -> Iterator[Fact]:
    """Yield the facts of a type of `request_types.json`."""
    if node in inside:
        return  # a type that contains itself
    plain = resolve(node)
    inside = (*inside, node) if isinstance(node, str) else inside
    if isinstance(plain, str):
        yield Fact(path, plain)
    elif "object" in plain:
        kind = resolve(plain["object"].get("type", "string"))
        path += _alternative(kind.get("literal", []) if isinstance(kind, dict) else [])
        for name, field in plain["object"].items():
            yield Fact(f"{path}.{name}", "required" if name in plain.get("required", ()) else "optional")
            yield from facts_of_type(field, f"{path}.{name}", inside)
    elif "union" in plain:
        for member in plain["union"]:
            yield from facts_of_type(member, path, inside)
    elif "literal" in plain:
        yield from (Fact(path, f"= {value!r}") for value in plain["literal"])
    elif "array" in plain:
        yield from facts_of_type(plain["array"], f"{path}[]", inside)
    else:
        yield from facts_of_type(plain["map"], f"{path}{{}}", inside)


class SpecFacts:
    """Yields the facts of the component schemas of an OpenAPI file."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._schemas = spec["components"]["schemas"]

    def of_component(self, name: str) -> Iterator[Fact]:
        """Yield the facts of a component."""
        yield from self._of(self._schemas[name], "", (name,))

    def _of(self, schema: dict[str, Any], path: str, inside: tuple[str, ...]) -> Iterator[Fact]:
        """Yield the facts of a schema; keywords that no type knows, such as lengths, are left out."""
        if "$ref" in schema or "$recursiveRef" in schema:
            name = schema.get("$ref", "").rpartition("/")[2]
            if name and name not in inside:  # else a schema that contains itself
                yield from self._of(self._schemas[name], path, (*inside, name))
            return
        if schema.get("nullable"):
            yield Fact(path, "null")
        fields, required = self._fields(schema)
        path += _alternative(self._resolve(fields.get("type", {})).get("enum", []))
        for name, field in fields.items():
            yield Fact(f"{path}.{name}", "required" if name in required else "optional")
            yield from self._of(field, f"{path}.{name}", inside)
        if not fields:
            yield from self._of_another(schema, path, inside)

    def _of_another(self, schema: dict[str, Any], path: str, inside: tuple[str, ...]) -> Iterator[Fact]:
        """Yield the facts of a schema that is no object with fields."""
        if members := schema.get("anyOf", schema.get("oneOf")):
            for member in members:
                yield from self._of(member, path, inside)
        elif "enum" in schema:
            yield from (Fact(path, f"= {value!r}") for value in schema["enum"])
        elif schema.get("type") == "array":
            yield from self._of(schema["items"], f"{path}[]", inside)
        elif schema.get("type") == "object":
            entry = schema.get("additionalProperties")
            yield from self._of(entry if isinstance(entry, dict) else {}, f"{path}{{}}", inside)
        else:
            yield Fact(path, _SCALARS.get(schema.get("type", ""), "any"))

    def _fields(self, schema: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
        """Return the fields of an object, also of one that is put together of several, and the required ones."""
        schema = self._resolve(schema)
        fields, required = dict(schema.get("properties", {})), set(schema.get("required", ()))
        for part in schema.get("allOf", ()):
            more_fields, more_required = self._fields(part)
            fields |= more_fields
            required |= more_required
        return fields, required

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema


def only_in_first(first: Iterable[Fact], second: Iterable[Fact]) -> set[Fact]:
    """Return the facts that `second` lacks; of a field that it lacks, only the field itself."""
    known = set(second)
    more = set(first) - known
    known_fields = {fact.path for fact in known if fact.is_field}
    missing_fields = {fact.path for fact in more if fact.is_field} - known_fields
    return {fact for fact in more if not _is_within(fact, missing_fields)}


def _is_within(fact: Fact, fields: set[str]) -> bool:
    if fact.path in fields and not fact.is_field:
        return True
    return any(fact.path.startswith(tuple(field + step for step in ".<[{")) for field in fields)


def _alternative(kinds: list[Any]) -> str:
    return f"<{'|'.join(sorted(map(str, kinds)))}>" if kinds else ""
