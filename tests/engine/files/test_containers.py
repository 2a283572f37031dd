"""A thread's container: asked for once, used again while it lives, and shared with no other thread."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import MINUTE, asked_for, both_ways, changes, later, makes, new_thread, our_clock, run, said
from kit.doors import KEY, Door
from kit.legacy_code import CODE, FUNCTION, asked, calling, look_at, make_assistant, make_thread, submit


@both_ways
def test_the_next_run_of_a_thread_names_its_container(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """The first asks for `auto`; the second names what the first one's call ran in, and nothing is made for it."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    run(door, client, *ids, stream=stream)
    [container] = upstream.containers
    first = len(upstream.requests)
    done = run(door, client, *ids, stream=stream)
    assert done.status == "completed"
    assert asked_for(upstream) == [{"type": "auto"}, container]
    assert (list(upstream.containers), changes(upstream)) == ([container], [])
    look = [] if stream else ["GET /responses/*"]
    copies = ["GET /containers/*/files", "GET /containers/*/files/*/content"]
    assert asked(upstream)[first:] == ["POST /responses", *look, *copies]


def test_a_run_without_the_tool_asks_for_no_container(door: Door, client: Any, upstream: StandIn) -> None:
    """Neither on a new thread nor on one that has a container."""
    plain = Turn(text="Hello.", polls=0)
    upstream.script(plain, makes("a.csv", b"1"), plain)
    ids = new_thread(door, client, tools=[])
    run(door, client, *ids)
    assert (upstream.containers, asked(upstream)) == ({}, ["POST /responses", "GET /responses/*"])
    run(door, client, *ids, tools=CODE)
    upstream.requests.clear()
    run(door, client, *ids)
    assert asked(upstream) == ["POST /responses", "GET /responses/*"]
    assert asked_for(upstream) == [None]


def test_only_a_container_that_ran_code_is_named(door: Door, client: Any, upstream: StandIn) -> None:
    """What `auto` may have made without a call has no name that is known."""
    ids = new_thread(door, client)
    run(door, client, *ids)
    run(door, client, *ids)
    assert asked_for(upstream) == [{"type": "auto"}] * 2


def test_files_that_came_since_are_added_first(door: Door, client: Any, upstream: StandIn) -> None:
    """Those of the assistant, of the thread and of a message; each once, by its id."""
    known, assistants, attached = (upstream.put_file(name, b"x", "assistants") for name in ("k.txt", "s.txt", "m.txt"))
    thread_id, assistant_id = new_thread(door, client, tool_resources={"code_interpreter": {"file_ids": [known]}})
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"), makes("c.csv", b"3"))
    run(door, client, thread_id, assistant_id)
    [container] = upstream.containers
    resources = {"code_interpreter": {"file_ids": [known, assistants]}}
    door(client.beta.assistants.update(assistant_id, tool_resources=resources))
    attachment = {"file_id": attached, "tools": CODE}
    door(client.beta.threads.messages.create(thread_id, role="user", content="New.", attachments=[attachment]))
    upstream.requests.clear()
    run(door, client, thread_id, assistant_id)
    run(door, client, thread_id, assistant_id)
    assert asked_for(upstream) == [container, container]
    added = [each.json for each in upstream.requests if each.path == f"/containers/{container}/files" and each.json]
    assert added == [{"file_id": assistants}, {"file_id": attached}]
    assert changes(upstream) == ["POST containers/*/files"] * 2


@pytest.mark.parametrize("status", [404, 500])
def test_a_container_that_takes_no_file_is_left(door: Door, client: Any, upstream: StandIn, *, status: int) -> None:
    """A new one has all of them then, with what the thread has made."""
    thread_id, assistant_id = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    run(door, client, thread_id, assistant_id)
    [first] = upstream.containers
    attachment = {"file_id": upstream.put_file("m.txt", b"x", "assistants"), "tools": CODE}
    door(client.beta.threads.messages.create(thread_id, role="user", content="New.", attachments=[attachment]))
    upstream.fault(Fault("POST /containers/*/files", status=status))
    assert run(door, client, thread_id, assistant_id).status == "completed"
    _, second = upstream.containers
    assert asked_for(upstream) == [{"type": "auto"}, second]
    paths = [file.wire["path"] for file in upstream.containers[second].files.values()]
    assert [path.rpartition("-")[2].rpartition("/")[2] for path in paths] == ["m.txt", "a.csv", "b.csv"]
    assert first != second


@both_ways
def test_each_use_keeps_a_container(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    """Three runs, each fifteen minutes after the last, work in one container."""
    ids = new_thread(door, client)
    upstream.script(*(makes(f"{number}.csv", b"1") for number in range(3)))
    for number in range(3):
        our_clock(monkeypatch, number * 15 * MINUTE)
        run(door, client, *ids, stream=stream)
        upstream.advance(15 * MINUTE)
    [container] = upstream.containers
    assert asked_for(upstream) == [{"type": "auto"}, container, container]


def test_two_threads_share_no_container(door: Door, client: Any, upstream: StandIn) -> None:
    """Not with one assistant either, in whatever order their runs come."""
    assistant = make_assistant(door, client, tools=CODE).id
    one, two = (make_thread(door, client).id for _ in range(2))
    for thread_id in (one, two, one, two):
        upstream.script(makes("a.csv", b"1"))
        run(door, client, thread_id, assistant)
    first, second = upstream.containers
    assert asked_for(upstream) == [{"type": "auto"}, {"type": "auto"}, first, second]


def test_a_container_of_another_thread_is_never_named(door: Door, client: Any, upstream: StandIn) -> None:
    """Whatever the upstream says that a call ran in."""
    assistant = make_assistant(door, client, tools=CODE).id
    one, two = (make_thread(door, client).id for _ in range(2))
    upstream.script(makes("a.csv", b"1"))
    run(door, client, one, assistant)
    [container] = upstream.containers
    call = {"type": "code_interpreter_call", "code": "1", "outputs": [], "container_id": container}
    upstream.script(Turn(output=[call], polls=0), Turn(text="Hello.", polls=0))
    run(door, client, two, assistant)
    run(door, client, two, assistant)
    assert asked_for(upstream) == [{"type": "auto"}] * 3


def test_the_rounds_of_a_run_keep_its_container(door: Door, client: Any, upstream: StandIn) -> None:
    """Code, then a function, then code again; and the next run names it."""
    ids = new_thread(door, client, tools=[*CODE, FUNCTION])
    upstream.script(calling("call_1", code="1", files={"a.csv": b"1"}), makes("b.csv", b"2"), makes("c.csv", b"3"))
    waits = run(door, client, *ids)
    assert waits.status == "requires_action"
    submit(door, client, waits)
    assert look_at(door, client, waits).status == "completed"
    run(door, client, *ids)
    [container] = upstream.containers
    assert asked_for(upstream) == [{"type": "auto"}, {"type": "auto"}, container]
    assert len(upstream.containers[container].files) == 3


def test_a_container_is_used_again_where_the_upstream_keeps_nothing(
    door: Door, upstream: StandIn, settings: Settings
) -> None:
    """With `store_responses=False` the thread knows it as well."""
    client = door.client(upstream, replace(settings, store_responses=False))
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    for _ in range(2):
        run(door, client, *ids)
    [container] = upstream.containers
    assert asked_for(upstream) == [{"type": "auto"}, container]


ELSEWHERE = """
import sys
import openai
import assistants_compat
store, files, namespace, base_url, key, thread_id, assistant_id = sys.argv[1:]
settings = assistants_compat.Settings(store=store, files=files, namespace=namespace, poll_after_ms=1)
client = assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key), settings)
run = client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
print(run.status)
"""


def test_another_process_names_the_container(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """What a thread has is in the store, and not in the memory of a program."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    run(door, client, *ids)
    assert settings.store is not None
    assert settings.files is not None
    arguments = [settings.store, settings.files, settings.namespace, upstream.base_url, KEY, *ids]
    process = subprocess.run([sys.executable, "-c", ELSEWHERE, *arguments], capture_output=True, check=False)
    assert (process.returncode, process.stdout.strip()) == (0, b"completed"), process.stderr.decode()
    [container] = upstream.containers
    assert asked_for(upstream) == [{"type": "auto"}, container]


LIMITS: dict[str, Any] = {
    "memory_limit": "4g",
    "network_policy": {"type": "allowlist", "allowed_domains": ["example.org"]},
}


def _refuses_limits() -> bool:
    """Whether the stand-in would refuse them: it knows what the installed SDK's types know, if that has any."""
    try:
        known = importlib.import_module("openai.types.responses.tool_param")
    except ImportError:
        return False
    return "network_policy" not in known.CodeInterpreterContainerCodeInterpreterToolAuto.__annotations__


limits_are_known = pytest.mark.skipif(_refuses_limits(), reason="this openai does not know a container's limits yet")


@limits_are_known
def test_limits_are_sent_where_they_are_set(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To `auto` and to a container that is made; by default neither key is sent, so nothing is widened."""
    client = door.client(upstream, replace(settings, **LIMITS))
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    run(door, client, *ids)
    later(monkeypatch, upstream, 21 * MINUTE)
    run(door, client, *ids)
    _, second = upstream.containers
    assert asked_for(upstream) == [{"type": "auto", **LIMITS}, second]
    [made] = [each.json for each in upstream.requests if (each.method, each.path) == ("POST", "/containers")]
    idle = {"anchor": "last_active_at", "minutes": 20}
    assert made == {"name": ids[0], **LIMITS, "expires_after": idle}


@limits_are_known
def test_a_container_of_other_limits_is_not_used_again(door: Door, upstream: StandIn, settings: Settings) -> None:
    """One that was made with a wider network is left when the settings say less."""
    open_, closed = (
        door.client(upstream, replace(settings, network_policy=policy))
        for policy in (LIMITS["network_policy"], {"type": "disabled"})
    )
    ids = new_thread(door, open_)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"), makes("c.csv", b"3"))
    for client in (open_, closed, open_):
        run(door, client, *ids)
    first, second = upstream.containers
    assert asked_for(upstream)[1:] == [second, first]
    assert upstream.containers[second].wire["network_policy"] == {"type": "disabled"}


def test_a_refused_run_leaves_the_thread_its_container(door: Door, client: Any, upstream: StandIn) -> None:
    """Another trouble than an expired container is the caller's, and the next run works where the first did."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    done = run(door, client, *ids)
    upstream.fault(Fault("POST /responses", status=429, body={"error": {"message": "Slow down."}}))
    with pytest.raises(openai.RateLimitError):
        run(door, client, *ids)
    again = run(door, client, *ids)
    assert said(door, client, again).content[0].text.value.endswith("b.csv)")
    [container] = upstream.containers
    assert asked_for(upstream) == [{"type": "auto"}, container, container]
    assert done.id != again.id
