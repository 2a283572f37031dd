"""Old recordings of small suites, converted: the same calls see the same ids, texts, annotations and bytes."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kit import legacy_recordings as old
from assistants_compat.recordings.convert.play import Converted, convert
from kit.converted_recordings import BASE, document, interaction, replayed, written
from kit.doors import Door
from kit.legacy_recordings import ANSWER, ASSISTANT, QUESTION, RUN, STEP, THEN, THREAD, id_of

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CSV = b"x,y\n1,2\n\xff"
FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CODE = {"type": "code_interpreter"}
SEARCH: dict[str, Any] = {"type": "file_search"}

Suite = Callable[[Any, Door], None]


@pytest.fixture
def play(door: Door, tmp_path: Path) -> Callable[..., Converted]:
    """Convert a recording, and run a suite over it with a client that was wrapped; all of it is played."""

    def run(suite: Suite, *interactions: dict[str, Any], **options: Any) -> Converted:
        converted = written(document(*interactions), tmp_path / "new.yaml")
        with replayed(tmp_path / "new.yaml") as (settings, tape):
            suite(door.client(SimpleNamespace(base_url=BASE), settings, **options), door)
            assert tape.all_played
        return converted

    return run


def _begun(client: Any, door: Door, tools: list[Any] | None = None, **more: Any) -> None:
    """What all suites begin with, and what it gave."""
    with warnings.catch_warnings():
        assistant = door(
            client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.", tools=tools or [])
        )
    assert (assistant.id, assistant.created_at) == (ASSISTANT, THEN)
    assert door(client.beta.threads.create()).id == THREAD
    asked = door(client.beta.threads.messages.create(THREAD, role="user", content="3x + 11 = 14?", **more))
    assert (asked.id, asked.created_at) == (QUESTION, THEN + 2)


def _polled(client: Any, door: Door) -> Any:
    run = door(client.beta.threads.runs.create_and_poll(thread_id=THREAD, assistant_id=ASSISTANT, poll_interval_ms=1))
    assert run.id == RUN
    return run


def _said(client: Any, door: Door) -> list[tuple[str, Any]]:
    page = door(client.beta.threads.messages.list(THREAD))
    return [(each.id, each.content[-1].text.value) for each in page.data]


def test_a_polled_run(play: Callable[..., Converted]) -> None:
    """Many looks become one; ids, text, usage and times are the recorded ones."""

    def suite(client: Any, door: Door) -> None:
        _begun(client, door)
        run = _polled(client, door)
        assert (run.status, run.completed_at, run.usage.total_tokens) == ("completed", THEN + 9, 30)
        assert _said(client, door) == [(ANSWER, "x = 1"), (QUESTION, "3x + 11 = 14?")]
        steps = door(client.beta.threads.runs.steps.list(RUN, thread_id=THREAD)).data
        assert [each.id for each in steps] == [STEP]

    question, answer = old.message(QUESTION, "user", "3x + 11 = 14?"), old.message(ANSWER, "assistant", "x = 1")
    converted = play(
        suite,
        *old.created(),
        *old.polled(old.run("queued"), old.run("queued"), *[old.run("in_progress")] * 5, old.run("completed")),
        old.read(answer, question),
        interaction("GET", f"/threads/{THREAD}/runs/{RUN}/steps", None, old.listed(old.step(STEP, old.says()))),
    )
    assert [each["request"]["method"] for each in converted.document["interactions"]] == ["POST", "GET"]
    assert [each.kind for each in converted.outcomes].count("folded") == 6
    assert (converted.refused, converted.troubles) == ([], [])


def test_copies_of_a_recording_do_not_meet_in_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may hold one conversation many times: each is converted alone, whatever memory it gets."""
    monkeypatch.setattr("assistants_compat.recordings.convert.play.id", lambda _: 1, raising=False)
    recording = document(*old.created(), *old.polled(old.run("completed")), old.read(old.message(ANSWER, "assistant")))
    refused = [[each.reason for each in convert(recording).refused] for _ in range(2)]
    assert refused == [[], []]


def test_a_streamed_run(play: Callable[..., Converted]) -> None:
    """The pieces of the text come as they came."""

    def suite(client: Any, door: Door) -> None:
        _begun(client, door)

        def pieces_of(events: list[Any]) -> list[str]:
            return [each.data.delta.content[0].text.value for each in events if each.event == "thread.message.delta"]

        told = door.all(door(client.beta.threads.runs.create(thread_id=THREAD, assistant_id=ASSISTANT, stream=True)))
        assert pieces_of(told) == ["x", " = ", "1"]
        assert {each.data.id for each in told if each.event.startswith("thread.message")} == {ANSWER}
        assert told[-1].data.usage.total_tokens == 30
        assert _said(client, door)[0] == (ANSWER, "x = 1")

    begun, answer = old.message(ANSWER, "assistant", status="in_progress"), old.message(ANSWER, "assistant", "x = 1")
    step = old.step(STEP, old.says())
    events = [
        ("thread.run.created", old.run("queued")),
        ("thread.run.queued", old.run("queued")),
        ("thread.run.in_progress", old.run("in_progress")),
        ("thread.run.step.created", {**step, "status": "in_progress"}),
        ("thread.run.step.in_progress", {**step, "status": "in_progress"}),
        ("thread.message.created", begun),
        ("thread.message.in_progress", begun),
        *(old.delta(ANSWER, piece) for piece in ("x", " = ", "1")),
        ("thread.message.completed", answer),
        ("thread.run.step.completed", step),
        ("thread.run.completed", old.run("completed")),
    ]
    streamed = {"assistant_id": ASSISTANT, "stream": True}
    converted = play(
        suite,
        *old.created(),
        interaction("POST", f"/threads/{THREAD}/runs", streamed, old.stream(*events)),
        old.read(answer, old.message(QUESTION, "user", "3x + 11 = 14?")),
    )
    [new] = converted.document["interactions"]
    assert new["response"]["headers"]["content-type"] == ["text/event-stream; charset=utf-8"]
    assert (converted.refused, converted.troubles) == ([], [])


def _waiting(*names: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    wanted = [
        {
            "id": id_of("call_", name),
            "type": "function",
            "function": {"name": "weather", "arguments": f'{{"at":"{name}"}}'},
        }
        for name in names
    ]
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": wanted}}, wanted


def test_two_rounds_of_functions(play: Callable[..., Converted]) -> None:
    """Each round waits for its own calls, by their recorded ids, and the run is one."""

    def suite(client: Any, door: Door) -> None:
        _begun(client, door, [FUNCTION])
        run = _polled(client, door)
        for names in (["Rome", "Oslo"], ["Bern"]):
            assert run.status == "requires_action"
            asked = run.required_action.submit_tool_outputs.tool_calls
            assert [each.id for each in asked] == [id_of("call_", name) for name in names]
            assert [each.function.arguments for each in asked] == [f'{{"at":"{name}"}}' for name in names]
            outputs = [{"tool_call_id": each.id, "output": "sun"} for each in asked]
            run = door(
                client.beta.threads.runs.submit_tool_outputs_and_poll(
                    run_id=RUN, thread_id=THREAD, tool_outputs=outputs, poll_interval_ms=1
                )
            )
        assert run.status == "completed"
        assert _said(client, door)[0] == (ANSWER, "Sun.")

    path, looks = f"/threads/{THREAD}/runs/{RUN}", []
    for names in (["Rome", "Oslo"], ["Bern"]):
        action, wanted = _waiting(*names)
        outputs = [{"tool_call_id": each["id"], "output": "sun"} for each in wanted]
        looks += [
            interaction("GET", path, None, old.run("in_progress", tools=[FUNCTION])),
            interaction("GET", path, None, old.run("requires_action", required_action=action, tools=[FUNCTION])),
            interaction(
                "POST", f"{path}/submit_tool_outputs", {"tool_outputs": outputs}, old.run("queued", tools=[FUNCTION])
            ),
        ]
    converted = play(
        suite,
        *old.created([FUNCTION]),
        *old.polled(old.run("queued"), tools=[FUNCTION]),
        *looks,
        interaction("GET", path, None, old.run("completed", tools=[FUNCTION])),
        old.read(old.message(ANSWER, "assistant", "Sun."), old.message(QUESTION, "user", "3x + 11 = 14?")),
    )
    assert [each["request"]["method"] for each in converted.document["interactions"]] == ["POST", "GET"] * 3
    assert (converted.refused, converted.troubles) == ([], [])


def test_code_interpreter_with_files(play: Callable[..., Converted]) -> None:
    """A plot and a linked file keep their ids, the link its place, and both their bytes; what was uploaded passes."""
    plot, table, data = (id_of("file-", name) for name in ("Plot", "Table", "Data"))
    said = "Look: [table](sandbox:/mnt/data/a b.csv)."
    start = said.index("sandbox")
    link = {"type": "file_path", "text": "sandbox:/mnt/data/a b.csv", "start_index": start, "end_index": len(said) - 2}

    def suite(client: Any, door: Door) -> None:
        _begun(client, door, [CODE])
        assert door(client.files.retrieve(data)).filename == "data.csv"
        assert _polled(client, door).status == "completed"
        answer = door(client.beta.threads.messages.list(THREAD)).data[0]
        image, block = answer.content
        assert (image.type, image.image_file.file_id) == ("image_file", plot)
        [note] = block.text.annotations
        assert (note.file_path.file_id, note.start_index, note.end_index) == (table, start, len(said) - 2)
        assert block.text.value == said
        assert door(client.files.content(table)).read() == CSV
        assert door(client.files.content(plot)).read() == PNG
        assert door(client.files.retrieve(table)).bytes == len(CSV)
        [_, code] = door(client.beta.threads.runs.steps.list(RUN, thread_id=THREAD)).data
        logs, shown = code.step_details.tool_calls[0].code_interpreter.outputs
        assert (code.step_details.tool_calls[0].id, logs.logs, shown.image.file_id) == (
            id_of("call_", "Code"),
            "1\n",
            plot,
        )

    code = {
        "input": "print(1)",
        "outputs": [{"type": "logs", "logs": "1\n"}, {"type": "image", "image": {"file_id": plot}}],
    }
    call = {"id": id_of("call_", "Code"), "type": "code_interpreter", "code_interpreter": code}
    image = {"type": "image_file", "image_file": {"file_id": plot}}
    answer = old.message(ANSWER, "assistant", image, old.text(said, {**link, "file_path": {"file_id": table}}))
    file = {"object": "file", "purpose": "assistants", "bytes": 3, "created_at": THEN, "status": "processed"}
    made = {**file, "purpose": "assistants_output", "expires_at": None, "status_details": None}
    steps = [old.step(STEP, old.says(), created_at=THEN + 5), old.step(id_of("step_", "Code"), old.calls(call))]
    converted = play(
        suite,
        *old.created([CODE]),
        interaction("GET", f"/files/{data}", None, {**file, "id": data, "filename": "data.csv"}),
        *old.polled(old.run("queued"), old.run("completed"), tools=[CODE]),
        old.read(answer, old.message(QUESTION, "user", "3x + 11 = 14?")),
        interaction("GET", f"/files/{table}/content", None, CSV),
        interaction("GET", f"/files/{plot}/content", None, PNG),
        interaction("GET", f"/files/{table}", None, {**made, "id": table, "filename": "/mnt/data/a b.csv", "bytes": 9}),
        interaction("GET", f"/threads/{THREAD}/runs/{RUN}/steps", None, old.listed(*steps)),
    )
    assert (converted.refused, converted.troubles) == ([], [])
    # What the shim does otherwise than this recording (docs/differences.md): it lists linked files, and counts tokens.
    unlike = [each for outcome in converted.outcomes for each in outcome.differing if not (each.is_new or each.is_time)]
    assert {each.where for each in unlike} == {"data[0].attachments[0]", "data[0].usage", "data[1].usage"}


def test_a_search_with_citations(play: Callable[..., Converted]) -> None:
    """Markers stand where they stood and cite the same files; found passages are the recorded ones."""
    file, store = id_of("file-", "Foods"), "vs_recorded"
    mark = "【4:0†foods.txt】"
    said = f"He likes pizza{mark}. So do I."
    note = {"type": "file_citation", "text": mark, "start_index": 14, "end_index": 14 + len(mark)}
    attachment = {"file_id": file, "tools": [SEARCH]}

    def suite(client: Any, door: Door) -> None:
        _begun(client, door, [SEARCH], attachments=[attachment])
        assert _polled(client, door).status == "completed"
        [block] = door(client.beta.threads.messages.list(THREAD)).data[0].content
        assert block.text.value == said
        [cited] = block.text.annotations
        assert (cited.text, cited.file_citation.file_id, cited.start_index) == (mark, file, 14)
        [_, search] = door(client.beta.threads.runs.steps.list(RUN, thread_id=THREAD)).data
        assert search.to_dict()["step_details"]["tool_calls"][0]["file_search"]["results"][0]["score"] == 0.5
        assert door(client.beta.threads.retrieve(THREAD)).tool_resources.file_search.vector_store_ids == [store]

    answer = old.message(ANSWER, "assistant", old.text(said, {**note, "file_citation": {"file_id": file}}))
    found = {"file_id": file, "file_name": "foods.txt", "score": 0.5, "attributes": {}}
    search = {"ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0}, "results": [found]}
    call = {"id": id_of("call_", "Search"), "type": "file_search", "file_search": search}
    steps = [old.step(STEP, old.says(), created_at=THEN + 5), old.step(id_of("step_", "Search"), old.calls(call))]
    resources = {"file_search": {"vector_store_ids": [store]}}
    converted = play(
        suite,
        *old.created([SEARCH], attachments=[attachment]),
        *old.polled(old.run("queued"), old.run("completed"), tools=[SEARCH]),
        old.read(answer, old.message(QUESTION, "user", "3x + 11 = 14?", attachments=[attachment])),
        interaction("GET", f"/threads/{THREAD}/runs/{RUN}/steps", None, old.listed(*steps)),
        interaction("GET", f"/threads/{THREAD}", None, old.thread(tool_resources=resources)),
    )
    assert (converted.refused, converted.troubles) == ([], [])


@pytest.mark.parametrize(
    ("status", "more"),
    [
        ("failed", {"last_error": {"code": "rate_limit_exceeded", "message": "You exceeded your current quota."}}),
        ("incomplete", {"incomplete_details": {"reason": "max_completion_tokens"}}),
        ("expired", {}),
    ],
)
def test_runs_that_end_otherwise(play: Callable[..., Converted], status: str, more: dict[str, Any]) -> None:
    """A run ends as it did, for the recorded reason."""

    def suite(client: Any, door: Door) -> None:
        _begun(client, door)
        run = _polled(client, door)
        assert run.status == status
        assert {key: run.to_dict()[key] for key in more} == more

    converted = play(
        suite, *old.created(), *old.polled(old.run("queued"), old.run("in_progress"), old.run(status, **more))
    )
    assert converted.refused == []


def test_a_run_that_is_cancelled(play: Callable[..., Converted]) -> None:
    """It is `cancelling` at first and `cancelled` when it is looked at."""
    path = f"/threads/{THREAD}/runs/{RUN}"

    def suite(client: Any, door: Door) -> None:
        _begun(client, door)
        runs = client.beta.threads.runs
        assert door(runs.create(thread_id=THREAD, assistant_id=ASSISTANT)).status == "queued"
        assert door(runs.cancel(RUN, thread_id=THREAD)).status == "cancelling"
        assert door(runs.retrieve(RUN, thread_id=THREAD)).status == "cancelled"

    converted = play(
        suite,
        *old.created(),
        *old.polled(old.run("queued")),
        interaction("POST", f"{path}/cancel", None, old.run("cancelling")),
        interaction("GET", path, None, old.run("cancelled")),
    )
    assert converted.refused == []
