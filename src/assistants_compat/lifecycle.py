"""How a run moves: it is reserved, asked for upstream, and looked at until it has ended.

No worker: a run moves when somebody looks at it.  The reservation (a row under a unique index) refuses a second run
while the upstream is being asked, and is undone when the upstream refuses, so that a failure leaves nothing behind.
Ending a run is one transaction with a compare-and-set on its status: any number of pollers write its messages once.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from . import errors, generated
from .io import IO, Request
from .lookup import existing
from .store import queries
from .store.engine import Connection
from .store.queries import Found
from .translate import run as runs
from .translate.assistant import file_ids
from .translate.output import Outcome, outcome_from_response
from .translate.request import OUTPUTS, input_from_messages, request_from_run
from .translate.thread import attached_files, fields_with_files, message_from_request
from .wire import Json, Run

log = logging.getLogger("assistants_compat")

_LEASE_SECONDS = 300  # a poller that died while it copied holds a run's end back no longer than this
_LATER = {"function": "function tools", "file_search": "the file_search tool"}


@dataclass(frozen=True)
class Reserved:
    """A run that holds its thread and is not asked for yet."""

    run: Run
    request: Json
    input: list[Json]
    message_ids: list[str]
    files: list[str]  # attached to these messages; they join the thread when the run is accepted
    made_thread: bool


# --- creating


async def start(io: IO, given: Json, *, thread_id: str, thread: Json | None = None) -> Run:
    """Create a run on a thread, or with `thread` on a new one.

    Raises `ApiError` for what the service refused, `UpstreamError` and `UnreachableError` for what the upstream did;
    then neither the run nor its messages nor its new thread exist.
    """
    refuse_what_comes_later(given)
    if thread is None:
        await look_at_thread(io, thread_id)
    reserved = await io.write(lambda db: _reserve(io, db, given, thread_id, thread))
    try:
        request, response = await _ask(io, reserved)
        row = await io.write(lambda db: _accept(io, db, reserved, request, response))
    except BaseException:  # a cancelled task, too, must not leave a run that nobody asked for
        await io.write(lambda db: _release(io, db, reserved))
        raise
    if row is None:  # the thread was deleted while the upstream was asked
        raise errors.not_found("thread", thread_id)
    try:
        row = await _advance(io, row, response)
    except Exception as error:  # noqa: BLE001 - the run exists: an error would make the SDK create it once more
        log.warning("run %s could not be moved yet: %s", row["id"], type(error).__name__)
    run: Run = row["body"]
    return run


def refuse_what_comes_later(given: Mapping[str, Any]) -> None:
    """Raise `not_supported` for what a request says that this version cannot do yet."""
    if given.get("stream"):
        feature = "streaming"
        raise errors.not_supported(feature)
    if (given.get("truncation_strategy") or {}).get("type") == "last_messages":
        feature = "truncation_strategy last_messages"
        raise errors.not_supported(feature)


def _reserve(io: IO, db: Connection, given: Json, thread_id: str, thread: Json | None) -> Reserved:
    namespace, now = io.settings.namespace, io.now()
    if thread is not None:
        add_thread(io, db, thread_id, thread, now)
    row = existing(db, namespace, "thread", thread_id, lock=True)
    assistant = existing(db, namespace, "assistant", given["assistant_id"])
    additional = given.get("additional_messages") or []
    message_ids = insert_messages(io, db, row, additional, now)
    files = [file_id for entry in additional for file_id in attached_files(entry)]
    messages = queries.transcript(db, namespace, thread_id)
    run = runs.run_from_request(io.mint("run"), thread_id, now, given, assistant["body"], ttl=io.settings.run_ttl)
    refuse_tools(run["tools"])
    if not run["instructions"] and not any(message["role"] == "user" for message in messages):
        message = "Run creation requires a Thread with a user message or an assistant with instructions."
        raise errors.ApiError(400, message, code="invalid_thread")
    request = _request(io, run, given, assistant["body"], fields_with_files(row["body"], files))
    values = {
        "namespace": namespace,
        "id": run["id"],
        "created_at": now,
        "thread_id": thread_id,
        "assistant_id": run["assistant_id"],
        "status": run["status"],
        "expires_at": run["expires_at"],
        "request": request,
        "body": run,
    }
    try:
        queries.reserve_run(db, values)
    except queries.ThreadBusyError as busy:
        raise errors.active_run(thread_id, busy.run_id) from None
    return Reserved(run, request, input_from_messages(messages), message_ids, files, thread is not None)


def refuse_tools(tools: Iterable[Json]) -> None:
    """Raise `not_supported` for a tool that this version cannot use yet."""
    for tool in tools:
        if tool["type"] in _LATER:
            raise errors.not_supported(_LATER[tool["type"]])


def _request(io: IO, run: Run, given: Json, assistant: Json, thread: Json) -> Json:
    ids = dict.fromkeys([*file_ids(assistant.get("tool_resources")), *file_ids(thread.get("tool_resources"))])
    return request_from_run(run, runs.overridden(given, assistant), list(ids), background=_in_background(io))


def add_thread(io: IO, db: Connection, thread_id: str, given: Json, now: int) -> Found:
    """Insert a thread with its first messages."""
    fields = {key: value for key, value in given.items() if key != "messages"}
    row = {"namespace": io.settings.namespace, "id": thread_id, "created_at": now, "body": fields}
    queries.add(db, "threads", [row])
    add_messages(io, db, row, given.get("messages") or [], now)
    return row


def add_messages(io: IO, db: Connection, thread: Found, given: list[Json], now: int) -> list[str]:
    """Insert messages that a caller gave; files attached for the code interpreter join the thread's."""
    ids = insert_messages(io, db, thread, given, now)
    join_files(db, thread, [file_id for entry in given for file_id in attached_files(entry)])
    return ids


def join_files(db: Connection, thread: Found, files: list[str]) -> None:
    """Let files join the code interpreter's files of a thread."""
    if files:
        thread["body"] = fields_with_files(thread["body"], files)
        queries.change(db, "threads", thread["namespace"], thread["id"], body=thread["body"])


def insert_messages(io: IO, db: Connection, thread: Found, given: list[Json], now: int) -> list[str]:
    """Insert messages that a caller gave, without what they attach; their ids."""
    rows = []
    for entry in given:
        message = message_from_request(io.mint("msg"), thread["id"], now, entry)
        rows.append(
            {
                "namespace": thread["namespace"],
                "id": message["id"],
                "created_at": now,
                "thread_id": thread["id"],
                "body": message,
            }
        )
    queries.add(db, "messages", rows)
    return [row["id"] for row in rows]


def _release(io: IO, db: Connection, reserved: Reserved) -> None:
    namespace = io.settings.namespace
    queries.release_run(db, namespace, reserved.run["id"], reserved.message_ids)
    if reserved.made_thread:
        queries.remove(db, "threads", namespace, reserved.run["thread_id"])


def _accept(io: IO, db: Connection, reserved: Reserved, request: Json, response: Json) -> Found | None:
    namespace, run_id = io.settings.namespace, reserved.run["id"]
    thread = queries.lock(db, "threads", namespace, reserved.run["thread_id"])
    if thread is not None:
        join_files(db, thread, reserved.files)
    queries.change(db, "runs", namespace, run_id, response_id=response["id"], request=request)
    return queries.get(db, "runs", namespace, run_id)


# --- asking the upstream


def _in_background(io: IO) -> bool:
    if io.settings.mode == "auto":
        return io.upstream.name not in io.without_background
    return io.settings.mode == "background"


async def _ask(io: IO, reserved: Reserved) -> tuple[Json, Json]:
    """The request that the upstream took, and its response."""
    request = reserved.request
    try:
        return request, await _respond(io, request, reserved.input)
    except errors.UpstreamError as error:
        if not (request.get("background") and io.settings.mode == "auto" and _refuses_background(error)):
            raise
    inline = {key: value for key, value in request.items() if key != "background"}
    response = await _respond(io, inline, reserved.input)
    log.info("the upstream refuses background responses; runs are created inline from now on")
    io.without_background.add(io.upstream.name)
    return inline, response


async def _respond(io: IO, request: Json, input_: list[Json]) -> Json:
    response = await io.ask(Request("POST", "/responses", {**request, "input": input_}))
    if not isinstance(response.get("id"), str):
        raise errors.bad_upstream("a response without an id")
    _status(response)
    return response


def _refuses_background(error: errors.UpstreamError) -> bool:
    """A refusal that names the parameter: in `param` where there is one, else servers use words of their own."""
    if error.status not in (400, 404, 422, 501):
        return False
    param = error.error().get("param")
    return param == "background" if param else b"background" in error.body.lower()


# --- looking


async def look_at_thread(io: IO, thread_id: str) -> None:
    """Let the thread's active run move, if it has one; an upstream that does not answer changes nothing."""
    row = await io.read(lambda db: queries.active_run(db, io.settings.namespace, thread_id))
    if row is None:
        return
    try:
        await look(io, row)
    except (errors.UpstreamError, errors.UnreachableError, errors.ApiError) as error:
        log.warning("run %s could not be looked at: %s", row["id"], type(error).__name__)


async def look(io: IO, row: Found) -> Found:
    """The run as it is now: an active one is asked for upstream (one GET) and moved by what that says.

    An upstream error is the caller's to see, and changes nothing: 404 may mean another project's key.  Past its
    time (600 s) a run that the upstream has not finished is expired.
    """
    if row["status"] in runs.TERMINAL:
        return row
    late = io.now() >= row["expires_at"]
    if row["response_id"] is None:
        return await _expire(io, row) if late else row
    request = Request("GET", f"/responses/{quote(row['response_id'], safe='')}", query=_include(row["request"]))
    try:
        response = await io.ask(request)
    except errors.UpstreamError as error:
        if late and error.status == 404:  # noqa: PLR2004 - the upstream no longer has it
            return await _expire(io, row)
        raise
    row = await _advance(io, row, response)
    # What the upstream has finished is not late, even while somebody else still copies its files.
    return await _expire(io, row) if late and _status(response) not in runs.TERMINAL else row


def _include(request: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return (("include[]", OUTPUTS),) if OUTPUTS in request.get("include", ()) else ()


async def _advance(io: IO, row: Found, response: Mapping[str, Any]) -> Found:
    status = _status(response)
    if status in runs.TERMINAL:
        return await _finish(io, row, response)
    if status == "in_progress" and row["status"] == "queued":
        return await _move(io, row, "in_progress")
    return row


def _status(response: Mapping[str, Any]) -> str:
    status = runs.STATUS_OF_RESPONSE.get(str(response.get("status")))
    if status is None:
        raise errors.bad_upstream("a response without a known status")
    return status


async def _move(io: IO, row: Found, status: str, **changes: object) -> Found:
    namespace, run_id = row["namespace"], row["id"]

    def work(db: Connection) -> Found:
        fresh = queries.lock(db, "runs", namespace, run_id)
        if fresh is None or fresh["status"] != row["status"]:
            return fresh or row
        run = runs.moved(fresh["body"], status, io.now(), **changes)
        queries.move_run(db, namespace, run_id, seen=row["status"], status=status, body=run)
        return {**fresh, "status": status, "body": run}

    return await io.write(work)


async def _expire(io: IO, row: Found) -> Found:
    return await _move(io, row, "expired")


# --- ending


async def _finish(io: IO, row: Found, response: Mapping[str, Any]) -> Found:
    """Copy the files, then write messages, steps, files and the run's last status in one transaction.

    Of any number of pollers one takes the lease and copies; the others see the run as it still is.
    """
    run: Run = row["body"]
    status, changes = runs.outcome_of_response(run, response)
    outcome = outcome_from_response(run, response, changes["usage"], io.mint, io.now())
    namespace, run_id = row["namespace"], row["id"]
    leased = (
        await io.write(lambda db: queries.lease_run(db, namespace, run_id, now=io.now(), seconds=_LEASE_SECONDS))
        if outcome.files
        else True
    )
    if not leased:
        return await _again(io, row)
    written = False
    try:
        kept = [await generated.keep(io, file, run) for file in outcome.files.values()]

        def work(db: Connection) -> bool:
            queries.lock(db, "threads", namespace, run["thread_id"])
            fresh = queries.lock(db, "runs", namespace, run_id)
            if fresh is None or fresh["status"] in runs.TERMINAL:
                return False
            ended = runs.moved(fresh["body"], status, io.now(), **changes)
            queries.move_run(db, namespace, run_id, seen=fresh["status"], status=status, body=ended)
            queries.add(db, "messages", [_row(namespace, message, run_id=run_id) for message in outcome.messages])
            queries.add(db, "steps", [_row(namespace, step, run_id=run_id) for step in outcome.steps])
            queries.add(db, "files", kept)
            return True

        written = await io.write(work)
    finally:
        if not written:
            await _give_up(io, row, outcome)
    return await _again(io, row)


async def _give_up(io: IO, row: Found, outcome: Outcome) -> None:
    """Let the next look try, and forget the copies that no row speaks of.

    Whether a transaction was written may be unknown (the connection was lost at its commit): the store says what is
    there, and while it does not answer nothing is forgotten.
    """
    if not outcome.files:
        return
    namespace = row["namespace"]
    with contextlib.suppress(errors.StoreError):
        await io.write(lambda db: queries.change(db, "runs", namespace, row["id"], lease_until=0))
        spoken_of = await io.read(
            lambda db: {id_ for id_ in outcome.files if queries.get(db, "files", namespace, id_) is not None}
        )
        for id_ in outcome.files.keys() - spoken_of:
            await io.forget(id_)


def _row(namespace: str, object_: Mapping[str, Any], **columns: str) -> Json:
    return {
        "namespace": namespace,
        "id": object_["id"],
        "created_at": object_["created_at"],
        "thread_id": object_["thread_id"],
        "body": object_,
        **columns,
    }


async def _again(io: IO, row: Found) -> Found:
    return await io.read(lambda db: queries.get(db, "runs", row["namespace"], row["id"])) or row
