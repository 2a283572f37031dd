"""Finishes one upstream response of a run: copies its files, then writes messages, steps and status.

One upstream response is one round of a run. Its messages, its steps, its files and the run's next status are written
in one transaction, with a compare-and-set on the status. So any number of pollers write the messages once.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from ... import errors
from ...store import queries
from ...store.database import Connection
from ...store.queries import Row
from ...translate import run as run_status
from ...translate.file_references import files_of_message, files_of_step
from ...translate.outcome import GeneratedFile, Outcome
from ...translate.output import outcome_from_response
from ...translate.run import function_step_status, sum_usage, transition_from_response, usage_from_response
from ...translate.told_times import times_of_told_run
from ...translate.uncited_files import code_interpreter_attachment, container_ids_from_output, keys_of_version
from ...wire.ids import RepeatableIds
from ...wire.objects import Json, Run, Usage, as_object_list
from .. import containers, generated_files
from ..io import IO
from .run_log import log_if_ended

# A poller that dies while it copies files delays the end of its run by at most this long.
_LEASE_SECONDS = 300


@dataclass(frozen=True)
class StreamedRound:
    """What a stream has made of a response: its outcome, the run as it was told, and which objects are stored.

    `stored_hashes` are those of `write_objects`.
    """

    outcome: Outcome
    run: Run
    stored_hashes: Mapping[str, int] | None


async def finish_round(io: IO, row: Row, response: Mapping[str, Any], streamed: StreamedRound | None = None) -> Row:
    """Copy the files of a response, then write messages, steps, files and the run's next status in one transaction.

    Returns the run's row as it is afterwards. Among concurrent pollers, one takes the lease and copies; the others get
    the run as it still is. A stream passes its own translation of the response, and holds the lease anyway.
    """
    run: Run = row["body"]
    now = io.now()
    usage = usage_from_response(response)
    total_usage = sum_usage(row["state"]["usage"], usage)
    status, changes = transition_from_response(run, response, total_usage)
    # A stream that died may have sent ids to its caller: the same objects get the same ids.
    assigned_ids = row["state"].get("minted")
    if streamed is None:
        outcome = await _outcome_from_response(io, row, response, function_step_status(status), now)
    else:
        outcome = streamed.outcome
    state = _state_after_round(row, response, usage, total_usage)
    if outcome.files and streamed is None and not await take_lease(io, row):
        return await reload_run(io, row)
    finished_row: Row | None = None
    new_files: list[GeneratedFile] = []
    try:
        new_files = await files_without_row(io, outcome.files)
        file_rows = await generated_files.copy_files(io, new_files, run)

        def work(db: Connection) -> Row | None:
            namespace, run_id = row["namespace"], row["id"]
            queries.lock_thread(db, namespace, run["thread_id"])
            current = queries.get(db, "runs", namespace, run_id, lock=True)
            # Another poller may have finished the run first.
            if current is None or current["status"] in run_status.TERMINAL:
                return None
            # The run waits for another response by now. A stream compares the round only: its response id may not be
            # stored yet.
            if streamed is None and current["response_id"] != row["response_id"]:
                return None
            if round_number(current) != round_number(row):
                return None
            # The response calls functions, but the run was cancelled meanwhile: the next poll ends it as `cancelled`.
            was_cancelled = (status, current["status"]) == ("requires_action", "cancelling")
            if current["status"] == "requires_action" or was_cancelled:
                return None
            times = {} if streamed is None else times_of_told_run(streamed.run, current["body"], status)
            next_run = _run_after_round(
                current["body"], status, now, {**changes, **times}, streamed=streamed is not None
            )
            columns = {"response_id": row["response_id"], "state": state, "lease_until": 0}
            queries.update_row(db, "runs", namespace, run_id, status=next_run["status"], body=next_run, **columns)
            # Objects that a dead stream stored are unknown here: None makes `write_objects` look for each of them.
            known_hashes = streamed.stored_hashes if streamed is not None else None if assigned_ids else {}
            _attach_uncited_files(db, row, outcome)
            write_objects(io, db, run, outcome.entries, outcome.steps, known_hashes)
            containers.record_unlisted(io, db, run, outcome.unlisted, response.get("created_at"))
            write_files(db, namespace, outcome.files, file_rows)
            return {**current, "status": next_run["status"], "body": next_run, **columns}

        finished_row = await io.write(work)
    finally:
        if finished_row is None and outcome.files:
            await _release_after_failure(io, row, [file.id for file in new_files])
    if finished_row is not None:
        await generated_files.report_stored(io, file_rows)
        await log_if_ended(io, finished_row)
    return finished_row or await reload_run(io, row)


def _run_after_round(run: Run, status: str, now: int, changes: Json, *, streamed: bool) -> Run:
    """Return the run after a round; a stream ends one that is being cancelled as `cancelled`, with all its text."""
    if streamed and run["status"] == "cancelling":
        return run_status.run_with_status(run, "cancelled", now, usage=changes["usage"])
    return run_status.run_with_status(run, status, now, **changes)


async def _outcome_from_response(
    io: IO, row: Row, response: Mapping[str, Any], function_status: str, now: int
) -> Outcome:
    """List the files that a response may cite, and translate it."""
    run: Run = row["body"]
    assigned_ids = row["state"].get("minted")
    output = as_object_list(response.get("output"))
    container_files, failures = await generated_files.list_new_files(
        io, run["id"], container_ids_from_output(output), assigned_ids or {}, response.get("created_at")
    )
    outcome = outcome_from_response(
        run,
        response,
        usage_from_response(response),
        RepeatableIds(io.new_id, assigned_ids),
        now,
        function_status=function_status,
        streamed=bool(row["request"].get("stream")),
        container_files=container_files,
        thread_files=await generated_files.earlier_files(io, run, output),
    )
    outcome.unlisted = failures
    return outcome


def _attach_uncited_files(db: Connection, row: Row, outcome: Outcome) -> None:
    """Attach the uncited files of earlier rounds to the last message.

    Those rounds called functions and had no message to attach their files to.
    """
    if not (round_number(row) and outcome.messages):
        return

    def rows(table: Literal["files", "messages", "steps"]) -> list[Row]:
        return queries.rows_of_thread(db, table, row["namespace"], row["thread_id"], run_id=row["id"])[::-1]

    earlier_file_ids = [file["id"] for file in rows("files") if file["id"] not in outcome.files]
    if not earlier_file_ids:
        return
    messages = [*(message_row["body"] for message_row in rows("messages")), *outcome.messages]
    cited_file_ids = {file_id for message in messages for file_id in files_of_message(message)}
    cited_file_ids |= {file_id for step in rows("steps") for file_id in files_of_step(step["body"])}
    last_message = outcome.messages[-1]
    last_message["attachments"] = [
        *last_message["attachments"],
        *(code_interpreter_attachment(id_) for id_ in earlier_file_ids if id_ not in cited_file_ids),
    ]


def _items_to_resend(row: Row, response: Mapping[str, Any]) -> list[Any]:
    """Return the items that the next round sends again if the upstream stores nothing (`store_responses=False`)."""
    return [] if row["request"]["store"] else [*row["state"]["sent"], list(response.get("output") or [])]


def _state_after_round(row: Row, response: Mapping[str, Any], usage: Usage, total_usage: Usage) -> Json:
    """Return the run's state after a round; of the first one it keeps how many tokens the upstream counted."""
    state = {**row["state"], "usage": total_usage, "step_usage": usage, "sent": _items_to_resend(row, response)}
    state.pop("minted", None)
    if row["state"]["usage"] is None and "prompt_tokens" in state:
        state["prompt_tokens"] = {**state["prompt_tokens"], "counted": usage["prompt_tokens"]}
    return run_status.with_response_id(state, row["response_id"])


async def take_lease(io: IO, row: Row) -> bool:
    """Take the right to finish a round; False while another process or thread holds it."""
    namespace, run_id = row["namespace"], row["id"]
    return await io.write(lambda db: queries.lease_run(db, namespace, run_id, now=io.now(), seconds=_LEASE_SECONDS))


async def release_lease(io: IO, row: Row) -> None:
    """Release the run's lease and store the response id, so that the next poll can continue at once.

    Does nothing if the run is in a later round: that lease belongs to another reader.
    """
    response_columns = {"response_id": row["response_id"]} if row["response_id"] is not None else {}

    def work(db: Connection) -> None:
        current = queries.get(db, "runs", row["namespace"], row["id"], lock=True)
        if current is not None and round_number(current) == round_number(row):
            queries.update_row(db, "runs", row["namespace"], row["id"], lease_until=0, **response_columns)

    await io.write(work)


@asynccontextmanager
async def copied_files(io: IO, files: Mapping[str, GeneratedFile], run: Run) -> AsyncIterator[list[Json]]:
    """Copy the files that have no row yet and yield their rows, which the body of the `with` writes.

    On exit, copies whose row was not written are deleted.
    """
    new_files = await files_without_row(io, files)
    try:
        yield await generated_files.copy_files(io, new_files, run)
    finally:
        await delete_copies_without_row(io, [file.id for file in new_files])


def write_files(
    db: Connection, namespace: str, files: Mapping[str, GeneratedFile], new_rows: Iterable[queries.Values]
) -> None:
    """Insert the rows of files that were copied, and complete those of images whose copies were written before.

    An image is copied when its call ends. Its name and place are known only when its message, or the response, ends.
    """
    queries.insert_rows(db, "files", new_rows)
    for file in files.values():
        if file.data is not None and file.container_file_id is not None:
            body = {"filename": file.filename, **keys_of_version(file.version)}
            queries.locate_file(db, namespace, file.id, (file.container_id, file.container_file_id), **body)


async def files_without_row(io: IO, files: Mapping[str, GeneratedFile]) -> list[GeneratedFile]:
    """Return the files that have no row in the store yet."""
    ids_with_row = await _ids_with_row(io, files) if files else set()
    return [file for file in files.values() if file.id not in ids_with_row]


async def _ids_with_row(io: IO, ids: Iterable[str]) -> set[str]:
    namespace = io.settings.namespace
    # A deleted file has a row, too: the caller may delete a file while its run goes on.
    return await io.read(lambda db: queries.existing_ids(db, "files", namespace, ids))


async def _release_after_failure(io: IO, row: Row, ids: list[str]) -> None:
    """Release the lease for the next poll and delete the copies that have no row."""
    with contextlib.suppress(errors.StoreError):
        await release_lease(io, row)
    await delete_copies_without_row(io, ids)


async def delete_copies_without_row(io: IO, ids: Collection[str]) -> None:
    """Delete the copies that have no row in the store.

    The caller may not know whether its transaction was written, for example if the connection was lost at the commit.
    So the store decides; while it does not answer, nothing is deleted.
    """
    if not ids:
        return
    with contextlib.suppress(errors.StoreError):
        for id_ in set(ids) - await _ids_with_row(io, ids):
            await io.delete_content(id_)


def write_objects(  # noqa: PLR0913, PLR0917 - a run and its parts to write
    io: IO,
    db: Connection,
    run: Run,
    entries: Iterable[Mapping[str, Any]],
    steps: Iterable[Mapping[str, Any]],
    stored_hashes: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Write the messages, items and steps of a run that have changed; return the hashes of all stored objects.

    `stored_hashes` maps the id of each object in the store to the hash of its JSON. With None the store is asked for
    each object. The result holds once the transaction is committed.
    """
    hashes = dict(stored_hashes or {})
    for table, object_ in [*(("messages", entry) for entry in entries), *(("steps", step) for step in steps)]:
        id_, digest = object_["id"], hash(json.dumps(object_))
        if hashes.get(id_) == digest:
            continue
        row = _row_of_object(io, run, object_)
        if stored_hashes is None or id_ in stored_hashes:
            queries.upsert(db, table, row)  # type: ignore[arg-type]  # messages or steps
        else:
            queries.insert_rows(db, table, [row])  # type: ignore[arg-type]  # as above
        if "items" in object_:
            containers.record_container_use(io, db, run, object_["items"])
        hashes[id_] = digest
    return hashes


def _row_of_object(io: IO, run: Run, object_: Mapping[str, Any]) -> Json:
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
    """Build the row of a run's tool items between its messages: later runs send them, and lists leave them out."""
    return {
        "namespace": io.settings.namespace,
        "id": entry["id"],
        "created_at": io.now(),
        "thread_id": run["thread_id"],
        "run_id": run["id"],
        "kind": "item",
        "body": entry,
    }


def round_number(row: Row) -> int:
    """Return the number of a run's current round, so that a delayed reader does not write into a later round."""
    return int(row["state"].get("round", 0))


async def reload_run(io: IO, row: Row) -> Row:
    """Return the run's row from the store, or `row` if it was deleted."""
    return await io.read(lambda db: queries.get(db, "runs", row["namespace"], row["id"])) or row
