"""Checks request bodies against the parameter types of the installed SDK: TypedDict, Literal, Union and others.

The SDK's types are generated from the service's own description, so the service does not accept a body that they do
not allow. They are as new as the SDK: openai 1.40 has no types for Responses, so nothing is checked there, and older
SDKs know fewer values. Error texts follow those of the service (Source: platform.md sections 4 and 12).
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

_SEQUENCE_NAMES = {"Iterable", "List", "Sequence", "SequenceNotStr", "list"}
_JSON_TYPE_NAMES = {
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
    """What is wrong with a value and where; `path` is for example `("tools", 0, "name")`."""

    path: Path
    message: str
    code: str

    @property
    def param(self) -> str:
        """The path as the service writes it: `tools[0].name`."""
        return param_from_path(self.path)

    def refusal(self) -> Refusal:
        """Return the 400 for this problem."""
        return Refusal(400, self.message, param=self.param, code=self.code)


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a TypedDict."""

    annotation: Any
    is_required: bool


def param_from_path(path: Path) -> str:
    """Return a path such as `("tools", 0, "name")` as `tools[0].name`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def sdk_type(*type_paths: str) -> Any:
    """Return the first type, each named `module:Name`, that the installed SDK has, or None."""
    for type_path in type_paths:
        module, _, name = type_path.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    return None


def find_problem(value: object, annotation: Any, path: Path = ()) -> Problem | None:
    """Return the first problem of a value that does not conform to a type annotation, or None."""
    plain = _without_markers(annotation)
    if plain is Any or plain is object:
        return None
    if is_typeddict(plain):
        return _object_problem(value, plain, path)
    check = _generic_check(get_origin(plain))
    return _scalar_problem(value, plain, path) if check is None else check(value, get_args(plain), path)


def _generic_check(origin: Any) -> Callable[[object, tuple[Any, ...], Path], Problem | None] | None:
    if origin in {Union, types.UnionType}:
        return _union_problem
    if origin is Literal:
        return _literal_problem
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_problem
    return _sequence_problem if getattr(origin, "__name__", "") in _SEQUENCE_NAMES else None


def _without_markers(annotation: Any) -> Any:
    """Return an annotation without Annotated, Required and named aliases."""
    while True:
        if get_origin(annotation) in {Annotated, Required, NotRequired}:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation


@cache
def _fields(typed_dict: Any) -> dict[str, Field]:
    """Return the fields of a TypedDict by their names on the wire."""
    fields = {}
    for name, hint in get_type_hints(typed_dict, include_extras=True).items():
        # With postponed annotations __required_keys__ only reflects `total=`; the markers are in the hint.
        markers = _markers(hint)
        is_required = "Required" in markers or (name in typed_dict.__required_keys__ and "NotRequired" not in markers)
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


def _object_problem(value: object, typed_dict: Any, path: Path) -> Problem | None:
    if not isinstance(value, dict):
        return _wrong_type_problem(value, "an object", path)
    fields = _fields(typed_dict)
    # Missing keys before unknown ones: for a function in the old nested shape, `tools[0].name` is reported as missing.
    for name, field in fields.items():
        if field.is_required and name not in value:
            missing = (*path, name)
            return Problem(
                missing, f"Missing required parameter: '{param_from_path(missing)}'.", "missing_required_parameter"
            )
    for name in value:
        if name not in fields and not _is_open(typed_dict):
            unknown = (*path, name)
            return Problem(unknown, f"Unknown parameter: '{param_from_path(unknown)}'.", "unknown_parameter")
    problems = (
        find_problem(value[name], field.annotation, (*path, name)) for name, field in fields.items() if name in value
    )
    return next((problem for problem in problems if problem), None)


def _is_open(typed_dict: Any) -> bool:
    """Whether a TypedDict was declared with `extra_items=` (PEP 728)."""
    extra = getattr(typed_dict, "__extra_items__", None)
    return extra is Any or extra is object or isinstance(extra, type)


def _union_problem(value: object, members: tuple[Any, ...], path: Path) -> Problem | None:
    problems = []
    for member in members:
        problem = find_problem(value, member, path)
        if problem is None:
            return None
        if _is_intended_member(value, _without_markers(member)):
            problems.append(problem)
    if problems:
        # The longest path belongs to the member that accepts most of the value, which is probably the intended one.
        return max(problems, key=lambda problem: len(problem.path))
    if isinstance(value, dict) and (names := _type_names(members)):
        return _literal_problem(value.get("type"), tuple(names), (*path, "type"))
    return _wrong_type_problem(value, _expected_type(members), path)


def _is_intended_member(value: object, member: Any) -> bool:
    """Whether a value has the JSON type of this member of a union and, if it is an object, the same `type`."""
    if is_typeddict(member):
        field = _fields(member).get("type")
        if not isinstance(value, dict) or field is None:
            return isinstance(value, dict)
        if "type" not in value:
            return not field.is_required
        return find_problem(value["type"], field.annotation) is None
    return _expected_type((member,)) == _JSON_TYPE_NAMES.get(type(value))


def _type_names(members: tuple[Any, ...]) -> list[str]:
    names: list[str] = []
    for member in map(_without_markers, members):
        if is_typeddict(member) and (field := _fields(member).get("type")):
            names += [name for name in get_args(_without_markers(field.annotation)) if isinstance(name, str)]
        elif get_origin(member) in {Union, types.UnionType}:
            names += _type_names(get_args(member))
    return names


def _literal_problem(value: object, allowed: tuple[Any, ...], path: Path) -> Problem | None:
    # Types are compared too, because in Python 1 == True.
    if any(value == choice and type(value) is type(choice) for choice in allowed):
        return None
    if allowed and not isinstance(value, type(allowed[0])):
        return _wrong_type_problem(value, _JSON_TYPE_NAMES.get(type(allowed[0]), "a value"), path)
    quoted = [f"'{choice}'" for choice in allowed]
    listed = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])}, and {quoted[-1]}"
    return Problem(path, f"Invalid value: '{value}'. Supported values are: {listed}.", "invalid_value")


def _mapping_problem(value: object, arguments: tuple[Any, ...], path: Path) -> Problem | None:
    if not isinstance(value, dict):
        return _wrong_type_problem(value, "an object", path)
    entry_type = arguments[1] if len(arguments) > 1 else Any
    problems = (find_problem(entry, entry_type, (*path, name)) for name, entry in value.items())
    return next((problem for problem in problems if problem), None)


def _sequence_problem(value: object, arguments: tuple[Any, ...], path: Path) -> Problem | None:
    if not isinstance(value, list):
        return _wrong_type_problem(value, "an array", path)
    entry_type = arguments[0] if arguments else Any
    problems = (find_problem(entry, entry_type, (*path, number)) for number, entry in enumerate(value))
    return next((problem for problem in problems if problem), None)


def _scalar_problem(value: object, plain: Any, path: Path) -> Problem | None:
    allowed = _SCALARS.get(types.NoneType if plain is None else plain)
    # In Python a bool is an int, in JSON it is not.
    if allowed is None or (isinstance(value, allowed) and (plain is bool or not isinstance(value, bool))):
        return None
    return _wrong_type_problem(value, _expected_type((plain,)), path)


def _expected_type(members: tuple[Any, ...]) -> str:
    """Return for example `a string` or `one of a string or an array`; null is not mentioned."""
    names = [_type_name(member) for member in map(_without_markers, members) if member not in {None, types.NoneType}]
    distinct = list(dict.fromkeys(names))
    return distinct[0] if len(distinct) == 1 else "one of " + " or ".join(distinct)


def _type_name(member: Any) -> str:
    origin = get_origin(member)
    if origin in {Union, types.UnionType}:
        return _expected_type(get_args(member))
    if origin is Literal:
        return _JSON_TYPE_NAMES.get(type(get_args(member)[0]), "a value")
    if getattr(origin, "__name__", "") in _SEQUENCE_NAMES:
        return "an array"
    if is_typeddict(member) or origin is not None:
        return "an object"
    return _JSON_TYPE_NAMES.get(member, "a value")


def _wrong_type_problem(value: object, expected: str, path: Path) -> Problem:
    """Return the problem of a wrong type, with the text of messages_modify.yml."""
    actual = "null" if value is None else _JSON_TYPE_NAMES[type(value)]
    message = f"Invalid type for '{param_from_path(path)}': expected {expected}, but got {actual} instead."
    return Problem(path, message, "invalid_type")
