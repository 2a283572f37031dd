"""Import takes the shapes in which people saved their threads, and loses nothing in silence."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from saved import (
    ALL,
    ASSISTANT,
    MESSAGES,
    RUN,
    STEP,
    THREAD,
    as_csv,
    as_lines,
    import_paths,
    message,
    page,
    stored_rows,
    write_json,
    write_lines,
)

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import dump_store, get_raw

Json = dict[str, Any]
NEWEST_FIRST = MESSAGES[::-1]
RUN_WITH_STEPS = {**RUN, "steps": [STEP]}


def without(saved: Json, *keys: str) -> Json:
    """Return an object without these keys."""
    return {key: value for key, value in saved.items() if key not in keys}


BUNDLES: dict[str, Any] = {
    "a thread with its messages and runs": [ASSISTANT, {**THREAD, "messages": NEWEST_FIRST, "runs": [RUN_WITH_STEPS]}],
    "a thread with pages": [ASSISTANT, {**THREAD, "messages": page(NEWEST_FIRST), "runs": page([RUN_WITH_STEPS])}],
    "a bundle for each thread": {
        "assistant": ASSISTANT,
        "thread": THREAD,
        "messages": NEWEST_FIRST,
        "runs": [RUN_WITH_STEPS],
    },
    "a bundle of pages": {
        "assistants": page([ASSISTANT]),
        "thread": THREAD,
        "messages": page(NEWEST_FIRST),
        "runs": page([{**RUN, "run_steps": page([STEP])}]),
    },
    "bundles in a bundle": {
        "assistants": {"asst_old": without(ASSISTANT, "id", "object")},
        "threads": [{"thread": THREAD, "messages": {"object": "list", "data": NEWEST_FIRST}, "runs": [RUN_WITH_STEPS]}],
    },
    "tables by id": {
        "assistants": [ASSISTANT],
        "threads": {"thread_old": without(THREAD, "id")},
        "messages": {"thread_old": NEWEST_FIRST},
        "runs": {"thread_old": [RUN]},
        "steps": {"run_old": [STEP]},
    },
    "one table by thread id": [
        ASSISTANT,
        {"thread_old": {**THREAD, "messages": NEWEST_FIRST, "runs": [RUN_WITH_STEPS]}},
    ],
    "nested lists": [[[ASSISTANT], [THREAD]], [[RUN, [STEP]], NEWEST_FIRST]],
    "objects that do not say what they are": {
        "assistants": [without(ASSISTANT, "object")],
        "threads": [without(THREAD, "object")],
        "messages": [without(saved, "object") for saved in NEWEST_FIRST],
        "runs": [{**without(RUN, "object"), "steps": [without(STEP, "object")]}],
    },
    "children that do not name their parents": {
        "assistants": [ASSISTANT],
        "thread": THREAD,
        "messages": [without(saved, "thread_id") for saved in NEWEST_FIRST],
        "runs": [{**without(RUN, "thread_id"), "steps": [without(STEP, "thread_id", "run_id")]}],
    },
    "messages with their run": [ASSISTANT, THREAD, *({**saved, "run": RUN_WITH_STEPS} for saved in NEWEST_FIRST)],
}


@pytest.mark.parametrize("shape", BUNDLES)
def test_objects_in_other_objects_are_imported(sqlite_settings: Settings, tmp_path: Path, shape: str) -> None:
    """Objects that are nested in others are imported as if each stood alone, whatever holds them."""
    expected = Settings(store=sqlite_settings.store, namespace="expected")
    import_paths(expected, write_lines(tmp_path / "all.jsonl", ALL))
    result, problems = import_paths(sqlite_settings, write_json(tmp_path / "nested.json", BUNDLES[shape]))
    assert (problems, result.unknown_keys, result.new_threads) == ([], {}, {})
    assert stored_rows(sqlite_settings) == stored_rows(expected)
    again, problems = import_paths(sqlite_settings, tmp_path / "nested.json")
    assert (problems, again.taken, again.kept) == ([], {}, [])


def test_documents_may_follow_each_other(sqlite_settings: Settings, tmp_path: Path) -> None:
    """A file to which a program appended documents of many lines is read to its end, with the line of each."""
    path = tmp_path / "appended.json"
    documents = [ASSISTANT, {**THREAD, "metadata": {"city": "Zürich 🏔"}}, message(1, role="system"), message(2)]
    text = "\n\n".join(json.dumps(saved, indent=2, ensure_ascii=False) for saved in documents)
    path.write_text(text, encoding="utf-8")
    result, problems = import_paths(sqlite_settings, path)
    assert result.taken == {"assistants": 1, "threads": 1, "messages": 1}
    line = text[: text.index('"msg_1"')].count("\n")
    assert problems == [
        f"appended.json:{line}: msg_1: Invalid value: 'system'. Supported values are: 'user' and 'assistant'."
    ]
    path.write_text(text + "\n{", encoding="utf-8")
    assert len(import_paths(sqlite_settings, path)[1]) == 1


def test_the_pages_of_the_node_sdk_are_taken(sqlite_settings: Settings, tmp_path: Path) -> None:
    """A page as JavaScript's SDK writes it has its list twice, and each object is imported once."""
    saved = {"options": {"method": "get"}, "body": page(NEWEST_FIRST), **without(page(NEWEST_FIRST), "object")}
    result, problems = import_paths(sqlite_settings, write_json(tmp_path / "page.json", saved))
    assert (problems, result.taken, result.unknown_keys) == ([], {"messages": 3}, {"options": 1})


def test_a_bundle_describes_its_thread(sqlite_settings: Settings, tmp_path: Path) -> None:
    """A bundle's own time and metadata are its thread's, and messages without a time follow each other."""
    bundle = {
        "thread_id": "thread_1",
        "metadata": {"user": 7},
        "created_at": "2024-05-01T10:00:00Z",
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    }
    result, problems = import_paths(sqlite_settings, write_json(tmp_path / "chat.json", bundle))
    assert (problems, result.taken, result.made) == ([], {"threads": 1, "messages": 2}, [])
    rows = dump_store(sqlite_settings)
    assert [(row["id"], row["created_at"], row["body"]) for row in rows["threads"]] == [
        ("thread_1", 1_714_557_600, {"metadata": {"user": "7"}})
    ]
    assert [(row["body"]["role"], row["created_at"]) for row in rows["messages"]] == [
        ("user", 1_714_557_600), ("assistant", 1_714_557_600),
    ]  # fmt: skip


def test_a_bundled_thread_may_lack_its_time(sqlite_settings: Settings, tmp_path: Path) -> None:
    """A bundle's thread without a time began with its first message, and keeps its metadata."""
    bundle = {"thread": without(THREAD, "created_at", "object"), "messages": NEWEST_FIRST}
    result, problems = import_paths(sqlite_settings, write_json(tmp_path / "a.json", bundle))
    assert (problems, result.made) == ([], [])
    [thread] = dump_store(sqlite_settings)["threads"]
    assert (thread["created_at"], thread["body"]["metadata"]) == (MESSAGES[0]["created_at"], THREAD["metadata"])


def test_data_without_a_place_is_named(sqlite_settings: Settings, tmp_path: Path) -> None:
    """Keys with data that the store has no place for are counted by name; empty ones and known ones are not."""
    saved = [
        {**THREAD, "title": "Sales", "tags": [], "owner": None},
        {**THREAD, "id": "thread_2", "title": "More"},
        {"thread_id": "thread_2", "exporter": "mine", "messages": [{"role": "user", "content": "Hi", "tokens": 3}]},
        {**MESSAGES[0], "score": 5},  # a message keeps it
    ]
    result, problems = import_paths(sqlite_settings, write_lines(tmp_path / "a.jsonl", saved))
    assert (problems, result.unknown_keys) == ([], {"thread: title": 2, "exporter": 1, "message: tokens": 1})
    [kept] = [row["body"] for row in dump_store(sqlite_settings)["messages"] if row["id"] == "msg_1"]
    assert kept["score"] == 5


def har_of(*answers: tuple[Any, str]) -> Json:
    """Return a HAR file with these answers and their types of content."""
    entries = [
        {
            "request": {"method": "GET", "url": "https://api.openai.com/v1/threads"},
            "response": {"status": 200, "content": {"mimeType": type_, "text": text}},
        }
        for text, type_ in answers
    ]
    return {"log": {"version": "1.2", "creator": {"name": "browser"}, "entries": entries}}


def test_a_browsers_session_is_taken_from_its_har_file(sqlite_settings: Settings, tmp_path: Path) -> None:
    """The objects in the answers of a HAR file are imported as they were seen last, streams included."""
    unfinished = {**RUN, "status": "in_progress", "completed_at": None, "expires_at": 99_999_999_999}
    delta = {"object": "thread.message.delta", "id": "msg_2", "delta": {}}
    events = "".join(f"event: any\ndata: {json.dumps(data)}\n\n" for data in (unfinished, delta, MESSAGES[1], STEP))
    har = har_of(
        ("<html>", "text/html"),
        (json.dumps(THREAD), "application/json"),
        (f"{events}event: done\ndata: [DONE]\n\n", "text/event-stream; charset=utf-8"),
        (json.dumps({"object": "chat.completion", "id": "chatcmpl-1"}), "application/json"),
        (json.dumps(page(NEWEST_FIRST)), "application/json"),
        (json.dumps(page([RUN])), "application/json"),
        (json.dumps(ASSISTANT), "application/json"),
        ("", "image/png"),
    )
    har["log"]["entries"].append({"response": {}})
    result, problems = import_paths(sqlite_settings, write_json(tmp_path / "session.har", har))
    assert (problems, sum(result.taken.values())) == ([], len(ALL))
    expected = Settings(store=sqlite_settings.store, namespace="expected")
    import_paths(expected, write_lines(tmp_path / "all.jsonl", ALL))
    assert stored_rows(sqlite_settings) == stored_rows(expected)


@pytest.mark.parametrize(
    "content",
    [as_lines(ALL), gzip.compress(json.dumps(page(ALL)).encode()), as_csv([{"role": "user", "content": "Hi"}])],
    ids=["lines", "gzip", "csv"],
)
def test_stdin_is_read_like_a_file(sqlite_settings: Settings, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path - is stdin, in any of the formats."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    result, problems = import_paths(sqlite_settings, Path("-"))
    assert problems == []
    assert sum(result.taken.values()) in (len(ALL), 1)
    assert set(result.new_threads.values()) <= {"stdin"}


DAMAGED: dict[str, tuple[bytes, str]] = {
    "cut.json.gz": (gzip.compress(as_lines(ALL) * 50)[:-20], "it cannot be read: it is damaged, or is no gzip file"),
    "bad.json.gz": (b"\x1f\x8b nonsense", "it cannot be read: it is damaged, or is no gzip file"),
    "half.json": (b"\xff\xfe\x00", "it is not UTF-16, although it begins so"),
    "latin.csv": (b"thread_id,role,content\nthread_1,user,caf\xe9\n", "it is not UTF-8"),
    "other.csv": (
        b"name,price\nbread,3\n",
        "its first line does not name the columns of messages, such as thread_id, role, content and created_at",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_reported(sqlite_settings: Settings, tmp_path: Path, name: str) -> None:
    """A damaged file is one line that quotes nothing of it, and the other files are imported."""
    content, reason = DAMAGED[name]
    (tmp_path / name).write_bytes(content)
    _, problems = import_paths(sqlite_settings, tmp_path / name, write_lines(tmp_path / "all.jsonl", ALL))
    assert [line.removeprefix(f"{name}: ") for line in problems if line.startswith(f"{name}: ")] == [reason]
    assert dump_store(sqlite_settings)["assistants"]


def test_times_of_objects_may_have_other_forms(sqlite_settings: Settings, tmp_path: Path) -> None:
    """Times of saved objects may be decimals, texts or ISO 8601; one that cannot be understood is refused by name."""
    run = {**RUN, "created_at": 1_700_000_003.0, "started_at": "1700000003", "completed_at": "2023-11-14T22:13:29Z"}
    bad = message(9, created_at="last Tuesday")
    _, problems = import_paths(sqlite_settings, write_lines(tmp_path / "a.jsonl", [THREAD, run, bad]))
    assert problems == [
        "a.jsonl:3: msg_9: Invalid type for 'created_at': expected an integer, but got a string instead."
    ]
    assert dump_store(sqlite_settings)["runs"][0]["body"] == RUN


def test_fractions_of_seconds_decide_the_order(sqlite_settings: Settings, tmp_path: Path) -> None:
    """Messages of one second are in the order of their fractions, in whatever order the file has them."""
    saved = [
        message(number, created_at=1_700_000_000 + fraction) for number, fraction in ((1, 0.5), (2, 0.25), (3, 0.75))
    ]
    import_paths(sqlite_settings, write_lines(tmp_path / "a.jsonl", saved))
    assert [row["id"] for row in dump_store(sqlite_settings)["messages"]] == ["msg_2", "msg_1", "msg_3"]


@pytest.mark.parametrize("depth", [40, 240])
@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"messages": [value]}], ids=["lists", "bundles"])
def test_very_deep_shapes_end(
    sqlite_settings: Settings, tmp_path: Path, depth: int, wrap: Callable[[Any], Any]
) -> None:
    """A value that is nested more deeply than any saved shape is refused, without an error of Python."""
    value: Any = MESSAGES[0]
    for _ in range(depth):
        value = wrap(value)
    _, problems = import_paths(sqlite_settings, write_json(tmp_path / "deep.json", [value, THREAD]))
    assert len(problems) == 1
    assert len(dump_store(sqlite_settings)["threads"]) == 1


def cited(text: str, marker: str, **offsets: Any) -> Json:
    """Return a message of the assistant with one citation of a searched file."""
    note = {"type": "file_citation", "text": marker, "file_citation": {"file_id": "file-1"}, **offsets}
    content = [{"type": "text", "text": {"value": text, "annotations": [note]}}]
    return message(2, content=content, role="assistant")


def test_citations_with_wrong_offsets_cost_no_word(
    door: Door, client: Any, upstream: StandIn, settings: Settings, tmp_path: Path
) -> None:
    """Later runs are told every word of answers whose citations were saved with wrong offsets, and no marker."""
    marker = "【4:0†a.txt】"
    text = f"😀😀😀 The cake{marker} is a lie."
    saved = [
        message(1),
        {**cited(text, marker, start_index=15, end_index=26), "id": "msg_utf16"},
        {**cited(text, marker, start_index=7, end_index=18), "id": "msg_off"},
        {**cited(text, marker, start_index=None, end_index=None), "id": "msg_null"},
        {**cited("No marker left.", marker, start_index=2, end_index=13), "id": "msg_removed"},
    ]
    path = write_lines(tmp_path / "a.jsonl", [ASSISTANT, {**THREAD, "tool_resources": {}}, *saved, message(5)])
    assert import_paths(settings, path)[1] == []
    served = get_raw(door, client, "/threads/thread_old/messages/msg_null")["content"][0]["text"]["annotations"][0]
    assert text[served["start_index"] : served["end_index"]] == marker
    upstream.script(Turn(text="Yes."))
    run = door(client.beta.threads.runs.create_and_poll(thread_id="thread_old", assistant_id="asst_old"))
    assert run.status == "completed"
    [sent] = [request.json for request in upstream.requests if request.path == "/responses"]
    answers = [item["content"] for item in sent["input"] if item["role"] == "assistant"]
    assert answers == [*["😀😀😀 The cake is a lie."] * 3, "No marker left."]
