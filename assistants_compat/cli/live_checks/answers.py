"""The upstream's answer to one request of a check, and what can be read from it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import UpstreamError
from ...service.refusal_table import TABLE
from ...service.refusals import recognize
from ...service.refused_tools import SCOPES
from ...wire.objects import Json, as_object, as_object_list

BAD_REQUEST = 400
UNAUTHORIZED, _FORBIDDEN, _SERVER_ERROR = 401, 403, 500
_PROVES_NOTHING = {
    UNAUTHORIZED: "the key was rejected",
    _FORBIDDEN: "the key may not do this",
    408: "the request took too long",
    409: "another process was in the way",
    425: "the service was not ready",
    429: "too many requests, or the quota is used up",
}
# Failures of a response that say nothing about its request.
_PASSING_FAILURES = frozenset({"server_error", "rate_limit_exceeded", "vector_store_timeout"})


@dataclass(frozen=True)
class Answer:
    """An answer; `status` is None if none came, and `body` is empty if it is no JSON object.

    `trouble` is the kind of connection failure, or empty.
    """

    status: int | None
    body: Json = field(default_factory=dict)
    trouble: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the request was accepted, and its response has not failed."""
        return self.status is not None and self.status < BAD_REQUEST and not self._has_failed

    @property
    def _has_failed(self) -> bool:
        return self.body.get("object") == "response" and self.body.get("status") == "failed"

    @property
    def error(self) -> Json:
        """The error object, or an empty one."""
        if self.status is not None and self.status >= BAD_REQUEST:
            # Gateways wrap errors; one place unwraps them for the whole package.
            return UpstreamError(self.status, {}, json.dumps(self.body).encode()).error()
        return as_object(self.body.get("error")) if self._has_failed else {}

    @property
    def message(self) -> str:
        """What the upstream says about a refusal, in one line with the status."""
        text = " ".join(str(self.error.get("message") or "no message").split())
        return f"{self.status}: {text}" if self.status is not None else self.trouble

    @property
    def refusal(self) -> str | None:
        """The name of the row of the table of refusals that this answer is; None if it is none."""
        if self.accepted or self.status is None:
            return None
        found = recognize(TABLE, None if self._has_failed else self.status, self.error)
        return None if found is None else found.row.name

    @property
    def missing_scopes(self) -> tuple[str, ...]:
        """The scopes that a restricted key lacks for this request."""
        return missing_scopes(self.error)

    @property
    def why_undecidable(self) -> str | None:
        """Why this answer proves nothing about the request; None if it does prove something."""
        if self.status is None:
            return f"no answer came ({self.trouble or 'connection lost'})"
        if self.status in _PROVES_NOTHING:
            return f"{_PROVES_NOTHING[self.status]} ({self.status})"
        if self.status >= _SERVER_ERROR:
            return f"the upstream failed ({self.status})"
        if self.status >= BAD_REQUEST and not self.error:
            return f"{self.status} without the service's error object"
        if self._has_failed and self.error.get("code") in _PASSING_FAILURES:
            return f"the response failed ({self.error['code']})"
        return None

    def items(self, type_: str) -> list[Json]:
        """Return the output items of a type."""
        return [item for item in as_object_list(self.body.get("output")) if item.get("type") == type_]

    @property
    def text(self) -> str:
        """The text of the response's messages."""
        parts = (part for item in self.items("message") for part in as_object_list(item.get("content")))
        return "".join(str(part.get("text") or "") for part in parts)


def missing_scopes(error: object) -> tuple[str, ...]:
    """Return the scopes that an error object says a restricted key lacks."""
    found = re.search(SCOPES, str(as_object(error).get("message") or ""), re.IGNORECASE)
    return tuple("".join(found["scopes"].split()).split(",")) if found else ()


Answers = Mapping[str, Answer]
"""The answers of a check by name, in the order of its requests."""


def as_json_object(body: bytes) -> Json:
    """Return the JSON object in a body, or an empty one."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
