"""Creates a run in three steps: reserve it in the store, request a response upstream, accept it in the store.

The reservation is the run's row. A unique index on it refuses a second run of the thread while the request is under
way. If the request fails, the reservation is undone, so a failure leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ... import errors
from ...service.model_mapping import target_of
from ...store import queries
from ...store.database import Connection
from ...store.lookup import get_or_404
from ...store.queries import Row
from ...translate import run as run_status
from ...translate.assistant import file_ids, vector_store_ids
from ...translate.prompt_budget import estimated_tokens, input_within_budget
from ...translate.request import (
    container_of_request,
    request_from_run,
    searched_store_ids,
    vector_store_ids_of_request,
)
from ...translate.request_files import without_vector_store
from ...translate.request_model import Notes, request_for_model
from ...translate.thread import attached_file_ids, fields_with_vector_store
from ...translate.transcript import RunInput, image_file_ids, turns_from_entries, with_upstream_file_ids
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
from ..uploads import NotUploadedError, files_of_run, upload_for_run
from ..vector_stores import CreatedObjects, attach_files, check_stores, delete_on_failure, files_to_search
from .ask_upstream import (
    UpstreamRequest,
    accepted_columns,
    budget_of_next_request,
    create_response,
    creation_lease,
    with_response_mode,
)
from .event_sources import NoEvents
from .refresh import abandon_response, advance_run, cancel_upstream, end_run, refresh_active_run
from .remedies import Allowed, without_known_refusals
from .run_log import log_run_start
from .second_looks import look_again

log = logging.getLogger("assistants_compat")


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
    notes: Notes = field(default_factory=dict)  # what is not sent as it was set, by the legacy name

    @property
    def run(self) -> Run:
        """The reserved run as served."""
        run: Run = self.row["body"]
        return run

    def is_already_complete(self, accepted: UpstreamRequest) -> bool:
        """Whether the row already describes the accepted request, so that it need not be written again.

        This holds only for streams. If the run ends or is cancelled meanwhile, the stream notices at its first save.
        """
        is_same_input = not (accepted.input.cuts or accepted.input.tool_items_dropped or accepted.input.gone_images)
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
    if thread is None:
        await look_again(io, thread_id)  # before the new run makes files in the same container
    async with delete_on_failure(io) as created:
        store_update = None
        if thread is not None:
            thread = await with_vector_store(io, thread, created)
        elif files_to_search(params.get("additional_messages") or ()):
            store_update = await _attach_searched_files(io, params, thread_id, created)

        def reserve(db: Connection) -> RunReservation:
            return _reserve(io, db, params, thread_id, thread, store_update, stream=stream, content=content)

        reservation = await _reserve_with_retries(io, reserve, thread_id)
        _log_notes(io, reservation)
        row, upstream_request = await _request_reserved_run(io, reservation, stream=stream)
        if row["status"] not in run_status.TERMINAL:
            log_run_start(row)
        return AcceptedRun(row, upstream_request, reservation.created_thread)


def _log_notes(io: IO, reservation: RunReservation) -> None:
    """Log that another model is used, and once for each model and assistant what is not sent as it was set."""
    run, model = reservation.run, reservation.row["request"]["model"]
    if model != run["model"]:
        log.info("model %s is sent upstream as %s (Settings.models)", run["model"], model)
    for key, note in reservation.notes.items():
        subject = run["assistant_id"] if key == "tool_resources" else f"{run['model']} {model}"
        # A value of an effort has a name, of which there are few; a temperature may be any number.
        if io.memory.is_first(f"{subject} {note if key == 'reasoning_effort' else key}"):
            log.log(logging.WARNING if key == "tool_resources" else logging.INFO, "%s", note)


async def preview_run(
    io: IO, params: Json, *, thread_id: str, thread: Json | None = None, stream: bool = False
) -> RunReservation:
    """Return the reservation that `begin_run` would make now, without storing it.

    `thread` has the fields of a new thread; without it the thread must exist. The run is reserved in a transaction that
    is then rolled back. Raises `ApiError` where the run would be refused,
    `ThreadBusyError` while another run is active, and `NotUploadedError` if a generated file would have to be uploaded
    first. If messages attach files for search, the thread is assumed to have a vector store already.
    """
    has_searched_files = bool(files_to_search(params.get("additional_messages") or ()))

    def reserve(db: Connection) -> None:
        fields = get_or_404(db, io.settings.namespace, "thread", thread_id)["body"] if thread is None else thread
        store_update = StoreUpdate(vector_store_ids(fields.get("tool_resources")), None) if has_searched_files else None
        raise _RollBackPreviewError(
            _reserve(io, db, params, thread_id, thread, store_update, stream=stream, content=False)
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
    upstream_request = None
    try:
        request = reservation.row["request"]
        stores = await check_stores(io, vector_store_ids_of_request(request), reservation.thread_store_ids)
        if stores.error is not None:
            return await _fail_before_request(io, reservation, stores.error, stream=stream)
        for store_id in stores.deleted:
            request = without_vector_store(request, store_id)
        container_choice = ContainerChoice.from_run(reservation.row)
        request = await with_container(io, container_choice, request)
        allowed = Allowed.from_run(io, reservation.row)
        upstream_request = await create_response(io, request, reservation.input, allowed, run_id=reservation.row["id"])
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
            await upload_for_run(io, missing.uses)
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
    has_code_interpreter = any(tool["type"] == "code_interpreter" for tool in run["tools"])
    files = files_of_run(io, db, code_file_ids if has_code_interpreter else [], image_file_ids(turns))
    searched_ids, left_out_ids = searched_store_ids(*map(vector_store_ids, tool_resources))
    request = request_from_run(
        run,
        run_status.with_assistant_defaults(params, assistant["body"]),
        files.code_file_ids,
        store_ids=searched_ids,
        store=io.settings.store_responses,
        container_limits=_container_limits(io),
    )
    request, notes = _with_settings(io, request, stream=stream)
    if left_out_ids:
        notes["tool_resources"] = f"at most two vector stores are searched; {left_out_ids} are older and left out"
    lease_until = now + creation_lease(io, request) if stream else 0
    state: Json = {"content": True} if content else {}
    state.update({"copied_files": files.copied_file_ids} if files.copied_file_ids else {})
    run_input = RunInput(with_upstream_file_ids(turns, files.image_ids))
    if run["truncation_strategy"]["type"] == "auto":
        budget = budget_of_next_request(db, namespace, run)
        run_input = input_within_budget(run_input, request, budget).within_item_limit()
    if len(run_input.turns) < len(turns):
        notes["truncation_strategy"] = "messages in the middle of the thread are not sent, to fit the limits of the run"
    state["prompt_tokens"] = {"estimated": estimated_tokens(request, run_input.turns)}
    run_row = _insert_run(db, namespace, run, request, state, lease_until=lease_until)
    thread_store_ids = vector_store_ids(fields.get("tool_resources"))
    return RunReservation(
        run_row,
        run_input,
        message_ids,
        message_file_ids,
        store_update,
        thread_store_ids,
        None if thread is None else row,
        notes,
    )


def _insert_run(  # noqa: PLR0913 - a run, its request, and how it is read
    db: Connection, namespace: str, run: Run, request: Json, extra_state: Json, *, lease_until: int
) -> Row:
    # Kept beside the request, whose container may become an id: a replacement is made from these options.
    container = container_of_request(request)
    state: Json = {
        "usage": None,
        "sent": [],
        "cuts": 0,
        "plain": False,
        **({"container": container} if container else {}),
        **extra_state,
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


_LEGACY_NAMES = {"reasoning": "reasoning_effort"}


def _with_settings(io: IO, request: Json, *, stream: bool) -> tuple[Json, Notes]:
    """Apply the settings for the model and the response mode to a request; note what a replacement does not get."""
    target = target_of(io.settings.models, request["model"])
    request, notes = request_for_model(request, target)
    known = without_known_refusals(io, request, is_mapped=target is not None)
    for key in request.keys() - known.keys() - {"include"}:
        name = _LEGACY_NAMES.get(key, key)
        notes[name] = f"{name} is not sent, because the upstream has refused it for {request['model']}"
    return with_response_mode(io, known, stream=stream), notes


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
    if accepted.input.gone_images:  # which are kept among the thread's messages
        queries.lock_thread(db, namespace, reservation.run["thread_id"])
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
    return row, UpstreamRequest(reservation.row["request"], reservation.input, {}, NoEvents() if stream else None)
