"""The HTTP exchange that the handlers of the stand-in see: a Request comes in, an Answer or a Refusal goes out.

No sockets and no state here: `server.py` turns bytes into a Request, and an Answer into bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# The same text as in `wire/exchange.py`, because `testing` imports only `service` (docs/decisions/0014).
_BAD_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble "
    "figuring out how to fix this, please contact us through our help center at help.openai.com.)"
)
_MAX_NESTING = 500  # as in `wire/objects.py`: what is parsed must be written again, on every Python


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response: a whole `body`, or `chunks` for a stream."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterator[bytes] | None = None

    @classmethod
    def with_json(cls, value: object, status: int = 200) -> Answer:
        """Return a JSON answer, indented by two spaces as the service does (Source: recordings.md section 5)."""
        return cls(status, json_bytes(value, indent=2), {"content-type": "application/json"})


def json_bytes(value: object, *, indent: int | None = None) -> bytes:
    """Return a value as JSON in UTF-8; half a surrogate pair, which UTF-8 cannot hold, is escaped.

    Clients can send half a pair as an escape. How the service answers it is unknown: this is an assumption.
    """
    separators = None if indent else (",", ":")
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, separators=separators).encode()


class Refusal(Exception):  # noqa: N818 - an answer of the service, not a defect of the stand-in
    """An error answer of the service: `{"error": {message, type, param, code}}`, key order as recorded."""

    kind = "invalid_request_error"

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Build the body; `extra` are keys beside `error`."""
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"error": {"message": message, "type": self.kind, "param": param, "code": code}}
        self.body.update(extra or {})

    def answer(self) -> Answer:
        """Return the HTTP response for this error."""
        return Answer.with_json(self.body, self.status)


def bad_json() -> Refusal:
    """Return the refusal of a body that is no JSON object."""
    return Refusal(400, _BAD_JSON)


class ScriptError(Refusal):
    """A mistake in the script or in the stand-in: a 500 that the SDK does not retry, so the test fails at once."""

    kind = "stand_in"

    def __init__(self, message: str) -> None:
        """Describe the mistake."""
        super().__init__(500, message)

    def answer(self) -> Answer:
        """Return the 500 with `x-should-retry: false`, because the SDK retries every other 500."""
        answer = super().answer()
        answer.headers["x-should-retry"] = "false"
        return answer


AZURE_PATHS = ("/openai/", "/api/projects/")
"""The begin of the paths of Azure: those of a resource, and those of a Foundry project."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request; `path` has no base (`/v1` or `/openai/v1`), and `full_path` is the whole request target."""

    method: str
    path: str
    full_path: str
    query: tuple[tuple[str, str], ...]
    headers: dict[str, str]
    body: bytes

    def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object, or an empty object if there is no body; refuse anything else.

        JSON that is nested too deeply gets the same refusal; how deep the service goes is unknown.
        """
        if not self.body:  # for example of `POST /responses/{id}/cancel`
            return {}
        try:
            value = json.loads(self.body)
            _check_nesting(value)
        except (ValueError, RecursionError):
            raise bad_json() from None
        if not isinstance(value, dict):
            raise bad_json()
        return value

    @property
    def is_azure(self) -> bool:
        """Whether the request is one to Azure: by its path, or by its header for the key."""
        return self.full_path.startswith(AZURE_PATHS) or "api-key" in self.headers

    def values(self, name: str) -> list[str]:
        """Return every value of a query parameter, which may be written `name` or `name[]`."""
        return [value for key, value in self.query if key in {name, f"{name}[]"}]

    def value(self, name: str) -> str | None:
        """Return the last value of a query parameter, or None."""
        return next(reversed(self.values(name)), None)


def _check_nesting(value: object) -> None:
    """Raise `RecursionError` for JSON that is nested too deeply; level by level, so that it cannot overflow itself."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(_MAX_NESTING):
        children = (entry.values() if isinstance(entry, dict) else entry for entry in level)
        level = [child for entry in children for child in entry if isinstance(child, (dict, list))]
        if not level:
            return
    raise RecursionError
