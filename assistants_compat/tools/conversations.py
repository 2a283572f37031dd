"""The way out, thread by thread: a thread as a Conversation of the Responses API, and back."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, overload
from urllib.parse import quote

import openai

from ..engine.containers import GUARD
from ..engine.io import IO, Request
from ..engine.threads import add_messages, add_thread
from ..engine.uploads import NotUploadedError, names, upload_all
from ..errors import ApiError, CompatError
from ..store import queries
from ..store.database import Connection
from ..translate.conversation import (
    SHOWN,
    Use,
    containers_of_items,
    entries_from_items,
    files_of_entries,
    items_from_entries,
    without_code,
)
from ..translate.run import TERMINAL
from ..wire.objects import Json, objects
from .upstream import TROUBLES, everything, reason, served

log = logging.getLogger("assistants_compat")

_AT_A_TIME = 20  # items of a conversation in one request (spec)


@dataclass(frozen=True)
class Moved:
    """A thread that became a conversation, or a conversation that became a thread.

    `id` is that of the new one, `items` the number of its items (of a thread its messages).  `files` are the upstream's
    ids of the thread's generated files, by ours.  `left_out` says by ids what could not go along, and why.
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
    """Make a Conversation of a thread, for `client.responses.create(conversation=moved.id, ...)`.

    It gets the thread's metadata and, in their order, its messages with their images, its function calls with their
    outputs, and the Code Interpreter calls whose container lives.  Generated files that messages show, link or attach
    are uploaded to the Files API; which file is which is said in the text, a line each, for a Conversation has no
    attachments and no `file_path` annotations.  System instructions are the assistant's and stay with it.

    The thread stays as it is.  Each call makes a conversation of its own, of the thread as it is then: whoever asks
    twice has two, and keeps the id that he goes on with.  When something fails, what was made of the conversation is
    deleted again; uploaded files stay, and are used the next time.  So it may simply be called once more.

    `client` is a wrapped one; an asynchronous one gives a coroutine to await.  Raises `CompatError` while a run of the
    thread is active, and for a thread that `Settings(only=...)` leaves upstream; what the SDK raises where the service
    refuses (`NotFoundError` for an unknown thread), `StoreError` when the store cannot be used, and `TypeError` for a
    client that is not wrapped.
    """
    return served(client, partial(_to_conversation, thread_id=thread_id))


async def _to_conversation(io: IO, thread_id: str) -> Moved:
    path = f"/threads/{quote(thread_id, safe='')}"
    thread = await io.ask(Request("GET", path))
    latest = await io.ask(Request("GET", f"{path}/runs", query=(("limit", "1"),)))  # an active run moves by it
    for run in objects(latest.get("data")):
        if run["status"] not in TERMINAL:
            message = f"{thread_id} has an active run, {run['id']} ({run['status']}); wait until it has ended."
            raise CompatError(message)
    here = await io.read(lambda db: queries.get(db, "threads", io.settings.namespace, thread_id))
    if here is None:  # the answer was the upstream's, and its messages are not in our store
        message = f"{thread_id} is kept upstream, as Settings(only=...) has it; a run of one it names takes it over."
        raise CompatError(message)
    entries = await io.read(lambda db: queries.transcript(db, io.settings.namespace, thread_id))
    files, unkept = await _uploaded(io, files_of_entries(entries))
    items, left_out = items_from_entries(entries, files, io.now())
    left_out = {**unkept, **left_out}
    try:
        id_ = await _made(io, thread["metadata"], items)
    except openai.BadRequestError as refused:
        # Whether calls that a response has stored already may be given once more, no source says.
        items, calls = without_code(items)
        if not calls:
            raise
        left_out.update(dict.fromkeys(calls, f"the service refused it: {reason(refused)}"))
        id_ = await _made(io, thread["metadata"], items)
    return Moved(id_, len(items), {ours: name for (ours, _), name in files.items()}, left_out)


async def _uploaded(io: IO, uses: list[Use]) -> tuple[dict[Use, str], dict[str, str]]:
    """The upstream's ids of those files that are ours, and why some have none."""
    gone: dict[str, str] = {}
    while True:
        try:
            left = [use for use in uses if use[0] not in gone]
            return await io.read(lambda db: names(db, io.settings.namespace, left)), gone  # noqa: B023 - called at once
        except NotUploadedError as needed:  # noqa: PERF203 - each try is one of its own
            for use in needed.uses:
                try:
                    await upload_all(io, [use])
                except (ApiError, openai.BadRequestError, openai.NotFoundError) as error:  # noqa: PERF203 - as above
                    gone[use[0]] = reason(error)


async def _made(io: IO, metadata: Json, items: list[Json]) -> str:
    """The id of a new conversation with all of these items; one that did not get them all is deleted."""
    first, rest = items[:_AT_A_TIME], items[_AT_A_TIME:]
    answer = await io.ask(Request("POST", "/conversations", {"metadata": metadata, "items": first}))
    path = _path(str(answer.get("id")))
    try:
        for start in range(0, len(rest), _AT_A_TIME):
            await io.ask(Request("POST", f"{path}/items", {"items": rest[start : start + _AT_A_TIME]}))
    except BaseException:
        await _deleted(io, path)
        raise
    return str(answer["id"])


async def _deleted(io: IO, path: str) -> None:
    """Delete a conversation and before it its items, which would outlive it (spec); trouble is logged."""
    try:
        for item in await everything(io, f"{path}/items"):
            await io.ask(Request("DELETE", f"{path}/items/{quote(str(item['id']), safe='')}"))
    except TROUBLES as error:
        log.warning("items of a half-made conversation could not be deleted: %s", type(error).__name__)
    try:
        await io.ask(Request("DELETE", path))
    except TROUBLES as error:
        log.warning("a half-made conversation could not be deleted: %s", type(error).__name__)


@overload
def from_conversation(client: openai.OpenAI, conversation_id: str) -> Moved: ...


@overload
def from_conversation(client: openai.AsyncOpenAI, conversation_id: str) -> Coroutine[Any, Any, Moved]: ...


def from_conversation(
    client: openai.OpenAI | openai.AsyncOpenAI, conversation_id: str
) -> Moved | Coroutine[Any, Any, Moved]:
    """Make a thread of a Conversation: the way back, or in for code that is still legacy.

    Its messages become messages (images as they are, files as attachments for the code interpreter), all with the time
    at which the conversation was made, for items have none.  Function calls with their outputs, the calls of the Code
    Interpreter whose container lives, and system messages are told to later runs and not listed.  Reasoning, calls of
    other tools and files in containers do not go along: `left_out` names them.

    The conversation stays as it is.  Each call makes a thread of its own; a failure leaves none.

    `client` is a wrapped one; an asynchronous one gives a coroutine to await.  Raises what the SDK raises where the
    service refuses (`NotFoundError` for an unknown conversation), `StoreError` when the store cannot be used, and
    `TypeError` for a client that is not wrapped.
    """
    return served(client, partial(_from_conversation, conversation_id=conversation_id))


async def _from_conversation(io: IO, conversation_id: str) -> Moved:
    path = _path(conversation_id)
    conversation = await io.ask(Request("GET", path))
    items = await everything(io, f"{path}/items", *(("include[]", hidden) for hidden in SHOWN))
    until: dict[str, int] = {}
    for container_id in containers_of_items(items):
        if (end := await _lives_until(io, container_id)) is not None:
            until[container_id] = end
    entries, left_out = entries_from_items(items, until)
    made_at = conversation.get("created_at")
    created = made_at if isinstance(made_at, int) else io.now()
    fields = {"metadata": conversation.get("metadata") or {}}

    def work(db: Connection) -> str:
        thread = add_thread(io, db, io.mint("thread"), fields, created)
        told_by = io.mint("run")  # of no run of ours; what is told has one, so that it can be forgotten
        for entry in entries:
            if "role" in entry:
                add_messages(io, db, thread, [entry], created)
                continue
            body = {"id": io.mint("msg"), **entry}
            row = {"namespace": thread["namespace"], "id": body["id"], "created_at": created, "kind": "item"}
            queries.add(db, "messages", [{**row, "thread_id": thread["id"], "run_id": told_by, "body": body}])
        return str(thread["id"])

    messages = sum(1 for entry in entries if "role" in entry)
    return Moved(await io.write(work), messages, {}, left_out)


async def _lives_until(io: IO, container_id: str) -> int | None:
    """Until when a container may be used; None for one that is gone, or of which the service says nothing."""
    try:
        container = await io.ask(Request("GET", f"/containers/{quote(container_id, safe='')}"))
    except TROUBLES:
        return None
    used: Any = container.get("last_active_at") or container.get("created_at")
    return used + GUARD if container.get("status") == "running" and isinstance(used, int) else None


def _path(conversation_id: str) -> str:
    return f"/conversations/{quote(conversation_id, safe='')}"
