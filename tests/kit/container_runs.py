"""What tests of containers share: a clock for both sides, and runs that use Code Interpreter."""

from __future__ import annotations

import time
from typing import Any

import pytest

from assistants_compat.engine.io import IO
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, make_assistant, make_thread
from kit.upstream_requests import bodies
from kit.streams import rest

MINUTE = 60
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["polled", "streamed"])


def makes(name: str, content: bytes, **options: Any) -> Turn:
    """A turn that makes a file and links it."""
    return Turn(text=f"[it](sandbox:/mnt/data/{name})", files={name: content}, polls=0, **options)


def our_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the library's clock be so much later."""
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time() + seconds))


def later(monkeypatch: pytest.MonkeyPatch, upstream: StandIn, seconds: float) -> None:
    """Let time pass on both sides."""
    our_clock(monkeypatch, seconds)
    upstream.advance(seconds)


def new_thread(door: Door, client: Any, *, tools: Any = CODE, **options: Any) -> tuple[str, str]:
    """A thread that says hello and an assistant with the tool, as arguments for a run."""
    return make_thread(door, client).id, make_assistant(door, client, tools=tools, **options).id


def run(door: Door, client: Any, thread_id: str, assistant_id: str, *, stream: bool = False, **options: Any) -> Any:
    """A run to its end, polled or streamed."""
    runs = client.beta.threads.runs
    if not stream:
        return door(runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id, **options))
    return rest(door, door(runs.create(thread_id, assistant_id=assistant_id, stream=True, **options)))[-1].data


def asked_for(upstream: StandIn) -> list[Any]:
    """The container of each request for a response; None for one without the tool."""
    asked = bodies(upstream)
    return [next((tool.get("container") for tool in body.get("tools", [])), None) for body in asked]


def changes(upstream: StandIn) -> list[str]:
    """The requests that make, fill or delete containers, ids left out."""
    seen = []
    for request in upstream.requests:
        noun, *more = request.path.strip("/").split("/")
        if noun == "containers" and request.method != "GET":
            seen.append(f"{request.method} {'/'.join([noun, *('*' if '_' in part else part for part in more)])}")
    return seen


def contents(upstream: StandIn, container_id: str) -> dict[str, bytes]:
    """The files in a container by the ends of their names: what is brought in gets something in front (recorded)."""
    files = upstream.containers[container_id].files.values()
    return {file.wire["path"].rpartition("/")[2].rpartition("-")[2]: file.content for file in files}


def said(door: Door, client: Any, done: Any) -> Any:
    """The last message of a run."""
    return door.all(client.beta.threads.messages.list(done.thread_id, run_id=done.id))[0]
