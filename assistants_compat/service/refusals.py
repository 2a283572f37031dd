"""What a refusal of the service is, and how one is recognized. The rows themselves are in `refusal_table.py`.

A refusal arrives as an HTTP status and an `error` object, or as the `error` of a failed response (no status then).
Gateways change both: `recognize` therefore takes what is left. A row is recognized by `param` or `code` where the
service sends them, and by the words of the message only where it does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["avoided", "recovered", "told"]
"""What becomes of a refusal: it is never provoked, or handled, or passed on to the caller."""

Scope = Literal["request", "upstream", "model", "thread", "container"]
"""For whom a refusal is remembered once its remedy has worked; `request` means that it is not remembered."""

# Characters: a message may quote a whole request, for which the search of some patterns would take minutes.
_MAX_SEARCHED = 500


@dataclass(frozen=True)
class Sign:
    """One form in which a refusal arrives; every given part must match.

    `status` lists HTTP statuses; a failed response has none and matches any. `param` and `words` are regular
    expressions: `param` matches the whole value, `words` is searched for in the message, without regard to case. Their
    named groups are handed to the remedy, for example `item` for the id of a refused item. `param=""` matches only an
    error without `param`. `example` is a message of this form where it is not the row's own.
    """

    status: tuple[int, ...] = (400,)
    param: str | None = None
    code: str | None = None
    words: str | None = None
    example: str = ""

    def __post_init__(self) -> None:
        """Refuse a sign that would match everything."""
        if not (self.param or self.code or self.words):
            message = "a sign needs param, code or words"
            raise ValueError(message)

    def match(self, status: int | None, error: Mapping[str, Any]) -> dict[str, str] | None:
        """Return the named groups of the expressions, or None if the error has another form."""
        if status is not None and status not in self.status:
            return None
        if self.code is not None and str(error.get("code")) != self.code:
            return None
        groups: dict[str, str] = {}
        for pattern, value, match in (
            (self.param, error.get("param"), re.fullmatch),
            (self.words, error.get("message"), re.search),
        ):
            if pattern is None:
                continue
            found = match(pattern, str(value or "")[:_MAX_SEARCHED], re.IGNORECASE | re.DOTALL)
            if found is None:
                return None
            groups.update({name: text for name, text in found.groupdict().items() if text is not None})
        return groups


@dataclass(frozen=True)
class Refusal:
    """A refusal of the service: a row of the table.

    `message`, `param`, `code` and `status` are what the service sends; the message may have `{fields}`. `signs` are the
    forms in which it arrives. `remedy` says what is given up for it and `keeps` what is not. `log` is the line that is
    logged once when the remedy has worked. `sources` name where the refusal was seen, and may not be empty.
    """

    name: str
    when: str
    message: str
    sources: tuple[str, ...]
    outcome: Outcome
    remedy: str
    keeps: str = ""
    scope: Scope = "request"
    param: str | None = None
    code: str | None = None
    status: int = 400
    signs: tuple[Sign, ...] = ()
    log: str = ""
    is_loss: bool = False  # the run does without something that its caller named: the line is a warning
    stand_in: bool = True  # False where no public text shows it for OpenAI or Azure: the stand-in can only assume it

    def __post_init__(self) -> None:
        """Refuse a row without a source: what nobody has seen is not in the table."""
        if not self.sources or not all(source.strip() for source in self.sources):
            message = f"the refusal {self.name!r} has no source"
            raise ValueError(message)


@dataclass(frozen=True)
class Recognized:
    """A refusal that an upstream sent, and the parts of its text that the remedy needs."""

    row: Refusal
    groups: Mapping[str, str]


def recognize(rows: Iterable[Refusal], status: int | None, error: object) -> Recognized | None:
    """Return the first of these rows that an error matches; None if it is none of them.

    `error` is `{"message", "type", "param", "code"}`, each optional. `status` is None for the error of a failed
    response.
    """
    if not isinstance(error, Mapping):
        return None
    for row in rows:
        for sign in row.signs:
            groups = sign.match(status, error)
            if groups is not None and not _is_another(row, sign, status, error):
                return Recognized(row, groups)
    return None


def _is_another(row: Refusal, sign: Sign, status: int | None, error: Mapping[str, Any]) -> bool:
    """Whether the code or param of an error says that it is not this row, although its words match.

    A message may quote what a user wrote, so its words count only where `code` says nothing (no code, a status of a
    gateway, or a code that many refusals share) and `param` says nothing else.
    """
    if sign.code is not None or sign.words is None:
        return False
    code = str(error.get("code") or "")
    if status is None and code == "invalid_prompt":  # the only code of a failed response that blames its request
        code = ""
    if not (code in {"", row.code} or code.isdecimal() or code.lower() in _SHARED_CODES):
        return True
    param = str(error.get("param") or "")
    expected = re.split(r"[{\[]", row.param or "input")[0]
    is_expected = not param or param.startswith(expected) or ".container" in param
    return sign.param is None and not is_expected


_SHARED_CODES = frozenset(
    {
        "bad_request",
        "badrequest",
        "invalid_request_error",
        "invalid_value",
        "missing_required_parameter",
        "not_found",
        "notfound",
        "server_error",
        "string_above_max_length",
        "unsupported_parameter",
        "unsupported_value",
    }
)
