"""Request bodies against the parameter types of the installed SDK: TypedDict, Literal, Union and what they hold.

The SDK's types are generated from the service's own description, so a body that they do not allow is one that the
service does not know. They are as new as the SDK: one without Responses types (openai 1.40) checks nothing here, an
older one knows fewer values. Error texts follow those of the service (Source: platform.md sections 4 and 12).
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from typing_extensions import NotRequired, Required, get_type_hints, is_typeddict

from .exchange import Refusal

Path = tuple["str | int", ...]

_SEQUENCES = {"Iterable", "List", "Sequence", "SequenceNotStr", "list"}
_KINDS = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    dict: "an object",
    list: "an array",
}
_SCALARS = {str: (str,), bool: (bool,), int: (int,), float: (int, float), type(None): (type(None),)}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong and where; `path` as in `("tools", 0, "name")`."""

    path: Path
    message: str
    code: str

    @property
    def param(self) -> str:
        """The path as the service writes it: `tools[0].name`."""
        return param(self.path)

    def refusal(self) -> Refusal:
        """The 400 that says so."""
        return Refusal(400, self.message, param=self.param, code=self.code)


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a TypedDict."""

    annotation: Any
    is_required: bool


def param(path: Path) -> str:
    """`("tools", 0, "name")` as `tools[0].name`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def sdk_type(*places: str) -> Any:
    """The first of `module:Name` that the installed SDK has."""
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    return None


def problem(value: object, annotation: Any, path: Path = ()) -> Problem | None:
    """The first thing about `value` that `annotation` does not allow."""
    plain = _bare(annotation)
    if plain is Any or plain is object:
        return None
    if is_typeddict(plain):
        return _object_problem(value, plain, path)
    checked = _generic_check(get_origin(plain))
    return _scalar_problem(value, plain, path) if checked is None else checked(value, get_args(plain), path)


def _generic_check(origin: Any) -> Callable[[object, tuple[Any, ...], Path], Problem | None] | None:
    if origin in {Union, types.UnionType}:
        return _union_problem
    if origin is Literal:
        return _literal_problem
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_problem
    return _sequence_problem if getattr(origin, "__name__", "") in _SEQUENCES else None


def _bare(annotation: Any) -> Any:
    """Without Annotated, Required and named aliases."""
    while True:
        if get_origin(annotation) in {Annotated, Required, NotRequired}:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation


@cache
def _fields(typed: Any) -> dict[str, Field]:
    """A TypedDict's keys as they are called on the wire."""
    fields = {}
    for name, hint in get_type_hints(typed, include_extras=True).items():
        # With postponed annotations __required_keys__ knows the class's totality only, the hint the markers.
        markers = _markers(hint)
        is_required = "Required" in markers or (name in typed.__required_keys__ and "NotRequired" not in markers)
        fields[_alias(hint) or name] = Field(hint, is_required)
    return fields


def _markers(hint: Any) -> set[str]:
    markers = set()
    while get_origin(hint) in {Annotated, Required, NotRequired}:
        markers.add({Required: "Required", NotRequired: "NotRequired"}.get(get_origin(hint), ""))
        hint = get_args(hint)[0]
    return markers


def _alias(hint: Any) -> str | None:
    while get_origin(hint) in {Annotated, Required, NotRequired}:
        for extra in get_args(hint)[1:]:
            if isinstance(alias := getattr(extra, "alias", None), str):
                return alias
        hint = get_args(hint)[0]
    return None


def _object_problem(value: object, typed: Any, path: Path) -> Problem | None:
    if not isinstance(value, dict):
        return _wrong_type(value, "an object", path)
    fields = _fields(typed)
    # Missing before unknown: a function in the old nested shape is told that `tools[0].name` is missing.
    for name, field in fields.items():
        if field.is_required and name not in value:
            missing = (*path, name)
            return Problem(missing, f"Missing required parameter: '{param(missing)}'.", "missing_required_parameter")
    for name in value:
        if name not in fields and not _is_open(typed):
            unknown = (*path, name)
            return Problem(unknown, f"Unknown parameter: '{param(unknown)}'.", "unknown_parameter")
    checked = (problem(value[name], field.annotation, (*path, name)) for name, field in fields.items() if name in value)
    return next((found for found in checked if found), None)


def _is_open(typed: Any) -> bool:
    """Whether a TypedDict was declared with `extra_items=` (PEP 728)."""
    extra = getattr(typed, "__extra_items__", None)
    return extra is Any or extra is object or isinstance(extra, type)


def _union_problem(value: object, members: tuple[Any, ...], path: Path) -> Problem | None:
    found = []
    for member in members:
        one = problem(value, member, path)
        if one is None:
            return None
        if _is_kin(value, _bare(member)):
            found.append(one)
    if found:
        # The member that understood most of the value is the one that was meant.
        return max(found, key=lambda each: len(each.path))
    if isinstance(value, dict) and (names := _type_names(members)):
        return _literal_problem(value.get("type"), tuple(names), (*path, "type"))
    return _wrong_type(value, _expected(members), path)


def _is_kin(value: object, member: Any) -> bool:
    """Whether the value was meant as this member of a union: the same kind of JSON, the same `type`."""
    if is_typeddict(member):
        field = _fields(member).get("type")
        if not isinstance(value, dict) or field is None:
            return isinstance(value, dict)
        if "type" not in value:
            return not field.is_required
        return problem(value["type"], field.annotation) is None
    return _expected((member,)) == _KINDS.get(type(value))


def _type_names(members: tuple[Any, ...]) -> list[str]:
    names: list[str] = []
    for member in map(_bare, members):
        if is_typeddict(member) and (field := _fields(member).get("type")):
            names += [name for name in get_args(_bare(field.annotation)) if isinstance(name, str)]
        elif get_origin(member) in {Union, types.UnionType}:
            names += _type_names(get_args(member))
    return names


def _literal_problem(value: object, allowed: tuple[Any, ...], path: Path) -> Problem | None:
    if any(value == each and type(value) is type(each) for each in allowed):
        return None
    if allowed and not isinstance(value, type(allowed[0])):
        return _wrong_type(value, _KINDS.get(type(allowed[0]), "a value"), path)
    quoted = [f"'{each}'" for each in allowed]
    listed = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])}, and {quoted[-1]}"
    return Problem(path, f"Invalid value: '{value}'. Supported values are: {listed}.", "invalid_value")


def _mapping_problem(value: object, arguments: tuple[Any, ...], path: Path) -> Problem | None:
    if not isinstance(value, dict):
        return _wrong_type(value, "an object", path)
    held = arguments[1] if len(arguments) > 1 else Any
    checked = (problem(each, held, (*path, name)) for name, each in value.items())
    return next((found for found in checked if found), None)


def _sequence_problem(value: object, arguments: tuple[Any, ...], path: Path) -> Problem | None:
    if not isinstance(value, list):
        return _wrong_type(value, "an array", path)
    held = arguments[0] if arguments else Any
    checked = (problem(each, held, (*path, number)) for number, each in enumerate(value))
    return next((found for found in checked if found), None)


def _scalar_problem(value: object, plain: Any, path: Path) -> Problem | None:
    allowed = _SCALARS.get(types.NoneType if plain is None else plain)
    if allowed is None or (isinstance(value, allowed) and (plain is bool or not isinstance(value, bool))):
        return None
    return _wrong_type(value, _expected((plain,)), path)


def _expected(members: tuple[Any, ...]) -> str:
    """`a string`, or `one of a string or an array`; null is not mentioned."""
    kinds = [_kind(member) for member in map(_bare, members) if member not in {None, types.NoneType}]
    distinct = list(dict.fromkeys(kinds))
    return distinct[0] if len(distinct) == 1 else "one of " + " or ".join(distinct)


def _kind(member: Any) -> str:
    origin = get_origin(member)
    if origin in {Union, types.UnionType}:
        return _expected(get_args(member))
    if origin is Literal:
        return _KINDS.get(type(get_args(member)[0]), "a value")
    if getattr(origin, "__name__", "") in _SEQUENCES:
        return "an array"
    if is_typeddict(member) or origin is not None:
        return "an object"
    return _KINDS.get(member, "a value")


def _wrong_type(value: object, expected: str, path: Path) -> Problem:
    """Source: messages_modify.yml, word for word."""
    got = "null" if value is None else _KINDS[type(value)]
    message = f"Invalid type for '{param(path)}': expected {expected}, but got {got} instead."
    return Problem(path, message, "invalid_type")
