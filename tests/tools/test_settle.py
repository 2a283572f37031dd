"""`settle` finishes runs that nothing polls, and copies files whose copy failed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from assistants_compat import Settings, Settled, settle
from assistants_compat.store import tables
from assistants_compat.store.database import Connection, transact
from assistants_compat.store.locations import database_url
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import KEY, Door
from kit.files import CONTENT_NOT_FOUND, CONTENT_REQUEST, TURN, run_with_uncopied_file
from kit.legacy_code import (
    CODE,
    CSV,
    LINK,
    dump_store,
    function_call_turn,
    retrieve_run,
    start_run,
    upstream_calls,
    waiting_run,
)

NOTHING = Settled((), (), (), {})


def set_columns(settings: Settings, table: str, **values: int) -> None:
    """Change columns of all rows of a table, as if time had passed."""

    def write(db: Connection) -> None:
        changed_table = tables.metadata.tables[table]
        db.execute(update(changed_table).where(changed_table.c.namespace == settings.namespace).values(**values))

    transact(database_url(settings.store), write, write=True)


def test_a_run_that_nobody_polls_is_finished(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """`settle` finishes a run and stores its files, and the next call has nothing to do."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=1))
    run = start_run(door, client, assistant={"tools": CODE})
    assert door(settle(client)) == Settled((), (run.id,), (), {})
    assert door(settle(client)) == Settled((run.id,), (), (), {})
    assert door(settle(client)) == NOTHING
    upstream.advance(24 * 3600)
    [file] = dump_store(settings)["files"]
    assert door(client.files.content(file["id"])).read() == CSV


def test_a_failure_does_not_stop_the_other_runs(door: Door, client: Any, upstream: StandIn) -> None:
    """A run whose response cannot be retrieved is reported with its reason, and the others are finished."""
    upstream.script(*[Turn(text=str(number), polls=0) for number in range(6)])
    runs = [start_run(door, client).id for _ in range(6)]
    upstream.fault(
        Fault(match="GET /responses/*", status=400, body={"error": {"message": "A bad\nhour.", "type": "x"}})
    )
    settled = door(settle(client))
    [(failed, reason)] = settled.failed.items()
    assert reason == "A bad hour."
    assert settled == Settled(tuple(id_ for id_ in runs if id_ != failed), (), (), {failed: reason})
    assert door(settle(client)) == Settled((failed,), (), (), {})


def test_a_run_that_waits_for_outputs_stays_active(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """A waiting run stays active until its time is over, and is then expired."""
    run = waiting_run(door, client, upstream)
    assert door(settle(client)) == Settled((), (run.id,), (), {})
    set_columns(settings, "runs", expires_at=1)
    assert door(settle(client)) == Settled((run.id,), (), (), {})
    assert retrieve_run(door, client, run).status == "expired"


def test_a_run_that_is_streamed_is_left_alone(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """A streamed run is left to its reader, and polled once the lease has expired."""
    run = waiting_run(door, client, upstream)
    streamed_request = {**dump_store(settings)["runs"][0]["request"], "stream": True}
    set_columns(settings, "runs", lease_until=2**40, request=streamed_request)  # type: ignore[arg-type]
    assert door(settle(client)) == NOTHING
    set_columns(settings, "runs", lease_until=1)
    assert door(settle(client)) == Settled((), (run.id,), (), {})


def test_other_namespaces_are_left_alone(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """A client settles only runs of its own namespace."""
    run = waiting_run(door, client, upstream)
    other = door.client(upstream, replace(settings, namespace="another"))
    assert door(settle(other)) == NOTHING
    assert door(settle(client)).active == (run.id,)


def test_a_file_that_could_not_be_copied_is_copied_once(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """A file is copied once and then served without the upstream; a failed copy is reported with its reason."""
    _, file_id = run_with_uncopied_file(door, client, upstream)
    upstream.fault(CONTENT_NOT_FOUND)
    failed = door(settle(client)).failed
    assert list(failed) == [file_id]
    assert "the container answered 404" in failed[file_id]
    upstream.requests.clear()
    assert door(settle(client)) == Settled((), (), (file_id,), {})
    assert upstream_calls(upstream) == [
        CONTENT_REQUEST,
        "GET /containers/*/files/*",
    ]  # the bytes, and the file's size
    assert door(settle(client)) == NOTHING
    upstream.close()
    assert door(client.files.content(file_id)).read() == CSV


def test_an_empty_file_is_recovered_too(door: Door, client: Any, upstream: StandIn) -> None:
    """An empty file whose copy failed is copied, too."""
    upstream.fault(CONTENT_NOT_FOUND)
    upstream.script(Turn(text=LINK, files={"sales.csv": b""}, polls=0))
    start_run(door, client, assistant={"tools": CODE})
    assert door(settle(client)).finished
    assert len(door(settle(client)).recovered) == 1


def test_a_file_is_not_retried_for_ever(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """A file is not retried after an hour, because each attempt keeps a paid container alive."""
    run_with_uncopied_file(door, client, upstream)
    set_columns(settings, "files", created_at=int(upstream.now()) - 3700)
    assert door(settle(client)) == NOTHING


def test_a_client_that_is_not_wrapped_is_refused(door: Door, upstream: StandIn) -> None:
    """An unwrapped client is refused at once, also an asynchronous one."""
    with pytest.raises(TypeError, match=r"went through wrap\(\)"):
        settle(door.raw_client(upstream))


def test_an_asynchronous_client_polls_four_runs_at_once(upstream: StandIn, sqlite_settings: Settings) -> None:
    """An asynchronous client polls at most four runs at once, because upstreams limit requests per minute."""
    door = Door("async", asyncio.new_event_loop())
    client = door.client(upstream, sqlite_settings)
    upstream.script(*[function_call_turn("call_1") for _ in range(9)])
    for _ in range(9):
        start_run(door, client, tools=[{"type": "function", "function": {"name": "look"}}])
    running, maximum = 0, 0
    send = client._client.__wrapped__.send

    async def counting_send(request: Any, **options: Any) -> Any:
        nonlocal running, maximum
        running += 1
        maximum = max(maximum, running)
        await asyncio.sleep(0.01)
        try:
            return await send(request, **options)
        finally:
            running -= 1

    client._client.__wrapped__.send = counting_send
    assert len(door(settle(client)).active) == 9
    assert 1 < maximum <= 4
    door.close()


SETTLE_IN_ANOTHER_PROCESS = """
import sys
import openai
import assistants_compat
store, files, namespace, base_url, key = sys.argv[1:]
settings = assistants_compat.Settings(store=store, files=files, namespace=namespace)
client = assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key), settings)
print(*assistants_compat.settle(client).finished)
"""


def test_several_processes_settle_runs_of_one_process(upstream: StandIn, settings: Settings) -> None:
    """Two processes that settle at once store each run's message and file once."""
    door = Door("sync")
    client = door.client(upstream, settings)
    upstream.script(*[Turn(text=LINK, files={"sales.csv": CSV}, polls=0) for _ in range(3)])
    runs = {start_run(door, client, assistant={"tools": CODE}).id for _ in range(3)}
    arguments = [str(settings.store), str(settings.files), settings.namespace, upstream.base_url, KEY]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SETTLE_IN_ANOTHER_PROCESS, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    door(settle(client))
    stored_rows = dump_store(settings)
    assert {row["status"] for row in stored_rows["runs"]} == {"completed"}
    assert sorted(row["run_id"] for row in stored_rows["files"]) == sorted(runs)
    assert sorted(row["run_id"] for row in stored_rows["messages"] if row["body"].get("role") == "assistant") == sorted(
        runs
    )
    assert len(list(Path(str(settings.files)).iterdir())) == 3
    door.close()


def test_a_new_client_settles_runs_of_an_earlier_one(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """A new client of the same store settles the runs of an earlier one."""
    upstream.script(replace(TURN, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    new_client = door.client(upstream, settings)
    assert door(settle(new_client)).finished == (run.id,)
    assert retrieve_run(door, new_client, run).status == "completed"
