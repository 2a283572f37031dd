"""`settle`: what nobody looks at is finished, and what could not be copied is tried again."""

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
from kit.files import CONTENT, MISSING, TURN, run_without_its_file
from kit.legacy_code import CODE, CSV, LINK, asked, calling, dump, look_at, start_run, waiting_run

NOTHING = Settled((), (), (), {})


def age(settings: Settings, table: str, **values: int) -> None:
    """Change columns of all rows of a table, as if time had passed."""

    def work(db: Connection) -> None:
        changed = tables.metadata.tables[table]
        db.execute(update(changed).where(changed.c.namespace == settings.namespace).values(**values))

    transact(database_url(settings.store), work, write=True)


def test_a_run_that_nobody_polls_is_finished(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """Its files outlive its container; a second time there is nothing to do."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=1))
    run = start_run(door, client, assistant={"tools": CODE})
    assert door(settle(client)) == Settled((), (run.id,), (), {})
    assert door(settle(client)) == Settled((run.id,), (), (), {})
    assert door(settle(client)) == NOTHING
    upstream.advance(24 * 3600)
    [file] = dump(settings)["files"]
    assert door(client.files.content(file["id"])).read() == CSV


def test_one_that_fails_does_not_stop_the_others(door: Door, client: Any, upstream: StandIn) -> None:
    """Six runs, one of whose responses cannot be read: its reason is said, the others are finished."""
    upstream.script(*[Turn(text=str(number), polls=0) for number in range(6)])
    runs = [start_run(door, client).id for _ in range(6)]
    upstream.fault(
        Fault(match="GET /responses/*", status=400, body={"error": {"message": "A bad\nhour.", "type": "x"}})
    )
    settled = door(settle(client))
    [(failed, why)] = settled.failed.items()
    assert why == "A bad hour."
    assert settled == Settled(tuple(id_ for id_ in runs if id_ != failed), (), (), {failed: why})
    assert door(settle(client)) == Settled((failed,), (), (), {})


def test_a_run_that_waits_for_outputs_stays_active(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """Until its time is over: then it is expired."""
    run = waiting_run(door, client, upstream)
    assert door(settle(client)) == Settled((), (run.id,), (), {})
    age(settings, "runs", expires_at=1)
    assert door(settle(client)) == Settled((run.id,), (), (), {})
    assert look_at(door, client, run).status == "expired"


def test_a_run_that_is_streamed_is_left_alone(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """While its reader holds it; once the reader is gone it is looked at."""
    run = waiting_run(door, client, upstream)
    streamed = {**dump(settings)["runs"][0]["request"], "stream": True}
    age(settings, "runs", lease_until=2**40, request=streamed)  # type: ignore[arg-type]
    assert door(settle(client)) == NOTHING
    age(settings, "runs", lease_until=1)
    assert door(settle(client)) == Settled((), (run.id,), (), {})


def test_other_tenants_are_left_alone(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """A client of another namespace of the same store looks at nothing of ours."""
    run = waiting_run(door, client, upstream)
    other = door.client(upstream, replace(settings, namespace="another"))
    assert door(settle(other)) == NOTHING
    assert door(settle(client)).active == (run.id,)


def test_a_file_that_could_not_be_copied_is_copied_once(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """Its bytes are asked for once, and served afterwards without the upstream; a lost one says why."""
    _, file_id = run_without_its_file(door, client, upstream)
    upstream.fault(MISSING)
    failed = door(settle(client)).failed
    assert list(failed) == [file_id]
    assert "the container answered 404" in failed[file_id]
    upstream.requests.clear()
    assert door(settle(client)) == Settled((), (), (file_id,), {})
    assert asked(upstream) == [CONTENT, "GET /containers/*/files/*"]  # its bytes, and how many they should be
    assert door(settle(client)) == NOTHING
    upstream.close()
    assert door(client.files.content(file_id)).read() == CSV


def test_an_empty_file_is_recovered_too(door: Door, client: Any, upstream: StandIn) -> None:
    """No byte is no reason to fail."""
    upstream.fault(MISSING)
    upstream.script(Turn(text=LINK, files={"sales.csv": b""}, polls=0))
    start_run(door, client, assistant={"tools": CODE})
    assert door(settle(client)).finished
    assert len(door(settle(client)).recovered) == 1


def test_a_file_is_not_tried_for_ever(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """Each try keeps a container alive and paid for: after an hour there are no more."""
    run_without_its_file(door, client, upstream)
    age(settings, "files", created_at=int(upstream.now()) - 3700)
    assert door(settle(client)) == NOTHING


def test_a_client_that_is_not_wrapped_is_refused(door: Door, upstream: StandIn) -> None:
    """At once, also for an asynchronous one."""
    with pytest.raises(TypeError, match=r"went through wrap\(\)"):
        settle(door.raw_client(upstream))


def test_an_asynchronous_client_looks_at_a_few_at_once(upstream: StandIn, sqlite_settings: Settings) -> None:
    """Four at a time, not all of them: an upstream counts requests a minute."""
    door = Door("async", asyncio.new_event_loop())
    client = door.client(upstream, sqlite_settings)
    upstream.script(*[calling("call_1") for _ in range(9)])
    for _ in range(9):
        start_run(door, client, tools=[{"type": "function", "function": {"name": "look"}}])
    running, most = 0, 0
    send = client._client.__wrapped__.send

    async def counted(request: Any, **options: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        try:
            return await send(request, **options)
        finally:
            running -= 1

    client._client.__wrapped__.send = counted
    assert len(door(settle(client)).active) == 9
    assert 1 < most <= 4
    door.close()


ELSEWHERE = """
import sys
import openai
import assistants_compat
store, files, namespace, base_url, key = sys.argv[1:]
settings = assistants_compat.Settings(store=store, files=files, namespace=namespace)
client = assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key), settings)
print(*assistants_compat.settle(client).finished)
"""


def test_several_processes_settle_what_one_began(upstream: StandIn, settings: Settings) -> None:
    """Two processes at once, after the one that began the runs: each run's message and file is there once."""
    door = Door("sync")
    client = door.client(upstream, settings)
    upstream.script(*[Turn(text=LINK, files={"sales.csv": CSV}, polls=0) for _ in range(3)])
    runs = {start_run(door, client, assistant={"tools": CODE}).id for _ in range(3)}
    arguments = [str(settings.store), str(settings.files), settings.namespace, upstream.base_url, KEY]
    started = [
        subprocess.Popen([sys.executable, "-c", ELSEWHERE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=90) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    door(settle(client))
    kept = dump(settings)
    assert {row["status"] for row in kept["runs"]} == {"completed"}
    assert sorted(row["run_id"] for row in kept["files"]) == sorted(runs)
    assert sorted(row["run_id"] for row in kept["messages"] if row["body"].get("role") == "assistant") == sorted(runs)
    assert len(list(Path(str(settings.files)).iterdir())) == 3
    door.close()


def test_a_settled_run_is_there_after_a_restart(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """A new client over the same store settles what an earlier one began, and serves the file."""
    upstream.script(replace(TURN, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    later = door.client(upstream, settings)
    assert door(settle(later)).finished == (run.id,)
    assert look_at(door, later, run).status == "completed"
