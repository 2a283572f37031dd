"""Helpers of the container tests: clocks of both sides, and runs that use Code Interpreter."""

from __future__ import annotations

import time
from typing import Any

import pytest

from assistants_compat.engine.io import IO
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, make_assistant, make_thread
from kit.streams import read_rest
from kit.upstream_requests import request_bodies

MINUTE = 60
polled_or_streamed = pytest.mark.parametrize("stream", [False, True], ids=["polled", "streamed"])


def turn_with_file(name: str, content: bytes, **options: Any) -> Turn:
    """Return a turn that makes a file and links it."""
    return Turn(text=f"[it](sandbox:/mnt/data/{name})", files={name: content}, polls=0, **options)


def advance_library_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Move the library's clock forward."""
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time() + seconds))


def advance_clocks(monkeypatch: pytest.MonkeyPatch, upstream: StandIn, seconds: float) -> None:
    """Move the clocks of the library and of the upstream forward."""
    advance_library_clock(monkeypatch, seconds)
    upstream.advance(seconds)


def make_thread_and_assistant(door: Door, client: Any, *, tools: Any = CODE, **options: Any) -> tuple[str, str]:
    """Make a thread that says hello and an assistant with the tool; return both ids."""
    return make_thread(door, client).id, make_assistant(door, client, tools=tools, **options).id


def run_to_end(
    door: Door, client: Any, thread_id: str, assistant_id: str, *, stream: bool = False, **options: Any
) -> Any:
    """Create a run, poll or stream it to its end, and return it."""
    runs = client.beta.threads.runs
    if not stream:
        return door(runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id, **options))
    return read_rest(door, door(runs.create(thread_id, assistant_id=assistant_id, stream=True, **options)))[-1].data


def requested_containers(upstream: StandIn) -> list[Any]:
    """Return the container of each `POST /responses`; None for a request without the tool."""
    bodies = request_bodies(upstream)
    return [next((tool.get("container") for tool in body.get("tools", [])), None) for body in bodies]


def container_changes(upstream: StandIn) -> list[str]:
    """Return the requests that make, fill or delete containers, without ids."""
    changes = []
    for request in upstream.requests:
        noun, *more = request.path.strip("/").split("/")
        if noun == "containers" and request.method != "GET":
            changes.append(f"{request.method} {'/'.join([noun, *('*' if '_' in part else part for part in more)])}")
    return changes


def container_contents(upstream: StandIn, container_id: str) -> dict[str, bytes]:
    """Return a container's files by name, without the prefix that a copied file gets (recorded)."""
    files = upstream.containers[container_id].files.values()
    return {file.wire["path"].rpartition("/")[2].rpartition("-")[2]: file.content for file in files}


def last_message(door: Door, client: Any, finished_run: Any) -> Any:
    """Return the last message of a run."""
    return door.all(client.beta.threads.messages.list(finished_run.thread_id, run_id=finished_run.id))[0]
