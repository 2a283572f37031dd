"""`Settings(unknown_threads="create")`: ids that a database still holds from the old service."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import dump, make_assistant

OLD = "thread_abc123OldService"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The store of the test, in which unknown threads are made."""
    return dataclasses.replace(settings, unknown_threads="create")


@pytest.mark.parametrize("request_", ["retrieve", "list", "message", "runs", "update"])
def test_whatever_names_a_thread_makes_it(door: Door, client: Any, settings: Settings, request_: str) -> None:
    """It is there, empty, with the id that was asked for."""
    threads = client.beta.threads
    asked = {
        "retrieve": lambda: threads.retrieve(OLD),
        "list": lambda: threads.messages.list(OLD),
        "message": lambda: threads.messages.create(OLD, role="user", content="Hello."),
        "runs": lambda: threads.runs.list(OLD),
        "update": lambda: threads.update(OLD, metadata={"a": "1"}),
    }
    door(asked[request_]())
    assert [row["id"] for row in dump(settings)["threads"]] == [OLD]
    assert door(threads.retrieve(OLD)).id == OLD


def test_a_run_on_an_unknown_thread_sends_its_messages_only(door: Door, client: Any, upstream: StandIn) -> None:
    """Streamed or not, the thread starts empty and goes on from there."""
    assistant = make_assistant(door, client)
    upstream.script(Turn(text="One.", polls=0))
    runs = client.beta.threads.runs
    more = [{"role": "user", "content": "First."}]
    run = door(runs.create_and_poll(thread_id=OLD, assistant_id=assistant.id, additional_messages=more))
    assert (run.status, run.thread_id) == ("completed", OLD)
    upstream.script(Turn(text="Two."))
    door.all(door(runs.create(OLD, assistant_id=assistant.id, additional_messages=more, stream=True)))
    sent = [len(each.json["input"]) for each in upstream.requests if each.path == "/responses"]
    assert sent == [1, 3]


def test_a_deleted_thread_stays_unknown(door: Door, client: Any) -> None:
    """Also one that had been made so."""
    threads = client.beta.threads
    door(threads.retrieve(OLD))
    door(threads.delete(OLD))
    with pytest.raises(openai.NotFoundError, match=f"No thread found with id '{OLD}'"):
        door(threads.retrieve(OLD))


@pytest.mark.parametrize("id_", ["thread_", "abc", "thread_a-b", "thread_ä", "thread_" + "x" * 200, "msg_abc"])
def test_what_is_no_thread_id_makes_nothing(door: Door, client: Any, settings: Settings, id_: str) -> None:
    """404, as for everybody."""
    with pytest.raises(openai.NotFoundError):
        door(client.beta.threads.retrieve(id_))
    assert dump(settings)["threads"] == []


def test_it_is_off_by_default(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Without the setting an unknown id is 404, and nothing is made."""
    plain = door.client(upstream, dataclasses.replace(settings, unknown_threads="refuse"))
    with pytest.raises(openai.NotFoundError):
        door(plain.beta.threads.messages.list(OLD))
    assert dump(settings)["threads"] == []


def test_two_at_once_make_one(sync: Door, upstream: StandIn, settings: Settings) -> None:
    """Eight first messages at once are eight messages of one thread."""
    client = sync.client(upstream, settings)
    client.beta.assistants.list()
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(client.beta.threads.messages.create, OLD, role="user", content=str(n)) for n in range(8)]
        ids = {job.result().id for job in jobs}
    assert len(ids) == len(dump(settings)["messages"]) == 8
    assert len(dump(settings)["threads"]) == 1
