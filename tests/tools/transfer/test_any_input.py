"""Whatever a file holds, import takes each object or refuses it with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from saved import ALL, ASSISTANT, MESSAGES, RUN, STEP, THREAD

from assistants_compat.engine.saved.objects import RejectedObjectError, UpstreamFileError, saved_row_from_object
from assistants_compat.tools.transfer.shapes import InputFile, ObjectFinder

KEYS = st.sampled_from([
    "id", "object", "created_at", "thread_id", "run_id", "role", "content", "text", "type", "value", "annotations",
    "messages", "thread", "threads", "runs", "steps", "data", "items", "metadata", "log", "entries", "response",
    "status", "model", "tools", "assistant_id", "image_url", "file_id", "thread_abc", "run_abc", "asst_abc", "other",
])  # fmt: skip
TEXTS = st.sampled_from([
    "user", "assistant", "thread", "thread.message", "thread.run", "list", "text", "msg_1", "thread_1", "2024-05-01",
    "2024-13-01", "2024-05-01T10:00:00+99:99", "9" * 30, "1e999", "[]", "{", "a\x00", '[{"type": "text"}]',
])  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.just("") | TEXTS
SAVED = st.sampled_from([*ALL, ASSISTANT, MESSAGES[0], RUN, STEP, THREAD])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | SAVED,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.builds(lambda saved, more: {**saved, **more}, SAVED, st.dictionaries(KEYS, inner, max_size=2))
    ),
    max_leaves=12,
)


@settings(max_examples=400)
@given(value=VALUES)
@example(value={"log": {"entries": [{"response": {"content": {"text": "[", "encoding": "base64"}}}, 7]}})
def test_any_value_is_taken_or_refused(value: Any) -> None:
    """No JSON value makes the reader fail, and ids are made from the input alone."""

    def read() -> list[Any]:
        finder = ObjectFinder()
        finder.start_file(InputFile("dir/file.json", Path("dir"), 1_700_000_000.5))
        found = list(finder.objects_in("dir/file.json:1", value))
        return [[_row(each.value) for each in found], finder.new_threads, finder.unknown_keys]

    assert read() == read()


def _row(value: Any) -> Any:
    """Return the row of a value, or the reason for which it is refused."""
    try:
        return saved_row_from_object(value, 1_800_000_000)
    except (RejectedObjectError, UpstreamFileError) as refusal:
        return str(refusal)
