"""Creating a run: it is reserved, asked for upstream, and accepted.

The reservation is a row under a unique index: it refuses a second run while the upstream is being asked, and is undone
when the upstream refuses, so that a failure leaves nothing behind.
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
from ...store.lookup import existing
from ...store.queries import Found
from ...translate import run as runs
from ...translate.assistant import file_ids, store_ids
from ...translate.request import container_of, request_from_run, stores_of
from ...translate.thread import attached_files, fields_with_store
from ...translate.transcript import Input, Turns, image_ids, turns_from_entries, with_names
from ...wire.objects import Json, Run
from ..containers import Place, placed
from ..io import IO
from ..threads import StoreMovedError, add_thread, furnished, insert_messages, join_files, join_store, with_files
from ..uploads import NotUploadedError, Use, images_of, names, upload_all
from ..vector_stores import Made, attach, making, searched_files, trouble
from .ask_upstream import Asked, ask, in_mode, taken
from .refresh import abandon, advance, cancel_upstream, look_at_thread, stop

log = logging.getLogger("assistants_compat")

_ASKING = 300  # seconds for which nobody takes a streamed run's asker for dead: a container may have to be filled first


@dataclass(frozen=True)
class Joining:
    """What becomes of the thread's vector store with a run: those that it was seen to have, and a new one."""

    seen: list[str]
    store: str | None


@dataclass(frozen=True)
class Reserved:
    """A run that holds its thread and is not asked for yet."""

    row: Found
    input: Input
    message_ids: list[str]
    files: list[str]  # attached to these messages; they join the thread when the run is accepted
    joining: Joining | None  # as its vector store does
    stores: list[str]  # the thread's: a run waits until they are indexed
    made_thread: Found | None  # of `create_and_run`

    @property
    def run(self) -> Run:
        """The run as it was reserved."""
        run: Run = self.row["body"]
        return run

    @property
    def container(self) -> Json | None:
        """What it asks of a container that is made for it."""
        container = container_of(self.row["request"])
        return container if isinstance(container, dict) else None

    def is_taken_as_it_is(self, asked: Asked) -> bool:
        """Whether the upstream streams just what was reserved: then its row needs no second writing.

        What becomes of the run while the upstream is asked, its stream sees when it is first saved.
        """
        as_reserved = asked.request == self.row["request"] and not (asked.input.cuts or asked.input.plain)
        return asked.body is not None and as_reserved and bool(asked.request["store"]) and not self.joins

    @property
    def joins(self) -> bool:
        """Whether something joins the thread when the run is accepted."""
        return bool(self.files) or self.joining is not None


class Begun(NamedTuple):
    """A run that was accepted: nothing is left to be read that could fail it."""

    row: Found
    asked: Asked
    made_thread: Found | None


async def start(io: IO, given: Json, *, thread_id: str, thread: Json | None = None) -> Run:
    """Create a run on a thread, or with `thread` on a new one.

    Raises `ApiError` for what the service refused, `UpstreamError` and `UnreachableError` for what the upstream did;
    then neither the run nor its messages nor its new thread exist.
    """
    row, asked, _ = await begin(io, given, thread_id=thread_id, thread=thread)
    if row["status"] not in runs.TERMINAL:
        row = await moved_on(io, row, asked.response)
    run: Run = row["body"]
    return run


async def begin(  # noqa: PLR0913 - a request, its thread, and how it is to be answered
    io: IO, given: Json, *, thread_id: str, thread: Json | None = None, stream: bool = False, content: bool = False
) -> Begun:
    """The run as it was accepted, what the upstream answered, and the thread that was made; raises as `start` does.

    With `content` a stream of it shows the text of what was found.

    One that cannot search its vector stores has failed, and the upstream was not asked.
    """
    async with making(io) as made:
        joining = None
        if thread is not None:
            thread = await furnished(io, thread, made)
        elif searched_files(given.get("additional_messages") or ()):
            joining = await _joining(io, given, thread_id, made)

        def reserve(db: Connection) -> Reserved:
            return _reserve(io, db, given, thread_id, thread, joining, stream=stream, content=content)

        reserved = await _reserved(io, reserve, thread_id)
        row, asked = await _begin(io, reserved, stream=stream)
        return Begun(row, asked, reserved.made_thread)


async def planned(io: IO, given: Json, *, thread_id: str, stream: bool = False) -> Reserved:
    """What `begin` would reserve now; nothing is kept of it.

    It is reserved in truth, and taken back before anybody can see it.  Raises `ApiError` where the run would be
    refused, `ThreadBusyError` while another one is active, and `NotUploadedError` where a generated file would have to
    be uploaded first.  The thread is taken to have a vector store where messages attach files to be searched.
    """
    searched = bool(searched_files(given.get("additional_messages") or ()))

    def reserve(db: Connection) -> None:
        fields = existing(db, io.settings.namespace, "thread", thread_id)["body"]
        joining = Joining(store_ids(fields.get("tool_resources")), None) if searched else None
        raise _PlannedError(_reserve(io, db, given, thread_id, None, joining, stream=stream, content=False))

    try:
        await io.write(reserve)
    except _PlannedError as plan:
        return plan.reserved
    raise AssertionError  # pragma: no cover - the transaction always ends by raising


class _PlannedError(Exception):
    """Takes a reservation out of its transaction, which is undone."""

    def __init__(self, reserved: Reserved) -> None:
        super().__init__()
        self.reserved = reserved


async def _joining(io: IO, given: Json, thread_id: str, made: Made) -> Joining:
    """Let what the run's own messages attach join the thread's vector store, unless the run is refused anyway."""
    namespace = io.settings.namespace

    def find(db: Connection) -> Found:
        row = existing(db, namespace, "thread", thread_id)
        existing(db, namespace, "assistant", given["assistant_id"])
        if (run := queries.active_run(db, namespace, thread_id)) is not None:
            raise errors.active_run(thread_id, run["id"])
        return row

    await look_at_thread(io, thread_id)
    fields = (await io.read(find))["body"]
    return Joining(
        store_ids(fields.get("tool_resources")), await attach(io, fields, given["additional_messages"], made)
    )


async def _begin(io: IO, reserved: Reserved, *, stream: bool) -> tuple[Found, Asked]:
    thread_id: str = reserved.row["thread_id"]
    trim = reserved.run["truncation_strategy"]["type"] == "auto"
    asked = None
    try:
        error = await trouble(io, stores_of(reserved.row["request"]), reserved.stores)
        if error is not None:
            return await _failed(io, reserved, error, stream=stream)
        place = Place.of(reserved.row)
        request = await placed(io, place, reserved.row["request"])
        asked = await ask(io, request, reserved.input, trim=trim, forget=True, place=place)
        if reserved.is_taken_as_it_is(asked):
            return reserved.row, asked
        done = asked
        row = await io.write(lambda db: _accept(io, db, reserved, done))
    except BaseException:  # a cancelled task, too, must not leave a run that nobody asked for
        await io.write(lambda db: _release(io, db, reserved))
        if asked is not None:
            await abandon(io, reserved.run["id"], asked)
        raise
    if row is None:  # the thread was deleted while the upstream was asked
        await abandon(io, reserved.run["id"], asked)
        raise errors.not_found("thread", thread_id)
    if row["status"] != reserved.run["status"]:  # the run was stopped meanwhile, and what was asked is for nothing
        await cancel_upstream(io, row)
    return row, asked


async def _reserved(io: IO, reserve: Callable[[Connection], Reserved], thread_id: str) -> Reserved:
    """The reservation; before it is refused, the active run is looked at: it may have finished in truth.

    Generated files that the run uses are uploaded first.
    """
    was_looked_at = False
    while True:
        try:
            return await io.write(reserve)
        except NotUploadedError as needed:  # noqa: PERF203 - each try is one of its own
            await upload_all(io, needed.uses)
        except queries.ThreadBusyError as busy:
            if was_looked_at:
                raise errors.active_run(thread_id, busy.run_id) from None
            await look_at_thread(io, thread_id)
            was_looked_at = True


async def moved_on(io: IO, row: Found, response: Json) -> Found:
    """The run after what the upstream answered at once; it is accepted, so trouble from here on is the next look's."""
    try:
        return await advance(io, row, response)
    except Exception as error:  # noqa: BLE001 - the run exists: an error would make the SDK ask for it once more
        log.warning("run %s could not be moved yet: %s", row["id"], type(error).__name__)
        return row


def _reserve(  # noqa: PLR0913, PLR0917 - a request, its thread, and how it is to be answered
    io: IO,
    db: Connection,
    given: Json,
    thread_id: str,
    thread: Json | None,
    joining: Joining | None,
    *,
    stream: bool,
    content: bool,
) -> Reserved:
    namespace, now = io.settings.namespace, io.now()
    if thread is not None:
        add_thread(io, db, thread_id, thread, now)
    row = existing(db, namespace, "thread", thread_id, lock=True)
    assistant = existing(db, namespace, "assistant", given["assistant_id"])
    additional = given.get("additional_messages") or []
    message_ids = insert_messages(io, db, row, additional, now)
    files = [file_id for entry in additional for file_id in attached_files(entry)]
    entries = queries.transcript(db, namespace, thread_id)
    run = runs.run_from_request(io.mint("run"), thread_id, now, given, assistant["body"], ttl=io.settings.run_ttl)
    if not run["instructions"] and not any(entry.get("role") == "user" for entry in entries):
        message = "Run creation requires a Thread with a user message or an assistant with instructions."
        raise errors.ApiError(400, message, code="invalid_thread")
    turns = turns_from_entries(entries, now, last_messages=runs.last_messages(run))
    fields = with_files(row["body"], files)
    if joining is not None:
        fields = fields_with_store(fields, joining.store)
    both = [assistant["body"].get("tool_resources"), fields.get("tool_resources")]
    files_of_code = list(dict.fromkeys(id_ for resources in both for id_ in file_ids(resources)))
    known = names(db, namespace, _uses(run, files_of_code, turns))
    request = request_from_run(
        run,
        runs.overridden(given, assistant["body"]),
        [known.get((id_, "assistants"), id_) for id_ in files_of_code],
        stores=list(dict.fromkeys(id_ for resources in both for id_ in store_ids(resources))),
        store=io.settings.store_responses,
        limits=_limits(io),
    )
    request = _as_set(io, request, stream=stream)
    held = _hold(db, namespace, run, request, until=now + _ASKING if stream else 0, content=content)
    stores = store_ids(fields.get("tool_resources"))
    input_ = Input(with_names(turns, images_of(known)))
    return Reserved(held, input_, message_ids, files, joining, stores, None if thread is None else row)


def _hold(  # noqa: PLR0913 - a run, what it asks, and who reads it
    db: Connection, namespace: str, run: Run, request: Json, *, until: int, content: bool
) -> Found:
    container = container_of(request)  # another one is made with the same words when that is gone
    state: Json = {
        "usage": None,
        "sent": [],
        "cuts": 0,
        "plain": False,
        **({"container": container} if container else {}),
        **({"content": True} if content else {}),
    }
    values: Found = {
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
        "lease_until": until,
        "body": run,
    }
    queries.reserve_run(db, values)
    return values


def _uses(run: Run, file_ids_: list[str], turns: Turns) -> list[Use]:
    """The files that a run uses: images, and those of the code interpreter where the run has it."""
    has_code = any(tool["type"] == "code_interpreter" for tool in run["tools"])
    images: list[Use] = [(id_, "vision") for id_ in image_ids(turns)]
    return images + [(id_, "assistants") for id_ in file_ids_ if has_code]


def _as_set(io: IO, request: Json, *, stream: bool) -> Json:
    """The request with the model and in the mode that the settings say."""
    model = io.settings.models.get(request["model"])
    if model is not None:
        log.info("model %s is asked for as %s (Settings.models)", request["model"], model)
        request["model"] = model
    return in_mode(io, request, stream=stream)


def _limits(io: IO) -> Json:
    """What the settings say of a container, and nothing where they do not."""
    settings = io.settings
    limits: Json = {} if settings.memory_limit is None else {"memory_limit": settings.memory_limit}
    return limits if settings.network_policy is None else {**limits, "network_policy": dict(settings.network_policy)}


def _release(io: IO, db: Connection, reserved: Reserved) -> None:
    namespace = io.settings.namespace
    queries.release_run(db, namespace, reserved.run["id"], reserved.message_ids)
    if reserved.made_thread is not None:
        queries.remove(db, "threads", namespace, reserved.run["thread_id"])


def _accept(io: IO, db: Connection, reserved: Reserved, asked: Asked) -> Found | None:
    namespace, run_id = io.settings.namespace, reserved.run["id"]
    _join(db, reserved)
    fresh = queries.get(db, "runs", namespace, run_id, lock=True)
    if fresh is None:
        return None
    changes = taken(db, fresh, asked, io.now())
    queries.change(db, "runs", namespace, run_id, **changes)
    return {**fresh, **changes}


def _join(db: Connection, reserved: Reserved) -> None:
    """Let what the run's messages attach join its thread."""
    thread = None
    if reserved.joins:
        thread = queries.get(db, "threads", reserved.row["namespace"], reserved.run["thread_id"], lock=True)
    if thread is not None:
        join_files(db, thread, reserved.files)
        if reserved.joining is not None:
            with contextlib.suppress(StoreMovedError):  # its owner has chosen another store meanwhile
                join_store(db, thread, reserved.joining.seen, reserved.joining.store)


async def _failed(io: IO, reserved: Reserved, error: Json, *, stream: bool) -> tuple[Found, Asked]:
    """The run, failed before the upstream was asked; its messages stay."""
    await io.write(lambda db: _join(db, reserved))
    row = await stop(io, reserved.row, "failed", last_error=error)
    return row, Asked(reserved.row["request"], reserved.input, {}, _Nothing() if stream else None)


class _Nothing:
    """The body of a stream that nobody sends."""

    status, headers = 200, MappingProxyType[str, str]({})

    @staticmethod
    async def chunks() -> AsyncGenerator[bytes, None]:
        """Nothing."""
        for chunk in list[bytes]():
            yield chunk

    async def aclose(self) -> None:
        """Nothing to close."""
