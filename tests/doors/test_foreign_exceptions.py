"""Exceptions of the caller's own HTTP client: the SDK sees them as it would without us."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn
from kit.doors import Door
from kit.legacy_code import dump, make_assistant, make_thread, start_run


def chain(error: BaseException | None) -> list[type[BaseException]]:
    """The types of an exception and of its causes."""
    types = []
    while error is not None:
        types.append(type(error))
        error = error.__cause__
    return types


def caught(door: Door, call: Callable[[], Any]) -> Exception:
    """What a call raises: of a client's own exceptions old SDKs make a connection error, new ones nothing."""
    with pytest.raises((openai.APIConnectionError, ValueError, RuntimeError)) as raised:
        door(call())
    return raised.value


def said(error: BaseException) -> list[str]:
    """The words of an exception and of its causes."""
    return [str(error), *([] if error.__cause__ is None else said(error.__cause__))]


@pytest.mark.parametrize("trouble", ["down", "dropped", "half a body", "slow"])
def test_the_causes_of_a_connection_error_are_kept(
    door: Door, upstream: StandIn, settings: Settings, trouble: str
) -> None:
    """The chain of causes below the SDK's error, down to the transport's own, is that of an unwrapped client."""
    client, plain = door.client(upstream, settings), door.raw_client(upstream)
    assistant, thread, run = make_assistant(door, client), make_thread(door, client), start_run(door, client)
    before = dump(settings)
    if trouble == "down":
        upstream.close()
    elif trouble == "slow":
        upstream.fault(Fault(stall=3, times=3))
        client, plain = client.with_options(timeout=0.3), plain.with_options(timeout=0.3)
    else:
        upstream.fault(Fault(drop=trouble == "dropped", truncate=trouble != "dropped", times=3))
    expected = chain(caught(door, lambda: plain.post("/responses", body={"model": "m"}, cast_to=object)))
    assert len(expected) >= 3
    threads = client.beta.threads
    for call in (
        lambda: threads.runs.create(thread.id, assistant_id=assistant.id),
        lambda: threads.runs.retrieve(run.id, thread_id=run.thread_id),
    ):
        assert chain(caught(door, call)) == expected
    assert dump(settings) == before


def failing_hook(door: Door) -> Callable[[Any], Any]:
    """A caller's own event hook that does not like a request."""

    def hook(request: Any) -> None:
        message = f"not {request.url.path}"
        raise ValueError(message)

    async def asynchronous(request: Any) -> None:
        hook(request)

    return hook if door.kind == "sync" else asynchronous


def test_an_exception_of_a_callers_hook_reaches_the_sdk(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A hook's `ValueError` becomes what the SDK makes of it anywhere, and the store is as it was."""
    client, plain = door.client(upstream, settings), door.raw_client(upstream)
    assistant, thread, run = make_assistant(door, client), make_thread(door, client), start_run(door, client)
    before, asked = dump(settings), len(upstream.requests)
    for each in (client, plain):
        each._client.event_hooks = {"request": [failing_hook(door)], "response": []}
    expected = caught(door, lambda: plain.post("/responses", body={"model": "m"}, cast_to=object))
    assert chain(expected)[-1] is ValueError
    threads = client.beta.threads
    for call in (
        lambda: threads.runs.create(thread.id, assistant_id=assistant.id),
        lambda: threads.create_and_run(assistant_id=assistant.id),
    ):
        error = caught(door, call)
        assert chain(error) == chain(expected)
        assert said(error) == said(expected)
    error = caught(door, lambda: threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert chain(error) == chain(expected)
    assert dump(settings) == before
    assert len(upstream.requests) == asked


def test_a_closed_client_says_what_it_says_anywhere(door: Door, upstream: StandIn, settings: Settings) -> None:
    """After `close()` a call that needs the upstream fails as on an unwrapped client, and the store is as it was."""
    client, plain = door.client(upstream, settings), door.raw_client(upstream)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    before = dump(settings)
    for each in (client, plain):
        door(each.close())
    expected = caught(door, lambda: plain.post("/responses", body={"model": "m"}, cast_to=object))
    error = caught(door, lambda: client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert chain(error) == chain(expected)
    assert said(error) == said(expected)
    assert dump(settings) == before
    assert upstream.requests == []
