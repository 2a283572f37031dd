"""`Settings(unknown_threads="create")` creates a thread for an id that an application kept from the old service."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import dump_store, make_assistant

OLD = "thread_abc123OldService"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The settings of the test, with unknown threads created."""
    return dataclasses.replace(settings, unknown_threads="create")


@pytest.mark.parametrize("request_", ["retrieve", "list", "message", "runs", "update"])
def test_a_request_for_an_unknown_thread_creates_it(door: Door, client: Any, settings: Settings, request_: str) -> None:
    """Every request that names an unknown thread creates it, empty and with that id."""
    threads = client.beta.threads
    requests = {
        "retrieve": lambda: threads.retrieve(OLD),
        "list": lambda: threads.messages.list(OLD),
        "message": lambda: threads.messages.create(OLD, role="user", content="Hello."),
        "runs": lambda: threads.runs.list(OLD),
        "update": lambda: threads.update(OLD, metadata={"a": "1"}),
    }
    door(requests[request_]())
    assert [row["id"] for row in dump_store(settings)["threads"]] == [OLD]
    assert door(threads.retrieve(OLD)).id == OLD


def test_a_run_on_an_unknown_thread_sends_its_messages_only(door: Door, client: Any, upstream: StandIn) -> None:
    """A run on an unknown thread sends its own messages only, and the next run sends the whole new thread."""
    assistant = make_assistant(door, client)
    upstream.script(Turn(text="One.", polls=0))
    runs = client.beta.threads.runs
    more = [{"role": "user", "content": "First."}]
    run = door(runs.create_and_poll(thread_id=OLD, assistant_id=assistant.id, additional_messages=more))
    assert (run.status, run.thread_id) == ("completed", OLD)
    upstream.script(Turn(text="Two."))
    door.all(door(runs.create(OLD, assistant_id=assistant.id, additional_messages=more, stream=True)))
    sent = [len(request.json["input"]) for request in upstream.requests if request.path == "/responses"]
    assert sent == [1, 3]


def test_a_deleted_thread_stays_unknown(door: Door, client: Any) -> None:
    """A deleted thread is a 404 and is not created again, even if it was unknown at first."""
    threads = client.beta.threads
    door(threads.retrieve(OLD))
    door(threads.delete(OLD))
    with pytest.raises(openai.NotFoundError, match=f"No thread found with id '{OLD}'"):
        door(threads.retrieve(OLD))


@pytest.mark.parametrize("id_", ["thread_", "abc", "thread_a-b", "thread_ä", "thread_" + "x" * 200, "msg_abc"])
def test_an_invalid_thread_id_creates_nothing(door: Door, client: Any, settings: Settings, id_: str) -> None:
    """An id that is no thread id gets a 404 and creates nothing."""
    with pytest.raises(openai.NotFoundError):
        door(client.beta.threads.retrieve(id_))
    assert dump_store(settings)["threads"] == []


def test_unknown_threads_are_refused_by_default(door: Door, upstream: StandIn, settings: Settings) -> None:
    """By default an unknown thread is a 404 and is not created."""
    plain = door.client(upstream, dataclasses.replace(settings, unknown_threads="refuse"))
    with pytest.raises(openai.NotFoundError):
        door(plain.beta.threads.messages.list(OLD))
    assert dump_store(settings)["threads"] == []


def test_concurrent_requests_create_one_thread(sync: Door, upstream: StandIn, settings: Settings) -> None:
    """Eight concurrent first messages create one thread with eight messages."""
    client = sync.client(upstream, settings)
    client.beta.assistants.list()
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(client.beta.threads.messages.create, OLD, role="user", content=str(n)) for n in range(8)]
        ids = {job.result().id for job in jobs}
    assert len(ids) == len(dump_store(settings)["messages"]) == 8
    assert len(dump_store(settings)["threads"]) == 1
