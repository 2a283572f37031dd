"""The HTTP exchange that the handlers of the stand-in see: a Request comes in, an Answer or a Refusal goes out.

No sockets and no state here: `server.py` turns bytes into a Request, and an Answer into bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# The same text as in `wire/exchange.py`, because `testing` imports nothing of the package (docs/decisions/0014).
_BAD_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble "
    "figuring out how to fix this, please contact us through our help center at help.openai.com.)"
)


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
        body = json.dumps(value, ensure_ascii=False, indent=2).encode()
        return cls(status, body, {"content-type": "application/json"})


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
        """Return the body as a JSON object, or an empty object if there is no body; refuse anything else."""
        if not self.body:  # for example of `POST /responses/{id}/cancel`
            return {}
        try:
            value = json.loads(self.body)
        except ValueError:
            raise Refusal(400, _BAD_JSON) from None
        if not isinstance(value, dict):
            raise Refusal(400, _BAD_JSON)
        return value

    def values(self, name: str) -> list[str]:
        """Return every value of a query parameter, which may be written `name` or `name[]`."""
        return [value for key, value in self.query if key in {name, f"{name}[]"}]

    def value(self, name: str) -> str | None:
        """Return the last value of a query parameter, or None."""
        return next(reversed(self.values(name)), None)
