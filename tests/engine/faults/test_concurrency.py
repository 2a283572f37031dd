"""Many callers of one store: threads, tasks and processes at the same time."""

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
from kit.legacy_code import CODE, CSV, LINK, asked, dump, make_assistant, make_thread, start_run

CONTENT = "GET /containers/*/files/*/content"
PNG = b"\x89PNG\r\n\x1a\n-a-picture"


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Do something in `count` threads that start together; what each gave or raised, in their order."""
    results: list[Any] = [None] * count
    start = threading.Barrier(count)

    def body(number: int) -> None:
        start.wait(60)
        try:
            results[number] = work(number)
        except Exception as error:  # noqa: BLE001 - the caller looks at it
            results[number] = error

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def tasks_at_once(door: Door, count: int, work: Callable[[int], Any]) -> list[Any]:
    """The same as tasks of one loop."""

    async def gather() -> list[Any]:
        return list(await asyncio.gather(*map(work, range(count)), return_exceptions=True))

    return list(door(gather()))


def many(door: Door, count: int, work: Callable[[int], Any]) -> list[Any]:
    """At once in the way of the door."""
    return at_once(count, work) if door.kind == "sync" else tasks_at_once(door, count, work)


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
    """Two processes of 25 threads poll one finished run: each message, step and file is there once, copied once."""
    door = Door("sync")
    client = door.client(upstream, settings)
    upstream.script(
        Turn(text=LINK, files={"sales.csv": CSV}, images=[PNG], code="1", polls=0),
        Turn(text="Done.", polls=0),
    )
    # A slow container: every poller comes while one of them copies.
    upstream.fault(Fault("GET /containers/*/content", stall=0.3))
    runs = [start_run(door, client, assistant={"tools": CODE}) for _ in range(2)]
    named = [part for run in runs for part in (run.id, run.thread_id)]
    arguments = [settings.store, settings.files, settings.namespace, upstream.base_url, KEY, *named]
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
    rows = dump(settings)
    written = [(row["run_id"], row["kind"]) for row in rows["messages"] if row["run_id"]]
    # Before its message, the first run's code is kept for later runs: that too is written once.
    assert written == [(runs[0].id, "item"), (runs[0].id, "message"), (runs[1].id, "message")]
    assert [row["run_id"] for row in rows["steps"]] == [runs[0].id, runs[0].id, runs[1].id]
    # The shown image came inside the output; the linked file alone is fetched.
    assert asked(upstream, CONTENT) == [CONTENT]
    assert sorted(client.files.content(row["id"]).read() for row in rows["files"]) == sorted([CSV, PNG])
    door.close()


def test_tasks_of_one_loop_write_a_run_once(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """The same within one process, in threads and as tasks; whoever comes too late sees the run as it was."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    upstream.fault(Fault("GET /containers/*/content", stall=0.2))
    run = start_run(door, client, assistant={"tools": CODE})
    seen = many(door, 20, lambda _: client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert {each.status for each in seen} <= {"queued", "completed"}
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "completed"
    rows = dump(settings)
    assert [len(rows[noun]) for noun in ("messages", "steps", "files")] == [3, 2, 1]
    assert asked(upstream, CONTENT) == [CONTENT]


def test_messages_of_fifty_threads_have_one_order(door: Door, client: Any) -> None:
    """Fifty writers at once: every message is listed once, and each writer's own stay in their order."""
    thread = door(client.beta.threads.create())
    messages = client.beta.threads.messages

    def write(number: int) -> Any:
        first = messages.create(thread.id, role="user", content=f"{number} 0")
        if door.kind == "sync":
            return messages.create(thread.id, role="user", content=f"{number} 1")

        async def both() -> Any:
            await first
            return await messages.create(thread.id, role="user", content=f"{number} 1")

        return both()

    written = many(door, 50, write)
    assert [each for each in written if isinstance(each, Exception)] == []
    listed = door.all(messages.list(thread.id, order="asc", limit=7))
    texts = [message.content[0].text.value for message in listed]
    assert sorted(texts) == sorted(f"{number} {part}" for number in range(50) for part in (0, 1))
    for number in range(50):
        assert texts.index(f"{number} 0") < texts.index(f"{number} 1")
    backwards = [message.id for message in door.all(messages.list(thread.id, limit=100))]
    assert backwards == [message.id for message in reversed(listed)]
    assert [message.created_at for message in listed] == sorted(message.created_at for message in listed)


@pytest.mark.parametrize("count", [2, 8])
def test_of_simultaneous_runs_one_wins(
    door: Door, client: Any, upstream: StandIn, settings: Settings, count: int
) -> None:
    """Runs created at once on one thread: one is asked for upstream, the others get the 400 that names it."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    upstream.script(Turn(text="Slow.", polls=50))
    upstream.fault(Fault("POST /responses", stall=0.3, times=count))
    runs = client.beta.threads.runs
    more = [{"role": "user", "content": "More."}]
    made = many(
        door,
        count,
        lambda _: runs.create(thread.id, assistant_id=assistant.id, additional_messages=more),
    )
    [winner] = [each for each in made if not isinstance(each, Exception)]
    losers: list[Any] = [each for each in made if isinstance(each, Exception)]
    assert {type(loser) for loser in losers} == {openai.BadRequestError}
    text = f"Thread {thread.id} already has an active run {winner.id}."
    assert {loser.body["message"] for loser in losers} == {text}
    assert asked(upstream, "POST /responses") == ["POST /responses"]
    rows = dump(settings)
    assert [len(rows[noun]) for noun in ("runs", "messages")] == [1, 2]


def test_two_threads_that_are_told_of_one_container_at_once(
    sync: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both runs end, and the container is the first one's."""
    client, second = (sync.client(upstream, settings) for _ in range(2))
    call = {"type": "code_interpreter_call", "code": "1", "outputs": [], "container_id": "cntr_1"}
    upstream.script(*[Turn(output=[call])] * 2)
    runs = [start_run(sync, client, tools=CODE) for _ in range(2)]
    add, both = containers._add, threading.Barrier(2)

    def together(*arguments: Any) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):  # SQLite lets one write after the other
            both.wait(1)
        add(*arguments)

    monkeypatch.setattr(containers, "_add", together)
    ended = at_once(2, lambda number: finished(sync, (client, second)[number], runs[number]))
    assert [run.status for run in ended] == ["completed"] * 2
    [container] = dump(settings)["containers"]
    assert container["thread_id"] in {run.thread_id for run in runs}


def finished(door: Door, client: Any, run: Any) -> Any:
    """The run at its end."""
    return door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))


def test_a_message_and_a_run_at_once_exclude_each_other(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """A message that comes while the run is being created is in its input or refused, never lost between them."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    upstream.script(Turn(text="Slow.", polls=50))
    upstream.fault(Fault("POST /responses", stall=0.2))
    threads = client.beta.threads

    def work(number: int) -> Any:
        if number == 0:
            return threads.runs.create(thread.id, assistant_id=assistant.id)
        return threads.messages.create(thread.id, role="user", content=str(number))

    run, *written = many(door, 6, work)
    refused: list[Any] = [each for each in written if isinstance(each, Exception)]
    text = f"Can't add messages to {thread.id} while a run {run.id} is active."
    assert {each.body["message"] for each in refused} <= {text}
    [request] = [each for each in upstream.requests if each.method == "POST"]
    assert len(request.json["input"]) == 1 + len(written) - len(refused)
    assert len(dump(settings)["messages"]) == len(request.json["input"])


def test_updates_of_one_object_do_not_lose_each_other(door: Door, client: Any, settings: Settings) -> None:
    """Fields of one assistant and one thread, changed by many at once, are all changed."""
    assistant, thread = make_assistant(door, client, name="0"), door(client.beta.threads.create())
    fields: list[dict[str, Any]] = [
        {"name": "n"},
        {"description": "d"},
        {"instructions": "i"},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"metadata": {"m": "1"}},
    ]
    many(door, 6, lambda number: client.beta.assistants.update(assistant.id, **fields[number]))
    served = door(client.beta.assistants.retrieve(assistant.id)).to_dict()
    for field in fields:
        assert {key: served[key] for key in field} == field

    def attach(number: int) -> Any:
        attachment = {"file_id": f"file-{number}", "tools": CODE}
        return client.beta.threads.messages.create(thread.id, role="user", content="x", attachments=[attachment])

    many(door, 10, attach)
    resources = door(client.beta.threads.retrieve(thread.id)).tool_resources.code_interpreter
    assert sorted(resources.file_ids) == sorted(f"file-{number}" for number in range(10))


@pytest.mark.parametrize(("polls", "status"), [(0, "completed"), (1, "in_progress")])
def test_metadata_given_during_a_look_is_kept(
    door: Door,
    client: Any,
    upstream: StandIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    polls: int,
    status: str,
) -> None:
    """A run that is changed while somebody waits for the upstream's answer has both: the change and the move."""
    upstream.script(Turn(text="Done.", polls=polls))
    run = start_run(door, client)
    runs = client.beta.threads.runs
    waiting = threading.Event()
    fault_for = upstream.fault_for

    def noticed(request: Any) -> Any:
        fault = fault_for(request)
        waiting.set()
        return fault

    monkeypatch.setattr(upstream, "fault_for", noticed)
    upstream.fault(Fault("GET /responses/*", stall=0.4))
    upstream.fault(Fault("GET /responses/*", status=500))  # the update's own look, which is quicker

    def work(number: int) -> Any:
        if number == 0:
            return runs.retrieve(run.id, thread_id=run.thread_id)
        if door.kind == "sync":
            waiting.wait(10)
            return runs.update(run.id, thread_id=run.thread_id, metadata={"given": "meanwhile"})

        async def later() -> Any:
            await asyncio.get_running_loop().run_in_executor(None, waiting.wait, 10)
            return await runs.update(run.id, thread_id=run.thread_id, metadata={"given": "meanwhile"})

        return later()

    looked, updated = many(door, 2, work)
    assert updated.status == "queued"
    assert (looked.status, looked.metadata) == (status, {"given": "meanwhile"})
    [row] = dump(settings)["runs"]
    assert (row["status"], row["body"]["status"]) == (status, status)


def test_a_thread_deleted_during_a_look_stays_deleted(
    door: Door, client: Any, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose thread goes away while its end is being fetched leaves neither messages nor an error of ours."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    copying = threading.Event()
    fault_for = upstream.fault_for

    def noticed(request: Any) -> Any:
        fault = fault_for(request)
        if request.path.endswith("/content"):
            copying.set()
        return fault

    monkeypatch.setattr(upstream, "fault_for", noticed)
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

    looked, deleted = many(door, 2, work)
    assert deleted.deleted is True
    assert not isinstance(looked, openai.APIError) or looked.status_code == 404  # type: ignore[attr-defined]
    rows = dump(settings)
    assert [len(rows[noun]) for noun in ("messages", "runs", "steps", "files")] == [0] * 4
    assert [row["deleted"] for row in rows["threads"]] == [True]  # only its id stays
