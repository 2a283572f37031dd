"""Checks of what a caller sends, answered in the service's own words.

A check takes a value and its place (`tools[0].function.name`) and raises `ApiError`; checks compose.  The texts are one
family on the platform: `invalid_type` and `decimal_below_min_value` are recorded (recordings.md section 5 and 6),
`string_above_max_length` and `object_above_max_properties` are reported (home-assistant/core#124440,
BerriAI/litellm#4257), `unknown_parameter` is reported (openai/openai-node#902); the others are assumed on that pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ..errors import ApiError

Check = Callable[[Any, str], None]

_ARTICLES = ((bool, "a boolean"), (int, "an integer"), (float, "a decimal"), (str, "a string"), (list, "an array"))


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return next((name for kind, name in _ARTICLES if isinstance(value, kind)), "an object")


def wrong_type(place: str, expected: str, value: object) -> ApiError:
    """`Invalid type for 'metadata.modified': expected a string, but got a boolean instead.` (recorded)."""
    text = f"Invalid type for '{place}': expected {expected}, but got {_kind(value)} instead."
    return ApiError(400, text, param=place, code="invalid_type")


def _invalid(place: str, what: str, code: str) -> ApiError:
    return ApiError(400, f"Invalid '{place}': {what}", param=place, code=code)


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _missing(place: str, key: str) -> ApiError:
    where = _join(place, key)
    text = f"Missing required parameter: '{where}'."
    return ApiError(400, text, param=where, code="missing_required_parameter")


def string(*, most: int | None = None, least: int = 0) -> Check:
    """A string of `least` to `most` characters."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(place, "a string", value)
        if len(value) < least:
            text = "empty string. Expected a string with minimum length 1, but got an empty string instead."
            raise _invalid(place, text, "empty_string")
        if most is not None and len(value) > most:
            text = (
                f"string too long. Expected a string with maximum length {most}, "
                f"but got a string with length {len(value)} instead."
            )
            raise _invalid(place, text, "string_above_max_length")

    return check


def number(*, least: float | None = None, most: float | None = None, whole: bool = False) -> Check:
    """A number between two bounds; the words differ for whole numbers and decimals, as the service's do."""
    word, article = ("integer", "an integer") if whole else ("decimal", "a decimal")

    def check(value: Any, place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise wrong_type(place, article, value)
        if least is not None and value < least:
            text = f"{word} below minimum value. Expected a value >= {least}, but got {value} instead."
            raise _invalid(place, text, f"{word}_below_min_value")
        if most is not None and not value <= most:  # so that NaN is refused too
            text = f"{word} above maximum value. Expected a value <= {most}, but got {value} instead."
            raise _invalid(place, text, f"{word}_above_max_value")

    return check


def boolean(value: Any, place: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong_type(place, "a boolean", value)


def choice(*words: str) -> Check:
    """One of a few words."""
    listed = [f"'{word}'" for word in words]
    supported = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])}, and {listed[-1]}"
    if len(listed) == 2:  # noqa: PLR2004 - "a and b" takes no comma
        supported = " and ".join(listed)

    def check(value: Any, place: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(place, f"one of {', '.join(listed)}", value)
        if value not in words:
            text = f"Invalid value: '{value}'. Supported values are: {supported}."
            raise ApiError(400, text, param=place, code="invalid_value")

    return check


def too_long(place: str, most: int, length: int) -> ApiError:
    """A list that has too many entries."""
    text = (
        f"array too long. Expected an array with maximum length {most}, but got an array with length {length} instead."
    )
    return _invalid(place, text, "array_above_max_length")


def array(item: Check, *, most: int | None = None, least: int = 0) -> Check:
    """A list, each entry checked at its own place (`tools[0]`)."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list):
            raise wrong_type(place, "an array", value)
        if len(value) < least:
            text = f"empty array. Expected an array with minimum length {least}, but got an empty array instead."
            raise _invalid(place, text, "empty_array")
        if most is not None and len(value) > most:
            raise too_long(place, most, len(value))
        for index, entry in enumerate(value):
            item(entry, f"{place}[{index}]")

    return check


def record(keys: Mapping[str, Check], *, required: tuple[str, ...] = ()) -> Check:
    """An object with these keys and no others."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(place, "an object", value)
        for key in required:
            if key not in value:
                raise _missing(place, key)
        for key, entry in value.items():
            where = _join(place, key)
            if key not in keys:
                raise ApiError(400, f"Unknown parameter: '{where}'.", param=where, code="unknown_parameter")
            keys[key](entry, where)

    return check


def tagged(kinds: Mapping[str, Check], old: Mapping[str, Check] = MappingProxyType({})) -> Check:
    """An object whose `type` decides the rest of its keys; `old` kinds are taken and not named to who gives another."""
    tag = choice(*kinds)
    known = {**kinds, **old}

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(place, "an object", value)
        if "type" not in value:
            raise _missing(place, "type")
        if value["type"] not in [*old]:  # which may be no string
            tag(value["type"], _join(place, "type"))
        known[value["type"]](value, place)

    return check


def nullable(check: Check) -> Check:
    """Null, or what `check` allows."""
    return lambda value, place: None if value is None else check(value, place)


def either(word: Check, otherwise: Check) -> Check:
    """A string checked by `word`, or anything else by `otherwise`."""
    return lambda value, place: (word if isinstance(value, str) else otherwise)(value, place)


def anything(value: Any, place: str) -> None:
    """Whatever the upstream accepts, a JSON schema for example."""


def mapping(value: Any, place: str) -> None:
    """Any JSON object."""
    if not isinstance(value, dict):
        raise wrong_type(place, "an object", value)


_MOST_PAIRS, _LONGEST_KEY = 16, 64
_METADATA_VALUE = string(most=512)


def metadata(value: Any, place: str) -> None:
    """Up to 16 pairs, keys of 64 and string values of 512 characters (spec `Metadata`)."""
    mapping(value, place)
    if len(value) > _MOST_PAIRS:
        text = (
            f"too many properties. Expected an object with at most {_MOST_PAIRS} properties, "
            f"but got an object with {len(value)} properties instead."
        )
        raise _invalid(place, text, "object_above_max_properties")
    for key, entry in value.items():
        if len(key) > _LONGEST_KEY:
            text = (
                f"property name too long. Expected a name with maximum length {_LONGEST_KEY}, "
                f"but got a name with length {len(key)} instead."
            )
            raise _invalid(place, text, "string_above_max_length")
        _METADATA_VALUE(entry, f"{place}.{key}")
