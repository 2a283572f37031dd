"""Saved objects of the old API are imported into the store and served as they were."""

from __future__ import annotations

import json
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
    import_paths,
    message,
    page,
    stored_rows,
    write_lines,
)

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import delete_message, dump_store, get_raw


def test_saved_objects_are_served_as_they_were(door: Door, client: Any, settings: Settings, tmp_path: Path) -> None:
    """Imported objects are served with the ids, times, metadata and other fields that were saved."""
    result, problems = import_paths(settings, write_lines(tmp_path / "all.jsonl", ALL))
    assert (problems, result.taken) == (
        [],
        {"assistants": 1, "threads": 1, "runs": 1, "run steps": 1, "messages": 3},
    )
    assert get_raw(door, client, "/assistants/asst_old") == ASSISTANT
    assert get_raw(door, client, "/threads/thread_old") == THREAD
    assert get_raw(door, client, "/threads/thread_old/messages")["data"] == MESSAGES[::-1]
    assert get_raw(door, client, "/threads/thread_old/runs")["data"] == [RUN]
    assert get_raw(door, client, "/threads/thread_old/runs/run_old/steps")["data"] == [STEP]


def test_what_only_a_new_object_is_refused_for_is_imported(
    door: Door, client: Any, settings: Settings, tmp_path: Path
) -> None:
    """A saved assistant and message come back although a new one with the same name, schema or URL is refused."""
    function = {"name": "get.weather", "parameters": {"type": "object", "properties": {}}, "strict": True}
    assistant = {**ASSISTANT, "tools": [{"type": "function", "function": function}]}
    picture = {"type": "image_url", "image_url": {"url": "photo.png", "detail": "auto"}}
    saved = [assistant, THREAD, message(1, content=[picture])]
    _, problems = import_paths(settings, write_lines(tmp_path / "all.jsonl", saved))
    assert problems == []
    assert get_raw(door, client, "/assistants/asst_old") == assistant
    assert get_raw(door, client, "/threads/thread_old/messages")["data"][0]["content"] == [picture]


def test_an_imported_thread_can_run(
    door: Door, client: Any, upstream: StandIn, settings: Settings, tmp_path: Path
) -> None:
    """A run on an imported thread sends its messages oldest first, and no default temperature."""
    uploaded = door(client.files.create(file=("data.csv", b"a,b"), purpose="assistants")).id
    thread = {**THREAD, "tool_resources": {"code_interpreter": {"file_ids": [uploaded]}}}
    import_paths(settings, write_lines(tmp_path / "all.jsonl", [ASSISTANT, thread, *MESSAGES]))
    upstream.script(Turn(text="Yes.", polls=0))
    runs = client.beta.threads.runs
    run = door(runs.create_and_poll(thread_id="thread_old", assistant_id="asst_old"))
    assert run.status == "completed"
    [sent] = [request.json for request in upstream.requests if request.path == "/responses"]
    texts = [
        item["content"] if isinstance(item["content"], str) else item["content"][0]["text"] for item in sent["input"]
    ]
    assert texts == ["Text 1.", "Text 2.", "Text 3."]
    assert (sent["instructions"], "temperature" in sent, "top_p" in sent) == ("Help.", False, False)
    assert sent["tools"][0]["container"]["file_ids"] == [uploaded]


def test_every_form_of_a_dump_is_the_same(sqlite_settings: Settings, tmp_path: Path) -> None:
    """Pages, lists, single objects, JSON lines and a directory of these leave the same rows."""
    newest = MESSAGES[::-1]
    forms: dict[str, Any] = {
        "list": [ASSISTANT, THREAD, RUN, STEP, *newest],
        "pages": [page([ASSISTANT]), page([RUN]), page([STEP]), page(newest), THREAD],
    }
    rows_of_forms = []
    for name, value in forms.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(value, indent=2), encoding="utf-8")
        settings = Settings(store=sqlite_settings.store, namespace=name)
        assert import_paths(settings, path)[1] == []
        rows_of_forms.append(stored_rows(settings))
    folder = tmp_path / "dump" / "messages"
    folder.mkdir(parents=True)
    for number, saved_message in enumerate(newest):
        (folder / f"page{number + 9}.json").write_text(json.dumps(page([saved_message])), encoding="utf-8")
    write_lines(tmp_path / "dump" / "rest.ndjson", [ASSISTANT, THREAD, RUN, STEP])
    settings = Settings(store=sqlite_settings.store, namespace="directory")
    assert import_paths(settings, tmp_path / "dump")[1] == []
    rows_of_forms.append(stored_rows(settings))
    assert rows_of_forms[0] == rows_of_forms[1] == rows_of_forms[2]
    assert [row["id"] for row in rows_of_forms[0]["messages"]] == ["msg_1", "msg_2", "msg_3"]


def test_each_object_that_cannot_be_imported_has_a_reason(sqlite_settings: Settings, tmp_path: Path) -> None:
    """Each object that cannot be imported is reported with its place and reason; the others are imported."""
    huge = {f"k{number}": "v" for number in range(17)}
    bad: list[Any] = [
        7,
        {"id": "x"},
        {"object": "vector_store", "id": "vs_1"},
        message(10, metadata=huge),
        message(11, id="msg_\x00"),
        message(12, content=[{"type": "text", "text": "text"}], role=7),
        message(13, created_at=10**30),
        message(14, role="system"),
        {**RUN, "id": "run_2", "status": "in_progress", "expires_at": 99_999_999_999},
        {**STEP, "id": "step_2", "run_id": "run_gone"},
        {**MESSAGES[0], "metadata": {"other": "words"}},
        {**ASSISTANT, "id": "asst_2", "tools": [{"type": "hammer"}]},
        {"object": "assistant.deleted", "id": "asst_3", "deleted": True},
    ]
    path = write_lines(tmp_path / "all.jsonl", [*ALL, *bad])
    with path.open("ab") as handle:
        handle.write(b'{"id": "caf\xe9"}\n{"id": \n' + b"[" * 100_000 + b"\n" + b'{"a": 1e999}\n{"a": NaN}\n')
    result, problems = import_paths(sqlite_settings, path)
    reasons = [line.partition(" ")[2] for line in problems]
    assert [line.partition(" ")[0] for line in problems[:2]] == ["all.jsonl:8:", "all.jsonl:9:"]
    too_many, too_large = (
        "at most 16 properties, but got an object with 17 properties instead.",
        f"but got {10**30} instead.",
    )
    expected = [
        "it is not a JSON object",
        "x: it has no key `object`",
        "vs_1: its `object` is 'vector_store'",
        f"msg_10: Invalid 'metadata': too many properties. Expected an object with {too_many}",
        "Invalid 'id': an id may contain printable ASCII characters only.",
        "msg_12: Invalid type for 'role': expected one of 'user', 'assistant', but got an integer instead.",
        f"msg_13: Invalid 'created_at': integer above maximum value. Expected a value <= {2**53}, {too_large}",
        "msg_14: Invalid value: 'system'. Supported values are: 'user' and 'assistant'.",
        "run_2: it is in_progress and has not expired: a run of the old service cannot be continued here",
        f"msg_1: a different object with this id is at {path}:3, which is used instead",
        "asst_2: Invalid value: 'hammer'. Supported values are: 'code_interpreter', 'file_search', and 'function'.",
        "asst_3: it only confirms a deletion, so there is nothing to import",
        "it is not UTF-8",
        "it is not JSON (Expecting value at character 9)",
        "it is nested too deeply",
        "it contains a number that cannot be stored",
        "it contains a number that cannot be stored",
        "step_2: its run run_gone is neither in the input nor in the store, or was deleted",
    ]
    assert reasons == expected
    assert (result.refused, sum(result.taken.values())) == (len(expected), len(ALL))


@pytest.mark.parametrize("depth", [600, 980, 3000])
def test_deep_nesting_is_refused_by_every_python(sqlite_settings: Settings, tmp_path: Path, depth: int) -> None:
    """Nested lists that an answer could not show are refused on every Python, although newer ones parse them."""
    deep = json.dumps({**message(1), "more": 0})[:-2] + "[" * depth + "]" * depth + "}"
    path = tmp_path / "deep.jsonl"
    path.write_text(f"{deep}\n{json.dumps(message(2))}\n", encoding="utf-8")
    result, [problem] = import_paths(sqlite_settings, path)
    assert problem.startswith("deep.jsonl:1")
    assert problem.endswith(": it is nested too deeply")
    assert result.taken == {"messages": 1}


def test_messages_alone_make_their_thread(door: Door, client: Any, settings: Settings, tmp_path: Path) -> None:
    """Messages without their thread create it, with the first one's time and the attached files."""
    attachments = [{"file_id": "file-1", "tools": [{"type": "code_interpreter"}]}]
    saved_messages = [MESSAGES[2], MESSAGES[1], {**MESSAGES[0], "attachments": attachments}]
    result, problems = import_paths(settings, write_lines(tmp_path / "messages.jsonl", saved_messages))
    assert (problems, result.made, result.taken) == ([], ["thread_old"], {"messages": 3})
    thread = get_raw(door, client, "/threads/thread_old")
    assert thread["created_at"] == MESSAGES[0]["created_at"]
    assert thread["tool_resources"] == {"code_interpreter": {"file_ids": ["file-1"]}}
    assert [served["id"] for served in get_raw(door, client, "/threads/thread_old/messages?order=asc")["data"]] == [
        "msg_1", "msg_2", "msg_3",
    ]  # fmt: skip


def test_a_second_import_changes_nothing(door: Door, client: Any, settings: Settings, tmp_path: Path) -> None:
    """A second import changes nothing, neither updated objects nor deleted ones."""
    path = write_lines(tmp_path / "all.jsonl", ALL)
    import_paths(settings, path)
    result, problems = import_paths(settings, path)
    assert (problems, result.taken, result.there, result.kept) == ([], {}, len(ALL), [])
    door(client.beta.assistants.update("asst_old", name="New"))
    delete_message(door, client, "msg_2", "thread_old")
    door(client.beta.threads.messages.create("thread_old", role="user", content="And now?"))
    before = dump_store(settings)
    result, problems = import_paths(settings, path)
    assert (problems, result.taken, sorted(result.kept)) == ([], {}, ["asst_old", "msg_2"])
    assert dump_store(settings) == before
    older = write_lines(tmp_path / "older.jsonl", [message(0, created_at=1_600_000_000)])
    _, [refused] = import_paths(settings, older)
    assert "the store has later messages of its thread" in refused
    door(client.beta.threads.delete("thread_old"))
    _, problems = import_paths(settings, path)
    assert len(problems) == len(ALL) - 2  # every object in the thread
    assert dump_store(settings)["messages"] == []


def test_messages_of_one_second_keep_the_order_of_their_list(sqlite_settings: Settings, tmp_path: Path) -> None:
    """Messages of one second keep the list's order, whose direction comes from other times or from the caller."""
    of_one_second = [message(number, created_at=1_700_000_000) for number in (1, 2, 3)]
    later_message = message(4, created_at=1_700_000_009)
    for number, (saved_messages, oldest_first, expected) in enumerate(
        [
            ([later_message, *of_one_second[::-1]], False, [1, 2, 3, 4]),
            ([*of_one_second, later_message], False, [1, 2, 3, 4]),
            (of_one_second[::-1], False, [1, 2, 3]),
            (of_one_second, True, [1, 2, 3]),
        ]
    ):
        settings = Settings(store=sqlite_settings.store, namespace=f"n{number}")
        import_paths(settings, write_lines(tmp_path / "m.jsonl", saved_messages), oldest_first=oldest_first)
        assert [row["id"] for row in dump_store(settings)["messages"]] == [
            f"msg_{message_number}" for message_number in expected
        ]


def test_unfinished_runs_have_expired(door: Door, client: Any, settings: Settings, tmp_path: Path) -> None:
    """Unfinished runs and their steps are imported as ended, because their time is over."""
    required_action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": []}}
    unfinished = {
        **RUN,
        "completed_at": None,
        "expires_at": 1_700_000_603,
        "usage": None,
        "required_action": required_action,
    }
    saved_objects = [
        *(ASSISTANT, THREAD, {**unfinished, "status": "requires_action"}),
        {**unfinished, "id": "run_2", "status": "cancelling", "required_action": None},
        {**STEP, "status": "in_progress", "completed_at": None, "expires_at": 1_700_000_603},
        message(2, status="in_progress", run_id="run_old"),
    ]
    result, problems = import_paths(settings, write_lines(tmp_path / "all.jsonl", saved_objects))
    assert (problems, sorted(result.ended)) == ([], ["run_2", "run_old"])
    runs = {run["id"]: run for run in get_raw(door, client, "/threads/thread_old/runs")["data"]}
    assert {id_: run["status"] for id_, run in runs.items()} == {"run_old": "expired", "run_2": "cancelled"}
    assert (runs["run_old"]["required_action"], runs["run_old"]["expires_at"]) == (None, None)
    [step] = get_raw(door, client, "/threads/thread_old/runs/run_old/steps")["data"]
    assert (step["status"], step["expired_at"]) == ("expired", 1_700_000_603)
    [incomplete] = get_raw(door, client, "/threads/thread_old/messages")["data"]
    assert (incomplete["status"], incomplete["incomplete_details"]) == ("incomplete", {"reason": "run_expired"})
    door(client.beta.threads.messages.create("thread_old", role="user", content="Go on."))


def test_a_dry_run_writes_nothing(sqlite_settings: Settings, tmp_path: Path) -> None:
    """A dry run reports the same figures as the import and writes nothing."""
    file = {"object": "file", "id": "file-1", "created_at": 1, "bytes": 2, "filename": "a", "purpose": "assistants"}
    path = write_lines(tmp_path / "all.jsonl", [*ALL[2:], file])
    dry_result, _ = import_paths(sqlite_settings, path, dry_run=True)
    assert not any(stored_rows(sqlite_settings).values())
    result, _ = import_paths(sqlite_settings, path)
    assert dry_result == result
    assert (result.upstream, result.made) == (1, ["thread_old"])


def test_namespaces_are_kept_apart(sqlite_settings: Settings, tmp_path: Path) -> None:
    """The same ids can be imported into two namespaces."""
    path = write_lines(tmp_path / "all.jsonl", ALL)
    for name in ("one", "two"):
        result, _ = import_paths(Settings(store=sqlite_settings.store, namespace=name), path)
        assert sum(result.taken.values()) == len(ALL)


def test_unreadable_paths_are_reported(sqlite_settings: Settings, tmp_path: Path) -> None:
    """A loop of links, a missing file and an empty directory are reported, and the other paths are imported."""
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "again").symlink_to(folder)  # not followed
    write_lines(folder / "all.jsonl", ALL)
    (tmp_path / "empty").mkdir()
    result, problems = import_paths(sqlite_settings, loop, tmp_path / "gone.json", tmp_path / "empty", folder)
    assert [line.partition(":")[0] for line in problems] == ["loop.json", "gone.json", "empty"]
    assert sum(result.taken.values()) == len(ALL)
