"""Old recordings of longer and odder conversations, converted, and what of one cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from kit import legacy_recordings as old
from assistants_compat.recordings.convert.play import Converted, convert
from assistants_compat.recordings.replay import KEY
from kit.converted_recordings import BASE, document, interaction, replayed, written
from kit.doors import Door
from kit.legacy_recordings import ANSWER, ASSISTANT, QUESTION, RUN, STEP, THEN, THREAD, id_of

CSV = b"a,b\n"
CODE = {"type": "code_interpreter"}
AZURE = "https://example.openai.azure.com/openai"


@pytest.fixture
def play(sync: Door, tmp_path: Path) -> Callable[..., Converted]:
    """Convert a recording, and run a suite over it with a client that was wrapped; all of it is played.

    One kind of client is enough here: what differs is the recording.
    """

    def run(suite: Callable[[Any], None], *interactions: dict[str, Any], **options: Any) -> Converted:
        converted = written(document(*interactions), tmp_path / "new.yaml")
        with replayed(tmp_path / "new.yaml") as (settings, tape):
            client = sync.client(SimpleNamespace(base_url=BASE, azure_endpoint=AZURE[:-7]), settings, **options)
            suite(client)
            client.close()  # a stream that was left is read to its end
            assert tape.all_played
        return converted

    return run


def test_a_second_question_sends_the_first(play: Callable[..., Converted]) -> None:
    """Two runs of one thread: what the second one sends holds what the first one said."""
    again, second, reply = id_of("msg_", "Again"), id_of("run_", "Second"), id_of("msg_", "Reply")

    def suite(client: Any) -> None:
        threads = client.beta.threads
        client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.")
        first = threads.create_and_run_poll(
            assistant_id=ASSISTANT, thread={"messages": [{"role": "user", "content": "3x + 11 = 14?"}]}
        )
        assert (first.id, first.thread_id, first.created_at) == (RUN, THREAD, THEN + 3)
        assert threads.messages.create(THREAD, role="user", content="Sure?").id == again
        run = threads.runs.create_and_poll(thread_id=THREAD, assistant_id=ASSISTANT, poll_interval_ms=1)
        assert (run.id, run.status) == (second, "completed")
        said = threads.messages.list(THREAD, order="asc").data
        assert [each.id for each in said] == [QUESTION, ANSWER, again, reply]

    given = {"messages": [{"role": "user", "content": "3x + 11 = 14?"}]}
    later = {"id": second, "created_at": THEN + 20}
    messages = [
        old.message(QUESTION, "user", "3x + 11 = 14?"),
        old.message(ANSWER, "assistant", "x = 1"),
        old.message(again, "user", "Sure?", created_at=THEN + 15),
        old.message(reply, "assistant", "Sure.", created_at=THEN + 25, run_id=second),
    ]
    runs = f"/threads/{THREAD}/runs"
    converted = play(
        suite,
        old.created()[0],
        interaction("POST", "/threads/runs", {"assistant_id": ASSISTANT, "thread": given}, old.run("queued")),
        interaction("GET", f"{runs}/{RUN}", None, old.run("completed")),
        interaction("POST", f"/threads/{THREAD}/messages", {"role": "user", "content": "Sure?"}, messages[2]),
        interaction("POST", runs, {"assistant_id": ASSISTANT}, old.run("queued", **later)),
        interaction("GET", f"{runs}/{second}", None, old.run("completed", **{**later, "completed_at": THEN + 29})),
        interaction("GET", f"/threads/{THREAD}/messages?order=asc", None, old.listed(*messages)),
    )
    assert (converted.refused, converted.troubles) == ([], [])
    assert "x = 1" in converted.document["interactions"][2]["request"]["body"]


def test_what_was_there_before(play: Callable[..., Converted]) -> None:
    """An assistant, a thread and its messages that the recording did not make are there again for its test."""

    def suite(client: Any) -> None:
        assert client.beta.assistants.retrieve(ASSISTANT).name == "Tutor"
        run = client.beta.threads.runs.create_and_poll(thread_id=THREAD, assistant_id=ASSISTANT, poll_interval_ms=1)
        assert run.status == "completed"
        assert [each.id for each in client.beta.threads.messages.list(THREAD).data] == [ANSWER, QUESTION]

    converted = play(
        suite,
        interaction("GET", f"/assistants/{ASSISTANT}", None, old.assistant()),
        *old.polled(old.run("queued"), old.run("completed")),
        old.read(old.message(ANSWER, "assistant", "x = 1"), old.message(QUESTION, "user", "3x + 11 = 14?")),
    )
    assert set(converted.document[KEY]["seed"]) == {"assistants", "threads", "messages"}
    assert converted.troubles == [
        f"thread {THREAD} was made elsewhere: what was said in it before is known as far as it was read"
    ]


@pytest.mark.parametrize("kind", ["deployment", "plain"])
def test_azure(play: Callable[..., Converted], kind: str) -> None:
    """Azure's dated routes become its v1 routes, without the version."""
    base = f"{AZURE}/deployments/tutor" if kind == "deployment" else AZURE

    def suite(client: Any) -> None:
        client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.", tools=[])
        client.beta.threads.create()
        client.beta.threads.messages.create(THREAD, role="user", content="3x + 11 = 14?")
        run = client.beta.threads.runs.create_and_poll(thread_id=THREAD, assistant_id=ASSISTANT, poll_interval_ms=1)
        assert (run.id, run.status) == (RUN, "completed")

    moved = []
    for each in [*old.created(), *old.polled(old.run("queued"), old.run("completed"))]:
        each["request"]["uri"] = each["request"]["uri"].replace(BASE, base) + "?api-version=2024-05-01-preview"
        moved.append(each)
    options = {"base_url": base, "azure_endpoint": None} if kind == "deployment" else {}
    converted = play(suite, *moved, azure=True, **options)
    uris = [each["request"]["uri"] for each in converted.document["interactions"]]
    assert [uri.partition("?")[0].rpartition("/resp")[0] for uri in uris] == [f"{AZURE}/v1", f"{AZURE}/v1/responses"]
    assert not any("api-version" in uri for uri in uris)


def test_a_file_in_a_stream(play: Callable[..., Converted]) -> None:
    """A file that was linked in a stream has its recorded id, place and bytes."""
    file = id_of("file-", "Table")
    said = "See sandbox:/mnt/data/t.csv"
    note = {"type": "file_path", "text": said[4:], "start_index": 4, "end_index": len(said)}
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
        assert (message.id, block.text.value) == (ANSWER, said)
        assert [(each.file_path.file_id, each.start_index) for each in block.text.annotations] == [(file, 4)]
        assert step.id == STEP
        assert client.files.content(file).read() == CSV

    first, second = old.step(id_of("step_", "Code"), old.calls(call)), old.step(STEP, old.says())
    answer = old.message(ANSWER, "assistant", old.text(said, note))
    events = [
        ("thread.run.created", old.run("queued")),
        ("thread.run.step.created", {**first, "step_details": old.calls()}),
        ("thread.run.step.completed", first),
        ("thread.run.step.created", second),
        ("thread.message.created", old.message(ANSWER, "assistant")),
        old.delta(ANSWER, said),
        old.delta(ANSWER, "", note),
        ("thread.message.completed", answer),
        ("thread.run.step.completed", second),
        ("thread.run.completed", old.run("completed")),
    ]
    body = {"assistant_id": ASSISTANT, "stream": True}
    converted = play(
        suite,
        *old.created([CODE]),
        interaction("POST", f"/threads/{THREAD}/runs", body, old.stream(*events)),
        interaction("GET", f"/files/{file}/content", None, CSV),
    )
    assert (converted.refused, converted.troubles) == ([], [])


def test_a_file_that_nobody_links(play: Callable[..., Converted]) -> None:
    """A file that was only attached to the answer is so again, under its id."""
    file = id_of("file-", "Notes")
    call = {"id": id_of("call_", "Code"), "type": "code_interpreter", "code_interpreter": {"input": "1", "outputs": []}}
    steps = [old.step(STEP, old.says(), created_at=THEN + 5), old.step(id_of("step_", "Code"), old.calls(call))]

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
        *old.created([CODE]),
        *old.polled(old.run("queued"), old.run("completed"), tools=[CODE]),
        old.read(answer, old.message(QUESTION, "user", "3x + 11 = 14?")),
        interaction("GET", f"/files/{file}/content", None, CSV),
        interaction("GET", f"/threads/{THREAD}/runs/{RUN}/steps", None, old.listed(*steps)),
    )
    assert (converted.refused, converted.troubles) == ([], [])


def test_a_stream_that_was_left(play: Callable[..., Converted]) -> None:
    """A test that leaves a stream sees what it saw; that its end is not known is said."""

    def suite(client: Any) -> None:
        client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.", tools=[])
        client.beta.threads.create()
        client.beta.threads.messages.create(THREAD, role="user", content="3x + 11 = 14?")
        with client.beta.threads.runs.create(thread_id=THREAD, assistant_id=ASSISTANT, stream=True) as stream:
            assert next(iter(stream)).data.id == RUN

    body = {"assistant_id": ASSISTANT, "stream": True}
    told = old.stream(("thread.run.created", old.run("queued")), ("thread.run.in_progress", old.run("in_progress")))
    converted = play(
        suite, *old.created(), interaction("POST", f"/threads/{THREAD}/runs", body, told.partition("event: done")[0])
    )
    assert converted.troubles == [f"the stream of run {RUN} was left before its end, which is not known"]


def test_what_was_never_read_is_said_and_not_made_up(play: Callable[..., Converted]) -> None:
    """A message that no call read has no text now, a file that none fetched no bytes; each is a line."""
    image, unread = id_of("file-", "Plot"), id_of("msg_", "Unread")
    code = {"input": "plot()", "outputs": [{"type": "image", "image": {"file_id": image}}]}
    call = {"id": id_of("call_", "Code"), "type": "code_interpreter", "code_interpreter": code}
    steps = [old.step(STEP, old.says(unread), created_at=THEN + 5), old.step(id_of("step_", "Code"), old.calls(call))]

    def suite(client: Any) -> None:
        client.beta.assistants.create(name="Tutor", model="gpt-4o", instructions="Help.", tools=[CODE])
        client.beta.threads.create()
        client.beta.threads.messages.create(THREAD, role="user", content="3x + 11 = 14?")
        client.beta.threads.runs.create_and_poll(thread_id=THREAD, assistant_id=ASSISTANT, poll_interval_ms=1)
        says, _ = client.beta.threads.runs.steps.list(RUN, thread_id=THREAD).data
        assert says.step_details.message_creation.message_id == unread

    converted = play(
        suite,
        *old.created([CODE]),
        *old.polled(old.run("queued"), old.run("completed"), tools=[CODE]),
        interaction("GET", f"/threads/{THREAD}/runs/{RUN}/steps", None, old.listed(*steps)),
    )
    assert sorted(converted.troubles) == [
        f"image {image} was never downloaded: its bytes are not known, and it is empty",
        f"message {unread} was never read: its text is not known, and left out",
    ]


def test_what_the_shim_answers_otherwise_is_refused_by_its_number() -> None:
    """A call that failed on the service's side, and one whose answer would be an error now, are lines with reasons."""
    busy = {"error": {"message": "The server is overloaded.", "type": "server_error", "param": None, "code": None}}
    unknown = f"/threads/{id_of('thread_', 'Gone')}/runs/{id_of('run_', 'Gone')}"
    converted = convert(
        document(
            interaction("POST", "/assistants", {"model": "gpt-4o"}, busy, status=503),
            interaction("POST", f"{unknown}/cancel", None, {"object": "other"}),
        )
    )
    assert [(each.number, each.reason) for each in converted.refused] == [
        (1, "the service was in trouble (503), and is not asked for this any more"),
        (2, f"recorded 200, now 404: No run found with id '{id_of('run_', 'Gone')}'."),
    ]


def test_trouble_at_a_run_stays_the_upstreams(play: Callable[..., Converted]) -> None:
    """A rate limit that met a run meets its response now: the SDK's retries and the test see it as before."""
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
    converted = play(suite, *old.created(), interaction("POST", f"/threads/{THREAD}/runs", body, limit, status=429))
    assert converted.refused == []


def test_other_requests_are_copied_as_they_are() -> None:
    """Native calls and other hosts keep their place and every byte of their interaction."""
    native = interaction("POST", "/embeddings", {"input": "x"}, {"object": "list"})
    other = interaction("GET", "https://example.com/threads", None, b"\xff\x00")
    other["request"]["headers"] = {}
    other["response"]["extra"] = {"kept": True}
    chatkit = interaction("GET", "/chatkit/threads", None, {"object": "list", "data": []})
    converted = convert(document(native, *old.created(), other, chatkit))
    assert [each.kind for each in converted.outcomes] == ["copied", "played", "played", "played", "copied", "copied"]
    assert converted.document["interactions"] == [native, other, chatkit]
    assert convert(document(native)).document == document(native)


def test_async_calls_of_one_conversation(tmp_path: Path) -> None:
    """Calls that are made at once see the recorded objects too."""
    written(document(*old.created(), *old.polled(old.run("queued"), old.run("completed"))), tmp_path / "a.yaml")
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
        with replayed(tmp_path / "a.yaml") as (settings, _):
            assert door(suite(door.client(SimpleNamespace(base_url=BASE), settings))) == [ASSISTANT, THREAD, RUN]
    finally:
        door.close()
