"""A legacy request and its answer, as plain values: what every door speaks with the application."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ApiError
from .checks import Check
from .objects import Json, finite, refuse_constant

# What a handler may know of a request's headers, in lower case; no credential is among them.
HEADERS = ("range", "if-range")


@dataclass(frozen=True)
class Call:
    """A legacy request: `parts` are the decoded ids of its path, by their names in the route.

    `headers` are those of `HEADERS` that it has; `reads_on` says whether its caller reads more than one page of files.
    """

    method: str
    parts: Mapping[str, str]
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    reads_on: bool = True

    def parameter(self, name: str) -> str | None:
        """The last value of a query parameter."""
        return next((value for key, value in reversed(self.query) if key == name), None)

    def check_list(self, name: str, check: Check) -> None:
        """Check a query parameter that is a list (`include[]=a&include[]=b`)."""
        check(self.values(name), name)

    def values(self, name: str) -> list[str]:
        """The values of a query parameter that is a list."""
        return [value for key, value in self.query if key in (name, f"{name}[]")]

    def json(self, check: Check) -> Json:
        """The body as a checked JSON object; an empty one is `{}`.  Raises the service's own 400s."""
        if not self.body.strip():
            body: Any = {}
        else:
            try:
                body = json.loads(self.body, parse_constant=refuse_constant, parse_float=finite)
            except (ValueError, RecursionError):
                raise ApiError(400, _NOT_JSON) from None
        check(body, "")
        return dict(body)


# The platform's own words for any endpoint that takes JSON.
_NOT_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble "
    "figuring out how to fix this, please contact us through our help center at help.openai.com.)"
)


@dataclass
class Reply:
    """An answer: JSON or bytes at once in `body`, or bytes that are still to come in `chunks`.

    With `run_id` they are the stream of a run: they are read to their end even if the caller leaves.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunks: AsyncIterator[bytes] | None = None
    run_id: str | None = None


# Of an upstream's answer, what the SDK reads to decide about another try, and what a person needs to report it.
_PASSED_ON = ("content-type", "retry-after", "retry-after-ms", "x-should-retry", "x-request-id")


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an upstream's answer that become ours with its body."""
    return {name: headers[name] for name in _PASSED_ON if name in headers}


def json_reply(body: Mapping[str, Any], **headers: str) -> Reply:
    """JSON as the service wrote it over REST: two spaces of indentation (recorded).

    Underscores in the names of `headers` become hyphens.
    """
    text = json.dumps(body, indent=2)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(200, text.encode(), {"content-type": "application/json", **named})
