"""One HTTP exchange as the rooms of the stand-in see it: Request in, Answer or Refusal out.

No socket and no state here; `server.py` turns bytes into a Request and an Answer into bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_BAD_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble "
    "figuring out how to fix this, please contact us through our help center at help.openai.com.)"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a body in one piece, or `chunks` for a stream."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterator[bytes] | None = None

    @classmethod
    def of_json(cls, value: object, status: int = 200) -> Answer:
        """The service pretty-prints with two spaces (Source: recordings.md section 5)."""
        body = json.dumps(value, ensure_ascii=False, indent=2).encode()
        return cls(status, body, {"content-type": "application/json"})


class Refusal(Exception):  # noqa: N818 - an answer of the service, not a defect of the stand-in
    """An error answer: `{"error": {message, type, param, code}}`, key order as recorded."""

    kind = "invalid_request_error"

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        beside: dict[str, Any] | None = None,
    ) -> None:
        """Say what is wrong; `beside` are keys that stand next to `error`."""
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"error": {"message": message, "type": self.kind, "param": param, "code": code}}
        self.body.update(beside or {})

    def answer(self) -> Answer:
        """The refusal as it goes over the wire."""
        return Answer.of_json(self.body, self.status)


class ScriptError(Refusal):
    """A mistake in the script or in the stand-in: 500 without retries, so that it is read at once."""

    kind = "stand_in"

    def __init__(self, message: str) -> None:
        """Say what is wrong with the test."""
        super().__init__(500, message)

    def answer(self) -> Answer:
        """The SDK retries every 500 that does not say no."""
        answer = super().answer()
        answer.headers["x-should-retry"] = "false"
        return answer


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose `path` has lost its base (`/v1` or `/openai/v1`)."""

    method: str
    path: str
    full_path: str
    query: tuple[tuple[str, str], ...]
    headers: dict[str, str]
    body: bytes

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object, anything else is refused."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except ValueError:
            raise Refusal(400, _BAD_JSON) from None
        if not isinstance(value, dict):
            raise Refusal(400, _BAD_JSON)
        return value

    def values(self, name: str) -> list[str]:
        """Every value of a query parameter, written `name` or `name[]`."""
        return [value for key, value in self.query if key in {name, f"{name}[]"}]

    def value(self, name: str) -> str | None:
        """The last value of a query parameter."""
        return next(reversed(self.values(name)), None)
