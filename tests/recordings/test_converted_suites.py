"""Test suites that pass over old recordings pass over the converted ones: same ids, texts, annotations and bytes."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assistants_compat.recordings.convert.play import Conversion, convert
from kit import legacy_recordings as old
from kit.converted_recordings import BASE, convert_to_file, document, interaction, replay_cassette
from kit.doors import Door
from kit.legacy_recordings import ANSWER, ASSISTANT, BASE_TIME, QUESTION, RUN, STEP, THREAD, id_of

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CSV = b"x,y\n1,2\n\xff"
FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CODE = {"type": "code_interpreter"}
SEARCH: dict[str, Any] = {"type": "file_search"}

Suite = Callable[[Any, Door], None]


@pytest.fixture
def play(door: Door, tmp_path: Path) -> Callable[..., Conversion]:
    """Convert a recording, replay it to a wrapped client under a test suite, and require that all of it is played."""

    def run(suite: Suite, *interactions: dict[str, Any], **options: Any) -> Conversion:
        converted = convert_to_file(document(*interactions), tmp_path / "new.yaml")
        with replay_cassette(tmp_path / "new.yaml") as (settings, tape):
            suite(door.client(SimpleNamespace(base_url=BASE), settings, **options), door)
            assert tape.all_played
        return converted

    return run


def _create_conversation(client: Any, door: Door, tools: list[Any] | None = None, **options: Any) -> None:
    """Create the assistant, the thread and the question of every suite, and check that they are the recorded ones."""
    with warnings.catch_warnings():
        assistant = door(
            client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.", tools=tools or [])
        )
    assert (assistant.id, assistant.created_at) == (ASSISTANT, BASE_TIME)
    assert door(client.beta.threads.create()).id == THREAD
    question = door(client.beta.threads.messages.create(THREAD, role="user", content="3x + 11 = 14?", **options))
    assert (question.id, question.created_at) == (QUESTION, BASE_TIME + 2)


def _poll_run(client: Any, door: Door) -> Any:
    run = door(client.beta.threads.runs.create_and_poll(thread_id=THREAD, assistant_id=ASSISTANT, poll_interval_ms=1))
    assert run.id == RUN
    return run


def _message_texts(client: Any, door: Door) -> list[tuple[str, Any]]:
    page = door(client.beta.threads.messages.list(THREAD))
    return [(message.id, message.content[-1].text.value) for message in page.data]


def test_a_polled_run_answers_as_recorded(play: Callable[..., Conversion]) -> None:
    """A converted polled run has the recorded ids, text, usage and times; its repeated polls are folded into one."""

    def suite(client: Any, door: Door) -> None:
        _create_conversation(client, door)
        run = _poll_run(client, door)
        assert (run.status, run.completed_at, run.usage.total_tokens) == ("completed", BASE_TIME + 9, 30)
        assert _message_texts(client, door) == [(ANSWER, "x = 1"), (QUESTION, "3x + 11 = 14?")]
        steps = door(client.beta.threads.runs.steps.list(RUN, thread_id=THREAD)).data
        assert [step.id for step in steps] == [STEP]

    question, answer = old.message(QUESTION, "user", "3x + 11 = 14?"), old.message(ANSWER, "assistant", "x = 1")
    converted = play(
        suite,
        *old.creation_calls(),
        *old.run_calls(old.run("queued"), old.run("queued"), *[old.run("in_progress")] * 5, old.run("completed")),
        old.list_messages_call(answer, question),
        interaction(
            "GET", f"/threads/{THREAD}/runs/{RUN}/steps", None, old.list_page(old.step(STEP, old.message_details()))
        ),
    )
    assert [exchange["request"]["method"] for exchange in converted.document["interactions"]] == ["POST", "GET"]
    assert [outcome.kind for outcome in converted.outcomes].count("folded") == 6
    assert (converted.refused, converted.warnings) == ([], [])


def test_two_copies_of_a_recording_are_converted_independently(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two copies of one recording convert independently, even if their databases get the same memory address."""
    monkeypatch.setattr("assistants_compat.recordings.convert.play.id", lambda _: 1, raising=False)
    recording = document(
        *old.creation_calls(),
        *old.run_calls(old.run("completed")),
        old.list_messages_call(old.message(ANSWER, "assistant")),
    )
    refused = [[refusal.reason for refusal in convert(recording).refused] for _ in range(2)]
    assert refused == [[], []]


def test_a_streamed_run_sends_the_recorded_deltas(play: Callable[..., Conversion]) -> None:
    """A converted streamed run sends the text in the recorded deltas."""

    def suite(client: Any, door: Door) -> None:
        _create_conversation(client, door)

        def delta_texts(events: list[Any]) -> list[str]:
            return [event.data.delta.content[0].text.value for event in events if event.event == "thread.message.delta"]

        streamed = door.all(
            door(client.beta.threads.runs.create(thread_id=THREAD, assistant_id=ASSISTANT, stream=True))
        )
        assert delta_texts(streamed) == ["x", " = ", "1"]
        assert {event.data.id for event in streamed if event.event.startswith("thread.message")} == {ANSWER}
        assert streamed[-1].data.usage.total_tokens == 30
        assert _message_texts(client, door)[0] == (ANSWER, "x = 1")

    partial, answer = old.message(ANSWER, "assistant", status="in_progress"), old.message(ANSWER, "assistant", "x = 1")
    step = old.step(STEP, old.message_details())
    events = [
        ("thread.run.created", old.run("queued")),
        ("thread.run.queued", old.run("queued")),
        ("thread.run.in_progress", old.run("in_progress")),
        ("thread.run.step.created", {**step, "status": "in_progress"}),
        ("thread.run.step.in_progress", {**step, "status": "in_progress"}),
        ("thread.message.created", partial),
        ("thread.message.in_progress", partial),
        *(old.delta(ANSWER, piece) for piece in ("x", " = ", "1")),
        ("thread.message.completed", answer),
        ("thread.run.step.completed", step),
        ("thread.run.completed", old.run("completed")),
    ]
    streamed = {"assistant_id": ASSISTANT, "stream": True}
    converted = play(
        suite,
        *old.creation_calls(),
        interaction("POST", f"/threads/{THREAD}/runs", streamed, old.stream(*events)),
        old.list_messages_call(answer, old.message(QUESTION, "user", "3x + 11 = 14?")),
    )
    [new] = converted.document["interactions"]
    assert new["response"]["headers"]["content-type"] == ["text/event-stream; charset=utf-8"]
    assert (converted.refused, converted.warnings) == ([], [])


def _required_action(*names: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    tool_calls = [
        {
            "id": id_of("call_", name),
            "type": "function",
            "function": {"name": "weather", "arguments": f'{{"at":"{name}"}}'},
        }
        for name in names
    ]
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": tool_calls}}, tool_calls


def test_two_function_rounds_keep_their_call_ids(play: Callable[..., Conversion]) -> None:
    """A run with two function rounds waits in each for the recorded call ids and stays one run."""

    def suite(client: Any, door: Door) -> None:
        _create_conversation(client, door, [FUNCTION])
        run = _poll_run(client, door)
        for names in (["Rome", "Oslo"], ["Bern"]):
            assert run.status == "requires_action"
            tool_calls = run.required_action.submit_tool_outputs.tool_calls
            assert [call.id for call in tool_calls] == [id_of("call_", name) for name in names]
            assert [call.function.arguments for call in tool_calls] == [f'{{"at":"{name}"}}' for name in names]
            outputs = [{"tool_call_id": call.id, "output": "sun"} for call in tool_calls]
            run = door(
                client.beta.threads.runs.submit_tool_outputs_and_poll(
                    run_id=RUN, thread_id=THREAD, tool_outputs=outputs, poll_interval_ms=1
                )
            )
        assert run.status == "completed"
        assert _message_texts(client, door)[0] == (ANSWER, "Sun.")

    path, rounds = f"/threads/{THREAD}/runs/{RUN}", []
    for names in (["Rome", "Oslo"], ["Bern"]):
        action, round_calls = _required_action(*names)
        outputs = [{"tool_call_id": call["id"], "output": "sun"} for call in round_calls]
        rounds += [
            interaction("GET", path, None, old.run("in_progress", tools=[FUNCTION])),
            interaction("GET", path, None, old.run("requires_action", required_action=action, tools=[FUNCTION])),
            interaction(
                "POST", f"{path}/submit_tool_outputs", {"tool_outputs": outputs}, old.run("queued", tools=[FUNCTION])
            ),
        ]
    converted = play(
        suite,
        *old.creation_calls([FUNCTION]),
        *old.run_calls(old.run("queued"), tools=[FUNCTION]),
        *rounds,
        interaction("GET", path, None, old.run("completed", tools=[FUNCTION])),
        old.list_messages_call(
            old.message(ANSWER, "assistant", "Sun."), old.message(QUESTION, "user", "3x + 11 = 14?")
        ),
    )
    assert [exchange["request"]["method"] for exchange in converted.document["interactions"]] == ["POST", "GET"] * 3
    assert (converted.refused, converted.warnings) == ([], [])


@pytest.mark.parametrize("linked_name", ["a b.csv", "a%20b.csv"])
def test_code_interpreter_files_keep_their_ids_and_bytes(play: Callable[..., Conversion], linked_name: str) -> None:
    """A plot and a linked file keep their ids, positions and bytes, and an uploaded file can still be retrieved."""
    plot, table, data = (id_of("file-", name) for name in ("Plot", "Table", "Data"))
    text = f"Look: [table](sandbox:/mnt/data/{linked_name})."
    start = text.index("sandbox")
    link = {"type": "file_path", "text": text[start:-2], "start_index": start, "end_index": len(text) - 2}

    def suite(client: Any, door: Door) -> None:
        _create_conversation(client, door, [CODE])
        assert door(client.files.retrieve(data)).filename == "data.csv"
        assert _poll_run(client, door).status == "completed"
        answer = door(client.beta.threads.messages.list(THREAD)).data[0]
        image, block = answer.content
        assert (image.type, image.image_file.file_id) == ("image_file", plot)
        [note] = block.text.annotations
        assert (note.file_path.file_id, note.start_index, note.end_index) == (table, start, len(text) - 2)
        assert block.text.value == text
        assert door(client.files.content(table)).read() == CSV
        assert door(client.files.content(plot)).read() == PNG
        served = door(client.files.retrieve(table))
        assert (served.filename, served.bytes) == ("/mnt/data/a b.csv", len(CSV))
        [_, code] = door(client.beta.threads.runs.steps.list(RUN, thread_id=THREAD)).data
        logs, plotted = code.step_details.tool_calls[0].code_interpreter.outputs
        assert (code.step_details.tool_calls[0].id, logs.logs, plotted.image.file_id) == (
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
    answer = old.message(ANSWER, "assistant", image, old.text(text, {**link, "file_path": {"file_id": table}}))
    file = {"object": "file", "purpose": "assistants", "bytes": 3, "created_at": BASE_TIME, "status": "processed"}
    generated = {**file, "purpose": "assistants_output", "expires_at": None, "status_details": None}
    steps = [
        old.step(STEP, old.message_details(), created_at=BASE_TIME + 5),
        old.step(id_of("step_", "Code"), old.tool_calls_details(call)),
    ]
    converted = play(
        suite,
        *old.creation_calls([CODE]),
        interaction("GET", f"/files/{data}", None, {**file, "id": data, "filename": "data.csv"}),
        *old.run_calls(old.run("queued"), old.run("completed"), tools=[CODE]),
        old.list_messages_call(answer, old.message(QUESTION, "user", "3x + 11 = 14?")),
        interaction("GET", f"/files/{table}/content", None, CSV),
        interaction("GET", f"/files/{plot}/content", None, PNG),
        interaction(
            "GET", f"/files/{table}", None, {**generated, "id": table, "filename": "/mnt/data/a b.csv", "bytes": 9}
        ),
        interaction("GET", f"/threads/{THREAD}/runs/{RUN}/steps", None, old.list_page(*steps)),
    )
    assert (converted.refused, converted.warnings) == ([], [])
    # The library answers these otherwise (docs/differences.md): it lists linked files, and it counts tokens.
    differing = [
        field for outcome in converted.outcomes for field in outcome.differences if not (field.is_new or field.is_time)
    ]
    assert {field.path for field in differing} == {"data[0].attachments[0]", "data[0].usage", "data[1].usage"}


def test_a_search_keeps_its_markers_and_results(play: Callable[..., Conversion]) -> None:
    """Citation markers keep their positions and files, and a search step keeps the recorded results."""
    file, store = id_of("file-", "Foods"), "vs_recorded"
    mark = "【4:0†foods.txt】"
    text = f"He likes pizza{mark}. So do I."
    note = {"type": "file_citation", "text": mark, "start_index": 14, "end_index": 14 + len(mark)}
    attachment = {"file_id": file, "tools": [SEARCH]}

    def suite(client: Any, door: Door) -> None:
        _create_conversation(client, door, [SEARCH], attachments=[attachment])
        assert _poll_run(client, door).status == "completed"
        [block] = door(client.beta.threads.messages.list(THREAD)).data[0].content
        assert block.text.value == text
        [cited] = block.text.annotations
        assert (cited.text, cited.file_citation.file_id, cited.start_index) == (mark, file, 14)
        [_, search] = door(client.beta.threads.runs.steps.list(RUN, thread_id=THREAD)).data
        assert search.to_dict()["step_details"]["tool_calls"][0]["file_search"]["results"][0]["score"] == 0.5
        assert door(client.beta.threads.retrieve(THREAD)).tool_resources.file_search.vector_store_ids == [store]

    answer = old.message(ANSWER, "assistant", old.text(text, {**note, "file_citation": {"file_id": file}}))
    result = {"file_id": file, "file_name": "foods.txt", "score": 0.5, "attributes": {}}
    search = {"ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0}, "results": [result]}
    call = {"id": id_of("call_", "Search"), "type": "file_search", "file_search": search}
    steps = [
        old.step(STEP, old.message_details(), created_at=BASE_TIME + 5),
        old.step(id_of("step_", "Search"), old.tool_calls_details(call)),
    ]
    resources = {"file_search": {"vector_store_ids": [store]}}
    converted = play(
        suite,
        *old.creation_calls([SEARCH], attachments=[attachment]),
        *old.run_calls(old.run("queued"), old.run("completed"), tools=[SEARCH]),
        old.list_messages_call(answer, old.message(QUESTION, "user", "3x + 11 = 14?", attachments=[attachment])),
        interaction("GET", f"/threads/{THREAD}/runs/{RUN}/steps", None, old.list_page(*steps)),
        interaction("GET", f"/threads/{THREAD}", None, old.thread(tool_resources=resources)),
    )
    assert (converted.refused, converted.warnings) == ([], [])


@pytest.mark.parametrize(
    ("status", "details"),
    [
        ("failed", {"last_error": {"code": "rate_limit_exceeded", "message": "You exceeded your current quota."}}),
        ("incomplete", {"incomplete_details": {"reason": "max_completion_tokens"}}),
        ("expired", {}),
    ],
)
def test_a_run_without_success_ends_for_the_recorded_reason(
    play: Callable[..., Conversion], status: str, details: dict[str, Any]
) -> None:
    """A failed, incomplete or expired run ends with the recorded status and reason."""

    def suite(client: Any, door: Door) -> None:
        _create_conversation(client, door)
        run = _poll_run(client, door)
        assert run.status == status
        assert {key: run.to_dict()[key] for key in details} == details

    converted = play(
        suite,
        *old.creation_calls(),
        *old.run_calls(old.run("queued"), old.run("in_progress"), old.run(status, **details)),
    )
    assert converted.refused == []


def test_a_cancelled_run_is_cancelling_until_it_is_polled(play: Callable[..., Conversion]) -> None:
    """A converted run is `cancelling` in the answer to its cancel call and `cancelled` when it is next polled."""
    path = f"/threads/{THREAD}/runs/{RUN}"

    def suite(client: Any, door: Door) -> None:
        _create_conversation(client, door)
        runs = client.beta.threads.runs
        assert door(runs.create(thread_id=THREAD, assistant_id=ASSISTANT)).status == "queued"
        assert door(runs.cancel(RUN, thread_id=THREAD)).status == "cancelling"
        assert door(runs.retrieve(RUN, thread_id=THREAD)).status == "cancelled"

    converted = play(
        suite,
        *old.creation_calls(),
        *old.run_calls(old.run("queued")),
        interaction("POST", f"{path}/cancel", None, old.run("cancelling")),
        interaction("GET", path, None, old.run("cancelled")),
    )
    assert converted.refused == []
