"""A thread's container is requested once, reused while it lives, and never shared with another thread."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import (
    MINUTE,
    advance_clocks,
    advance_library_clock,
    container_changes,
    last_message,
    make_thread_and_assistant,
    polled_or_streamed,
    requested_containers,
    run_to_end,
    turn_with_file,
)
from kit.doors import KEY, Door
from kit.legacy_code import (
    CODE,
    FUNCTION,
    function_call_turn,
    make_assistant,
    make_thread,
    retrieve_run,
    submit_outputs,
    upstream_calls,
)


@polled_or_streamed
def test_the_next_run_of_a_thread_names_its_container(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """The first run requests `auto`; the second names the container of the first and makes nothing new."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    run_to_end(door, client, *ids, stream=stream)
    [container] = upstream.containers
    first = len(upstream.requests)
    done = run_to_end(door, client, *ids, stream=stream)
    assert done.status == "completed"
    assert requested_containers(upstream) == [{"type": "auto"}, container]
    assert (list(upstream.containers), container_changes(upstream)) == ([container], [])
    polls = [] if stream else ["GET /responses/*"]
    copies = ["GET /containers/*/files", "GET /containers/*/files/*/content"]
    assert upstream_calls(upstream)[first:] == ["POST /responses", *polls, *copies]


def test_a_run_without_the_tool_asks_for_no_container(door: Door, client: Any, upstream: StandIn) -> None:
    """A run without the code interpreter requests no container, also on a thread that has one."""
    plain = Turn(text="Hello.", polls=0)
    upstream.script(plain, turn_with_file("a.csv", b"1"), plain)
    ids = make_thread_and_assistant(door, client, tools=[])
    run_to_end(door, client, *ids)
    assert (upstream.containers, upstream_calls(upstream)) == ({}, ["POST /responses", "GET /responses/*"])
    run_to_end(door, client, *ids, tools=CODE)
    upstream.requests.clear()
    run_to_end(door, client, *ids)
    assert upstream_calls(upstream) == ["POST /responses", "GET /responses/*"]
    assert requested_containers(upstream) == [None]


def test_only_a_container_that_ran_code_is_named(door: Door, client: Any, upstream: StandIn) -> None:
    """A container in which no code ran is not named, because no call reported its id."""
    ids = make_thread_and_assistant(door, client)
    run_to_end(door, client, *ids)
    run_to_end(door, client, *ids)
    assert requested_containers(upstream) == [{"type": "auto"}] * 2


def test_new_files_are_added_to_the_container_first(door: Door, client: Any, upstream: StandIn) -> None:
    """New files of the assistant and of a message are added to the container once each, by their ids."""
    old, of_assistant, attached = (upstream.put_file(name, b"x", "assistants") for name in ("k.txt", "s.txt", "m.txt"))
    thread_id, assistant_id = make_thread_and_assistant(
        door, client, tool_resources={"code_interpreter": {"file_ids": [old]}}
    )
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"), turn_with_file("c.csv", b"3"))
    run_to_end(door, client, thread_id, assistant_id)
    [container] = upstream.containers
    resources = {"code_interpreter": {"file_ids": [old, of_assistant]}}
    door(client.beta.assistants.update(assistant_id, tool_resources=resources))
    attachment = {"file_id": attached, "tools": CODE}
    door(client.beta.threads.messages.create(thread_id, role="user", content="New.", attachments=[attachment]))
    upstream.requests.clear()
    run_to_end(door, client, thread_id, assistant_id)
    run_to_end(door, client, thread_id, assistant_id)
    assert requested_containers(upstream) == [container, container]
    added = [
        request.json
        for request in upstream.requests
        if request.path == f"/containers/{container}/files" and request.json
    ]
    assert added == [{"file_id": of_assistant}, {"file_id": attached}]
    assert container_changes(upstream) == ["POST containers/*/files"] * 2


@pytest.mark.parametrize("status", [404, 500])
def test_a_container_that_refuses_a_file_is_replaced(
    door: Door, client: Any, upstream: StandIn, *, status: int
) -> None:
    """If the container refuses a new file, a new container gets all files of the thread."""
    thread_id, assistant_id = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    run_to_end(door, client, thread_id, assistant_id)
    [first] = upstream.containers
    attachment = {"file_id": upstream.put_file("m.txt", b"x", "assistants"), "tools": CODE}
    door(client.beta.threads.messages.create(thread_id, role="user", content="New.", attachments=[attachment]))
    upstream.fault(Fault("POST /containers/*/files", status=status))
    assert run_to_end(door, client, thread_id, assistant_id).status == "completed"
    _, second = upstream.containers
    assert requested_containers(upstream) == [{"type": "auto"}, second]
    paths = [file.wire["path"] for file in upstream.containers[second].files.values()]
    assert [path.rpartition("-")[2].rpartition("/")[2] for path in paths] == ["m.txt", "a.csv", "b.csv"]
    assert first != second


@polled_or_streamed
def test_each_use_renews_a_container(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    """Three runs, fifteen minutes apart, work in one container, because each use renews it."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(*(turn_with_file(f"{number}.csv", b"1") for number in range(3)))
    for number in range(3):
        advance_library_clock(monkeypatch, number * 15 * MINUTE)
        run_to_end(door, client, *ids, stream=stream)
        upstream.advance(15 * MINUTE)
    [container] = upstream.containers
    assert requested_containers(upstream) == [{"type": "auto"}, container, container]


def test_two_threads_share_no_container(door: Door, client: Any, upstream: StandIn) -> None:
    """Two threads of one assistant have separate containers when their runs alternate."""
    assistant = make_assistant(door, client, tools=CODE).id
    thread_a, thread_b = (make_thread(door, client).id for _ in range(2))
    for thread_id in (thread_a, thread_b, thread_a, thread_b):
        upstream.script(turn_with_file("a.csv", b"1"))
        run_to_end(door, client, thread_id, assistant)
    first, second = upstream.containers
    assert requested_containers(upstream) == [{"type": "auto"}, {"type": "auto"}, first, second]


def test_a_container_of_another_thread_is_never_named(door: Door, client: Any, upstream: StandIn) -> None:
    """A container that belongs to another thread is not named, even if a call claims to have run in it."""
    assistant = make_assistant(door, client, tools=CODE).id
    owner, other = (make_thread(door, client).id for _ in range(2))
    upstream.script(turn_with_file("a.csv", b"1"))
    run_to_end(door, client, owner, assistant)
    [container] = upstream.containers
    call = {"type": "code_interpreter_call", "code": "1", "outputs": [], "container_id": container}
    upstream.script(Turn(output=[call], polls=0), Turn(text="Hello.", polls=0))
    run_to_end(door, client, other, assistant)
    run_to_end(door, client, other, assistant)
    assert requested_containers(upstream) == [{"type": "auto"}] * 3


def test_the_rounds_of_a_run_keep_its_container(door: Door, client: Any, upstream: StandIn) -> None:
    """Both rounds of a run use one container, and the next run names it."""
    ids = make_thread_and_assistant(door, client, tools=[*CODE, FUNCTION])
    upstream.script(
        function_call_turn("call_1", code="1", files={"a.csv": b"1"}),
        turn_with_file("b.csv", b"2"),
        turn_with_file("c.csv", b"3"),
    )
    run = run_to_end(door, client, *ids)
    assert run.status == "requires_action"
    submit_outputs(door, client, run)
    assert retrieve_run(door, client, run).status == "completed"
    run_to_end(door, client, *ids)
    [container] = upstream.containers
    assert requested_containers(upstream) == [{"type": "auto"}, {"type": "auto"}, container]
    assert len(upstream.containers[container].files) == 3


def test_a_container_is_reused_without_stored_responses(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With `store_responses=False` the thread's container is reused as well."""
    client = door.client(upstream, replace(settings, store_responses=False))
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    for _ in range(2):
        run_to_end(door, client, *ids)
    [container] = upstream.containers
    assert requested_containers(upstream) == [{"type": "auto"}, container]


RUN_IN_ANOTHER_PROCESS = """
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
    """Another process names the thread's container, because its id is in the store."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    run_to_end(door, client, *ids)
    assert settings.store is not None
    assert settings.files is not None
    arguments = [settings.store, settings.files, settings.namespace, upstream.base_url, KEY, *ids]
    process = subprocess.run(
        [sys.executable, "-c", RUN_IN_ANOTHER_PROCESS, *arguments], capture_output=True, check=False
    )
    assert (process.returncode, process.stdout.strip()) == (0, b"completed"), process.stderr.decode()
    [container] = upstream.containers
    assert requested_containers(upstream) == [{"type": "auto"}, container]


LIMITS: dict[str, Any] = {
    "memory_limit": "4g",
    "network_policy": {"type": "allowlist", "allowed_domains": ["example.org"]},
}


def test_limits_are_sent_where_they_are_set(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits from the settings are sent with `auto` and with a container that the library makes."""
    client = door.client(upstream, replace(settings, **LIMITS))
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    run_to_end(door, client, *ids)
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    run_to_end(door, client, *ids)
    _, second = upstream.containers
    assert requested_containers(upstream) == [{"type": "auto", **LIMITS}, second]
    [created] = [
        request.json for request in upstream.requests if (request.method, request.path) == ("POST", "/containers")
    ]
    idle = {"anchor": "last_active_at", "minutes": 20}
    assert created == {"name": ids[0], **LIMITS, "expires_after": idle}


def test_a_container_with_other_limits_is_not_reused(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A container with a wider network is not reused when the settings disable the network."""
    open_, closed = (
        door.client(upstream, replace(settings, network_policy=policy))
        for policy in (LIMITS["network_policy"], {"type": "disabled"})
    )
    ids = make_thread_and_assistant(door, open_)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"), turn_with_file("c.csv", b"3"))
    for client in (open_, closed, open_):
        run_to_end(door, client, *ids)
    first, second = upstream.containers
    assert requested_containers(upstream)[1:] == [second, first]
    assert upstream.containers[second].wire["network_policy"] == {"type": "disabled"}


def test_a_refused_run_leaves_the_thread_its_container(door: Door, client: Any, upstream: StandIn) -> None:
    """After a rate limit the caller gets the error, and the next run reuses the thread's container."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    first_run = run_to_end(door, client, *ids)
    upstream.fault(Fault("POST /responses", status=429, body={"error": {"message": "Slow down."}}))
    with pytest.raises(openai.RateLimitError):
        run_to_end(door, client, *ids)
    later_run = run_to_end(door, client, *ids)
    assert last_message(door, client, later_run).content[0].text.value.endswith("b.csv)")
    [container] = upstream.containers
    assert requested_containers(upstream) == [{"type": "auto"}, container, container]
    assert first_run.id != later_run.id
