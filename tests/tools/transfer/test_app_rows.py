"""Rows of applications, with a role and a text, are imported as messages from every format."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from saved import as_csv, as_lines, import_paths, message, write_json, write_lines

from assistants_compat import Settings
from kit.doors import Door
from kit.legacy_code import dump_store, get_raw

Json = dict[str, Any]

ROWS: list[Json] = [
    {"thread_id": "thread_1", "role": "user", "content": "ok", "created_at": 1_714_557_600},
    {"thread_id": "thread_1", "role": "assistant", "content": "One, two", "created_at": 1_714_557_600},
    {"thread_id": "thread_1", "role": "user", "content": "ok", "created_at": 1_714_557_609},
    {"thread_id": "thread_2", "role": "user", "content": 'He said "no"\nand left; [1]', "created_at": 1_714_557_601},
]
ISO = ["2024-05-01T10:00:00Z", "2024-05-01 12:00:00+02:00", "2024-05-01T10:00:09.250000", "2024-05-01T06:00:01.5-04"]
NAMED = [{"thread_id": "threadId", "role": "sender", "content": "text", "created_at": "createdAt"}]
NAMED += [{"thread_id": "Thread ID", "role": "Role", "content": "Message", "created_at": "Created At"}]


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
    "JSON in a cell": '[{"type": "text", "text": {"value": "Hello", "annotations": []}}]',
    "Python in a cell": "[{'type': 'text', 'text': {'value': 'Hello', 'annotations': [], 'x': None}}]",
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
