"""Threads, tasks and processes that use one store at the same time write everything once and lose nothing."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine import containers
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import KEY, Door
from kit.legacy_code import CODE, CSV, LINK, dump_store, make_assistant, make_thread, start_run, upstream_calls

CONTENT = "GET /containers/*/files/*/content"
PNG = b"\x89PNG\r\n\x1a\n-a-picture"


def run_in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Call `work` in `count` threads that start together; return the results or exceptions in order."""
    results: list[Any] = [None] * count
    start = threading.Barrier(count)

    def body(number: int) -> None:
        start.wait(60)
        try:
            results[number] = work(number)
        except Exception as error:  # noqa: BLE001 - the caller checks it
            results[number] = error

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def run_in_tasks(door: Door, count: int, work: Callable[[int], Any]) -> list[Any]:
    """Call `work` in `count` tasks of one loop; return the results or exceptions in order."""

    async def gather() -> list[Any]:
        return list(await asyncio.gather(*map(work, range(count)), return_exceptions=True))

    return list(door(gather()))


def run_concurrently(door: Door, count: int, work: Callable[[int], Any]) -> list[Any]:
    """Call `work` in threads or tasks, as suits the door."""
    return run_in_threads(count, work) if door.kind == "sync" else run_in_tasks(door, count, work)


POLLER = """
import sys, threading
import openai
import assistants_compat
store, files, namespace, base_url, key, *runs = sys.argv[1:]
settings = assistants_compat.Settings(store=store, files=files, namespace=namespace)
client = assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key, max_retries=0), settings)
start = threading.Barrier(25)
ended = []

def poll():
    for run_id, thread_id in zip(runs[::2], runs[1::2]):
        start.wait(60)
        for _ in range(1000):
            run = client.beta.threads.runs.retrieve(run_id, thread_id=thread_id)
            if run.status == "completed":
                ended.append(len(client.beta.threads.messages.list(thread_id, run_id=run_id).data))
                break

print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=poll) for _ in range(25)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(ended)
"""


def test_fifty_pollers_in_two_processes_write_a_run_once(upstream: StandIn, settings: Settings) -> None:
    """Fifty threads in two processes poll two finished runs: every row is written once, and the file is copied once."""
    door = Door("sync")
    client = door.client(upstream, settings)
    upstream.script(
        Turn(text=LINK, files={"sales.csv": CSV}, images=[PNG], code="1", polls=0),
        Turn(text="Done.", polls=0),
    )
    # The container is slow, so that every poller arrives while one of them copies.
    upstream.fault(Fault("GET /containers/*/content", stall=0.3))
    runs = [start_run(door, client, assistant={"tools": CODE}) for _ in range(2)]
    run_ids = [part for run in runs for part in (run.id, run.thread_id)]
    arguments = [settings.store, settings.files, settings.namespace, upstream.base_url, KEY, *run_ids]
    command = [sys.executable, "-c", POLLER, *map(str, arguments)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output, errors = process.communicate()
        assert (process.returncode, output) == (0, f"{[1] * 50}\n"), errors
    rows = dump_store(settings)
    written = [(row["run_id"], row["kind"]) for row in rows["messages"] if row["run_id"]]
    # The item before the first message is the code interpreter call, kept for later runs.
    assert written == [(runs[0].id, "item"), (runs[0].id, "message"), (runs[1].id, "message")]
    assert [row["run_id"] for row in rows["steps"]] == [runs[0].id, runs[0].id, runs[1].id]
    # The image's bytes are in the output, so only the linked file is fetched.
    assert upstream_calls(upstream, CONTENT) == [CONTENT]
    assert sorted(client.files.content(row["id"]).read() for row in rows["files"]) == sorted([CSV, PNG])
    door.close()


def test_concurrent_pollers_write_a_run_once(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """Twenty threads or tasks that poll one run write it once; those that come early see its old status."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    upstream.fault(Fault("GET /containers/*/content", stall=0.2))
    run = start_run(door, client, assistant={"tools": CODE})
    polled = run_concurrently(door, 20, lambda _: client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert {polled_run.status for polled_run in polled} <= {"queued", "completed"}
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "completed"
    rows = dump_store(settings)
    assert [len(rows[noun]) for noun in ("messages", "steps", "files")] == [3, 2, 1]
    assert upstream_calls(upstream, CONTENT) == [CONTENT]


def test_messages_of_fifty_threads_have_one_order(door: Door, client: Any) -> None:
    """Messages of fifty concurrent writers are all listed once, each writer's own in order."""
    thread = door(client.beta.threads.create())
    messages = client.beta.threads.messages

    def write(number: int) -> Any:
        first = messages.create(thread.id, role="user", content=f"{number} 0")
        if door.kind == "sync":
            return messages.create(thread.id, role="user", content=f"{number} 1")

        async def write_both() -> Any:
            await first
            return await messages.create(thread.id, role="user", content=f"{number} 1")

        return write_both()

    written = run_concurrently(door, 50, write)
    assert [result for result in written if isinstance(result, Exception)] == []
    listed = door.all(messages.list(thread.id, order="asc", limit=7))
    texts = [message.content[0].text.value for message in listed]
    assert sorted(texts) == sorted(f"{number} {part}" for number in range(50) for part in (0, 1))
    for number in range(50):
        assert texts.index(f"{number} 0") < texts.index(f"{number} 1")
    backwards = [message.id for message in door.all(messages.list(thread.id, limit=100))]
    assert backwards == [message.id for message in reversed(listed)]
    assert [message.created_at for message in listed] == sorted(message.created_at for message in listed)


@pytest.mark.parametrize("count", [2, 8])
def test_one_of_several_simultaneous_runs_is_accepted(
    door: Door, client: Any, upstream: StandIn, settings: Settings, count: int
) -> None:
    """Of runs created at once on one thread one is sent upstream; the others get the 400 that names it."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    upstream.script(Turn(text="Slow.", polls=50))
    upstream.fault(Fault("POST /responses", stall=0.3, times=count))
    runs = client.beta.threads.runs
    more = [{"role": "user", "content": "More."}]
    results = run_concurrently(
        door,
        count,
        lambda _: runs.create(thread.id, assistant_id=assistant.id, additional_messages=more),
    )
    [winner] = [result for result in results if not isinstance(result, Exception)]
    losers: list[Any] = [result for result in results if isinstance(result, Exception)]
    assert {type(loser) for loser in losers} == {openai.BadRequestError}
    text = f"Thread {thread.id} already has an active run {winner.id}."
    assert {loser.body["message"] for loser in losers} == {text}
    assert upstream_calls(upstream, "POST /responses") == ["POST /responses"]
    rows = dump_store(settings)
    assert [len(rows[noun]) for noun in ("runs", "messages")] == [1, 2]


def test_two_threads_that_report_one_container_at_once_both_complete(
    sync: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs that report the same container at once both complete, and one thread gets the container."""
    client, second = (sync.client(upstream, settings) for _ in range(2))
    call = {"type": "code_interpreter_call", "code": "1", "outputs": [], "container_id": "cntr_1"}
    upstream.script(*[Turn(output=[call])] * 2)
    runs = [start_run(sync, client, tools=CODE) for _ in range(2)]
    insert_container, barrier = containers._insert_container, threading.Barrier(2)

    def insert_together(*arguments: Any) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):  # SQLite lets one write after the other
            barrier.wait(1)
        insert_container(*arguments)

    monkeypatch.setattr(containers, "_insert_container", insert_together)
    ended = run_in_threads(2, lambda number: poll_to_end(sync, (client, second)[number], runs[number]))
    assert [run.status for run in ended] == ["completed"] * 2
    [container] = dump_store(settings)["containers"]
    assert container["thread_id"] in {run.thread_id for run in runs}


def poll_to_end(door: Door, client: Any, run: Any) -> Any:
    """Poll a run to its end."""
    return door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))


def test_a_message_and_a_run_at_once_exclude_each_other(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """A message created during a run's creation is either in the run's input or refused."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    upstream.script(Turn(text="Slow.", polls=50))
    upstream.fault(Fault("POST /responses", stall=0.2))
    threads = client.beta.threads

    def work(number: int) -> Any:
        if number == 0:
            return threads.runs.create(thread.id, assistant_id=assistant.id)
        return threads.messages.create(thread.id, role="user", content=str(number))

    run, *results = run_concurrently(door, 6, work)
    refused: list[Any] = [result for result in results if isinstance(result, Exception)]
    text = f"Can't add messages to {thread.id} while a run {run.id} is active."
    assert {result.body["message"] for result in refused} <= {text}
    [request] = [result for result in upstream.requests if result.method == "POST"]
    assert len(request.json["input"]) == 1 + len(results) - len(refused)
    assert len(dump_store(settings)["messages"]) == len(request.json["input"])


def test_concurrent_updates_of_one_object_are_all_kept(door: Door, client: Any, settings: Settings) -> None:
    """Concurrent updates of different fields of one assistant or thread are all kept."""
    assistant, thread = make_assistant(door, client, name="0"), door(client.beta.threads.create())
    fields: list[dict[str, Any]] = [
        {"name": "n"},
        {"description": "d"},
        {"instructions": "i"},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"metadata": {"m": "1"}},
    ]
    run_concurrently(door, 6, lambda number: client.beta.assistants.update(assistant.id, **fields[number]))
    served = door(client.beta.assistants.retrieve(assistant.id)).to_dict()
    for field in fields:
        assert {key: served[key] for key in field} == field

    def attach(number: int) -> Any:
        attachment = {"file_id": f"file-{number}", "tools": CODE}
        return client.beta.threads.messages.create(thread.id, role="user", content="x", attachments=[attachment])

    run_concurrently(door, 10, attach)
    resources = door(client.beta.threads.retrieve(thread.id)).tool_resources.code_interpreter
    assert sorted(resources.file_ids) == sorted(f"file-{number}" for number in range(10))


@pytest.mark.parametrize(("polls", "status"), [(0, "completed"), (1, "in_progress")])
def test_metadata_set_during_a_poll_is_kept(
    door: Door,
    client: Any,
    upstream: StandIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    polls: int,
    status: str,
) -> None:
    """Metadata set while a poll waits for the upstream is kept together with the polled status."""
    upstream.script(Turn(text="Done.", polls=polls))
    run = start_run(door, client)
    runs = client.beta.threads.runs
    is_polling = threading.Event()
    fault_for = upstream.fault_for

    def announced_fault_for(request: Any) -> Any:
        fault = fault_for(request)
        is_polling.set()
        return fault

    monkeypatch.setattr(upstream, "fault_for", announced_fault_for)
    upstream.fault(Fault("GET /responses/*", stall=0.4))
    upstream.fault(Fault("GET /responses/*", status=500))  # for the update's own poll, which is quicker

    def work(number: int) -> Any:
        if number == 0:
            return runs.retrieve(run.id, thread_id=run.thread_id)
        if door.kind == "sync":
            is_polling.wait(10)
            return runs.update(run.id, thread_id=run.thread_id, metadata={"given": "meanwhile"})

        async def later() -> Any:
            await asyncio.get_running_loop().run_in_executor(None, is_polling.wait, 10)
            return await runs.update(run.id, thread_id=run.thread_id, metadata={"given": "meanwhile"})

        return later()

    polled, updated = run_concurrently(door, 2, work)
    assert updated.status == "queued"
    assert (polled.status, polled.metadata) == (status, {"given": "meanwhile"})
    [row] = dump_store(settings)["runs"]
    assert (row["status"], row["body"]["status"]) == (status, status)


def test_a_thread_deleted_during_a_poll_stays_deleted(
    door: Door, client: Any, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread deleted while a poll copies its run's files keeps no rows, and the poll gets at most a 404."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    copying = threading.Event()
    fault_for = upstream.fault_for

    def announced_fault_for(request: Any) -> Any:
        fault = fault_for(request)
        if request.path.endswith("/content"):
            copying.set()
        return fault

    monkeypatch.setattr(upstream, "fault_for", announced_fault_for)
    upstream.fault(Fault("GET /containers/*/content", stall=0.4))

    def work(number: int) -> Any:
        if number == 0:
            return client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)
        if door.kind == "sync":
            copying.wait(10)
            return client.beta.threads.delete(run.thread_id)

        async def later() -> Any:
            await asyncio.get_running_loop().run_in_executor(None, copying.wait, 10)
            return await client.beta.threads.delete(run.thread_id)

        return later()

    polled, deleted = run_concurrently(door, 2, work)
    assert deleted.deleted is True
    assert not isinstance(polled, openai.APIError) or polled.status_code == 404  # type: ignore[attr-defined]
    rows = dump_store(settings)
    assert [len(rows[noun]) for noun in ("messages", "runs", "steps", "files")] == [0] * 4
    assert [row["deleted"] for row in rows["threads"]] == [True]  # the id remains, so that it is never used again
