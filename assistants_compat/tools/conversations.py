"""Moves one thread to a Conversation of the Responses API, or a Conversation to a thread.

Which message becomes which item is decided in `translate.conversation`; this module sends requests and writes rows.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, overload
from urllib.parse import quote

import openai

from ..engine.containers import REUSE_SECONDS
from ..engine.images import with_image_data
from ..engine.io import IO, Request
from ..engine.threads import add_messages, add_thread
from ..engine.uploads import (
    VISION_REFUSAL,
    NotUploadedError,
    is_vision_refusal,
    sends_image_bytes,
    upload_all,
    upstream_ids,
)
from ..errors import ApiError, CompatError
from ..service.refusal_table import CONTAINER_ROWS, TABLE
from ..service.refusals import recognize
from ..store import queries
from ..store.database import Connection
from ..translate.conversation import (
    ITEM_INCLUDES,
    FileUse,
    container_ids_from_items,
    entries_from_items,
    files_of_entries,
    items_from_entries,
    without_code_calls,
)
from ..translate.run import TERMINAL
from ..translate.transcript import RunInput
from ..wire.objects import Json, as_object_list
from .upstream import REQUEST_ERRORS, describe_error, list_all, run_with_client

log = logging.getLogger("assistants_compat")

_ITEMS_PER_REQUEST = 20  # the most that `POST /conversations` and `POST .../items` accept (spec)
_REFUSED_STATUSES = (400, 404)
# Rows of the table that come with another status behind a gateway.
_ITEM_REFUSALS = frozenset({"item_not_found", "item_without_pair", "duplicate_item", *CONTAINER_ROWS})


@dataclass(frozen=True)
class Moved:
    """The result of moving a thread to a conversation, or a conversation to a thread.

    `id` is the new object's id; `items` is the number of its items, or of a new thread's messages. `files` maps the ids
    of the thread's generated files to their ids upstream. `left_out` maps the ids of what was not moved to the reason.

    Example::

        moved = assistants_compat.to_conversation(client, thread.id)
        print(moved.items, "items moved, not moved:", moved.left_out)
    """

    id: str
    items: int
    files: Mapping[str, str]
    left_out: Mapping[str, str]


@overload
def to_conversation(client: openai.OpenAI, thread_id: str) -> Moved: ...


@overload
def to_conversation(client: openai.AsyncOpenAI, thread_id: str) -> Coroutine[Any, Any, Moved]: ...


def to_conversation(client: openai.OpenAI | openai.AsyncOpenAI, thread_id: str) -> Moved | Coroutine[Any, Any, Moved]:
    """Create a Conversation from a thread, for `client.responses.create(conversation=moved.id, ...)`.

    The conversation gets the thread's metadata and, in order: its messages with their images, its function calls with
    their outputs, and the Code Interpreter calls whose container is still alive. Generated files that messages show,
    link or attach are uploaded to the Files API. A Conversation has neither attachments nor `file_path` annotations, so
    one line of text for each file names it. System instructions belong to the assistant and are not copied.

    The thread does not change. Each call creates another conversation from the thread's current state, so keep the id
    of the one you continue with. If a request fails, the incomplete conversation is deleted; uploaded files stay and
    are reused. The call can therefore simply be repeated.

    `client` must be wrapped; with an asynchronous one, await the returned coroutine. Raises `CompatError` while a run
    of the thread is active, and for a thread that `Settings(only=...)` leaves upstream. Raises the SDK's errors if the
    service refuses a request, for example `NotFoundError` for an unknown thread. Raises `StoreError` if the store
    cannot be used, and `TypeError` for a client that is not wrapped.

    Example::

        moved = assistants_compat.to_conversation(client, thread.id)
        response = client.responses.create(
            model="gpt-4.1", conversation=moved.id, input="Continue."
        )
    """
    return run_with_client(client, partial(_to_conversation, thread_id=thread_id))


async def _to_conversation(io: IO, thread_id: str) -> Moved:
    path = f"/threads/{quote(thread_id, safe='')}"
    thread = await io.ask(Request("GET", path))
    # Listing refreshes an active run first, so one that has already ended upstream does not stand in the way.
    latest_runs = await io.ask(Request("GET", f"{path}/runs", query=(("limit", "1"),)))
    for run in as_object_list(latest_runs.get("data")):
        if run["status"] not in TERMINAL:
            message = f"{thread_id} has an active run, {run['id']} ({run['status']}); wait until it has ended."
            raise CompatError(message)
    thread_row = await io.read(lambda db: queries.get(db, "threads", io.settings.namespace, thread_id))
    if thread_row is None:  # the upstream answered, and the messages are not in our store
        message = (
            f"{thread_id} is stored upstream, because Settings(only=...) leaves it there. "
            "Create a run with one of the named assistants to copy it into the store, then call this again."
        )
        raise CompatError(message)
    entries = await io.read(lambda db: queries.transcript(db, io.settings.namespace, thread_id))
    files, not_uploaded = await _upload_files(io, files_of_entries(entries))
    items, left_out = items_from_entries(entries, files, io.now())
    left_out = {**not_uploaded, **left_out}
    items = [item for turn in (await with_image_data(io, RunInput([items]))).turns for item in turn]
    try:
        conversation_id = await _create_conversation(io, thread["metadata"], items)
    except openai.APIStatusError as refused:
        # No source says whether a Code Interpreter call that a stored response already has may be sent again. The
        # refusal of an item that is looked up by its id is a 404.
        items, calls = without_code_calls(items)
        if not (calls and _is_refusal_of_items(refused)):
            raise
        left_out.update(dict.fromkeys(calls, f"the service refused it: {describe_error(refused)}"))
        conversation_id = await _create_conversation(io, thread["metadata"], items)
    upstream_file_ids = {file_id: upstream_id for (file_id, _), upstream_id in files.items()}
    return Moved(conversation_id, len(items), upstream_file_ids, left_out)


def _is_refusal_of_items(error: openai.APIStatusError) -> bool:
    """Whether a conversation may be accepted without Code Interpreter calls after this error."""
    if error.status_code in _REFUSED_STATUSES:
        return True
    refusal = recognize(TABLE, error.status_code, error.body)
    return refusal is not None and refusal.row.name in _ITEM_REFUSALS


async def _upload_files(io: IO, uses: list[FileUse]) -> tuple[dict[FileUse, str], dict[str, str]]:
    """Upload generated files that have no copy upstream yet.

    Returns the upstream ids of all generated files, and for each file that could not be uploaded the reason.
    """
    failed: dict[str, str] = {}
    # Ends because each pass uploads every missing file, adds it to `failed`, or learns that images cannot be uploaded.
    while True:
        try:
            remaining = [
                use for use in uses if use[0] not in failed and not (use[1] == "vision" and sends_image_bytes(io))
            ]
            ids = await io.read(lambda db: upstream_ids(db, io.settings.namespace, remaining))  # noqa: B023 - called at once
        except NotUploadedError as missing:  # noqa: PERF203 - each pass uploads what the one before found missing
            for use in missing.uses:
                try:
                    await upload_all(io, [use])
                except openai.BadRequestError as error:  # noqa: PERF203 - each file by itself
                    if use[1] == "vision" and is_vision_refusal(error.status_code, error.body):
                        io.memory.remember(VISION_REFUSAL)  # the image is sent with its bytes
                    else:
                        failed[use[0]] = describe_error(error)
                except (ApiError, openai.NotFoundError) as error:
                    failed[use[0]] = describe_error(error)
        else:
            return ids, failed


async def _create_conversation(io: IO, metadata: Json, items: list[Json]) -> str:
    """Create a conversation with all of these items and return its id; on failure, delete the incomplete one."""
    first_items, later_items = items[:_ITEMS_PER_REQUEST], items[_ITEMS_PER_REQUEST:]
    conversation = await io.ask(Request("POST", "/conversations", {"metadata": metadata, "items": first_items}))
    path = _conversation_path(str(conversation.get("id")))
    try:
        for start in range(0, len(later_items), _ITEMS_PER_REQUEST):
            batch = later_items[start : start + _ITEMS_PER_REQUEST]
            await io.ask(Request("POST", f"{path}/items", {"items": batch}))
    except BaseException:  # a cancelled task must not leave an incomplete conversation behind either
        await _delete_conversation(io, path)
        raise
    return str(conversation["id"])


async def _delete_conversation(io: IO, path: str) -> None:
    """Delete a conversation; its items go first, because they would outlive it (spec). Errors are only logged."""
    try:
        for item in await list_all(io, f"{path}/items"):
            await io.ask(Request("DELETE", f"{path}/items/{quote(str(item['id']), safe='')}"))
    except REQUEST_ERRORS as error:
        log.warning("items of an incomplete conversation could not be deleted: %s", type(error).__name__)
    try:
        await io.ask(Request("DELETE", path))
    except REQUEST_ERRORS as error:
        log.warning("an incomplete conversation could not be deleted: %s", type(error).__name__)


@overload
def from_conversation(client: openai.OpenAI, conversation_id: str) -> Moved: ...


@overload
def from_conversation(client: openai.AsyncOpenAI, conversation_id: str) -> Coroutine[Any, Any, Moved]: ...


def from_conversation(
    client: openai.OpenAI | openai.AsyncOpenAI, conversation_id: str
) -> Moved | Coroutine[Any, Any, Moved]:
    """Create a thread from a Conversation, to undo a move or to continue a conversation in legacy code.

    Messages become messages; their images stay images, and their files become attachments for the code interpreter.
    Items have no time of their own, so every message gets the time at which the conversation was created.

    Later runs also send what the thread does not list as messages: function calls with their outputs, Code Interpreter
    calls whose container is still alive, and system messages. Reasoning, calls of other tools and files in containers
    are not copied; `left_out` names them.

    The conversation does not change. Each call creates another thread; a call that fails creates none.

    `client` must be wrapped; with an asynchronous one, await the returned coroutine. Raises the SDK's errors if the
    service refuses a request, for example `NotFoundError` for an unknown conversation. Raises `StoreError` if the store
    cannot be used, and `TypeError` for a client that is not wrapped.

    Example::

        moved = assistants_compat.from_conversation(client, conversation_id)
        messages = client.beta.threads.messages.list(moved.id)
    """
    return run_with_client(client, partial(_from_conversation, conversation_id=conversation_id))


async def _from_conversation(io: IO, conversation_id: str) -> Moved:
    path = _conversation_path(conversation_id)
    conversation = await io.ask(Request("GET", path))
    # The includes are needed: without them, code outputs and image URLs are missing from the items.
    items = await list_all(io, f"{path}/items", *(("include[]", field) for field in ITEM_INCLUDES))
    expiries: dict[str, int] = {}
    for container_id in container_ids_from_items(items):
        if (expiry := await _container_expiry(io, container_id)) is not None:
            expiries[container_id] = expiry
    entries, left_out = entries_from_items(items, expiries)
    conversation_created_at = conversation.get("created_at")
    created_at = conversation_created_at if isinstance(conversation_created_at, int) else io.now()
    fields = {"metadata": conversation.get("metadata") or {}}

    def insert_thread(db: Connection) -> str:
        thread = add_thread(io, db, io.new_id("thread"), fields, created_at)
        # Items need a run id: `queries.delete_items` selects by it, and NULL never matches. No run has this one.
        run_id = io.new_id("run")
        for entry in entries:
            if "role" in entry:
                add_messages(io, db, thread, [entry], created_at)
                continue
            body = {"id": io.new_id("msg"), **entry}
            row = {"namespace": thread["namespace"], "id": body["id"], "created_at": created_at, "kind": "item"}
            queries.insert_rows(db, "messages", [{**row, "thread_id": thread["id"], "run_id": run_id, "body": body}])
        return str(thread["id"])

    message_count = sum(1 for entry in entries if "role" in entry)
    return Moved(await io.write(insert_thread), message_count, {}, left_out)


async def _container_expiry(io: IO, container_id: str) -> int | None:
    """Return until when a container may be reused; None if it is gone or its last use is unknown."""
    try:
        container = await io.ask(Request("GET", f"/containers/{quote(container_id, safe='')}"))
    except REQUEST_ERRORS:
        return None
    # Some servers do not report the last use; the container's creation is then the earliest time it can be.
    used_at: Any = container.get("last_active_at") or container.get("created_at")
    return used_at + REUSE_SECONDS if container.get("status") == "running" and isinstance(used_at, int) else None


def _conversation_path(conversation_id: str) -> str:
    return f"/conversations/{quote(conversation_id, safe='')}"
