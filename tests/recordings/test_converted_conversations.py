"""Longer and unusual old recordings convert to Responses traffic; what cannot be converted is reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from assistants_compat.recordings.convert.play import Conversion, convert
from assistants_compat.recordings.replay import REPLAY_KEY
from kit import legacy_recordings as old
from kit.converted_recordings import BASE, convert_to_file, document, interaction, replay_cassette
from kit.doors import Door
from kit.legacy_recordings import ANSWER, ASSISTANT, BASE_TIME, QUESTION, RUN, STEP, THREAD, id_of

CSV = b"a,b\n"
CODE = {"type": "code_interpreter"}
AZURE = "https://example.openai.azure.com/openai"


@pytest.fixture
def play(sync: Door, tmp_path: Path) -> Callable[..., Conversion]:
    """Convert a recording, replay it to a wrapped client under a test suite, and require that all of it is played.

    One kind of client is enough here: only the recording differs.
    """

    def run(suite: Callable[[Any], None], *interactions: dict[str, Any], **options: Any) -> Conversion:
        converted = convert_to_file(document(*interactions), tmp_path / "new.yaml")
        with replay_cassette(tmp_path / "new.yaml") as (settings, tape):
            client = sync.client(SimpleNamespace(base_url=BASE, azure_endpoint=AZURE[:-7]), settings, **options)
            suite(client)
            client.close()  # a stream that was left is read to its end
            assert tape.all_played
        return converted

    return run


def test_a_second_run_sends_the_messages_of_the_first(play: Callable[..., Conversion]) -> None:
    """The second run of a thread sends the messages of the first run upstream."""
    follow_up, second, reply = id_of("msg_", "Again"), id_of("run_", "Second"), id_of("msg_", "Reply")

    def suite(client: Any) -> None:
        threads = client.beta.threads
        client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.")
        first = threads.create_and_run_poll(
            assistant_id=ASSISTANT, thread={"messages": [{"role": "user", "content": "3x + 11 = 14?"}]}
        )
        assert (first.id, first.thread_id, first.created_at) == (RUN, THREAD, BASE_TIME + 3)
        assert threads.messages.create(THREAD, role="user", content="Sure?").id == follow_up
        run = threads.runs.create_and_poll(thread_id=THREAD, assistant_id=ASSISTANT, poll_interval_ms=1)
        assert (run.id, run.status) == (second, "completed")
        messages = threads.messages.list(THREAD, order="asc").data
        assert [message.id for message in messages] == [QUESTION, ANSWER, follow_up, reply]

    thread_params = {"messages": [{"role": "user", "content": "3x + 11 = 14?"}]}
    second_run = {"id": second, "created_at": BASE_TIME + 20}
    messages = [
        old.message(QUESTION, "user", "3x + 11 = 14?"),
        old.message(ANSWER, "assistant", "x = 1"),
        old.message(follow_up, "user", "Sure?", created_at=BASE_TIME + 15),
        old.message(reply, "assistant", "Sure.", created_at=BASE_TIME + 25, run_id=second),
    ]
    runs = f"/threads/{THREAD}/runs"
    converted = play(
        suite,
        old.creation_calls()[0],
        interaction("POST", "/threads/runs", {"assistant_id": ASSISTANT, "thread": thread_params}, old.run("queued")),
        interaction("GET", f"{runs}/{RUN}", None, old.run("completed")),
        interaction("POST", f"/threads/{THREAD}/messages", {"role": "user", "content": "Sure?"}, messages[2]),
        interaction("POST", runs, {"assistant_id": ASSISTANT}, old.run("queued", **second_run)),
        interaction(
            "GET", f"{runs}/{second}", None, old.run("completed", **{**second_run, "completed_at": BASE_TIME + 29})
        ),
        interaction("GET", f"/threads/{THREAD}/messages?order=asc", None, old.list_page(*messages)),
    )
    assert (converted.refused, converted.warnings) == ([], [])
    assert "x = 1" in converted.document["interactions"][2]["request"]["body"]


def test_objects_created_before_the_recording_are_seeded(play: Callable[..., Conversion]) -> None:
    """The converted recording seeds the assistant, the thread and the messages that the recording did not create."""

    def suite(client: Any) -> None:
        assert client.beta.assistants.retrieve(ASSISTANT).name == "Tutor"
        run = client.beta.threads.runs.create_and_poll(thread_id=THREAD, assistant_id=ASSISTANT, poll_interval_ms=1)
        assert run.status == "completed"
        assert [message.id for message in client.beta.threads.messages.list(THREAD).data] == [ANSWER, QUESTION]

    converted = play(
        suite,
        interaction("GET", f"/assistants/{ASSISTANT}", None, old.assistant()),
        *old.run_calls(old.run("queued"), old.run("completed")),
        old.list_messages_call(
            old.message(ANSWER, "assistant", "x = 1"), old.message(QUESTION, "user", "3x + 11 = 14?")
        ),
    )
    assert set(converted.document[REPLAY_KEY]["seed"]) == {"assistants", "threads", "messages"}
    assert converted.warnings == [
        f"thread {THREAD}: the recording does not create it; of its earlier messages only those shown are known"
    ]


@pytest.mark.parametrize("kind", ["deployment", "plain"])
def test_azure_routes_become_v1_routes(play: Callable[..., Conversion], kind: str) -> None:
    """Azure's dated routes become its v1 routes, without the api-version."""
    base = f"{AZURE}/deployments/tutor" if kind == "deployment" else AZURE

    def suite(client: Any) -> None:
        client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.", tools=[])
        client.beta.threads.create()
        client.beta.threads.messages.create(THREAD, role="user", content="3x + 11 = 14?")
        run = client.beta.threads.runs.create_and_poll(thread_id=THREAD, assistant_id=ASSISTANT, poll_interval_ms=1)
        assert (run.id, run.status) == (RUN, "completed")

    azure_interactions = []
    for exchange in [*old.creation_calls(), *old.run_calls(old.run("queued"), old.run("completed"))]:
        exchange["request"]["uri"] = exchange["request"]["uri"].replace(BASE, base) + "?api-version=2024-05-01-preview"
        azure_interactions.append(exchange)
    options = {"base_url": base, "azure_endpoint": None} if kind == "deployment" else {}
    converted = play(suite, *azure_interactions, azure=True, **options)
    uris = [exchange["request"]["uri"] for exchange in converted.document["interactions"]]
    assert [uri.partition("?")[0].rpartition("/resp")[0] for uri in uris] == [f"{AZURE}/v1", f"{AZURE}/v1/responses"]
    assert not any("api-version" in uri for uri in uris)


def test_a_file_linked_in_a_stream_keeps_its_id_and_bytes(play: Callable[..., Conversion]) -> None:
    """A file that a streamed text links keeps its recorded id, its position in the text and its bytes."""
    file = id_of("file-", "Table")
    text = "See sandbox:/mnt/data/t.csv"
    note = {"type": "file_path", "text": text[4:], "start_index": 4, "end_index": len(text)}
    note |= {"file_path": {"file_id": file}}
    code = {"input": "print(1)", "outputs": []}
    call = {"id": id_of("call_", "Code"), "type": "code_interpreter", "code_interpreter": code}

    def suite(client: Any) -> None:
        client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.", tools=[CODE])
        client.beta.threads.create()
        client.beta.threads.messages.create(THREAD, role="user", content="3x + 11 = 14?")
        with client.beta.threads.runs.stream(thread_id=THREAD, assistant_id=ASSISTANT) as stream:
            [message] = stream.get_final_messages()
            [_, step] = stream.get_final_run_steps()
        [block] = message.content
        assert (message.id, block.text.value) == (ANSWER, text)
        assert [(annotation.file_path.file_id, annotation.start_index) for annotation in block.text.annotations] == [
            (file, 4)
        ]
        assert step.id == STEP
        assert client.files.content(file).read() == CSV

    first, second = (
        old.step(id_of("step_", "Code"), old.tool_calls_details(call)),
        old.step(STEP, old.message_details()),
    )
    answer = old.message(ANSWER, "assistant", old.text(text, note))
    events = [
        ("thread.run.created", old.run("queued")),
        ("thread.run.step.created", {**first, "step_details": old.tool_calls_details()}),
        ("thread.run.step.completed", first),
        ("thread.run.step.created", second),
        ("thread.message.created", old.message(ANSWER, "assistant")),
        old.delta(ANSWER, text),
        old.delta(ANSWER, "", note),
        ("thread.message.completed", answer),
        ("thread.run.step.completed", second),
        ("thread.run.completed", old.run("completed")),
    ]
    body = {"assistant_id": ASSISTANT, "stream": True}
    converted = play(
        suite,
        *old.creation_calls([CODE]),
        interaction("POST", f"/threads/{THREAD}/runs", body, old.stream(*events)),
        interaction("GET", f"/files/{file}/content", None, CSV),
    )
    assert (converted.refused, converted.warnings) == ([], [])


def test_an_attached_file_that_no_text_links_is_attached_again(play: Callable[..., Conversion]) -> None:
    """A file that is attached to an answer but not linked in its text is attached again, under its id."""
    file = id_of("file-", "Notes")
    call = {"id": id_of("call_", "Code"), "type": "code_interpreter", "code_interpreter": {"input": "1", "outputs": []}}
    steps = [
        old.step(STEP, old.message_details(), created_at=BASE_TIME + 5),
        old.step(id_of("step_", "Code"), old.tool_calls_details(call)),
    ]

    def suite(client: Any) -> None:
        client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.", tools=[CODE])
        client.beta.threads.create()
        client.beta.threads.messages.create(THREAD, role="user", content="3x + 11 = 14?")
        client.beta.threads.runs.create_and_poll(thread_id=THREAD, assistant_id=ASSISTANT, poll_interval_ms=1)
        [attachment] = client.beta.threads.messages.list(THREAD).data[0].attachments
        assert attachment.file_id == file
        assert client.files.content(file).read() == CSV
        assert len(client.beta.threads.runs.steps.list(RUN, thread_id=THREAD).data) == 2

    answer = old.message(ANSWER, "assistant", "Done.", attachments=[{"file_id": file, "tools": [CODE]}])
    converted = play(
        suite,
        *old.creation_calls([CODE]),
        *old.run_calls(old.run("queued"), old.run("completed"), tools=[CODE]),
        old.list_messages_call(answer, old.message(QUESTION, "user", "3x + 11 = 14?")),
        interaction("GET", f"/files/{file}/content", None, CSV),
        interaction("GET", f"/threads/{THREAD}/runs/{RUN}/steps", None, old.list_page(*steps)),
    )
    assert (converted.refused, converted.warnings) == ([], [])


def test_a_stream_that_stops_early_is_converted_with_a_warning(play: Callable[..., Conversion]) -> None:
    """A recorded stream that stops before its end replays its recorded events, and the conversion warns about it."""

    def suite(client: Any) -> None:
        client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.", tools=[])
        client.beta.threads.create()
        client.beta.threads.messages.create(THREAD, role="user", content="3x + 11 = 14?")
        with client.beta.threads.runs.create(thread_id=THREAD, assistant_id=ASSISTANT, stream=True) as stream:
            assert next(iter(stream)).data.id == RUN

    body = {"assistant_id": ASSISTANT, "stream": True}
    recorded_stream = old.stream(
        ("thread.run.created", old.run("queued")), ("thread.run.in_progress", old.run("in_progress"))
    )
    converted = play(
        suite,
        *old.creation_calls(),
        interaction("POST", f"/threads/{THREAD}/runs", body, recorded_stream.partition("event: done")[0]),
    )
    assert converted.warnings == [f"run {RUN}: its recorded stream stops before the end, and so does the converted one"]


def test_unread_messages_and_files_are_empty_with_a_warning(play: Callable[..., Conversion]) -> None:
    """A message that the recording never shows is empty, a file that it never downloads too; each gives a warning."""
    image, unread = id_of("file-", "Plot"), id_of("msg_", "Unread")
    code = {"input": "plot()", "outputs": [{"type": "image", "image": {"file_id": image}}]}
    call = {"id": id_of("call_", "Code"), "type": "code_interpreter", "code_interpreter": code}
    steps = [
        old.step(STEP, old.message_details(unread), created_at=BASE_TIME + 5),
        old.step(id_of("step_", "Code"), old.tool_calls_details(call)),
    ]

    def suite(client: Any) -> None:
        client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.", tools=[CODE])
        client.beta.threads.create()
        client.beta.threads.messages.create(THREAD, role="user", content="3x + 11 = 14?")
        client.beta.threads.runs.create_and_poll(thread_id=THREAD, assistant_id=ASSISTANT, poll_interval_ms=1)
        message_step, _ = client.beta.threads.runs.steps.list(RUN, thread_id=THREAD).data
        assert message_step.step_details.message_creation.message_id == unread

    converted = play(
        suite,
        *old.creation_calls([CODE]),
        *old.run_calls(old.run("queued"), old.run("completed"), tools=[CODE]),
        interaction("GET", f"/threads/{THREAD}/runs/{RUN}/steps", None, old.list_page(*steps)),
    )
    assert sorted(converted.warnings) == [
        f"image {image}: the recording never downloads it, so it is empty",
        f"message {unread}: the recording never shows its text, so it has none",
    ]


def test_calls_that_cannot_be_converted_are_listed_with_their_numbers() -> None:
    """A call that failed in the service, and one that would fail now, are refused with their number and a reason."""
    busy = {"error": {"message": "The server is overloaded.", "type": "server_error", "param": None, "code": None}}
    unknown = f"/threads/{id_of('thread_', 'Gone')}/runs/{id_of('run_', 'Gone')}"
    converted = convert(
        document(
            interaction("POST", "/assistants", {"model": "gpt-4o"}, busy, status=503),
            interaction("POST", f"{unknown}/cancel", None, {"object": "other"}),
        )
    )
    assert [(refusal.number, refusal.reason) for refusal in converted.refused] == [
        (1, "the service answered 503, but the library now answers this call without asking it"),
        (2, f"recorded 200, now 404: No run found with id '{id_of('run_', 'Gone')}'."),
    ]


def test_a_rate_limit_of_a_run_becomes_one_of_its_response(play: Callable[..., Conversion]) -> None:
    """A rate limit that refused a run now refuses its response, so the SDK and the test see the same error."""
    limit = {
        "error": {"message": "Rate limit reached.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    }

    def suite(client: Any) -> None:
        client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.", tools=[])
        client.beta.threads.create()
        client.beta.threads.messages.create(THREAD, role="user", content="3x + 11 = 14?")
        with pytest.raises(openai.RateLimitError, match="Rate limit reached"):
            client.beta.threads.runs.create(thread_id=THREAD, assistant_id=ASSISTANT)

    body = {"assistant_id": ASSISTANT}
    converted = play(
        suite, *old.creation_calls(), interaction("POST", f"/threads/{THREAD}/runs", body, limit, status=429)
    )
    assert converted.refused == []


def test_native_and_foreign_requests_are_copied_unchanged() -> None:
    """Native calls and requests to other hosts keep their position and every byte of their interaction."""
    native = interaction("POST", "/embeddings", {"input": "x"}, {"object": "list"})
    foreign = interaction("GET", "https://example.com/threads", None, b"\xff\x00")
    foreign["request"]["headers"] = {}
    foreign["response"]["extra"] = {"kept": True}
    chatkit = interaction("GET", "/chatkit/threads", None, {"object": "list", "data": []})
    converted = convert(document(native, *old.creation_calls(), foreign, chatkit))
    assert [outcome.kind for outcome in converted.outcomes] == [
        "copied",
        "played",
        "played",
        "played",
        "copied",
        "copied",
    ]
    assert converted.document["interactions"] == [native, foreign, chatkit]
    assert convert(document(native)).document == document(native)


def test_concurrent_async_calls_get_the_recorded_objects(tmp_path: Path) -> None:
    """Asynchronous calls that run at the same time get the recorded objects."""
    convert_to_file(
        document(*old.creation_calls(), *old.run_calls(old.run("queued"), old.run("completed"))), tmp_path / "a.yaml"
    )
    door = Door("async", asyncio.new_event_loop())

    async def suite(client: Any) -> list[str]:
        assistant, thread = await asyncio.gather(
            client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.", tools=[]),
            client.beta.threads.create(),
        )
        await client.beta.threads.messages.create(thread.id, role="user", content="3x + 11 = 14?")
        run = await client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=1
        )
        return [assistant.id, thread.id, run.id]

    try:
        with replay_cassette(tmp_path / "a.yaml") as (settings, _):
            assert door(suite(door.client(SimpleNamespace(base_url=BASE), settings))) == [ASSISTANT, THREAD, RUN]
    finally:
        door.close()
