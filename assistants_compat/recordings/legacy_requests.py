"""Recognizes recorded requests by their URL: those to the Assistants API, and those that the library sends instead."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

_LEGACY_PATH = re.compile(r"/(?:assistants|threads)(?:/.+)?\Z")

_UPSTREAM_PATH = re.compile(r"/(?:containers|conversations|files|models|responses|vector_stores)(?:/.+)?\Z")


def is_legacy_url(url: str) -> bool:
    """Return whether a URL belongs to the Assistants API, at OpenAI, at Azure or behind a gateway."""
    path = urlsplit(url).path
    # ChatKit has threads too, but they are not those of the Assistants API.
    return _LEGACY_PATH.search(path) is not None and "/chatkit/" not in path


def is_legacy_exchange(url: str, beta: str | None, response_body: Any) -> bool:
    """Return whether a recorded exchange belongs to the Assistants API, and not to an API with similar paths.

    `beta` is the request's header `OpenAI-Beta`, which SDKs send with every Assistants call, or None: a suite may have
    filtered it out. Then the answer decides: every JSON object of the Assistants API names its type or an error.
    """
    if not is_legacy_url(url):
        return False
    if beta is not None:
        return "assistants=" in beta
    try:
        answer = json.loads(response_body or b"null")
    except (ValueError, TypeError, RecursionError):  # a stream, compressed or hidden
        return True
    return not isinstance(answer, (dict, list)) or (
        isinstance(answer, dict) and not {"object", "error"}.isdisjoint(answer)
    )


def is_upstream_url(url: str) -> bool:
    """Return whether a URL belongs to a route that the library uses to answer Assistants calls."""
    return _UPSTREAM_PATH.search(urlsplit(url).path) is not None
