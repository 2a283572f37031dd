"""Import takes the shapes in which people saved their threads, and loses nothing in silence."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from saved import ALL, ASSISTANT, MESSAGES, RUN, STEP, THREAD, import_paths, message, page, stored_rows, write_lines

from assistants_compat import Settings
from kit.doors import Door
from kit.legacy_code import dump_store, get_raw

Json = dict[str, Any]
NEWEST_FIRST = MESSAGES[::-1]
RUN_WITH_STEPS = {**RUN, "steps": [STEP]}


def without(saved: Json, *keys: str) -> Json:
    """Return an object without these keys."""
    return {key: value for key, value in saved.items() if key not in keys}


def write_json(path: Path, value: Any) -> Path:
    """Write a file with one JSON document and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    return path


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


ROWS = [
    {"thread_id": "thread_1", "role": "user", "content": "ok", "created_at": 1_714_557_600},
    {"thread_id": "thread_1", "role": "assistant", "content": "One, two", "created_at": 1_714_557_600},
    {"thread_id": "thread_1", "role": "user", "content": "ok", "created_at": 1_714_557_609},
    {"thread_id": "thread_2", "role": "user", "content": 'He said "no"\nand left; [1]', "created_at": 1_714_557_601},
]
ISO = ["2024-05-01T10:00:00Z", "2024-05-01 12:00:00+02:00", "2024-05-01T10:00:09.250000", "2024-05-01T06:00:01.5-04"]
NAMED = [{"thread_id": "threadId", "role": "sender", "content": "text", "created_at": "createdAt"}]
NAMED += [{"thread_id": "Thread ID", "role": "Role", "content": "Message", "created_at": "Created At"}]


def as_csv(rows: list[Json], delimiter: str = ",") -> bytes:
    """Return rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_lines(rows: list[Json]) -> bytes:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def renamed(rows: list[Json], names: Json) -> list[Json]:
    """Return rows with other names of their keys."""
    return [{names.get(key, key): value for key, value in row.items()} for row in rows]


FILES_OF_ROWS: dict[str, bytes] = {
    "rows.jsonl": as_lines(ROWS),
    "rows.json": json.dumps(ROWS).encode(),
    "rows.csv": as_csv(ROWS),
    "semicolons.csv": b"\xef\xbb\xbf" + as_csv(ROWS, ";"),
    "tabs.tsv": as_csv(ROWS, "\t"),
    "rows.jsonl.gz": gzip.compress(as_lines(ROWS)),
    "rows.csv.gz": gzip.compress(as_csv(ROWS)),
    "unnamed": gzip.compress(as_csv(ROWS)),
    "rows.txt": as_csv(ROWS),
    "powershell.json": json.dumps(ROWS).encode("utf-16"),
    "bot.jsonl": as_lines([{**row, "role": {"user": "human"}.get(row["role"], "AI")} for row in ROWS]),
    **{f"names{number}.csv": as_csv(renamed(ROWS, names)) for number, names in enumerate(NAMED)},
    **{f"names{number}.jsonl": as_lines(renamed(ROWS, names)) for number, names in enumerate(NAMED)},
    "iso.jsonl": as_lines([{**row, "created_at": time} for row, time in zip(ROWS, ISO, strict=True)]),
    "milliseconds.jsonl": as_lines([{**row, "created_at": row["created_at"] * 1000} for row in ROWS]),
    "decimals.jsonl": as_lines([{**row, "created_at": row["created_at"] + 0.25} for row in ROWS]),
    "texts.jsonl": as_lines([{**row, "created_at": str(row["created_at"])} for row in ROWS]),
    "items.jsonl": as_lines(
        [{**row, "content": [{"type": "input_text", "text": row["content"]}], "type": "message"} for row in ROWS]
    ),
    "parts.jsonl": as_lines([{**row, "content": [{"type": "text", "text": row["content"]}]} for row in ROWS]),
    "table.json": json.dumps(
        {id_: [row for row in ROWS if row["thread_id"] == id_] for id_ in ("thread_1", "thread_2")}
    ).encode(),
}


@pytest.mark.parametrize("name", FILES_OF_ROWS)
def test_rows_of_an_application_are_messages(sqlite_settings: Settings, tmp_path: Path, name: str) -> None:
    """Rows with a thread, a role and a text become the same messages in every format, with ids that repeat."""
    path = tmp_path / name
    path.write_bytes(FILES_OF_ROWS[name])
    result, problems = import_paths(sqlite_settings, path)
    assert (problems, result.unknown_keys) == ([], {})
    assert (result.taken, result.made) == ({"messages": 4}, ["thread_1", "thread_2"])
    rows = dump_store(sqlite_settings)["messages"]
    found = [
        {
            "thread_id": row["thread_id"],
            "role": row["body"]["role"],
            "content": row["body"]["content"][0]["text"]["value"],
            "created_at": row["created_at"],
        }
        for row in rows
    ]
    assert found == ROWS
    assert len({row["id"] for row in rows}) == 4  # two rows of a thread are equal but for their time
    again, problems = import_paths(sqlite_settings, path)
    assert (problems, again.taken, again.there, again.kept) == ([], {}, 4, [])


def test_rows_get_the_same_ids_from_every_format(sqlite_settings: Settings, tmp_path: Path) -> None:
    """A row has the same minted id in JSON and CSV, so an import in another format adds nothing."""
    for name in ("rows.jsonl", "rows.csv", "iso.jsonl"):
        (tmp_path / name).write_bytes(FILES_OF_ROWS[name])
    import_paths(sqlite_settings, tmp_path / "rows.jsonl")
    result, problems = import_paths(sqlite_settings, tmp_path / "rows.csv")
    assert (problems, result.taken, result.there) == ([], {}, 4)


def test_own_ids_of_rows_are_kept(sqlite_settings: Settings, tmp_path: Path) -> None:
    """A message keeps the id in `message_id`; the number of a database's row only makes equal rows differ."""
    rows = [
        {"id": 17, "thread_id": "thread_1", "message_id": "msg_a", "role": "user", "text": "ok", "created_at": 5},
        {"id": 18, "thread_id": "thread_1", "message_id": None, "role": "user", "text": "ok", "created_at": 5},
        {"id": 19, "thread_id": "thread_1", "role": "user", "text": "ok", "created_at": 5},
        {"id": "msg_b", "thread_id": "thread_1", "role": "assistant", "text": "", "created_at": 6},
    ]
    result, problems = import_paths(sqlite_settings, write_lines(tmp_path / "rows.jsonl", rows))
    assert (problems, result.unknown_keys) == ([], {"message: id": 1})
    ids = [row["id"] for row in dump_store(sqlite_settings)["messages"]]
    assert (ids[0], ids[3], len({*ids})) == ("msg_a", "msg_b", 4)
    assert all(len(id_) == 28 and id_.startswith("msg_") for id_ in ids[1:3])


def test_the_backfill_of_the_migration_guide_is_taken(
    door: Door, client: Any, settings: Settings, tmp_path: Path
) -> None:
    """Items as the migration guide makes them become the messages of the thread that the file's name names."""
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "What is this?"},
                                     {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "low"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "A cat.", "annotations": []}]},
        {"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}, {"type": "input_file"}]},
    ]  # fmt: skip
    path = write_json(tmp_path / "thread_EIpHrTAVe0OzoLQg3TXfvrkG.json", items)
    result, problems = import_paths(settings, path)
    assert (problems, result.unknown_keys) == ([], {"message: content of type input_file": 1})
    thread_id = "thread_EIpHrTAVe0OzoLQg3TXfvrkG"
    served = get_raw(door, client, f"/threads/{thread_id}/messages?order=asc")["data"]
    assert [saved["content"] for saved in served] == [
        [{"type": "text", "text": {"value": "What is this?", "annotations": []}},
         {"type": "image_url", "image_url": {"detail": "low", "url": "https://a.example/b.png"}}],
        [{"type": "text", "text": {"value": "A cat.", "annotations": []}}],
        [{"type": "image_file", "image_file": {"detail": "auto", "file_id": "file-1"}}],
    ]  # fmt: skip
    path.touch()  # its time stands in for those of the messages
    again, problems = import_paths(settings, path)
    assert (problems, again.taken, again.kept) == ([], {}, [])


CONTENTS: dict[str, Any] = {
    "a text": "Hello",
    "a request's part": [{"type": "text", "text": "Hello"}],
    "an input item's part": [{"type": "input_text", "text": "Hello"}],
    "texts": ["Hello"],
    "one block": {"type": "text", "text": {"value": "Hello", "annotations": []}},
    "a block that nobody knows": [{"type": "text", "text": {"value": "Hello"}}, {"type": "hologram", "hologram": {}}],
}


@pytest.mark.parametrize("form", CONTENTS)
def test_content_may_have_other_forms(sqlite_settings: Settings, tmp_path: Path, form: str) -> None:
    """A saved message may have content as a text, or as the parts of a request, and keeps its other fields."""
    saved = message(1, content=CONTENTS[form], metadata={"a": "b"})
    result, problems = import_paths(sqlite_settings, write_lines(tmp_path / "a.jsonl", [saved]))
    assert problems == []
    assert [row["body"] for row in dump_store(sqlite_settings)["messages"]] == [
        message(1, content=[{"type": "text", "text": {"value": "Hello", "annotations": []}}], metadata={"a": "b"})
    ]
    assert result.unknown_keys == ({"message: content of type hologram": 1} if "nobody" in form else {})


def test_conversations_without_a_thread_get_one_each(sqlite_settings: Settings, tmp_path: Path) -> None:
    """A list, bundle or file of rows that names no thread becomes a thread with a new id, which is told and repeats."""
    hello = [{"role": "user", "content": "Hi"}, {"role": "user", "content": "Hi"}]
    write_json(tmp_path / "a" / "chat.json", hello)
    write_json(tmp_path / "b" / "chat.json", hello)
    write_json(tmp_path / "c" / "chats.json", [{"messages": hello}, {"messages": hello}, hello])
    for name in ("d", "e"):
        (tmp_path / name).mkdir()
    write_lines(tmp_path / "d" / "chats.jsonl", [hello, {"items": hello}])
    write_lines(tmp_path / "e" / "chat.jsonl", hello)
    result, problems = import_paths(sqlite_settings, tmp_path)
    assert (problems, result.taken) == ([], {"messages": 16})
    assert {
        Path(location).relative_to(tmp_path).as_posix() for location in result.new_threads.values()
    } == {
        "a/chat.json:1", "b/chat.json:1", "c/chats.json:1[0]", "c/chats.json:1[1]", "c/chats.json:1[2]",
        "d/chats.jsonl:1", "d/chats.jsonl:2", "e/chat.jsonl",
    }  # fmt: skip
    assert sorted(result.new_threads) == sorted(result.made)
    again, problems = import_paths(sqlite_settings, tmp_path)
    assert (problems, again.taken, again.there, again.new_threads) == ([], {}, 16, result.new_threads)


def test_rows_without_a_time_follow_their_neighbours(sqlite_settings: Settings, tmp_path: Path) -> None:
    """Rows without a time keep their place between those that have one."""
    times = [None, None, 1_714_557_600, "", 1_714_557_700]
    rows = [
        {"thread_id": "thread_1", "role": "user", "content": str(number), "created_at": time}
        for number, time in enumerate(times)
    ]
    import_paths(sqlite_settings, write_json(tmp_path / "rows.json", rows))
    stored = [
        (row["body"]["content"][0]["text"]["value"], row["created_at"])
        for row in dump_store(sqlite_settings)["messages"]
    ]
    first, last = 1_714_557_600, 1_714_557_700
    assert stored == [("0", first - 1), ("1", first - 1), ("2", first), ("3", first), ("4", last)]


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
