"""Reads the JSON of an upstream's success, which behind a gateway may be an error."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..errors import UpstreamError
from ..wire.objects import Json

_ERROR_STATUSES = range(400, 600)
_BAD_GATEWAY = 502


def object_from_answer(headers: Mapping[str, str], body: bytes) -> Json | None:
    """Return the JSON object of an answer with a status below 400; None if the body is none.

    Some gateways answer errors with 200 (gateways.md F9). Such a body is raised as `UpstreamError`, with the status
    that its code names or else 502. A response that has failed has an `error` too, but also an id.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    error = answer.get("error")
    if error and "id" not in answer:
        if not isinstance(error, dict):  # only the words: in the form that the SDK shows
            error = {"message": str(error), "type": "server_error", "param": None, "code": None}
            body = json.dumps({"error": error}).encode()
        code = str(error.get("code"))
        is_status = code.isdecimal() and int(code) in _ERROR_STATUSES
        raise UpstreamError(int(code) if is_status else _BAD_GATEWAY, headers, body)
    return answer
