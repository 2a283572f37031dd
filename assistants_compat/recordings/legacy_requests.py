"""Recognizes recorded requests to the Assistants API by their URL."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_LEGACY_PATH = re.compile(r"/(?:assistants|threads)(?:/.+)?\Z")


def is_legacy_url(url: str) -> bool:
    """Return whether a URL belongs to the Assistants API, at OpenAI, at Azure or behind a gateway."""
    path = urlsplit(url).path
    # ChatKit has threads too, but they are not those of the Assistants API.
    return _LEGACY_PATH.search(path) is not None and "/chatkit/" not in path
