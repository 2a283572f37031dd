"""A call that is cancelled, by asyncio or anyio and at any stage, leaves nothing behind."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio
import pytest

from assistants_compat import Settings
from assistants_compat.store import queries
from assistants_compat.testing import Fault, StandIn, Turn
from assistants_compat.tools.upstream import run_with_client
from kit.doors import Door
from kit.legacy_code import CODE, CSV, LINK, dump_store, make_assistant, make_thread, start_run


@pytest.fixture
def door() -> Any:
    """The asynchronous client."""
    door = Door("async", asyncio.new_event_loop())
    yield door
    door.close()


async def by_asyncio(call: Any, seconds: float) -> None:
    """Cancel by `Task.cancel()`, as `wait_for` and most servers do."""
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(call, seconds)


async def by_anyio(call: Any, seconds: float) -> None:
    """Cancel by a cancel scope."""
    with anyio.move_on_after(seconds) as scope:
        await call
    assert scope.cancelled_caught


async def by_cancelling_twice(call: Any, seconds: float) -> None:
    """Cancel twice, as an impatient shutdown does."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(seconds)
    task.cancel("first")
    await asyncio.sleep(0)
    task.cancel("second")
    with pytest.raises(asyncio.CancelledError):
        await task


WAYS = [by_asyncio, by_anyio, by_cancelling_twice]


def slow(function: Any) -> Any:
    """Delay a query in its worker thread."""

    def delayed(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.3)
        return function(*arguments, **options)

    return delayed


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stage", ["reserving", "asking"])
def test_a_cancelled_creation_leaves_no_run(
    door: Door,
    client: Any,
    upstream: StandIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    way: Any,
    stage: str,
) -> None:
    """A creation that is cancelled while it reserves the run or waits for the upstream leaves nothing behind."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    before = dump_store(settings)
    runs = client.beta.threads.runs
    more = [{"role": "user", "content": "More."}]
    with monkeypatch.context() as patch:
        if stage == "reserving":
            patch.setattr(queries, "reserve_run", slow(queries.reserve_run))
        else:
            upstream.fault(Fault("POST /responses", stall=1, times=2))
        door(way(runs.create(thread.id, assistant_id=assistant.id, additional_messages=more), 0.15))
        assert dump_store(settings) == before
        door(way(client.beta.threads.create_and_run(assistant_id=assistant.id), 0.15))
        assert dump_store(settings) == before
    run = door(runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stage", ["leasing", "copying"])
def test_a_cancelled_poll_does_not_block_the_next_one(
    door: Door,
    client: Any,
    upstream: StandIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    way: Any,
    stage: str,
) -> None:
    """A poll that is cancelled while it leases the run or copies its file leaves the run to the next poll."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    before = dump_store(settings)
    runs = client.beta.threads.runs
    with monkeypatch.context() as patch:
        if stage == "leasing":
            patch.setattr(queries, "lease_run", slow(queries.lease_run))
        else:
            upstream.fault(Fault("GET /containers/*/content", stall=1))
        door(way(runs.retrieve(run.id, thread_id=run.thread_id), 0.2))
    assert dump_store(settings) == before
    assert door(runs.retrieve(run.id, thread_id=run.thread_id)).status == "completed"
    assert len(dump_store(settings)["files"]) == 1


def create_thread(client: Any) -> Any:
    """Return a call of the API whose last act is a transaction."""
    return client.beta.threads.create()


def read_store(client: Any) -> Any:
    """Return a call of a tool whose last act is a transaction."""
    return run_with_client(client, lambda io: io.read(lambda db: queries.insert_rows(db, "threads", [])))


async def within_anyio(call: Any, seconds: float) -> None:
    """Give the call this time, as a server on anyio does."""
    with anyio.fail_after(seconds):
        await call


@pytest.mark.parametrize("limited", [asyncio.wait_for, within_anyio])
@pytest.mark.parametrize("call", [create_thread, read_store])
def test_a_timeout_is_raised_once(
    door: Door, client: Any, monkeypatch: pytest.MonkeyPatch, limited: Any, call: Any
) -> None:
    """A call that times out during a transaction raises one `TimeoutError`, and the caller can continue."""
    monkeypatch.setattr(queries, "insert_rows", slow(queries.insert_rows))

    async def caller() -> str:
        with pytest.raises((asyncio.TimeoutError, TimeoutError)):  # they are one since Python 3.11
            await limited(call(client), 0.1)
        await asyncio.sleep(0.01)  # a pending second cancellation would be raised here
        return "goes on"

    assert door(caller()) == "goes on"


def test_a_cancelled_download_can_be_repeated(door: Door, client: Any, upstream: StandIn) -> None:
    """A download that is cancelled between two pieces can be repeated."""
    content = b"0123456789" * 30_000
    upstream.script(Turn(text=LINK, files={"sales.csv": content}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    file_id = answer.content[0].text.annotations[0].file_path.file_id

    async def download() -> None:
        async with client.files.with_streaming_response.content(file_id) as response:
            async for _piece in response.iter_bytes(10):
                await asyncio.sleep(30)

    door(by_asyncio(download(), 0.2))
    assert door(client.files.content(file_id)).read() == content
