"""Checks request bodies against the types of `request_types.json`; the installed SDK plays no part.

Error texts follow those of the service (Source: platform.md sections 4 and 12).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .exchange import Refusal
from .request_types import Node, resolve

Path = tuple["str | int", ...]

_JSON_TYPE_NAMES = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    dict: "an object",
    list: "an array",
}
_SCALARS = {"string": (str,), "boolean": (bool,), "integer": (int,), "decimal": (int, float), "null": (type(None),)}


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


def param_from_path(path: Path) -> str:
    """Return a path such as `("tools", 0, "name")` as `tools[0].name`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def find_problem(value: object, node: Node, path: Path = ()) -> Problem | None:
    """Return the first problem of a value that does not conform to a type, or None."""
    plain = resolve(node)
    if isinstance(plain, str):
        return _scalar_problem(value, plain, path)
    return next(check for kind, check in _CHECKS.items() if kind in plain)(value, plain, path)


def _object_problem(value: object, node: dict[str, Any], path: Path) -> Problem | None:
    if not isinstance(value, dict):
        return _wrong_type_problem(value, "an object", path)
    # Missing keys before unknown ones: for a function in the old nested shape, `tools[0].name` is reported as missing.
    for name in node.get("required", ()):
        if name not in value:
            missing = (*path, name)
            return Problem(
                missing, f"Missing required parameter: '{param_from_path(missing)}'.", "missing_required_parameter"
            )
    fields = node["object"]
    for name in value:
        if name not in fields and "open" not in node:
            unknown = (*path, name)
            return Problem(unknown, f"Unknown parameter: '{param_from_path(unknown)}'.", "unknown_parameter")
    problems = (find_problem(value[name], field, (*path, name)) for name, field in fields.items() if name in value)
    return next((problem for problem in problems if problem), None)


def _union_problem(value: object, node: dict[str, Any], path: Path) -> Problem | None:
    members, problems = node["union"], []
    for member in members:
        problem = find_problem(value, member, path)
        if problem is None:
            return None
        if _is_intended_member(value, resolve(member)):
            problems.append(problem)
    if problems:
        # The longest path belongs to the member that accepts most of the value, which is probably the intended one.
        return max(problems, key=lambda problem: len(problem.path))
    if isinstance(value, dict) and (names := _type_names(members)):
        return _choice_problem(value.get("type"), names, (*path, "type"))
    return _wrong_type_problem(value, _expected_type(members), path)


def _is_intended_member(value: object, member: Node) -> bool:
    """Whether a value has the JSON type of this member of a union and, if it is an object, the same `type`."""
    if isinstance(member, dict) and "object" in member:
        if not isinstance(value, dict) or "type" not in member["object"]:
            return isinstance(value, dict)
        if "type" not in value:
            return "type" not in member.get("required", ())
        return find_problem(value["type"], member["object"]["type"]) is None
    return _expected_type([member]) == _JSON_TYPE_NAMES.get(type(value))


def _type_names(members: list[Node]) -> list[str]:
    names: list[str] = []
    for member in map(resolve, members):
        if isinstance(member, dict) and "type" in member.get("object", ()):
            field = resolve(member["object"]["type"])
            choices = field.get("literal", ()) if isinstance(field, dict) else ()
            names += [name for name in choices if isinstance(name, str)]
        elif isinstance(member, dict) and "union" in member:
            names += _type_names(member["union"])
    return names


def _literal_problem(value: object, node: dict[str, Any], path: Path) -> Problem | None:
    return _choice_problem(value, node["literal"], path)


def _choice_problem(value: object, allowed: list[Any], path: Path) -> Problem | None:
    # Types are compared too, because in Python 1 == True.
    if any(value == choice and type(value) is type(choice) for choice in allowed):
        return None
    if not isinstance(value, type(allowed[0])):
        return _wrong_type_problem(value, _JSON_TYPE_NAMES.get(type(allowed[0]), "a value"), path)
    return Problem(path, choice_message(value, allowed), "invalid_value")


def choice_message(value: object, allowed: Sequence[object]) -> str:
    """Return the service's text for a value that is not one of several."""
    return f"Invalid value: '{value}'. Supported values are: {quoted_list(allowed)}."


def quoted_list(values: Sequence[object]) -> str:
    """Return `'a', 'b', and 'c'`, as the service lists values; of two it writes `'a' and 'b'` (measured)."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) <= 2:  # noqa: PLR2004 - see above
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def _map_problem(value: object, node: dict[str, Any], path: Path) -> Problem | None:
    if not isinstance(value, dict):
        return _wrong_type_problem(value, "an object", path)
    problems = (find_problem(entry, node["map"], (*path, name)) for name, entry in value.items())
    return next((problem for problem in problems if problem), None)


def _array_problem(value: object, node: dict[str, Any], path: Path) -> Problem | None:
    if not isinstance(value, list):
        return _wrong_type_problem(value, "an array", path)
    problems = (find_problem(entry, node["array"], (*path, number)) for number, entry in enumerate(value))
    return next((problem for problem in problems if problem), None)


def _scalar_problem(value: object, scalar: str, path: Path) -> Problem | None:
    allowed = _SCALARS.get(scalar)
    # In Python a bool is an int, in JSON it is not.
    if allowed is None or (isinstance(value, allowed) and (scalar == "boolean" or not isinstance(value, bool))):
        return None
    return _wrong_type_problem(value, _expected_type([scalar]), path)


_CHECKS: dict[str, Callable[[object, dict[str, Any], Path], Problem | None]] = {
    "object": _object_problem,
    "union": _union_problem,
    "literal": _literal_problem,
    "map": _map_problem,
    "array": _array_problem,
}


def _expected_type(members: list[Node]) -> str:
    """Return for example `a string` or `one of a string or an array`; null is not mentioned."""
    names = [_type_name(member) for member in map(resolve, members) if member != "null"]
    distinct = list(dict.fromkeys(names))
    return distinct[0] if len(distinct) == 1 else "one of " + " or ".join(distinct)


def _type_name(member: Node) -> str:
    if isinstance(member, str):
        return "a value" if member == "any" else _JSON_TYPE_NAMES[_SCALARS[member][-1]]
    if "union" in member:
        return _expected_type(member["union"])
    if "literal" in member:
        return _JSON_TYPE_NAMES.get(type(member["literal"][0]), "a value")
    return "an array" if "array" in member else "an object"


def _wrong_type_problem(value: object, expected: str, path: Path) -> Problem:
    """Return the problem of a wrong type, with the text of messages_modify.yml."""
    actual = "null" if value is None else _JSON_TYPE_NAMES[type(value)]
    message = f"Invalid type for '{param_from_path(path)}': expected {expected}, but got {actual} instead."
    return Problem(path, message, "invalid_type")
