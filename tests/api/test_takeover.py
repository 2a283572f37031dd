"""`Settings(only=...)` names the assistants served here; an upstream with the old API serves the others.

The old API is played by a second wrapped client with its own store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import CompatError, LegacyCall, Settings, to_conversation
from assistants_compat.doors import wrap
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import dump_store, make_assistant, make_thread, waiting_run
from kit.upstream_requests import input_messages, request_bodies


@pytest.fixture
def old_settings(sqlite_settings: Settings) -> Settings:
    """Settings of the client that plays the old service."""
    return replace(sqlite_settings, namespace="old")


@pytest.fixture
def old_client(door: Door, upstream: StandIn, old_settings: Settings) -> Any:
    """A client of the old service."""
    return door.client(upstream, old_settings)


@pytest.fixture
def make(door: Door, old_client: Any, upstream: StandIn, sqlite_settings: Settings) -> Callable[..., Any]:
    """Return a maker of clients with a rule above the old service; `answered` counts their calls."""

    def client(only: Any, answered: Counter[str] | None = None) -> Any:
        service: Any = old_client._client
        asynchronous = door.kind == "async"
        kind: Any = openai.DefaultAsyncHttpxClient if asynchronous else openai.DefaultHttpxClient

        class Service(kind):  # type: ignore[misc]  # the class is chosen at run time
            def send(self, request: Any, **options: Any) -> Any:
                return service.send(request, **options)

        def count(call: LegacyCall) -> None:
            if answered is not None:
                answered[call.answered] += 1

        settings = replace(sqlite_settings, namespace="new", only=only, report=count)
        return door.client(upstream, settings, http_client=Service())

    return client


def rows(settings: Settings, table: str) -> list[str]:
    """Return the ids in a table of a store."""
    return [row["id"] for row in dump_store(settings)[table]]


def test_a_run_copies_its_thread(
    door: Door, old_client: Any, make: Callable[..., Any], upstream: StandIn, old_settings: Settings
) -> None:
    """A run of a named assistant copies its thread of 150 messages from the old service, ids included."""
    assistant = make_assistant(door, old_client, temperature=0.5, metadata={"a": "b"})
    texts = [f"Message {number}." for number in range(149)]
    thread = door(old_client.beta.threads.create(messages=[{"role": "user", "content": text} for text in texts[:9]]))
    for text in texts[9:]:
        door(old_client.beta.threads.messages.create(thread.id, role="user", content=text))
    upstream.script(Turn(text="Before."), Turn(text="After."))
    run = door(old_client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    before = door.all(old_client.beta.threads.messages.list(thread.id, order="asc"))

    client = make({assistant.id})
    assert door(client.beta.assistants.retrieve(assistant.id)) == assistant
    new_run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert (new_run.status, len(dump_store(old_settings)["runs"])) == ("completed", 1)
    assert [text for _, text in input_messages(request_bodies(upstream)[1])] == [*texts, "Before."]
    after = door.all(client.beta.threads.messages.list(thread.id, order="asc"))
    assert after[:-1] == before
    assert after[-1].content[0].text.value == "After."
    assert door(client.beta.threads.retrieve(thread.id)) == door(old_client.beta.threads.retrieve(thread.id))
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)).id == run.id
    assert door.all(old_client.beta.threads.messages.list(thread.id, order="asc")) == before
    door(client.beta.threads.messages.create(thread.id, role="user", content="Here."))
    assert len(rows(old_settings, "messages")) == 150


def test_calls_for_other_assistants_go_upstream(
    door: Door, old_client: Any, make: Callable[..., Any], sqlite_settings: Settings, old_settings: Settings
) -> None:
    """Calls for assistants that are not named go to the upstream, with their threads and runs, and are reported so."""
    answered: Counter[str] = Counter()
    client = make(lambda id_: id_.endswith("never"), answered)
    assistant, thread = make_assistant(door, client), make_thread(door, client, "Hello.")
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    together = door(client.beta.threads.create_and_run_poll(assistant_id=assistant.id))
    assert (run.status, together.status) == ("completed", "completed")
    assert len(door.all(client.beta.threads.messages.list(thread.id))) == 2
    assert [listed.id for listed in door.all(client.beta.assistants.list())] == [assistant.id]
    assert door(old_client.beta.threads.retrieve(thread.id)) == door(client.beta.threads.retrieve(thread.id))
    new = replace(sqlite_settings, namespace="new")
    assert {table: number for table, found in dump_store(new).items() if (number := len(found))} == {}
    assert (len(rows(old_settings, "threads")), set(answered)) == (2, {"upstream"})


def test_create_and_run_creates_its_thread_here(
    door: Door, old_client: Any, make: Callable[..., Any], old_settings: Settings
) -> None:
    """`create_and_run` with a named assistant copies the assistant and creates the thread here only."""
    assistant = make_assistant(door, old_client)
    client = make([assistant.id])
    run = door(client.beta.threads.create_and_run_poll(assistant_id=assistant.id))
    assert run.status == "completed"
    assert rows(old_settings, "threads") == []


def test_a_copied_object_is_deleted_in_both_places(
    door: Door, old_client: Any, make: Callable[..., Any], old_settings: Settings
) -> None:
    """A copied assistant or thread is deleted here and upstream, and is not copied again."""
    assistant, thread = make_assistant(door, old_client), make_thread(door, old_client)
    client = make([assistant.id])
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert door(client.beta.threads.delete(thread.id)).deleted is True
    assert door(client.beta.assistants.delete(assistant.id)).deleted is True
    for either in (client, old_client):
        with pytest.raises(openai.NotFoundError):
            door(either.beta.threads.retrieve(thread.id))
        with pytest.raises(openai.NotFoundError):
            door(either.beta.assistants.retrieve(assistant.id))


def test_an_assistant_that_is_not_named_cannot_run_on_a_copied_thread(
    door: Door, old_client: Any, make: Callable[..., Any]
) -> None:
    """A run of another assistant on a copied thread is refused, because the upstream lacks its newer messages."""
    assistant, other, thread = (
        make_assistant(door, old_client),
        make_assistant(door, old_client),
        make_thread(door, old_client),
    )
    client = make([assistant.id])
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    with pytest.raises(openai.BadRequestError, match=r"is not among those that Settings\(only=...\) names"):
        door(client.beta.threads.runs.create(thread.id, assistant_id=other.id))


def test_a_thread_with_an_active_run_is_not_copied(
    door: Door, old_client: Any, make: Callable[..., Any], upstream: StandIn, sqlite_settings: Settings
) -> None:
    """A thread with an active run upstream is not copied: the run is refused with the recorded 400."""
    run = waiting_run(door, old_client, upstream)
    client = make([run.assistant_id])
    with pytest.raises(openai.BadRequestError, match=f"Thread {run.thread_id} already has an active run {run.id}"):
        door(client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))
    assert rows(replace(sqlite_settings, namespace="new"), "threads") == []


def test_an_unknown_object_gets_the_upstreams_404(door: Door, make: Callable[..., Any], old_client: Any) -> None:
    """An assistant or thread that is unknown here and upstream gets the upstream's 404."""
    assistant, client = make_assistant(door, old_client), make(lambda _id: True)
    with pytest.raises(openai.NotFoundError):
        door(client.beta.assistants.retrieve("asst_unknown"))
    with pytest.raises(openai.NotFoundError):
        door(client.beta.threads.runs.create("thread_unknown", assistant_id=assistant.id))
    with pytest.raises(openai.BadRequestError):
        door(client.post("/threads/runs", body=[], cast_to=object))


def test_wrapped_settings_carry_the_rule(make: Callable[..., Any]) -> None:
    """`only` is part of a wrapped client's settings."""
    assert wrap.settings_of(make({"asst_a"})).only == {"asst_a"}


def test_a_thread_that_is_kept_upstream_is_no_empty_conversation(
    door: Door, old_client: Any, make: Callable[..., Any], upstream: StandIn
) -> None:
    """`to_conversation` refuses a thread that is kept upstream until a run of a named assistant has copied it."""
    assistant, thread = make_assistant(door, old_client), make_thread(door, old_client, "Hello.")
    client = make({assistant.id})
    with pytest.raises(CompatError, match=r"stored upstream, because Settings\(only=\.\.\.\) leaves it there"):
        door(to_conversation(client, thread.id))
    assert upstream.conversations == {}
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert door(to_conversation(client, thread.id)).items == 2
