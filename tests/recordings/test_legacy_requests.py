"""Recorded exchanges of the Assistants API are told from those of APIs with similar paths."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from assistants_compat.recordings.legacy_requests import is_legacy_exchange

BASE = "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("url", "beta", "answer", "is_legacy"),
    [
        (f"{BASE}/threads/thread_1", "assistants=v2", b'{"id": "thread_1"}', True),
        (f"{BASE}/threads/thread_1", None, b'{"id": "thread_1", "object": "thread"}', True),
        (f"{BASE}/threads/thread_1", None, b'{"error": {"message": "No thread found"}}', True),
        (f"{BASE}/threads/runs", None, b"event: thread.run.created\ndata: {}\n\n", True),
        (f"{BASE}/assistants", None, gzip.compress(b"{}", mtime=0), True),
        (f"{BASE}/assistants", None, None, True),
        ("https://forum.example/api/threads/9", None, b'{"id": 9, "title": "Apples"}', False),
        ("https://forum.example/api/threads", None, b'[{"id": 9}]', False),
        (f"{BASE}/chatkit/threads", "chatkit_beta=v1", b'{"object": "list"}', False),
        (f"{BASE}/chat/completions", "assistants=v2", b'{"object": "chat.completion"}', False),
    ],
)
def test_similar_paths_are_told_apart(url: str, beta: str | None, answer: Any, is_legacy: bool) -> None:  # noqa: FBT001 - a parameter
    """The header of the SDK decides, or where a suite filtered it out, the answer."""
    assert is_legacy_exchange(url, beta, answer) is is_legacy
