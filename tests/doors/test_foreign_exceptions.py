"""The SDK sees exceptions of the caller's HTTP client as it does with an unwrapped client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn
from kit.doors import Door
from kit.legacy_code import dump_store, make_assistant, make_thread, start_run


def chain(error: BaseException | None) -> list[type[BaseException]]:
    """Return the types of an exception and of its causes."""
    types = []
    while error is not None:
        types.append(type(error))
        error = error.__cause__
    return types


def raised_by(door: Door, call: Callable[[], Any]) -> Exception:
    """Return what a call raises; old SDKs turn a client's own exceptions into connection errors, new ones do not."""
    with pytest.raises((openai.APIConnectionError, ValueError, RuntimeError)) as caught:
        door(call())
    return caught.value


def texts(error: BaseException) -> list[str]:
    """Return the texts of an exception and of its causes."""
    return [str(error), *([] if error.__cause__ is None else texts(error.__cause__))]


@pytest.mark.parametrize("trouble", ["down", "dropped", "half a body", "slow"])
def test_the_causes_of_a_connection_error_are_kept(
    door: Door, upstream: StandIn, settings: Settings, trouble: str
) -> None:
    """A connection error of a wrapped client has the same chain of causes as that of an unwrapped one."""
    client, plain = door.client(upstream, settings), door.raw_client(upstream)
    assistant, thread, run = make_assistant(door, client), make_thread(door, client), start_run(door, client)
    before = dump_store(settings)
    if trouble == "down":
        upstream.close()
    elif trouble == "slow":
        upstream.fault(Fault(stall=3, times=3))
        client, plain = client.with_options(timeout=0.3), plain.with_options(timeout=0.3)
    else:
        upstream.fault(Fault(drop=trouble == "dropped", truncate=trouble != "dropped", times=3))
    expected = chain(raised_by(door, lambda: plain.post("/responses", body={"model": "m"}, cast_to=object)))
    assert len(expected) >= 3
    threads = client.beta.threads
    for call in (
        lambda: threads.runs.create(thread.id, assistant_id=assistant.id),
        lambda: threads.runs.retrieve(run.id, thread_id=run.thread_id),
    ):
        assert chain(raised_by(door, call)) == expected
    assert dump_store(settings) == before


def failing_hook(door: Door) -> Callable[[Any], Any]:
    """Return a caller's event hook that refuses every request."""

    def hook(request: Any) -> None:
        message = f"not {request.url.path}"
        raise ValueError(message)

    async def asynchronous(request: Any) -> None:
        hook(request)

    return hook if door.kind == "sync" else asynchronous


def test_an_exception_of_a_callers_hook_reaches_the_sdk(door: Door, upstream: StandIn, settings: Settings) -> None:
    """An exception in an event hook reaches the SDK as from an unwrapped client and leaves the store unchanged."""
    client, plain = door.client(upstream, settings), door.raw_client(upstream)
    assistant, thread, run = make_assistant(door, client), make_thread(door, client), start_run(door, client)
    before, requests_before = dump_store(settings), len(upstream.requests)
    for either in (client, plain):
        either._client.event_hooks = {"request": [failing_hook(door)], "response": []}
    expected = raised_by(door, lambda: plain.post("/responses", body={"model": "m"}, cast_to=object))
    assert chain(expected)[-1] is ValueError
    threads = client.beta.threads
    for call in (
        lambda: threads.runs.create(thread.id, assistant_id=assistant.id),
        lambda: threads.create_and_run(assistant_id=assistant.id),
    ):
        error = raised_by(door, call)
        assert chain(error) == chain(expected)
        assert texts(error) == texts(expected)
    error = raised_by(door, lambda: threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert chain(error) == chain(expected)
    assert dump_store(settings) == before
    assert len(upstream.requests) == requests_before


def test_a_closed_client_fails_as_an_unwrapped_one(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A call on a closed client fails as on an unwrapped one and leaves the store unchanged."""
    client, plain = door.client(upstream, settings), door.raw_client(upstream)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    before = dump_store(settings)
    for either in (client, plain):
        door(either.close())
    expected = raised_by(door, lambda: plain.post("/responses", body={"model": "m"}, cast_to=object))
    error = raised_by(door, lambda: client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert chain(error) == chain(expected)
    assert texts(error) == texts(expected)
    assert dump_store(settings) == before
    assert upstream.requests == []
