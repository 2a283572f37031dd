"""Which recorded requests the old service answered."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_OLD = re.compile(r"/(?:assistants|threads)(?:/.+)?\Z")


def is_old(url: str) -> bool:
    """Whether an address is one of the Assistants API, at OpenAI, Azure or behind a gateway."""
    path = urlsplit(url).path
    return _OLD.search(path) is not None and "/chatkit/" not in path
