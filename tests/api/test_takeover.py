"""`Settings(only=...)`: some assistants are answered here, the others by an upstream that still has the old API.

The old API is played by another wrapped client's door over a store of its own.
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
from kit.legacy_code import dump, make_assistant, make_thread, waiting_run
from kit.upstream_requests import bodies, said


@pytest.fixture
def old(sqlite_settings: Settings) -> Settings:
    """The settings of what plays the old service."""
    return replace(sqlite_settings, namespace="old")


@pytest.fixture
def theirs(door: Door, upstream: StandIn, old: Settings) -> Any:
    """A client that asks the old service."""
    return door.client(upstream, old)


@pytest.fixture
def make(door: Door, theirs: Any, upstream: StandIn, sqlite_settings: Settings) -> Callable[..., Any]:
    """A client with a rule, behind whose HTTP client is the old service; `heard` counts its calls."""

    def client(only: Any, heard: Counter[str] | None = None) -> Any:
        service: Any = theirs._client
        asynchronous = door.kind == "async"
        kind: Any = openai.DefaultAsyncHttpxClient if asynchronous else openai.DefaultHttpxClient

        class Service(kind):  # type: ignore[misc]  # known at run time only
            def send(self, request: Any, **options: Any) -> Any:
                return service.send(request, **options)

        def count(call: LegacyCall) -> None:
            if heard is not None:
                heard[call.answered] += 1

        settings = replace(sqlite_settings, namespace="new", only=only, report=count)
        return door.client(upstream, settings, http_client=Service())

    return client


def rows(settings: Settings, table: str) -> list[str]:
    """The ids in a table of a store."""
    return [row["id"] for row in dump(settings)[table]]


def test_a_run_takes_its_thread_over(
    door: Door, theirs: Any, make: Callable[..., Any], upstream: StandIn, old: Settings
) -> None:
    """A thread of 150 messages goes on here, under its ids, when a named assistant runs on it."""
    assistant = make_assistant(door, theirs, temperature=0.5, metadata={"a": "b"})
    texts = [f"Message {number}." for number in range(149)]
    thread = door(theirs.beta.threads.create(messages=[{"role": "user", "content": each} for each in texts[:9]]))
    for text in texts[9:]:
        door(theirs.beta.threads.messages.create(thread.id, role="user", content=text))
    upstream.script(Turn(text="Before."), Turn(text="After."))
    run = door(theirs.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    before = door.all(theirs.beta.threads.messages.list(thread.id, order="asc"))

    client = make({assistant.id})
    assert door(client.beta.assistants.retrieve(assistant.id)) == assistant
    later = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert (later.status, len(dump(old)["runs"])) == ("completed", 1)
    assert [text for _, text in said(bodies(upstream)[1])] == [*texts, "Before."]
    after = door.all(client.beta.threads.messages.list(thread.id, order="asc"))
    assert after[:-1] == before
    assert after[-1].content[0].text.value == "After."
    assert door(client.beta.threads.retrieve(thread.id)) == door(theirs.beta.threads.retrieve(thread.id))
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)).id == run.id
    assert door.all(theirs.beta.threads.messages.list(thread.id, order="asc")) == before
    door(client.beta.threads.messages.create(thread.id, role="user", content="Here."))
    assert len(rows(old, "messages")) == 150


def test_the_others_pass_untouched(
    door: Door, theirs: Any, make: Callable[..., Any], sqlite_settings: Settings, old: Settings
) -> None:
    """Assistants that are not named, their threads and runs are the upstream's, and the report says so."""
    heard: Counter[str] = Counter()
    client = make(lambda id_: id_.endswith("never"), heard)
    assistant, thread = make_assistant(door, client), make_thread(door, client, "Hello.")
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    together = door(client.beta.threads.create_and_run_poll(assistant_id=assistant.id))
    assert (run.status, together.status) == ("completed", "completed")
    assert len(door.all(client.beta.threads.messages.list(thread.id))) == 2
    assert [each.id for each in door.all(client.beta.assistants.list())] == [assistant.id]
    assert door(theirs.beta.threads.retrieve(thread.id)) == door(client.beta.threads.retrieve(thread.id))
    new = replace(sqlite_settings, namespace="new")
    assert {table: number for table, found in dump(new).items() if (number := len(found))} == {}
    assert (len(rows(old, "threads")), set(heard)) == (2, {"upstream"})


def test_a_thread_made_with_its_run_is_made_here(
    door: Door, theirs: Any, make: Callable[..., Any], old: Settings
) -> None:
    """`create_and_run` names its assistant, so nothing has to be taken over but that."""
    assistant = make_assistant(door, theirs)
    client = make([assistant.id])
    run = door(client.beta.threads.create_and_run_poll(assistant_id=assistant.id))
    assert run.status == "completed"
    assert rows(old, "threads") == []


def test_what_is_deleted_is_deleted_in_both(door: Door, theirs: Any, make: Callable[..., Any], old: Settings) -> None:
    """An assistant or a thread that was copied is gone here and there, and does not come back."""
    assistant, thread = make_assistant(door, theirs), make_thread(door, theirs)
    client = make([assistant.id])
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert door(client.beta.threads.delete(thread.id)).deleted is True
    assert door(client.beta.assistants.delete(assistant.id)).deleted is True
    for each in (client, theirs):
        with pytest.raises(openai.NotFoundError):
            door(each.beta.threads.retrieve(thread.id))
        with pytest.raises(openai.NotFoundError):
            door(each.beta.assistants.retrieve(assistant.id))


def test_an_assistant_that_is_not_named_cannot_run_on_a_taken_thread(
    door: Door, theirs: Any, make: Callable[..., Any]
) -> None:
    """The upstream's copy has stayed behind: a run there would not know what was said since, so it is refused."""
    assistant, other, thread = make_assistant(door, theirs), make_assistant(door, theirs), make_thread(door, theirs)
    client = make([assistant.id])
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    with pytest.raises(openai.BadRequestError, match=r"is not among those that Settings\(only=...\) names"):
        door(client.beta.threads.runs.create(thread.id, assistant_id=other.id))


def test_a_thread_with_an_active_run_is_not_taken(
    door: Door, theirs: Any, make: Callable[..., Any], upstream: StandIn, sqlite_settings: Settings
) -> None:
    """As the service refused a second run; nothing is copied."""
    run = waiting_run(door, theirs, upstream)
    client = make([run.assistant_id])
    with pytest.raises(openai.BadRequestError, match=f"Thread {run.thread_id} already has an active run {run.id}"):
        door(client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))
    assert rows(replace(sqlite_settings, namespace="new"), "threads") == []


def test_what_nobody_knows_is_the_upstreams_404(door: Door, make: Callable[..., Any], theirs: Any) -> None:
    """An assistant or a thread that neither has, also for a run, and a body that is no JSON object."""
    assistant, client = make_assistant(door, theirs), make(lambda _id: True)
    with pytest.raises(openai.NotFoundError):
        door(client.beta.assistants.retrieve("asst_unknown"))
    with pytest.raises(openai.NotFoundError):
        door(client.beta.threads.runs.create("thread_unknown", assistant_id=assistant.id))
    with pytest.raises(openai.BadRequestError):
        door(client.post("/threads/runs", body=[], cast_to=object))


def test_wrapped_settings_carry_the_rule(make: Callable[..., Any]) -> None:
    """The rule is a setting like every other."""
    assert wrap.settings_of(make({"asst_a"})).only == {"asst_a"}


def test_a_thread_that_is_upstream_is_no_empty_conversation(
    door: Door, theirs: Any, make: Callable[..., Any], upstream: StandIn
) -> None:
    """Its messages are not here: it is refused until a run of a named assistant has taken it over."""
    assistant, thread = make_assistant(door, theirs), make_thread(door, theirs, "Hello.")
    client = make({assistant.id})
    with pytest.raises(CompatError, match=r"kept upstream, as Settings\(only=\.\.\.\) has it"):
        door(to_conversation(client, thread.id))
    assert upstream.conversations == {}
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert door(to_conversation(client, thread.id)).items == 2
