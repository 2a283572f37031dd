"""Composable checks of request parameters that raise the service's own 400 texts.

A check takes a value and its path (`tools[0].function.name`) and raises `ApiError`. Only generic checks live here; the
request schemas are in `request_schemas.py`.

The texts share one pattern. `invalid_type` and `decimal_below_min_value` are recorded (recordings.md section 5 and 6).
`string_above_max_length` and `object_above_max_properties` (home-assistant/core#124440, BerriAI/litellm#4257) and
`unknown_parameter` (openai/openai-node#902) are reported, as are `missing_required_parameter`
(openai/openai-python#1335), the pattern of a name (coinbase/agentkit#217, run-llama/llama_index#16093) and the URL that
is none (community.openai.com/t/752440). The other texts are assumed on the same pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ..errors import ApiError

Check = Callable[[Any, str], None]

# `bool` comes first because it is a subclass of `int`.
_TYPE_NAMES = ((bool, "a boolean"), (int, "an integer"), (float, "a decimal"), (str, "a string"), (list, "an array"))


def _type_name(value: object) -> str:
    if value is None:
        return "null"
    return next((name for type_, name in _TYPE_NAMES if isinstance(value, type_)), "an object")


def wrong_type(path: str, expected: str, value: object) -> ApiError:
    """`Invalid type for 'metadata.modified': expected a string, but got a boolean instead.` (recorded)."""
    text = f"Invalid type for '{path}': expected {expected}, but got {_type_name(value)} instead."
    return ApiError(400, text, param=path, code="invalid_type")


def _invalid(path: str, explanation: str, code: str) -> ApiError:
    return ApiError(400, f"Invalid '{path}': {explanation}", param=path, code=code)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def missing_parameter(path: str, key: str) -> ApiError:
    """`Missing required parameter: 'attachments[0].tools'.` (reported)."""
    missing_path = _join(path, key)
    text = f"Missing required parameter: '{missing_path}'."
    return ApiError(400, text, param=missing_path, code="missing_required_parameter")


def unknown_parameter(path: str) -> ApiError:
    """`Unknown parameter: 'role'.` (reported)."""
    return ApiError(400, f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")


def string(*, max_length: int | None = None, min_length: int = 0, pattern: str | None = None) -> Check:
    """Accept a string of `min_length` to `max_length` characters that matches `pattern`.

    The pattern begins with `^` and ends with `$`; the error shows it as it is.
    """
    matches = re.compile(pattern.removesuffix("$")).fullmatch if pattern else None  # `$` would allow a line break

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(path, "a string", value)
        if len(value) < min_length:
            text = "empty string. Expected a string with minimum length 1, but got an empty string instead."
            raise _invalid(path, text, "empty_string")
        if max_length is not None and len(value) > max_length:
            text = (
                f"string too long. Expected a string with maximum length {max_length}, "
                f"but got a string with length {len(value)} instead."
            )
            raise _invalid(path, text, "string_above_max_length")
        if matches is not None and not matches(value):
            text = f"string does not match pattern. Expected a string that matches the pattern '{pattern}'."
            raise _invalid(path, text, "invalid_value")

    return check


def image_url(value: Any, path: str) -> None:
    """Accept the URL of an image, or the image itself as a `data:` URL.

    The old service took no `data:` URL. The Responses API takes it, and no old program depends on its refusal.
    """
    string(min_length=1)(value, path)
    if not _is_image_url(value):
        text = f"Invalid '{path}'. Expected a valid URL, but got a value with an invalid format."
        raise ApiError(400, text, param=path, code="invalid_value")


def _is_image_url(value: str) -> bool:
    try:
        url = urlsplit(value)
    except ValueError:
        return False
    return url.scheme == "data" or (url.scheme in {"http", "https"} and bool(url.netloc))


def number(*, minimum: float | None = None, maximum: float | None = None, integer: bool = False) -> Check:
    """Accept a number between two bounds. As on the service, the texts differ for integers and decimals."""
    noun, expected = ("integer", "an integer") if integer else ("decimal", "a decimal")

    def check(value: Any, path: str) -> None:
        # In Python a boolean is an integer, in JSON it is not.
        if isinstance(value, bool) or not isinstance(value, int if integer else (int, float)):
            raise wrong_type(path, expected, value)
        if minimum is not None and value < minimum:
            text = f"{noun} below minimum value. Expected a value >= {minimum}, but got {value} instead."
            raise _invalid(path, text, f"{noun}_below_min_value")
        if maximum is not None and not value <= maximum:  # `not <=` also refuses NaN
            text = f"{noun} above maximum value. Expected a value <= {maximum}, but got {value} instead."
            raise _invalid(path, text, f"{noun}_above_max_value")

    return check


def boolean(value: Any, path: str) -> None:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise wrong_type(path, "a boolean", value)


def choice(*options: str) -> Check:
    """Accept one of these strings."""
    quoted = [f"'{option}'" for option in options]
    # The comma before "and" is the service's: `'low', 'medium', and 'high'` (reported, as is the form for two).
    supported = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])}, and {quoted[-1]}"
    if len(quoted) == 2:  # noqa: PLR2004 - "a and b" takes no comma
        supported = " and ".join(quoted)

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(path, f"one of {', '.join(quoted)}", value)
        if value not in options:
            text = f"Invalid value: '{value}'. Supported values are: {supported}."
            raise ApiError(400, text, param=path, code="invalid_value")

    return check


def array_too_long(path: str, max_items: int, length: int) -> ApiError:
    """The 400 for an array with more than `max_items` entries."""
    text = (
        f"array too long. Expected an array with maximum length {max_items}, "
        f"but got an array with length {length} instead."
    )
    return _invalid(path, text, "array_above_max_length")


def array(item: Check, *, max_items: int | None = None, min_items: int = 0) -> Check:
    """Accept a list whose entries pass `item`, each under its own path (`tools[0]`)."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise wrong_type(path, "an array", value)
        if len(value) < min_items:
            text = f"empty array. Expected an array with minimum length {min_items}, but got an empty array instead."
            raise _invalid(path, text, "empty_array")
        if max_items is not None and len(value) > max_items:
            raise array_too_long(path, max_items, len(value))
        for index, entry in enumerate(value):
            item(entry, f"{path}[{index}]")

    return check


def record(keys: Mapping[str, Check], *, required: tuple[str, ...] = ()) -> Check:
    """Accept an object with these keys and no others.

    A null of an optional key counts as absent, except in the request itself: the SDK's objects have nulls for all that
    an answer lacks, and programs send them back. `without_nulls` leaves them out.
    """

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        for key in required:
            if key not in value:
                raise missing_parameter(path, key)
        for key, entry in value.items():
            key_path = _join(path, key)
            if key not in keys:
                raise unknown_parameter(key_path)
            if entry is not None or key in required or not path:
                keys[key](entry, key_path)

    return check


FREE_FORM_KEYS = frozenset({"metadata", "parameters", "schema"})
"""What callers define themselves, where a null may mean something."""


def without_nulls(value: Any, *, is_request: bool = True) -> Any:
    """Return a checked request without the nulls below its own keys, which stay: they may reset something."""
    if isinstance(value, list):
        return [without_nulls(entry, is_request=False) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: entry if key in FREE_FORM_KEYS else without_nulls(entry, is_request=False)
        for key, entry in value.items()
        if is_request or entry is not None
    }


def tagged(types: Mapping[str, Check], legacy_types: Mapping[str, Check] = MappingProxyType({})) -> Check:
    """Accept an object whose `type` decides which check applies.

    `legacy_types` are accepted too, but the error for an unsupported type does not list them.
    """
    check_type = choice(*types)
    check_of_type = {**types, **legacy_types}

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        if "type" not in value:
            raise missing_parameter(path, "type")
        if value["type"] not in [*legacy_types]:  # a list, because the value may be unhashable
            check_type(value["type"], _join(path, "type"))
        check_of_type[value["type"]](value, path)

    return check


def null(value: Any, path: str) -> None:
    """Accept null only: the key is unknown where it has a value."""
    if value is not None:
        raise unknown_parameter(path)


def nullable(check: Check) -> Check:
    """Accept null, or what `check` accepts."""
    return lambda value, path: None if value is None else check(value, path)


def both(first: Check, second: Check) -> Check:
    """Accept what both checks accept; the second one sees only what the first one accepts."""

    def check(value: Any, path: str) -> None:
        first(value, path)
        second(value, path)

    return check


def string_or(string_check: Check, other_check: Check) -> Check:
    """Apply `string_check` to a string and `other_check` to any other value."""
    return lambda value, path: (string_check if isinstance(value, str) else other_check)(value, path)


def anything(value: Any, path: str) -> None:
    """Accept any value: the upstream checks it, for example a JSON schema."""


def mapping(value: Any, path: str) -> None:
    """Accept any JSON object."""
    if not isinstance(value, dict):
        raise wrong_type(path, "an object", value)


_MAX_METADATA_PAIRS, _MAX_METADATA_KEY_LENGTH = 16, 64
_METADATA_VALUE = string(max_length=512)


def metadata(value: Any, path: str) -> None:
    """Accept up to 16 pairs: keys of up to 64 and string values of up to 512 characters (spec `Metadata`)."""
    mapping(value, path)
    if len(value) > _MAX_METADATA_PAIRS:
        text = (
            f"too many properties. Expected an object with at most {_MAX_METADATA_PAIRS} properties, "
            f"but got an object with {len(value)} properties instead."
        )
        raise _invalid(path, text, "object_above_max_properties")
    for key, entry in value.items():
        if len(key) > _MAX_METADATA_KEY_LENGTH:
            text = (
                f"property name too long. Expected a name with maximum length {_MAX_METADATA_KEY_LENGTH}, "
                f"but got a name with length {len(key)} instead."
            )
            raise _invalid(path, text, "string_above_max_length")
        # The recorded `param` names the key as well: `metadata.modified` (recordings.md section 5).
        _METADATA_VALUE(entry, f"{path}.{key}")
