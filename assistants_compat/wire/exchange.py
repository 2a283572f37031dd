"""A legacy request and its reply as plain values.

Every client proxy builds a `Call` for the application in `api/app.py` and sends the `Reply` to the SDK. No I/O here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ApiError
from .checks import Check, without_nulls
from .objects import Json, check_nesting, parse_finite_float, reject_json_constant

# The only request headers that a handler sees, in lower case. None of them carries a credential.
REQUEST_HEADERS = ("range", "if-range")


@dataclass(frozen=True)
class Call:
    """A legacy request.

    `path_params` maps the route's parameter names to the decoded ids in the path. `headers` holds those of
    `REQUEST_HEADERS` that the request has.
    """

    method: str
    path_params: Mapping[str, str]
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def query_value(self, name: str) -> str | None:
        """The last value of a query parameter, or None."""
        return next((value for key, value in reversed(self.query) if key == name), None)

    def check_query_list(self, name: str, check: Check) -> None:
        """Check a query parameter that is a list (`include[]=a&include[]=b`); raises `ApiError`."""
        check(self.query_values(name), name)

    def query_values(self, name: str) -> list[str]:
        """All values of a query parameter that is a list."""
        return [value for key, value in self.query if key in (name, f"{name}[]")]

    def json(self, check: Check) -> Json:
        """Parse and check the JSON body, and leave out the nulls in it that mean nothing; an empty body is `{}`.

        Raises the service's own 400s.
        """
        if not self.body.strip():
            body: Any = {}
        else:
            try:
                body = json.loads(self.body, parse_constant=reject_json_constant, parse_float=parse_finite_float)
                check_nesting(body)
            except (ValueError, RecursionError):  # deep nesting raises RecursionError
                raise ApiError(400, _NOT_JSON_MESSAGE) from None
        check(body, "")
        return dict(without_nulls(body))


# The platform's own text on every endpoint that takes JSON.
_NOT_JSON_MESSAGE = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble "
    "figuring out how to fix this, please contact us through our help center at help.openai.com.)"
)


@dataclass
class Reply:
    """The reply to a call: a complete `body`, or `chunks` that are streamed.

    `run_id` marks the stream of a run, which is read to its end even if the caller stops early.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunks: AsyncIterator[bytes] | None = None
    run_id: str | None = None


# The SDK decides by these headers whether to retry; a user needs the request id to report a problem.
_FORWARDED_HEADERS = ("content-type", "retry-after", "retry-after-ms", "x-should-retry", "x-request-id")


def forwarded_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an upstream answer that are passed on with its body."""
    return {name: headers[name] for name in _FORWARDED_HEADERS if name in headers}


def json_reply(body: Mapping[str, Any], **headers: str) -> Reply:
    """A 200 with JSON as the service wrote it over REST: indented by two spaces (recorded).

    Underscores in the names of `headers` become hyphens.
    """
    text = json.dumps(body, indent=2)
    extra_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(200, text.encode(), {"content-type": "application/json", **extra_headers})
