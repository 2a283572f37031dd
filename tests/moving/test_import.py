"""Saved objects of the old API, taken into the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from doors import Door
from legacy import CODE, dump, raw
from saved import ALL, ASSISTANT, MESSAGES, RUN, STEP, THREAD, lines, message, page, rows, take


def test_saved_objects_are_served_as_they_were(
    door: Door, client: Any, settings: Settings, tmp_path: Path
) -> None:
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


def test_an_imported_thread_goes_on(door: Door, client: Any, upstream: StandIn, settings: Settings, tmp_path: Path) -> None:
    """The next run sends what was said, oldest first, with the assistant's instructions, and no default temperature."""
    uploaded = door(client.files.create(file=("data.csv", b"a,b"), purpose="assistants")).id
    thread = {**THREAD, "tool_resources": {"code_interpreter": {"file_ids": [uploaded]}}}
    take(settings, lines(tmp_path / "all.jsonl", [ASSISTANT, thread, *MESSAGES]))
    upstream.script(Turn(text="Yes.", polls=0))
    runs = client.beta.threads.runs
    run = door(runs.create_and_poll(thread_id="thread_old", assistant_id="asst_old"))
    assert run.status == "completed"
    [sent] = [each.json for each in upstream.requests if each.path == "/responses"]
    said = [item["content"] if isinstance(item["content"], str) else item["content"][0]["text"] for item in sent["input"]]
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
