"""Streams through every part of the SDK: its helpers, handlers and raw answers, and what the store says meanwhile."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, CSV, FUNCTION, LINK, asked, calling, dump, look_at, make_assistant, make_thread, raw
from kit.upstream_requests import bodies
from kit.streams import (
    OUTPUTS,
    PLAIN,
    PNG,
    begin,
    ended,
    handler,
    names,
    once,
    rest,
    text_of,
    whole,
)

POST = "POST /responses"


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite; one test below names the other store."""
    return sqlite_settings


# --- the SDK's ways to begin


def test_every_way_to_begin_gives_the_same_stream(door: Door, client: Any, upstream: StandIn) -> None:
    """`create(stream=True)`, `stream`, `create_and_stream`: one POST each, the same events, the same stored message."""
    assistant = make_assistant(door, client)
    runs = client.beta.threads.runs
    ways = {
        "create": lambda id_: runs.create(id_, assistant_id=assistant.id, stream=True),
        "stream": lambda id_: runs.stream(thread_id=id_, assistant_id=assistant.id),
        "create_and_stream": lambda id_: runs.create_and_stream(thread_id=id_, assistant_id=assistant.id),
    }
    for number, (name, way) in enumerate(ways.items(), 1):
        thread = make_thread(door, client, "Say it in several words.")
        made = way(thread.id)
        if name == "create":
            seen = rest(door, door(made))
        else:
            seen = [event for what, event in whole_with_events(door, made) if what == "on_event"]
        assert once(names(seen)) == PLAIN
        [answer, _] = door.all(client.beta.threads.messages.list(thread.id))
        assert text_of(seen) == answer.content[0].text.value == "You said: Say it in several words."
        assert len(bodies(upstream)) == number
    assert asked(upstream) == [POST] * 3
    assert [body["stream"] for body in bodies(upstream)] == [True] * 3


def whole_with_events(door: Door, manager: Any) -> list[tuple[str, Any]]:
    """The events of a stream helper without a handler, as a handler would be told."""

    def blocking() -> list[tuple[str, Any]]:
        with manager as stream:
            return [("on_event", event) for event in stream]

    async def asynchronous() -> list[tuple[str, Any]]:
        async with manager as stream:
            return [("on_event", event) async for event in stream]

    return list(blocking() if door.kind == "sync" else door(asynchronous()))


def test_a_thread_and_its_run_in_one_stream(door: Door, client: Any, upstream: StandIn) -> None:
    """`create_and_run(stream=True)` and `create_and_run_stream` tell of the thread first; it is there from then on."""
    assistant = make_assistant(door, client)
    thread = {"messages": [{"role": "user", "content": "Hi."}], "metadata": {"k": "v"}}
    threads = client.beta.threads
    plain = rest(door, door(threads.create_and_run(assistant_id=assistant.id, thread=thread, stream=True)))
    helped = [
        event
        for _, event in whole_with_events(door, threads.create_and_run_stream(assistant_id=assistant.id, thread=thread))
    ]
    for seen in (plain, helped):
        assert once(names(seen)) == ["created", *PLAIN]
        made = seen[0].data
        assert (made.object, made.metadata) == ("thread", {"k": "v"})
        assert door(threads.retrieve(made.id)).id == made.id
        assert seen[-1].data.thread_id == made.id
    assert asked(upstream) == [POST] * 2


@pytest.mark.parametrize("helper", [False, True])
def test_the_rounds_of_a_run_are_one_stream_each(
    door: Door, client: Any, upstream: StandIn, settings: Settings, *, helper: bool
) -> None:
    """Two rounds of functions and an answer: each stream ends where outputs are awaited, and begins with their step."""
    upstream.script(calling("call_1"), calling("call_1"), Turn(text="Done."))
    runs = client.beta.threads.runs
    seen = rest(door, begin(door, client, tools=[FUNCTION]))
    run = seen[-1].data
    ids = {run.id}
    for end in ("run.requires_action", "run.completed"):
        assert names(seen)[-1] == "run.requires_action"
        assert look_at(door, client, run).status == "requires_action"
        arguments: dict[str, Any] = {"thread_id": run.thread_id, "run_id": run.id, "tool_outputs": OUTPUTS}
        if helper:
            seen = [event for _, event in whole_with_events(door, runs.submit_tool_outputs_stream(**arguments))]
        else:
            seen = rest(door, door(runs.submit_tool_outputs(**arguments, stream=True)))
        assert names(seen)[:3] == ["run.step.completed", "run.queued", "run.in_progress"]
        assert seen[0].data.step_details.tool_calls[0].function.output == "CALL_1"
        assert names(seen)[-1] == end
        ids.add(seen[-1].data.id)
    assert ids == {run.id}
    assert asked(upstream) == [POST] * 3
    final = look_at(door, client, run)
    steps = door.all(runs.steps.list(run.id, thread_id=run.thread_id, order="asc"))
    assert [step.type for step in steps] == ["tool_calls", "tool_calls", "message_creation"]
    assert final.usage.total_tokens == sum(step.usage.total_tokens for step in steps)
    assert seen[-1].data.usage == final.usage


def test_a_round_without_a_stream_between_streams(door: Door, client: Any, upstream: StandIn) -> None:
    """A streamed run may go on unstreamed, and an unstreamed one streamed."""
    runs = client.beta.threads.runs
    upstream.script(calling("call_1"), calling("call_1", polls=1), Turn(text="Done."))
    run = rest(door, begin(door, client, tools=[FUNCTION]))[-1].data
    poll = door(runs.submit_tool_outputs_and_poll(thread_id=run.thread_id, run_id=run.id, tool_outputs=OUTPUTS))
    assert (poll.id, poll.status) == (run.id, "requires_action")
    seen = rest(
        door, door(runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=OUTPUTS, stream=True))
    )
    assert (seen[-1].event, text_of(seen)) == ("thread.run.completed", "Done.")
    assert [(body.get("stream"), body.get("background")) for body in bodies(upstream)] == [
        (True, None),
        (None, True),
        (True, None),
    ]


# --- handlers


def test_a_handler_is_told_everything_once(door: Door, client: Any, upstream: StandIn) -> None:
    """Code, a plot, a linked file and a text: each `on_...` in its order, and `get_final_...` equal to the store."""
    upstream.script(Turn(text=LINK, code="plot()", logs="ok", images=[PNG], files={"sales.csv": CSV}))
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    told = handler(door)
    runs = client.beta.threads.runs
    stream = whole(door, runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=told))
    assert stream is told
    seen = once([name for name, _ in told.calls if name not in {"on_event", "on_run_step_delta"}])
    assert seen[:11] == [
        "on_run_step_created",
        *["on_tool_call_created", "on_tool_call_delta", "on_tool_call_done", "on_run_step_done"],
        "on_run_step_created",
        *["on_message_created", "on_message_delta", "on_text_created", "on_text_delta", "on_image_file_done"],
    ]
    # The SDK never forgets its last call: it tells of that one's end again whenever something ends.
    assert [name for name in seen[11:] if name not in {"on_message_delta", "on_text_delta", "on_tool_call_done"}] == [
        *["on_text_done", "on_message_done", "on_run_step_done", "on_end"]
    ]
    run = door(told.get_final_run())
    assert run.status == "completed"
    assert door(told.get_final_messages()) == door.all(client.beta.threads.messages.list(thread.id, run_id=run.id))
    steps = door(told.get_final_run_steps())
    listed = door.all(runs.steps.list(run.id, thread_id=thread.id, order="asc"))
    # The SDK's own sum of the call's deltas still has the deltas' places in it.
    assert [_without_places(step.step_details) for step in steps] == [
        _without_places(step.step_details) for step in listed
    ]


def _without_places(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_places(each) for each in value]
    if isinstance(value, dict):
        return {key: _without_places(each) for key, each in value.items() if key != "index"}
    return _without_places(value.to_dict()) if hasattr(value, "to_dict") else value


def test_text_deltas_and_until_done(door: Door, client: Any) -> None:
    """`text_deltas` are strings that add up to the message; a stream that was read to its end stays readable."""
    assistant, thread = make_assistant(door, client), make_thread(door, client, "one two three")
    manager = client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id)

    def blocking() -> list[str]:
        with manager as stream:
            deltas = list(stream.text_deltas)
            stream.until_done()
            assert list(stream) == []
            return deltas

    async def asynchronous() -> list[str]:
        async with manager as stream:
            deltas = [delta async for delta in stream.text_deltas]
            await stream.until_done()
            assert [event async for event in stream] == []
            return deltas

    deltas = blocking() if door.kind == "sync" else door(asynchronous())
    assert len(deltas) > 3
    assert "".join(deltas) == "You said: one two three"


def test_what_a_handler_was_told_it_can_ask_for(  # noqa: C901 - one small handler for each kind of event
    door: Door, client: Any, upstream: StandIn
) -> None:
    """In the middle of a stream: messages, steps, the run and a file's bytes are there before they are told."""
    upstream.script(Turn(text=LINK, code="plot()", logs="ok", images=[PNG], files={"sales.csv": CSV}))
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    threads = client.beta.threads
    got: list[tuple[str, Any, Any]] = []

    def asking(name: str, ask: Any) -> Any:
        def blocking(told: Any, *_: Any) -> None:
            got.append((name, told, ask(told)))

        async def asynchronous(told: Any, *_: Any) -> None:
            got.append((name, told, await ask(told)))

        return blocking if door.kind == "sync" else asynchronous

    def file_of(done: Any) -> Any:
        return client.files.content(done.content[1].text.annotations[0].file_path.file_id)

    def on_event(event: Any) -> Any:
        if event.event == "thread.run.step.in_progress":
            return asking(
                "step begun",
                lambda told: threads.runs.steps.retrieve(told.data.id, thread_id=thread.id, run_id=told.data.run_id),
            )(event)
        if event.event == "thread.message.in_progress":
            return asking("run", lambda told: threads.runs.retrieve(told.data.run_id, thread_id=thread.id))(event)
        return None

    def on_tool_call_done(call: Any) -> Any:
        if any(name == "picture" for name, _, _ in got) or not call.code_interpreter.outputs:
            return None
        picture = next(output for output in call.code_interpreter.outputs if output.type == "image")
        return asking("picture", lambda _: client.files.content(picture.image.file_id))(call)

    async def done_async(done: Any) -> None:
        await asking("message", lambda told: threads.messages.retrieve(told.id, thread_id=thread.id))(done)
        await asking("file", file_of)(done)

    def done(done: Any) -> None:
        asking("message", lambda told: threads.messages.retrieve(told.id, thread_id=thread.id))(done)
        asking("file", file_of)(done)

    told = handler(
        door,
        on_event=on_event,
        on_tool_call_done=on_tool_call_done,
        on_image_file_done=asking("shown", lambda image: client.files.content(image.file_id)),
        on_message_done=done if door.kind == "sync" else done_async,
        on_run_step_done=asking(
            "step", lambda step: threads.runs.steps.retrieve(step.id, thread_id=thread.id, run_id=step.run_id)
        ),
    )
    whole(door, threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=told))
    assert [name for name, _, _ in got] == [
        *["step begun", "picture", "step", "step begun", "run", "shown", "message", "file", "step"]
    ]
    for name, given, found in got:
        if name in {"shown", "picture"}:
            assert found.read() == PNG
        elif name == "file":
            assert found.read() == CSV
        elif name == "message":
            assert found == given
        elif name == "run":
            assert found.id == given.data.run_id
            assert found.status in {"in_progress", "completed"}  # an asynchronous stream is read a little ahead
        elif name == "step begun":
            assert found.id == given.data.id
        else:
            assert (found.step_details, found.status) == (given.step_details, "completed")
    copied = "GET /containers/*/files/*/content"
    assert asked(upstream, POST, copied) == [POST, copied]


@pytest.mark.parametrize("place", ["on_tool_call_done", "on_event"])
def test_outputs_are_submitted_from_inside_a_handler(
    door: Door, client: Any, upstream: StandIn, settings: Settings, place: str
) -> None:
    """Nested streams with handlers of their own, three rounds deep, as applications do it."""
    upstream.script(calling("call_1"), calling("call_2"), calling("call_3"), Turn(text="All done."))
    assistant, thread = make_assistant(door, client, tools=[FUNCTION]), make_thread(door, client)
    runs = client.beta.threads.runs
    handlers: list[Any] = []

    def new() -> Any:
        def submit(call_id: str, run_id: str) -> Any:
            outputs = [{"tool_call_id": call_id, "output": "x"}]
            manager = runs.submit_tool_outputs_stream(
                thread_id=thread.id, run_id=run_id, tool_outputs=outputs, event_handler=new()
            )
            if door.kind == "sync":
                with manager as stream:
                    stream.until_done()
                return None

            async def nested() -> None:
                async with manager as stream:
                    await stream.until_done()

            return nested()

        def on_event(event: Any) -> Any:
            if event.event != "thread.run.requires_action":
                return None
            [call] = event.data.required_action.submit_tool_outputs.tool_calls
            return submit(call.id, event.data.id)

        def on_tool_call_done(call: Any) -> Any:
            # The SDK may tell of a call's end more than once: only the run's own word counts.
            run = handlers[-1].current_run if handlers else None
            return submit(call.id, run.id) if run is not None and run.status == "requires_action" else None

        actions = {"on_event": on_event} if place == "on_event" else {"on_tool_call_done": on_tool_call_done}
        handlers.append(handler(door, **actions))
        return handlers[-1]

    whole(door, runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=new()))
    assert len(handlers) == 4
    [answer, _] = door.all(client.beta.threads.messages.list(thread.id))
    assert answer.content[0].text.value == "All done."
    assert asked(upstream) == [POST] * 4
    run = ended(settings, answer.run_id, door)
    assert {row["id"] for row in dump(settings)["runs"]} == {run["id"]}


# --- what was streamed is what is stored


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_the_store_says_what_the_stream_said(
    door: Door, upstream: StandIn, settings: Settings, request: pytest.FixtureRequest, store: str
) -> None:
    """Run, steps and message as retrieved equal the last events of the stream, field by field."""
    if store == "postgresql":
        url = request.getfixturevalue("postgresql_server")
        settings = Settings(store=url, files=settings.files, namespace=uuid.uuid4().hex)
    client = door.client(upstream, settings)
    upstream.script(Turn(text=LINK, code="plot()", logs="ok", images=[PNG], files={"sales.csv": CSV}))
    seen = rest(door, begin(door, client, assistant={"tools": CODE}))
    last = {(event.event, getattr(event.data, "id", "")): event.data for event in seen}
    run = seen[-1].data
    threads = client.beta.threads
    base = f"/threads/{run.thread_id}"
    streamed = [data for (name, _), data in last.items() if name == "thread.message.completed"]
    assert streamed == [door(threads.messages.retrieve(each.id, thread_id=run.thread_id)) for each in streamed]
    assert streamed == door.all(threads.messages.list(run.thread_id, run_id=run.id))
    assert text_of(seen) == streamed[0].content[1].text.value == LINK
    notes = [
        note
        for event in seen
        if event.event == "thread.message.delta"
        for block in event.data.delta.content
        if block.type == "text"
        for note in block.text.annotations or []
    ]
    assert [note.file_path.file_id for note in notes] == [
        note.file_path.file_id for note in streamed[0].content[1].text.annotations
    ]
    listed = raw(door, client, f"{base}/runs/{run.id}/steps?order=asc")["data"]
    told = [data.to_dict() for (name, _), data in last.items() if name == "thread.run.step.completed"]
    assert len(told) == len(listed) == 2
    for one, other in zip(told, listed, strict=True):
        # A streamed step keeps its time of expiry (recorded), and shows no keys that newer services added.
        assert {key: other[key] for key in one} == {**one, "expires_at": None}
    assert {**run.to_dict(), "tool_resources": {}} == raw(door, client, f"{base}/runs/{run.id}")
    assert asked(upstream, "GET /responses/*", POST) == [POST]
