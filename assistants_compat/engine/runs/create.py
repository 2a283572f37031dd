"""Creates a run in three steps: reserve it in the store, request a response upstream, accept it in the store.

The reservation is the run's row. A unique index on it refuses a second run of the thread while the request is under
way. If the request fails, the reservation is undone, so a failure leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from ... import errors
from ...store import queries
from ...store.database import Connection
from ...store.lookup import get_or_404
from ...store.queries import Row
from ...translate import run as run_status
from ...translate.assistant import file_ids, vector_store_ids
from ...translate.request import container_of_request, request_from_run, vector_store_ids_of_request
from ...translate.thread import attached_file_ids, fields_with_vector_store
from ...translate.transcript import RunInput, Turns, image_file_ids, turns_from_entries, with_upstream_file_ids
from ...wire.objects import Json, Run
from ..containers import ContainerChoice, with_container
from ..io import IO
from ..threads import (
    VectorStoreChangedError,
    add_code_files,
    add_thread,
    insert_messages,
    set_vector_store,
    with_code_files,
    with_vector_store,
)
from ..uploads import FileUse, NotUploadedError, upload_all, upstream_ids, upstream_image_ids
from ..vector_stores import CreatedObjects, attach_files, delete_on_failure, files_to_search, vector_store_error
from .ask_upstream import UpstreamRequest, accepted_columns, create_response, with_response_mode
from .refresh import abandon_response, advance_run, cancel_upstream, end_run, refresh_active_run
from .run_log import log_run_start

log = logging.getLogger("assistants_compat")

# A streamed run whose creator has not been heard of for this long counts as dead. The creator may have to fill a
# container before it sends the request, so this is much longer than the lease of a stream.
_CREATION_LEASE_SECONDS = 300


@dataclass(frozen=True)
class StoreUpdate:
    """A change of a thread's vector store that takes effect when the run is accepted.

    It is skipped if the thread's stores are no longer `expected_store_ids`. `new_store_id` is None if the files were
    added to the store that the thread had already.
    """

    expected_store_ids: list[str]
    new_store_id: str | None


@dataclass(frozen=True)
class RunReservation:
    """A run that is in the store and holds its thread, before its request is sent."""

    row: Row
    input: RunInput
    message_ids: list[str]
    message_file_ids: list[str]  # code interpreter files of these messages; they join the thread on acceptance
    store_update: StoreUpdate | None
    thread_store_ids: list[str]  # the run waits until these vector stores are indexed
    created_thread: Row | None  # set for `create_and_run` only

    @property
    def run(self) -> Run:
        """The reserved run as served."""
        run: Run = self.row["body"]
        return run

    def is_already_complete(self, accepted: UpstreamRequest) -> bool:
        """Whether the row already describes the accepted request, so that it need not be written again.

        This holds only for streams. If the run ends or is cancelled meanwhile, the stream notices at its first save.
        """
        is_same_input = not (accepted.input.cuts or accepted.input.tool_items_dropped)
        is_unchanged = accepted.request == self.row["request"] and is_same_input
        return (
            accepted.body is not None and is_unchanged and bool(accepted.request["store"]) and not self.changes_thread
        )

    @property
    def changes_thread(self) -> bool:
        """Whether accepting the run adds files or a vector store to its thread."""
        return bool(self.message_file_ids) or self.store_update is not None


class AcceptedRun(NamedTuple):
    """A run whose request the upstream has accepted; from here on creating it can no longer fail."""

    row: Row
    upstream_request: UpstreamRequest
    created_thread: Row | None


async def create_run(io: IO, params: Json, *, thread_id: str, thread: Json | None = None) -> Run:
    """Create a run on a thread, or on a new thread if `thread` has its fields.

    Raises `ApiError` where the service refused a run, `UpstreamError` if the upstream refuses the request and
    `UnreachableError` if it does not answer. After an error neither the run nor its messages nor its new thread exist.
    """
    row, upstream_request, _ = await begin_run(io, params, thread_id=thread_id, thread=thread)
    if row["status"] not in run_status.TERMINAL:
        row = await advance_logging_errors(io, row, upstream_request.response)
    run: Run = row["body"]
    return run


async def begin_run(  # noqa: PLR0913 - a request, its thread, and how the answer is sent
    io: IO, params: Json, *, thread_id: str, thread: Json | None = None, stream: bool = False, content: bool = False
) -> AcceptedRun:
    """Create a run up to the point where the upstream has accepted its request; raises as `create_run` does.

    With `content` the run's stream shows the text of file search results. A run that cannot search its vector stores
    comes back as `failed`, without a request to the upstream.
    """
    async with delete_on_failure(io) as created:
        store_update = None
        if thread is not None:
            thread = await with_vector_store(io, thread, created)
        elif files_to_search(params.get("additional_messages") or ()):
            store_update = await _attach_searched_files(io, params, thread_id, created)

        def reserve(db: Connection) -> RunReservation:
            return _reserve(io, db, params, thread_id, thread, store_update, stream=stream, content=content)

        reservation = await _reserve_with_retries(io, reserve, thread_id)
        row, upstream_request = await _request_reserved_run(io, reservation, stream=stream)
        if row["status"] not in run_status.TERMINAL:
            log_run_start(row)
        return AcceptedRun(row, upstream_request, reservation.created_thread)


async def preview_run(io: IO, params: Json, *, thread_id: str, stream: bool = False) -> RunReservation:
    """Return the reservation that `begin_run` would make now, without storing it.

    The run is reserved in a transaction that is then rolled back. Raises `ApiError` where the run would be refused,
    `ThreadBusyError` while another run is active, and `NotUploadedError` if a generated file would have to be uploaded
    first. If messages attach files for search, the thread is assumed to have a vector store already.
    """
    has_searched_files = bool(files_to_search(params.get("additional_messages") or ()))

    def reserve(db: Connection) -> None:
        fields = get_or_404(db, io.settings.namespace, "thread", thread_id)["body"]
        store_update = StoreUpdate(vector_store_ids(fields.get("tool_resources")), None) if has_searched_files else None
        raise _RollBackPreviewError(
            _reserve(io, db, params, thread_id, None, store_update, stream=stream, content=False)
        )

    try:
        await io.write(reserve)
    except _RollBackPreviewError as preview:
        return preview.reservation
    raise AssertionError  # pragma: no cover - the transaction always ends by raising


class _RollBackPreviewError(Exception):
    """Carries a reservation out of its transaction and rolls that back."""

    def __init__(self, reservation: RunReservation) -> None:
        super().__init__()
        self.reservation = reservation


async def _attach_searched_files(io: IO, params: Json, thread_id: str, created: CreatedObjects) -> StoreUpdate:
    """Add the files that the run's own messages attach for search to the thread's vector store.

    Checks first whether the run would be refused, so that nothing is created upstream for it.
    """
    namespace = io.settings.namespace

    def check_and_get_thread(db: Connection) -> Row:
        row = get_or_404(db, namespace, "thread", thread_id)
        get_or_404(db, namespace, "assistant", params["assistant_id"])
        if (run := queries.active_run(db, namespace, thread_id)) is not None:
            raise errors.run_already_active(thread_id, run["id"])
        return row

    await refresh_active_run(io, thread_id)
    fields = (await io.read(check_and_get_thread))["body"]
    return StoreUpdate(
        vector_store_ids(fields.get("tool_resources")),
        await attach_files(io, fields, params["additional_messages"], created),
    )


async def _request_reserved_run(io: IO, reservation: RunReservation, *, stream: bool) -> tuple[Row, UpstreamRequest]:
    """Send the request of a reserved run and accept the run; undo the reservation if that fails."""
    thread_id: str = reservation.row["thread_id"]
    may_shorten = reservation.run["truncation_strategy"]["type"] == "auto"
    upstream_request = None
    try:
        error = await vector_store_error(
            io, vector_store_ids_of_request(reservation.row["request"]), reservation.thread_store_ids
        )
        if error is not None:
            return await _fail_before_request(io, reservation, error, stream=stream)
        container_choice = ContainerChoice.from_run(reservation.row)
        request = await with_container(io, container_choice, reservation.row["request"])
        upstream_request = await create_response(
            io,
            request,
            reservation.input,
            may_shorten=may_shorten,
            may_drop_tool_items=True,
            container_choice=container_choice,
        )
        if reservation.is_already_complete(upstream_request):
            return reservation.row, upstream_request
        accepted = upstream_request
        row = await io.write(lambda db: _accept(io, db, reservation, accepted))
    except BaseException:  # also when the caller's task is cancelled: the reservation would block the thread
        await io.write(lambda db: _undo_reservation(io, db, reservation))
        if upstream_request is not None:
            await abandon_response(io, reservation.run["id"], upstream_request)
        raise
    if row is None:  # the thread was deleted while the request was under way
        await abandon_response(io, reservation.run["id"], upstream_request)
        raise errors.not_found("thread", thread_id)
    if row["status"] != reservation.run["status"]:  # cancelled or expired meanwhile
        await cancel_upstream(io, row)
    return row, upstream_request


async def _reserve_with_retries(
    io: IO, reserve: Callable[[Connection], RunReservation], thread_id: str
) -> RunReservation:
    """Reserve a run; upload generated files that it uses, and refresh an active run, before trying again.

    The active run may have ended upstream without having been polled. It is refreshed once; if it is still active, the
    new run is refused.
    """
    was_refreshed = False
    while True:
        try:
            return await io.write(reserve)
        except NotUploadedError as missing:  # noqa: PERF203 - each attempt handles its own error
            await upload_all(io, missing.uses)
        except queries.ThreadBusyError as busy:
            if was_refreshed:
                raise errors.run_already_active(thread_id, busy.run_id) from None
            await refresh_active_run(io, thread_id)
            was_refreshed = True


async def advance_logging_errors(io: IO, row: Row, response: Json) -> Row:
    """Apply the upstream's first response to an accepted run; log an error instead of raising it.

    The next poll tries again.
    """
    try:
        return await advance_run(io, row, response)
    except Exception as error:  # noqa: BLE001 - the run exists: an error would make the SDK create it again
        log.warning(
            "run %s was not updated from its first response (%s); the next poll retries",
            row["id"],
            type(error).__name__,
        )
        return row


def _reserve(  # noqa: PLR0913, PLR0917 - a request, its thread, and how the answer is sent
    io: IO,
    db: Connection,
    params: Json,
    thread_id: str,
    thread: Json | None,
    store_update: StoreUpdate | None,
    *,
    stream: bool,
    content: bool,
) -> RunReservation:
    """Insert the run and its messages; raises `ApiError`, `ThreadBusyError` or `NotUploadedError`.

    An existing thread's own row does not change before the run is accepted.
    """
    namespace, now = io.settings.namespace, io.now()
    if thread is not None:
        add_thread(io, db, thread_id, thread, now)
    row = get_or_404(db, namespace, "thread", thread_id, lock=True)
    assistant = get_or_404(db, namespace, "assistant", params["assistant_id"])
    additional_messages = params.get("additional_messages") or []
    message_ids = insert_messages(io, db, row, additional_messages, now)
    message_file_ids = [file_id for entry in additional_messages for file_id in attached_file_ids(entry)]
    transcript = queries.transcript(db, namespace, thread_id)
    run = run_status.run_from_request(
        io.new_id("run"), thread_id, now, params, assistant["body"], ttl=io.settings.run_ttl
    )
    if not run["instructions"] and not any(entry.get("role") == "user" for entry in transcript):
        message = "Run creation requires a Thread with a user message or an assistant with instructions."
        raise errors.ApiError(400, message, code="invalid_thread")
    turns = turns_from_entries(transcript, now, last_messages=run_status.last_messages(run))
    fields = with_code_files(row["body"], message_file_ids)
    if store_update is not None:
        fields = fields_with_vector_store(fields, store_update.new_store_id)
    tool_resources = [assistant["body"].get("tool_resources"), fields.get("tool_resources")]
    code_file_ids = list(dict.fromkeys(id_ for resources in tool_resources for id_ in file_ids(resources)))
    ids_by_use = upstream_ids(db, namespace, _file_uses(run, code_file_ids, turns))
    request = request_from_run(
        run,
        run_status.with_assistant_defaults(params, assistant["body"]),
        [ids_by_use.get((id_, "assistants"), id_) for id_ in code_file_ids],
        store_ids=list(dict.fromkeys(id_ for resources in tool_resources for id_ in vector_store_ids(resources))),
        store=io.settings.store_responses,
        container_limits=_container_limits(io),
    )
    request = _with_settings(io, request, stream=stream)
    run_row = _insert_run(
        db, namespace, run, request, lease_until=now + _CREATION_LEASE_SECONDS if stream else 0, content=content
    )
    thread_store_ids = vector_store_ids(fields.get("tool_resources"))
    run_input = RunInput(with_upstream_file_ids(turns, upstream_image_ids(ids_by_use)))
    return RunReservation(
        run_row,
        run_input,
        message_ids,
        message_file_ids,
        store_update,
        thread_store_ids,
        None if thread is None else row,
    )


def _insert_run(  # noqa: PLR0913 - a run, its request, and how it is read
    db: Connection, namespace: str, run: Run, request: Json, *, lease_until: int, content: bool
) -> Row:
    # Kept beside the request, whose container may become an id: a replacement is made from these options.
    container = container_of_request(request)
    state: Json = {
        "usage": None,
        "sent": [],
        "cuts": 0,
        "plain": False,
        **({"container": container} if container else {}),
        **({"content": True} if content else {}),
    }
    row: Row = {
        "namespace": namespace,
        "id": run["id"],
        "created_at": run["created_at"],
        "thread_id": run["thread_id"],
        "assistant_id": run["assistant_id"],
        "status": run["status"],
        "expires_at": run["expires_at"],
        "response_id": None,
        "request": request,
        "state": state,
        "lease_until": lease_until,
        "body": run,
    }
    queries.reserve_run(db, row)
    return row


def _file_uses(run: Run, code_file_ids: list[str], turns: Turns) -> list[FileUse]:
    """Return the files that a run uses: images and, if it has the tool, code interpreter files."""
    has_code_interpreter = any(tool["type"] == "code_interpreter" for tool in run["tools"])
    images: list[FileUse] = [(id_, "vision") for id_ in image_file_ids(turns)]
    return images + [(id_, "assistants") for id_ in code_file_ids if has_code_interpreter]


def _with_settings(io: IO, request: Json, *, stream: bool) -> Json:
    """Apply the settings for the model and the response mode to a request."""
    model = io.settings.models.get(request["model"])
    if model is not None:
        log.info("model %s is sent upstream as %s (Settings.models)", request["model"], model)
        request["model"] = model
    return with_response_mode(io, request, stream=stream)


def _container_limits(io: IO) -> Json:
    """Return the container options that the settings set."""
    settings = io.settings
    limits: Json = {} if settings.memory_limit is None else {"memory_limit": settings.memory_limit}
    return limits if settings.network_policy is None else {**limits, "network_policy": dict(settings.network_policy)}


def _undo_reservation(io: IO, db: Connection, reservation: RunReservation) -> None:
    """Delete the run, its messages and the thread that was created for it."""
    namespace = io.settings.namespace
    queries.release_run(db, namespace, reservation.run["id"], reservation.message_ids)
    if reservation.created_thread is not None:
        queries.delete_row(db, "threads", namespace, reservation.run["thread_id"])


def _accept(io: IO, db: Connection, reservation: RunReservation, accepted: UpstreamRequest) -> Row | None:
    """Write the accepted request to the run's row; None when the thread was deleted meanwhile."""
    namespace, run_id = io.settings.namespace, reservation.run["id"]
    # The thread before the run: every transaction locks in this order, so that two never wait for each other.
    _update_thread(db, reservation)
    current = queries.get(db, "runs", namespace, run_id, lock=True)
    if current is None:
        return None
    columns = accepted_columns(db, current, accepted, io.now())
    queries.update_row(db, "runs", namespace, run_id, **columns)
    return {**current, **columns}


def _update_thread(db: Connection, reservation: RunReservation) -> None:
    """Add the files and the vector store of the run's messages to the thread."""
    thread = None
    if reservation.changes_thread:
        thread = queries.get(db, "threads", reservation.row["namespace"], reservation.run["thread_id"], lock=True)
    if thread is not None:
        add_code_files(db, thread, reservation.message_file_ids)
        update = reservation.store_update
        if update is not None:
            with contextlib.suppress(VectorStoreChangedError):  # the caller chose another store meanwhile: it wins
                set_vector_store(db, thread, update.expected_store_ids, update.new_store_id)


async def _fail_before_request(
    io: IO, reservation: RunReservation, error: Json, *, stream: bool
) -> tuple[Row, UpstreamRequest]:
    """End a reserved run as `failed` without a request to the upstream; its messages stay."""
    await io.write(lambda db: _update_thread(db, reservation))
    row = await end_run(io, reservation.row, "failed", last_error=error)
    return row, UpstreamRequest(reservation.row["request"], reservation.input, {}, _EmptyBody() if stream else None)


class _EmptyBody:
    """The body of a stream without events, for a run that failed before its request."""

    status, headers = 200, MappingProxyType[str, str]({})

    @staticmethod
    async def chunks() -> AsyncGenerator[bytes, None]:
        """Yield nothing."""
        for chunk in list[bytes]():
            yield chunk

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""
