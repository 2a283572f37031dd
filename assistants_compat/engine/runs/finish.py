"""How a round of a run ends: its files are copied, then everything is written at once.

A round is one response upstream.  What it leaves, and the run's next status, are one transaction with a compare-and-set
on that status: any number of pollers write its messages once.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

from ... import errors
from ...store import queries
from ...store.database import Connection
from ...store.queries import Found
from ...translate import run as runs
from ...translate.file_references import files_of_message, files_of_step
from ...translate.output import Generated, Outcome, attachment, outcome_from_response
from ...translate.run import added, outcome_of_response, status_of_calls, usage_from_response
from ...translate.uncited_files import containers_of
from ...wire.ids import Replay
from ...wire.objects import Json, Run, objects
from .. import containers, generated_files
from ..io import IO

_LEASE_SECONDS = 300  # a poller that died while it copied holds a run's end back no longer than this


async def finish(
    io: IO,
    row: Found,
    response: Mapping[str, Any],
    told: Outcome | None = None,
    stored: Mapping[str, int] | None = None,
) -> Found:
    """Copy the files, then write messages, steps, files and the run's next status in one transaction.

    Of any number of pollers one takes the lease and copies; the others see the run as it still is.  `told` is what a
    stream has made of the response, and `stored` what of it is there already; a stream has the lease.
    """
    run: Run = row["body"]
    now = io.now()
    usage = usage_from_response(response)
    total = added(row["state"]["usage"], usage)
    status, changes = outcome_of_response(run, response, total)
    # Ids that a stream gave out before it died are given again.
    minted = row["state"].get("minted")
    mint = Replay(io.mint, minted)
    streamed = bool(row["request"].get("stream"))
    if told is None:
        output = objects(response.get("output"))
        found = await generated_files.found_files(io, containers_of(output), minted or {})
        earlier = await generated_files.earlier_files(io, run, output)
        calls_are = status_of_calls(status)
        outcome = outcome_from_response(
            run, response, usage, mint, now, calls_are=calls_are, streamed=streamed, found=found, earlier=earlier
        )
    else:
        outcome = told
    state = {**row["state"], "usage": total, "step_usage": usage, "sent": _sent(row, response)}
    state.pop("minted", None)
    state = runs.with_response(state, row["response_id"])
    if outcome.files and told is None and not await lease(io, row):
        return await again(io, row)
    written: Found | None = None
    new: list[Generated] = []
    try:
        new = await unknown(io, outcome.files)
        kept = await generated_files.keep_all(io, new, run)

        def work(db: Connection) -> Found | None:
            namespace, run_id = row["namespace"], row["id"]
            queries.lock_thread(db, namespace, run["thread_id"])
            fresh = queries.get(db, "runs", namespace, run_id, lock=True)
            # Another poller may have been first.
            if fresh is None or fresh["status"] in runs.TERMINAL:
                return None
            # Then this response is not the one that the run waits for; a stream's row is its own round's.
            if told is None and fresh["response_id"] != row["response_id"]:
                return None
            if round_of(fresh) != round_of(row):
                return None
            # And what calls functions ends otherwise for a run that is cancelled meanwhile: the next look sees it.
            if fresh["status"] == "requires_action" or (status, fresh["status"]) == ("requires_action", "cancelling"):
                return None
            ended = runs.moved(fresh["body"], status, now, **changes)
            columns = {"response_id": row["response_id"], "state": state, "lease_until": 0}
            queries.change(db, "runs", namespace, run_id, status=ended["status"], body=ended, **columns)
            known = stored if told is not None else None if minted else {}
            _attach_rest(db, row, outcome)
            put(io, db, run, outcome.entries, outcome.steps, known)
            queries.add(db, "files", kept)
            return {**fresh, "status": ended["status"], "body": ended, **columns}

        written = await io.write(work)
    finally:
        if written is None and outcome.files:
            await _give_up(io, row, [file.id for file in new])
    if written is not None:
        await generated_files.tell(io, kept)
    return written or await again(io, row)


def _attach_rest(db: Connection, row: Found, outcome: Outcome) -> None:
    """Attach to the last message what earlier rounds, which called functions, made and had no message for."""
    if not (round_of(row) and outcome.messages):
        return

    def rows(noun: Literal["files", "messages", "steps"]) -> list[Found]:
        return queries.of_thread(db, noun, row["namespace"], row["thread_id"], run_id=row["id"])[::-1]

    made = [file["id"] for file in rows("files") if file["id"] not in outcome.files]
    if not made:
        return
    said = [*(each["body"] for each in rows("messages")), *outcome.messages]
    named = {file_id for message in said for file_id in files_of_message(message)}
    named |= {file_id for step in rows("steps") for file_id in files_of_step(step["body"])}
    last = outcome.messages[-1]
    last["attachments"] = [*last["attachments"], *(attachment(id_) for id_ in made if id_ not in named)]


def _sent(row: Found, response: Mapping[str, Any]) -> list[Any]:
    """What the next round has to send again because the upstream keeps nothing (`store_responses=False`)."""
    return [] if row["request"]["store"] else [*row["state"]["sent"], list(response.get("output") or [])]


async def lease(io: IO, row: Found) -> bool:
    """Take the right to end a round; False while another has it."""
    namespace, run_id = row["namespace"], row["id"]
    return await io.write(lambda db: queries.lease_run(db, namespace, run_id, now=io.now(), seconds=_LEASE_SECONDS))


async def end_lease(io: IO, row: Found) -> None:
    """Let the next look try, at the response that is known; the lease of a later round is somebody else's."""
    known = {"response_id": row["response_id"]} if row["response_id"] is not None else {}

    def work(db: Connection) -> None:
        fresh = queries.get(db, "runs", row["namespace"], row["id"], lock=True)
        if fresh is not None and round_of(fresh) == round_of(row):
            queries.change(db, "runs", row["namespace"], row["id"], lease_until=0, **known)

    await io.write(work)


@asynccontextmanager
async def copied(io: IO, files: Mapping[str, Generated], run: Run) -> AsyncIterator[list[Json]]:
    """Copy the files that no row speaks of yet; their rows, for whoever writes them before it is left.

    Copies of which no row was written are forgotten then.
    """
    new = await unknown(io, files)
    try:
        yield await generated_files.keep_all(io, new, run)
    finally:
        await forget_unknown(io, [file.id for file in new])


async def unknown(io: IO, files: Mapping[str, Generated]) -> list[Generated]:
    """The files that no row speaks of yet."""
    known = await _spoken_of(io, files) if files else set()
    return [file for file in files.values() if file.id not in known]


async def _spoken_of(io: IO, ids: Iterable[str]) -> set[str]:
    namespace = io.settings.namespace
    return await io.read(lambda db: {id_ for id_ in ids if queries.get(db, "files", namespace, id_) is not None})


async def _give_up(io: IO, row: Found, ids: list[str]) -> None:
    """Let the next look try, and forget the copies that no row speaks of."""
    with contextlib.suppress(errors.StoreError):
        await end_lease(io, row)
    await forget_unknown(io, ids)


async def forget_unknown(io: IO, ids: Collection[str]) -> None:
    """Forget those of these copies that no row speaks of.

    Whether a transaction was written may be unknown (the connection was lost at its commit): the store says what is
    there, and while it does not answer nothing is forgotten.
    """
    if not ids:
        return
    with contextlib.suppress(errors.StoreError):
        for id_ in set(ids) - await _spoken_of(io, ids):
            await io.forget(id_)


def put(  # noqa: PLR0913, PLR0917 - a run, and what of it is to be written
    io: IO,
    db: Connection,
    run: Run,
    entries: Iterable[Mapping[str, Any]],
    steps: Iterable[Mapping[str, Any]],
    stored: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Write messages, what stands between them, and steps; what is there once the transaction is committed.

    `stored` says what is there already, by id and as the hash of its JSON, so that only what has changed is written
    again; without it nobody knows.
    """
    there = dict(stored or {})
    for noun, object_ in [*(("messages", entry) for entry in entries), *(("steps", step) for step in steps)]:
        id_, mark = object_["id"], hash(json.dumps(object_))
        if there.get(id_) == mark:
            continue
        row = _row(io, run, object_)
        if stored is None or id_ in stored:
            queries.put(db, noun, row)  # type: ignore[arg-type]  # one of two nouns
        else:
            queries.add(db, noun, [row])  # type: ignore[arg-type]  # as above
        if "items" in object_:
            containers.remember(io, db, run, object_["items"])
        there[id_] = mark
    return there


def _row(io: IO, run: Run, object_: Mapping[str, Any]) -> Json:
    if "items" in object_:
        return item_row(io, run, object_)
    return {
        "namespace": io.settings.namespace,
        "id": object_["id"],
        "created_at": object_["created_at"],
        "thread_id": run["thread_id"],
        "run_id": run["id"],
        "body": object_,
    }


def item_row(io: IO, run: Run, entry: Mapping[str, Any]) -> Json:
    """The row of what a run did between its messages: it is told to later runs and never listed."""
    return {
        "namespace": io.settings.namespace,
        "id": entry["id"],
        "created_at": io.now(),
        "thread_id": run["thread_id"],
        "run_id": run["id"],
        "kind": "item",
        "body": entry,
    }


def round_of(row: Found) -> int:
    """Which of its rounds a run is in: a reader that was long away must not write into a later one."""
    return int(row["state"].get("round", 0))


async def again(io: IO, row: Found) -> Found:
    """The run as it is in the store."""
    return await io.read(lambda db: queries.get(db, "runs", row["namespace"], row["id"])) or row
