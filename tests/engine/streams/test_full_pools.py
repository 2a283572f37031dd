"""A streamed run keeps its files although the client's pool has no second connection for them (gateways.md F11)."""

from __future__ import annotations

import importlib
import time
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine import io as engine_io
from assistants_compat.engine.runs.event_sources import StreamedEvents
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, CSV, LINK, make_assistant, make_thread, upstream_calls
from kit.streams import event_names, read_rest, start_stream

# httpx or httpx2, whichever this SDK is built on.
HTTP: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
LIST, POST = "GET /containers/*/files", "POST /responses"


def make_client(door: Door, upstream: StandIn, settings: Settings, connections: int) -> Any:
    """Return a client whose pool has so many connections and would wait for one for 20 seconds."""
    options = {"limits": HTTP.Limits(max_connections=connections), "timeout": 20}
    kind = HTTP.Client if door.kind == "sync" else HTTP.AsyncClient
    return door.client(upstream, settings, http_client=kind(**options), timeout=20)


def code_turn(**more: Any) -> Turn:
    """Return a turn that writes a file that it links, and another one."""
    return Turn(text=LINK, code="save()", files={"sales.csv": CSV, "more.csv": b"1\n"}, **more)


def contents_of(door: Door, client: Any, seen: list[Any]) -> list[bytes]:
    """Return the contents of the files of the stream's last message."""
    message = [event.data for event in seen if event.event == "thread.message.completed"][-1]
    return [door(client.files.content(attachment.file_id)).content for attachment in message.attachments]


@pytest.mark.parametrize("pace", [0, 0.01])
def test_a_pool_of_one_connection_loses_no_file(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch, pace: float
) -> None:
    """With one connection the response is read to its end before its files are copied; events and order stay."""
    monkeypatch.setattr(engine_io, "_POOL_SECONDS", 0.05)
    upstream.script(code_turn(pace=pace), code_turn(pace=pace))
    normal = read_rest(door, start_stream(door, door.client(upstream, settings), assistant={"tools": CODE}))
    client = make_client(door, upstream, settings, 1)
    before, started = len(upstream.requests), time.monotonic()
    seen = read_rest(door, start_stream(door, client, assistant={"tools": CODE}))
    assert time.monotonic() - started < 5
    assert event_names(seen) == event_names(normal)
    assert contents_of(door, client, seen) == [CSV, b"1\n"]
    assert upstream_calls(upstream)[before:] == upstream_calls(upstream)[:before]


def test_a_free_connection_is_used_at_once(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With enough connections the files are copied while the stream is open, and nothing waits."""
    monkeypatch.setattr(engine_io, "_POOL_SECONDS", 0.0)
    client = make_client(door, upstream, settings, 3)
    upstream.script(code_turn())
    reads: list[object] = []
    read_to_end = StreamedEvents._read_to_end

    async def count_and_read(source: StreamedEvents) -> None:
        reads.append(source)
        await read_to_end(source)

    monkeypatch.setattr(StreamedEvents, "_read_to_end", count_and_read)
    seen = read_rest(door, start_stream(door, client, assistant={"tools": CODE}))
    assert contents_of(door, client, seen) == [CSV, b"1\n"]
    assert reads == []


def test_as_many_streams_as_connections_lose_no_file(
    sync: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two streams that hold the two connections of a pool both keep their files."""
    monkeypatch.setattr(engine_io, "_POOL_SECONDS", 0.05)
    client = make_client(sync, upstream, settings, 2)
    upstream.script(code_turn(), code_turn())
    streams = [start_stream(sync, client, assistant={"tools": CODE}) for _ in range(2)]
    reader = sync.client(upstream, settings)
    for stream in streams:
        assert contents_of(sync, reader, read_rest(sync, stream)) == [CSV, b"1\n"]


def test_a_late_run_expires_with_one_connection(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A background stream that is past its time gives up its connection before it cancels the response."""
    client = make_client(door, upstream, replace(settings, stream="background", run_ttl=1), 1)
    upstream.script(Turn(text="one two three four five six seven eight nine", pace=0.3))
    started = time.monotonic()
    seen = read_rest(door, start_stream(door, client))
    assert seen[-1].event == "thread.run.expired"
    assert time.monotonic() - started < 8
    assert "POST /responses/*/cancel" in upstream_calls(upstream)


def test_the_caller_may_wait_less_for_a_connection(sync: Door, upstream: StandIn, settings: Settings) -> None:
    """A client that waits less than the library for a connection keeps its own limit."""
    options = {"limits": HTTP.Limits(max_connections=1), "timeout": HTTP.Timeout(20, pool=0.01)}
    client = sync.client(upstream, settings, http_client=HTTP.Client(**options), timeout=HTTP.Timeout(20, pool=0.01))
    upstream.script(code_turn())
    assistant, thread = make_assistant(sync, client, tools=CODE), make_thread(sync, client)
    started = time.monotonic()
    seen = read_rest(sync, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True))
    assert time.monotonic() - started < engine_io._POOL_SECONDS
    assert contents_of(sync, client, seen) == [CSV, b"1\n"]
