"""Streams work through all of the SDK's helpers, handlers and raw answers, and match what the store serves."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    CODE,
    CSV,
    FUNCTION,
    LINK,
    dump_store,
    function_call_turn,
    get_raw,
    make_assistant,
    make_thread,
    retrieve_run,
    upstream_calls,
)
from kit.streams import (
    OUTPUTS,
    PLAIN_EVENT_NAMES,
    PNG,
    event_names,
    finish_helper,
    make_handler,
    read_rest,
    start_stream,
    text_of,
    wait_until_ended,
    without_repeats,
)
from kit.upstream_requests import request_bodies

POST = "POST /responses"


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite; one test below uses PostgreSQL too."""
    return sqlite_settings


# --- the SDK's methods that start a stream


def test_every_method_that_starts_a_stream_gives_the_same_events(door: Door, client: Any, upstream: StandIn) -> None:
    """`create(stream=True)`, `stream` and `create_and_stream` send one POST each and give the same events."""
    assistant = make_assistant(door, client)
    runs = client.beta.threads.runs
    methods = {
        "create": lambda id_: runs.create(id_, assistant_id=assistant.id, stream=True),
        "stream": lambda id_: runs.stream(thread_id=id_, assistant_id=assistant.id),
        "create_and_stream": lambda id_: runs.create_and_stream(thread_id=id_, assistant_id=assistant.id),
    }
    for number, (name, method) in enumerate(methods.items(), 1):
        thread = make_thread(door, client, "Say it in several words.")
        started = method(thread.id)
        if name == "create":
            seen = read_rest(door, door(started))
        else:
            seen = [event for callback, event in all_callbacks(door, started) if callback == "on_event"]
        assert without_repeats(event_names(seen)) == PLAIN_EVENT_NAMES
        [answer, _] = door.all(client.beta.threads.messages.list(thread.id))
        assert text_of(seen) == answer.content[0].text.value == "You said: Say it in several words."
        assert len(request_bodies(upstream)) == number
    assert upstream_calls(upstream) == [POST] * 3
    assert [body["stream"] for body in request_bodies(upstream)] == [True] * 3


def all_callbacks(door: Door, manager: Any) -> list[tuple[str, Any]]:
    """Return a helper's events as pairs that a handler's `calls` would have."""

    def blocking() -> list[tuple[str, Any]]:
        with manager as stream:
            return [("on_event", event) for event in stream]

    async def asynchronous() -> list[tuple[str, Any]]:
        async with manager as stream:
            return [("on_event", event) async for event in stream]

    return list(blocking() if door.kind == "sync" else door(asynchronous()))


def test_a_thread_and_its_run_are_created_in_one_stream(door: Door, client: Any, upstream: StandIn) -> None:
    """Streams of `create_and_run` begin with the thread, which can be retrieved afterwards."""
    assistant = make_assistant(door, client)
    thread = {"messages": [{"role": "user", "content": "Hi."}], "metadata": {"k": "v"}}
    threads = client.beta.threads
    plain = read_rest(door, door(threads.create_and_run(assistant_id=assistant.id, thread=thread, stream=True)))
    with_helper = [
        event
        for _, event in all_callbacks(door, threads.create_and_run_stream(assistant_id=assistant.id, thread=thread))
    ]
    for seen in (plain, with_helper):
        assert without_repeats(event_names(seen)) == ["created", *PLAIN_EVENT_NAMES]
        thread_of_event = seen[0].data
        assert (thread_of_event.object, thread_of_event.metadata) == ("thread", {"k": "v"})
        assert door(threads.retrieve(thread_of_event.id)).id == thread_of_event.id
        assert seen[-1].data.thread_id == thread_of_event.id
    assert upstream_calls(upstream) == [POST] * 2


@pytest.mark.parametrize("helper", [False, True])
def test_the_rounds_of_a_run_are_one_stream_each(
    door: Door, client: Any, upstream: StandIn, settings: Settings, *, helper: bool
) -> None:
    """Each round of a run is one stream, which begins with the completed step and ends where outputs are awaited."""
    upstream.script(function_call_turn("call_1"), function_call_turn("call_1"), Turn(text="Done."))
    runs = client.beta.threads.runs
    seen = read_rest(door, start_stream(door, client, tools=[FUNCTION]))
    run = seen[-1].data
    ids = {run.id}
    for end in ("run.requires_action", "run.completed"):
        assert event_names(seen)[-1] == "run.requires_action"
        assert retrieve_run(door, client, run).status == "requires_action"
        arguments: dict[str, Any] = {"thread_id": run.thread_id, "run_id": run.id, "tool_outputs": OUTPUTS}
        if helper:
            seen = [event for _, event in all_callbacks(door, runs.submit_tool_outputs_stream(**arguments))]
        else:
            seen = read_rest(door, door(runs.submit_tool_outputs(**arguments, stream=True)))
        assert event_names(seen)[:3] == ["run.step.completed", "run.queued", "run.in_progress"]
        assert seen[0].data.step_details.tool_calls[0].function.output == "CALL_1"
        assert event_names(seen)[-1] == end
        ids.add(seen[-1].data.id)
    assert ids == {run.id}
    assert upstream_calls(upstream) == [POST] * 3
    final = retrieve_run(door, client, run)
    steps = door.all(runs.steps.list(run.id, thread_id=run.thread_id, order="asc"))
    assert [step.type for step in steps] == ["tool_calls", "tool_calls", "message_creation"]
    assert final.usage.total_tokens == sum(step.usage.total_tokens for step in steps)
    assert seen[-1].data.usage == final.usage


def test_a_run_may_mix_streamed_and_polled_rounds(door: Door, client: Any, upstream: StandIn) -> None:
    """A streamed run may continue with a polled round, and that one with a streamed round."""
    runs = client.beta.threads.runs
    upstream.script(function_call_turn("call_1"), function_call_turn("call_1", polls=1), Turn(text="Done."))
    run = read_rest(door, start_stream(door, client, tools=[FUNCTION]))[-1].data
    poll = door(runs.submit_tool_outputs_and_poll(thread_id=run.thread_id, run_id=run.id, tool_outputs=OUTPUTS))
    assert (poll.id, poll.status) == (run.id, "requires_action")
    seen = read_rest(
        door, door(runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=OUTPUTS, stream=True))
    )
    assert (seen[-1].event, text_of(seen)) == ("thread.run.completed", "Done.")
    assert [(body.get("stream"), body.get("background")) for body in request_bodies(upstream)] == [
        (True, None),
        (None, True),
        (True, None),
    ]


# --- handlers


def test_a_handler_gets_every_callback_once(door: Door, client: Any, upstream: StandIn) -> None:
    """A handler gets each callback once in order, and its `get_final_...` methods match the store."""
    upstream.script(Turn(text=LINK, code="plot()", logs="ok", images=[PNG], files={"sales.csv": CSV}))
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    handler = make_handler(door)
    runs = client.beta.threads.runs
    stream = finish_helper(door, runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=handler))
    assert stream is handler
    seen = without_repeats([name for name, _ in handler.calls if name not in {"on_event", "on_run_step_delta"}])
    assert seen[:11] == [
        "on_run_step_created",
        *["on_tool_call_created", "on_tool_call_delta", "on_tool_call_done", "on_run_step_done"],
        "on_run_step_created",
        *["on_message_created", "on_message_delta", "on_text_created", "on_text_delta", "on_image_file_done"],
    ]
    # The SDK calls `on_tool_call_done` for its last call again whenever something ends.
    assert [name for name in seen[11:] if name not in {"on_message_delta", "on_text_delta", "on_tool_call_done"}] == [
        *["on_text_done", "on_message_done", "on_run_step_done", "on_end"]
    ]
    run = door(handler.get_final_run())
    assert run.status == "completed"
    assert door(handler.get_final_messages()) == door.all(client.beta.threads.messages.list(thread.id, run_id=run.id))
    steps = door(handler.get_final_run_steps())
    listed = door.all(runs.steps.list(run.id, thread_id=thread.id, order="asc"))
    # The SDK's own sum of the call's deltas still has the keys `index` of the deltas.
    assert [_without_indexes(step.step_details) for step in steps] == [
        _without_indexes(step.step_details) for step in listed
    ]


def _without_indexes(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_indexes(member) for member in value]
    if isinstance(value, dict):
        return {key: _without_indexes(member) for key, member in value.items() if key != "index"}
    return _without_indexes(value.to_dict()) if hasattr(value, "to_dict") else value


def test_text_deltas_add_up_to_the_message(door: Door, client: Any) -> None:
    """`text_deltas` add up to the message, and a stream that was read to its end can be read again."""
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


def test_a_handler_can_retrieve_what_its_callback_got(  # noqa: C901 - one small handler for each kind of event
    door: Door, client: Any, upstream: StandIn
) -> None:
    """Within a callback, the message, step, run and file of the event can already be retrieved."""
    upstream.script(Turn(text=LINK, code="plot()", logs="ok", images=[PNG], files={"sales.csv": CSV}))
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    threads = client.beta.threads
    retrieved: list[tuple[str, Any, Any]] = []

    def retrieving(name: str, retrieve: Any) -> Any:
        def blocking(streamed: Any, *_: Any) -> None:
            retrieved.append((name, streamed, retrieve(streamed)))

        async def asynchronous(streamed: Any, *_: Any) -> None:
            retrieved.append((name, streamed, await retrieve(streamed)))

        return blocking if door.kind == "sync" else asynchronous

    def content_of_link(message: Any) -> Any:
        return client.files.content(message.content[1].text.annotations[0].file_path.file_id)

    def on_event(event: Any) -> Any:
        if event.event == "thread.run.step.in_progress":
            return retrieving(
                "step begun",
                lambda begun: threads.runs.steps.retrieve(begun.data.id, thread_id=thread.id, run_id=begun.data.run_id),
            )(event)
        if event.event == "thread.message.in_progress":
            return retrieving("run", lambda begun: threads.runs.retrieve(begun.data.run_id, thread_id=thread.id))(event)
        return None

    def on_tool_call_done(call: Any) -> Any:
        if any(name == "picture" for name, _, _ in retrieved) or not call.code_interpreter.outputs:
            return None
        picture = next(output for output in call.code_interpreter.outputs if output.type == "image")
        return retrieving("picture", lambda _: client.files.content(picture.image.file_id))(call)

    async def on_message_done_async(message: Any) -> None:
        await retrieving("message", lambda done: threads.messages.retrieve(done.id, thread_id=thread.id))(message)
        await retrieving("file", content_of_link)(message)

    def on_message_done(message: Any) -> None:
        retrieving("message", lambda done: threads.messages.retrieve(done.id, thread_id=thread.id))(message)
        retrieving("file", content_of_link)(message)

    handler = make_handler(
        door,
        on_event=on_event,
        on_tool_call_done=on_tool_call_done,
        on_image_file_done=retrieving("shown", lambda image: client.files.content(image.file_id)),
        on_message_done=on_message_done if door.kind == "sync" else on_message_done_async,
        on_run_step_done=retrieving(
            "step", lambda step: threads.runs.steps.retrieve(step.id, thread_id=thread.id, run_id=step.run_id)
        ),
    )
    finish_helper(door, threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=handler))
    assert [name for name, _, _ in retrieved] == [
        *["step begun", "picture", "step", "step begun", "run", "shown", "message", "file", "step"]
    ]
    for name, streamed, served in retrieved:
        if name in {"shown", "picture"}:
            assert served.read() == PNG
        elif name == "file":
            assert served.read() == CSV
        elif name == "message":
            assert served == streamed
        elif name == "run":
            assert served.id == streamed.data.run_id
            assert served.status in {"in_progress", "completed"}  # an asynchronous stream is read a little ahead
        elif name == "step begun":
            assert served.id == streamed.data.id
        else:
            assert (served.step_details, served.status) == (streamed.step_details, "completed")
    copied = "GET /containers/*/files/*/content"
    assert upstream_calls(upstream, POST, copied) == [POST, copied]


@pytest.mark.parametrize("callback", ["on_tool_call_done", "on_event"])
def test_outputs_are_submitted_from_inside_a_handler(
    door: Door, client: Any, upstream: StandIn, settings: Settings, callback: str
) -> None:
    """Handlers submit outputs in nested streams, three rounds deep, as applications do it."""
    upstream.script(
        function_call_turn("call_1"), function_call_turn("call_2"), function_call_turn("call_3"), Turn(text="All done.")
    )
    assistant, thread = make_assistant(door, client, tools=[FUNCTION]), make_thread(door, client)
    runs = client.beta.threads.runs
    handlers: list[Any] = []

    def new_handler() -> Any:
        def submit(call_id: str, run_id: str) -> Any:
            outputs = [{"tool_call_id": call_id, "output": "x"}]
            manager = runs.submit_tool_outputs_stream(
                thread_id=thread.id, run_id=run_id, tool_outputs=outputs, event_handler=new_handler()
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
            # The SDK may call this more than once for a call, so the run's status decides.
            run = handlers[-1].current_run if handlers else None
            return submit(call.id, run.id) if run is not None and run.status == "requires_action" else None

        actions = {"on_event": on_event} if callback == "on_event" else {"on_tool_call_done": on_tool_call_done}
        handlers.append(make_handler(door, **actions))
        return handlers[-1]

    finish_helper(door, runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=new_handler()))
    assert len(handlers) == 4
    [answer, _] = door.all(client.beta.threads.messages.list(thread.id))
    assert answer.content[0].text.value == "All done."
    assert upstream_calls(upstream) == [POST] * 4
    run = wait_until_ended(settings, answer.run_id, door)
    assert {row["id"] for row in dump_store(settings)["runs"]} == {run["id"]}


# --- the stream and the store agree


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_the_store_serves_what_was_streamed(
    door: Door, upstream: StandIn, settings: Settings, request: pytest.FixtureRequest, store: str
) -> None:
    """Run, steps and message as retrieved equal the last events of the stream, field by field."""
    if store == "postgresql":
        url = request.getfixturevalue("postgresql_server")
        settings = Settings(store=url, files=settings.files, namespace=uuid.uuid4().hex)
    client = door.client(upstream, settings)
    upstream.script(Turn(text=LINK, code="plot()", logs="ok", images=[PNG], files={"sales.csv": CSV}))
    seen = read_rest(door, start_stream(door, client, assistant={"tools": CODE}))
    last = {(event.event, getattr(event.data, "id", "")): event.data for event in seen}
    run = seen[-1].data
    threads = client.beta.threads
    base = f"/threads/{run.thread_id}"
    streamed = [data for (name, _), data in last.items() if name == "thread.message.completed"]
    assert streamed == [door(threads.messages.retrieve(message.id, thread_id=run.thread_id)) for message in streamed]
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
    listed = get_raw(door, client, f"{base}/runs/{run.id}/steps?order=asc")["data"]
    streamed_steps = [data.to_dict() for (name, _), data in last.items() if name == "thread.run.step.completed"]
    assert len(streamed_steps) == len(listed) == 2
    for streamed_step, step in zip(streamed_steps, listed, strict=True):
        # A streamed step keeps its time of expiry (recorded), and has no keys that newer services added.
        assert {key: step[key] for key in streamed_step} == {**streamed_step, "expires_at": None}
    assert {**run.to_dict(), "tool_resources": {}} == get_raw(door, client, f"{base}/runs/{run.id}")
    assert upstream_calls(upstream, "GET /responses/*", POST) == [POST]
