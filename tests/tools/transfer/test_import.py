"""Saved objects of the old API, taken into the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from saved import ALL, ASSISTANT, MESSAGES, RUN, STEP, THREAD, lines, message, page, rows, take

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import dump, raw


def test_saved_objects_are_served_as_they_were(door: Door, client: Any, settings: Settings, tmp_path: Path) -> None:
    """Ids, times, metadata and all other fields come back as they were saved, over both doors and databases."""
    done, told = take(settings, lines(tmp_path / "all.jsonl", ALL))
    assert (told, done.taken) == (
        [],
        {"assistants": 1, "threads": 1, "runs": 1, "run steps": 1, "messages": 3},
    )
    assert raw(door, client, "/assistants/asst_old") == ASSISTANT
    assert raw(door, client, "/threads/thread_old") == THREAD
    assert raw(door, client, "/threads/thread_old/messages")["data"] == MESSAGES[::-1]
    assert raw(door, client, "/threads/thread_old/runs")["data"] == [RUN]
    assert raw(door, client, "/threads/thread_old/runs/run_old/steps")["data"] == [STEP]


def test_an_imported_thread_goes_on(
    door: Door, client: Any, upstream: StandIn, settings: Settings, tmp_path: Path
) -> None:
    """The next run sends what was said, oldest first, with the assistant's instructions, and no default temperature."""
    uploaded = door(client.files.create(file=("data.csv", b"a,b"), purpose="assistants")).id
    thread = {**THREAD, "tool_resources": {"code_interpreter": {"file_ids": [uploaded]}}}
    take(settings, lines(tmp_path / "all.jsonl", [ASSISTANT, thread, *MESSAGES]))
    upstream.script(Turn(text="Yes.", polls=0))
    runs = client.beta.threads.runs
    run = door(runs.create_and_poll(thread_id="thread_old", assistant_id="asst_old"))
    assert run.status == "completed"
    [sent] = [each.json for each in upstream.requests if each.path == "/responses"]
    said = [
        item["content"] if isinstance(item["content"], str) else item["content"][0]["text"] for item in sent["input"]
    ]
    assert said == ["Text 1.", "Text 2.", "Text 3."]
    assert (sent["instructions"], "temperature" in sent, "top_p" in sent) == ("Help.", False, False)
    assert sent["tools"][0]["container"]["file_ids"] == [uploaded]


def test_every_form_of_a_dump_is_the_same(sqlite_settings: Settings, tmp_path: Path) -> None:
    """Pages, bare lists, single objects, JSON lines and a directory of these leave the same rows."""
    newest = MESSAGES[::-1]
    forms: dict[str, Any] = {
        "list": [ASSISTANT, THREAD, RUN, STEP, *newest],
        "pages": [page([ASSISTANT]), page([RUN]), page([STEP]), page(newest), THREAD],
    }
    left = []
    for name, value in forms.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(value, indent=2), encoding="utf-8")
        settings = Settings(store=sqlite_settings.store, namespace=name)
        assert take(settings, path)[1] == []
        left.append(rows(settings))
    folder = tmp_path / "dump" / "messages"
    folder.mkdir(parents=True)
    for number, each in enumerate(newest):
        (folder / f"page{number + 9}.json").write_text(json.dumps(page([each])), encoding="utf-8")
    lines(tmp_path / "dump" / "rest.ndjson", [ASSISTANT, THREAD, RUN, STEP])
    settings = Settings(store=sqlite_settings.store, namespace="directory")
    assert take(settings, tmp_path / "dump")[1] == []
    left.append(rows(settings))
    assert left[0] == left[1] == left[2]
    assert [row["id"] for row in left[0]["messages"]] == ["msg_1", "msg_2", "msg_3"]


def test_what_cannot_be_taken_is_a_line_with_its_reason(sqlite_settings: Settings, tmp_path: Path) -> None:
    """Where it stands, which object, and why; all the rest is taken."""
    huge = {f"k{number}": "v" for number in range(17)}
    bad: list[Any] = [
        7,
        {"id": "x"},
        {"object": "vector_store", "id": "vs_1"},
        message(10, metadata=huge),
        message(11, id="msg_\x00"),
        message(12, content="text"),
        message(13, created_at=10**30),
        message(14, role="system"),
        {**RUN, "id": "run_2", "status": "in_progress", "expires_at": 99_999_999_999},
        {**STEP, "id": "step_2", "run_id": "run_gone"},
        {**MESSAGES[0], "metadata": {"other": "words"}},
        {**ASSISTANT, "id": "asst_2", "tools": [{"type": "hammer"}]},
        {"object": "assistant.deleted", "id": "asst_3", "deleted": True},
    ]
    path = lines(tmp_path / "all.jsonl", [*ALL, *bad])
    with path.open("ab") as handle:
        handle.write(b'{"id": "caf\xe9"}\n{"id": \n' + b"[" * 100_000 + b"\n" + b'{"a": 1e999}\n{"a": NaN}\n')
    done, told = take(sqlite_settings, path)
    reasons = [line.partition(" ")[2] for line in told]
    assert [line.partition(" ")[0] for line in told[:2]] == ["all.jsonl:8:", "all.jsonl:9:"]
    properties, but = (
        "at most 16 properties, but got an object with 17 properties instead.",
        f"but got {10**30} instead.",
    )
    expected = [
        "it is no object",
        "x: it has no `object`",
        "vs_1: its `object` is 'vector_store'",
        f"msg_10: Invalid 'metadata': too many properties. Expected an object with {properties}",
        "Invalid 'id': an id has printable ASCII characters only.",
        "msg_12: Invalid type for 'content': expected an array, but got a string instead.",
        f"msg_13: Invalid 'created_at': integer above maximum value. Expected a value <= {2**53}, {but}",
        "msg_14: Invalid value: 'system'. Supported values are: 'user' and 'assistant'.",
        "run_2: it is in_progress, and its time is not over: nothing here can finish it",
        f"msg_1: it stands otherwise at {path}:3, which counts",
        "asst_2: Invalid value: 'hammer'. Supported values are: 'code_interpreter', 'file_search', and 'function'.",
        "asst_3: it says only that something was deleted",
        "it is not UTF-8",
        "it is not JSON (Expecting value at character 9)",
        "it is nested too deeply",
        "it holds a number that cannot be kept",
        "it holds a number that cannot be kept",
        "step_2: its run run_gone is not given, and not in the store or deleted there",
    ]
    assert reasons == expected
    assert (done.refused, sum(done.taken.values())) == (len(expected), len(ALL))


def test_what_is_nested_too_deeply_for_some_is_refused_by_all(sqlite_settings: Settings, tmp_path: Path) -> None:
    """Python 3.13 reads three thousand lists in each other, which older ones do not; the next line is taken."""
    deep = json.dumps({**message(1), "more": 0})[:-2] + "[" * 3000 + "]" * 3000 + "}"
    path = tmp_path / "deep.jsonl"
    path.write_text(f"{deep}\n{json.dumps(message(2))}\n", encoding="utf-8")
    done, [told] = take(sqlite_settings, path)
    assert told.startswith("deep.jsonl:1")
    assert told.endswith(": it is nested too deeply")
    assert done.taken == {"messages": 1}


def test_messages_alone_make_their_thread(door: Door, client: Any, settings: Settings, tmp_path: Path) -> None:
    """With the id that they name, the time of the first, and the files that they attach for the code interpreter."""
    attached = [{"file_id": "file-1", "tools": [{"type": "code_interpreter"}]}]
    given = [MESSAGES[2], MESSAGES[1], {**MESSAGES[0], "attachments": attached}]
    done, told = take(settings, lines(tmp_path / "messages.jsonl", given))
    assert (told, done.made, done.taken) == ([], ["thread_old"], {"messages": 3})
    thread = raw(door, client, "/threads/thread_old")
    assert thread["created_at"] == MESSAGES[0]["created_at"]
    assert thread["tool_resources"] == {"code_interpreter": {"file_ids": ["file-1"]}}
    assert [each["id"] for each in raw(door, client, "/threads/thread_old/messages?order=asc")["data"]] == [
        "msg_1", "msg_2", "msg_3",
    ]  # fmt: skip


def test_what_is_there_stays_as_it_is(door: Door, client: Any, settings: Settings, tmp_path: Path) -> None:
    """A second import changes nothing, neither what a program changed nor what it deleted since."""
    path = lines(tmp_path / "all.jsonl", ALL)
    take(settings, path)
    again, told = take(settings, path)
    assert (told, again.taken, again.there, again.kept) == ([], {}, len(ALL), [])
    door(client.beta.assistants.update("asst_old", name="New"))
    door(client.beta.threads.messages.delete("msg_2", thread_id="thread_old"))
    door(client.beta.threads.messages.create("thread_old", role="user", content="And now?"))
    before = dump(settings)
    again, told = take(settings, path)
    assert (told, again.taken, sorted(again.kept)) == ([], {}, ["asst_old", "msg_2"])
    assert dump(settings) == before
    older = lines(tmp_path / "older.jsonl", [message(0, created_at=1_600_000_000)])
    _, [refused] = take(settings, older)
    assert "the store has later ones of its thread" in refused
    door(client.beta.threads.delete("thread_old"))
    _, told = take(settings, path)
    assert len(told) == len(ALL) - 2  # what was in the thread
    assert dump(settings)["messages"] == []


def test_messages_of_one_second_keep_the_order_of_their_list(sqlite_settings: Settings, tmp_path: Path) -> None:
    """Times tell which way a list goes; where they are all the same it is as it was served, or as the caller says."""
    same = [message(number, created_at=1_700_000_000) for number in (1, 2, 3)]
    later = message(4, created_at=1_700_000_009)
    for number, (given, oldest_first, expected) in enumerate(
        [
            ([later, *same[::-1]], False, [1, 2, 3, 4]),
            ([*same, later], False, [1, 2, 3, 4]),
            (same[::-1], False, [1, 2, 3]),
            (same, True, [1, 2, 3]),
        ]
    ):
        settings = Settings(store=sqlite_settings.store, namespace=f"n{number}")
        take(settings, lines(tmp_path / "m.jsonl", given), oldest_first=oldest_first)
        assert [row["id"] for row in dump(settings)["messages"]] == [f"msg_{each}" for each in expected]


def test_unfinished_runs_have_expired(door: Door, client: Any, settings: Settings, tmp_path: Path) -> None:
    """As a look at them would have shown: the old API is gone, and their time is over; their steps too."""
    wait = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": []}}
    late = {**RUN, "completed_at": None, "expires_at": 1_700_000_603, "usage": None, "required_action": wait}
    given = [
        *(ASSISTANT, THREAD, {**late, "status": "requires_action"}),
        {**late, "id": "run_2", "status": "cancelling", "required_action": None},
        {**STEP, "status": "in_progress", "completed_at": None, "expires_at": 1_700_000_603},
        message(2, status="in_progress", run_id="run_old"),
    ]
    done, told = take(settings, lines(tmp_path / "all.jsonl", given))
    assert (told, sorted(done.ended)) == ([], ["run_2", "run_old"])
    runs = {run["id"]: run for run in raw(door, client, "/threads/thread_old/runs")["data"]}
    assert {id_: run["status"] for id_, run in runs.items()} == {"run_old": "expired", "run_2": "cancelled"}
    assert (runs["run_old"]["required_action"], runs["run_old"]["expires_at"]) == (None, None)
    [step] = raw(door, client, "/threads/thread_old/runs/run_old/steps")["data"]
    assert (step["status"], step["expired_at"]) == ("expired", 1_700_000_603)
    [said] = raw(door, client, "/threads/thread_old/messages")["data"]
    assert (said["status"], said["incomplete_details"]) == ("incomplete", {"reason": "run_expired"})
    door(client.beta.threads.messages.create("thread_old", role="user", content="Go on."))


def test_a_dry_run_says_the_same_and_writes_nothing(sqlite_settings: Settings, tmp_path: Path) -> None:
    """Its figures are those of the import that follows."""
    path = lines(tmp_path / "all.jsonl", [*ALL[2:], {"object": "file", "id": "file-1", "created_at": 1, "bytes": 2,
                                                      "filename": "a", "purpose": "assistants"}])  # fmt: skip
    would, _ = take(sqlite_settings, path, dry_run=True)
    assert not any(rows(sqlite_settings).values())
    did, _ = take(sqlite_settings, path)
    assert would == did
    assert (did.upstream, did.made) == (1, ["thread_old"])


def test_namespaces_are_kept_apart(sqlite_settings: Settings, tmp_path: Path) -> None:
    """The same ids may be in two of them."""
    path = lines(tmp_path / "all.jsonl", ALL)
    for name in ("one", "two"):
        done, _ = take(Settings(store=sqlite_settings.store, namespace=name), path)
        assert sum(done.taken.values()) == len(ALL)


def test_paths_that_cannot_be_read_are_lines(sqlite_settings: Settings, tmp_path: Path) -> None:
    """A loop of links, a file that is not there, an empty directory; what else was named is taken."""
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "again").symlink_to(folder)  # not followed
    lines(folder / "all.jsonl", ALL)
    (tmp_path / "empty").mkdir()
    done, told = take(sqlite_settings, loop, tmp_path / "gone.json", tmp_path / "empty", folder)
    assert [line.partition(":")[0] for line in told] == ["loop.json", "gone.json", "empty"]
    assert sum(done.taken.values()) == len(ALL)
