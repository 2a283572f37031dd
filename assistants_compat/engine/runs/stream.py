"""Runs that are streamed: read event by event, saved as they go, and told in the old service's words.

`frames` is a run's stream from its first event to `[DONE]`.  It does not know who reads it: a caller that leaves does
not end it (see `carriers`).  What it says of a message or step is stored before it is said, and what only begins at
least promised (`IO.promise`), so that a handler may ask for what it was told; what is being said is stored once a
second, under a lease that says that somebody reads.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from ... import errors
from ...store import queries
from ...store.database import Connection, Promise
from ...store.queries import Found
from ...translate import run as runs
from ...translate.output import INCOMPLETE_REASONS
from ...translate.run_events import LISTED_BEFORE, RunEvents
from ...translate.sse import DONE, Decoder, Event, encoded
from ...translate.thread import thread_from_fields
from ...wire.exchange import Reply
from ...wire.ids import Replay
from ...wire.objects import Json, as_object, objects
from .. import generated_files
from ..containers import delete_upstream
from ..io import IO, LEASE, Body
from . import create, finish, tool_outputs
from .ask_upstream import Asked, ask_again, may_be_asked_again, response_path, response_request, taken
from .refresh import cancel_upstream

log = logging.getLogger("assistants_compat")

_SAVED_EVERY = 1.0  # seconds, of what is being said
_TRIES = 5  # to take up a background stream again
_FIRST_PAUSE = 0.5  # seconds before the second try; doubled after each
_HEADERS = {"content-type": "text/event-stream; charset=utf-8"}
_ENDS = (".completed", ".failed", ".incomplete")  # of messages and steps
_Changes = Callable[[Connection, Found], Json]  # the new columns of a run that goes on
_Written = tuple[Found | None, dict[str, int] | None]  # the run as it is then, and what of it is stored
_BY_RESPONSE = frozenset({"completed", "incomplete"})
_LOST = {"code": "server_error", "message": "The connection to the model was lost in the middle of its response."}


async def start(io: IO, given: Json, *, thread_id: str, thread: Json | None = None, content: bool = False) -> Reply:
    """Create a run, as `starting.start` does and with its errors, and stream it.

    With `content` its steps show the text of what was found, too.
    """
    row, asked, there = await create.begin(io, given, thread_id=thread_id, thread=thread, stream=True, content=content)
    stream = _Stream(io, row, asked)
    made = None
    if there is not None:
        made = thread_from_fields(thread_id, there["created_at"], there["body"], fresh=False)
    return _reply(stream, stream.events.begin(thread=made))


async def submit(io: IO, row: Found, given: list[Json]) -> Reply:
    """Give a run the outputs of its functions, as `answering.submit` does and with its errors, and stream it."""
    row, asked, step = await tool_outputs.go_on(io, row, given, stream=True)
    stream = _Stream(io, row, asked)
    return _reply(stream, stream.events.begin(answered=step))


def _reply(stream: _Stream, opening: list[Event]) -> Reply:
    return Reply(200, headers=dict(_HEADERS), chunks=stream.frames(opening), run_id=stream.row["id"])


class _LostError(Exception):
    """Another reader has taken this run over: this one was away for longer than its lease."""


class _Stream:
    """One response of a run on its way through."""

    def __init__(self, io: IO, row: Found, asked: Asked) -> None:
        assert asked.body is not None  # noqa: S101 - a stream was asked for
        self.io, self.row, self.body = io, row, asked.body
        self.over = False
        self.resumed_at, self.resumed = -1, 0
        self.promised: Promise[_Written] | None = None  # what was told and may not be stored yet
        self._begin()

    def _begin(self) -> None:
        self.mint = Replay(self.io.mint)
        state = self.row["state"]
        self.events = RunEvents(self.row["body"], self.mint, spent=state["usage"], content=bool(state.get("content")))
        self.stored: dict[str, int] | None = {}
        self.next_save = self.io.monotonic() + _SAVED_EVERY

    async def frames(self, opening: list[Event]) -> AsyncGenerator[bytes, None]:
        """The run's stream.  A failure of ours is its last event; whoever closes it early ends the run."""
        try:
            yield encoded(opening)
            if self.row["status"] in runs.TERMINAL:  # it was stopped while the upstream was asked
                yield encoded(await self._told_by(self.row))
            while not self.over:
                body = self.body
                async with aclosing(self._connection(body)) as told:
                    async for events in told:
                        yield encoded(events)
                if events := await self._without_connection(body):
                    yield encoded(events)
        except errors.ForeignError as error:
            await self._cut()
            raise error.original from error.original.__cause__
        except _LostError:
            yield encoded([("error", errors.ApiError(409, str(_LostError.__doc__), kind="server_error").body())])
        except Exception as error:  # noqa: BLE001 - the answer has begun: an error can only be its last event
            await self._leave_to_others()
            yield encoded([("error", errors.api_error(error).body())])
        except BaseException:
            await self._cut()
            raise
        finally:
            await self.body.aclose()

    # --- one connection

    async def _connection(self, body: Body) -> AsyncGenerator[list[Event], None]:
        """What comes over one connection, until the response has ended or the connection has."""
        decoder = Decoder()
        try:
            async with aclosing(body.chunks()) as chunks:
                async for chunk in chunks:
                    if self.over:
                        continue  # what follows the response is read too, so that the connection can be used again
                    if events := await self._take(decoder.feed(chunk)):
                        yield events
                    if self._is_done_with(body):
                        return
        except errors.UnreachableError as error:
            log.warning("the stream of run %s broke: %s", self.row["id"], type(error.original).__name__)

    def _is_done_with(self, body: Body) -> bool:
        """Whether the run was stopped, or asked for again over another connection."""
        return body is not self.body or (self.over and self.events.response is None)

    async def _take(self, given: list[Json]) -> list[Event]:
        is_due = self.promised is not None and self.io.is_due(self.promised)
        if is_due and (told := await self._settled()):
            return told  # the run is over: what has come since is for nobody
        now = self.io.now()
        events: list[Event] = []
        for event in given:
            if self.resumed and self._was_told(event):
                continue  # a server that does not know `starting_after` begins anew
            if event["type"] in LISTED_BEFORE:
                await self._look_for_files(event)
            events += self.events.feed(event, now)
            if self.events.response is not None:
                return await self._end(events)
        is_found = self.row["response_id"] is not None or not self.row["request"].get("background")
        if is_found and not self.events.changed and self.io.monotonic() < self.next_save:
            return events
        return [*events, *await self._save(events)]

    def _was_told(self, event: Json) -> bool:
        number = event.get("sequence_number")
        return isinstance(number, int) and number <= self.events.sequence_number

    async def _look_for_files(self, event: Json) -> None:
        """Before a message ends: what is in the containers now, and what the thread has already and this text links."""
        reading = self.events.reading
        if containers := self.events.to_be_listed(event):
            others = [file for file in reading.found if file["container_id"] not in containers]
            reading.found = [*others, *await generated_files.found_files(self.io, containers, self.mint.minted)]
        items = [as_object(event.get("item")), *objects(as_object(event.get("response")).get("output"))]
        if earlier := await generated_files.earlier_files(self.io, self.events.run, items):
            reading.earlier = earlier

    async def _save(self, told: list[Event]) -> list[Event]:
        """Store what was said so far; the last events, if the run is to stop or was stopped by somebody else.

        What is only being said can wait for the next time, when the store is busy, and what only begins until it is
        told: its words need not wait for the store.
        """
        io, events = self.io, self.events
        if last := await self._settled():
            return last
        may_wait, events.changed = not events.changed, False
        self.next_save = io.monotonic() + _SAVED_EVERY
        # A file comes with the end of something: while words only grow there is none to look for.
        made = {} if may_wait else events.reading.outcome.files
        ends = any(name.endswith(_ENDS) for name, _ in told)
        # A background run is to outlive this process, which may die at any moment.
        if not (may_wait or made or ends or self.row["request"].get("background")):
            # A copy, because more may be said before it is stored.
            entries, steps = json.loads(json.dumps([events.entries(), events.reading.outcome.steps]))
            self.promised = io.promise(self._writing(self._so_far([]), entries, steps))
            return []
        try:
            async with finish.copied(io, made, events.run) as files:
                fresh = await self._write(self._so_far(files))
        except errors.StoreBusyError as error:
            if not may_wait:
                raise
            log.warning("run %s could not be saved yet: %s", self.row["id"], type(error).__name__)
            return []
        if fresh is not None and fresh["status"] not in runs.TERMINAL:
            await generated_files.tell(io, files)
        return await self._after(fresh)

    async def _settled(self) -> list[Event]:
        """Have stored what was promised; what there is to tell then."""
        return [] if self.promised is None else await self._after(await self._kept())

    async def _kept(self) -> Found | None:
        """The run as it was when what was promised was stored; None, too, where nothing was."""
        if self.promised is None:
            return None
        # Until it has told what it wrote, nobody knows what is there.
        promised, self.promised, self.stored = self.promised, None, None
        fresh, self.stored = await self.io.kept(promised)
        return fresh

    async def _written(self) -> None:
        """Have stored what was promised, for whoever writes everything once more if it was not."""
        with contextlib.suppress(errors.StoreBusyError):
            await self._kept()

    async def _after(self, fresh: Found | None) -> list[Event]:
        """What there is to tell of the run as it was found: its last events, if it is to stop or was stopped."""
        if fresh is None or fresh["status"] in runs.TERMINAL:
            return await self._told_by(fresh)
        self.row = fresh
        if fresh["status"] == "cancelling":
            return await self._stop("cancelled")
        if self.io.now() >= fresh["expires_at"]:
            await cancel_upstream(self.io, fresh)
            return await self._stop("expired")
        return []

    def _so_far(self, files: list[Json]) -> _Changes:
        """Adds the files that were copied; the columns of the run, which goes on."""
        run, response_id, minted = dict(self.events.run), self.events.response_id, dict(self.mint.minted)
        lease_until = self.io.now() + LEASE

        def changes_of(db: Connection, fresh: Found) -> Json:
            queries.add(db, "files", files)
            changes: Json = {
                "response_id": response_id,
                "state": runs.with_response({**fresh["state"], "minted": minted}, response_id),
                "lease_until": lease_until,
            }
            if (fresh["status"], run["status"]) == ("queued", "in_progress"):
                changes["status"] = "in_progress"
                changes["body"] = {**fresh["body"], "status": "in_progress", "started_at": run["started_at"]}
            return changes

        return changes_of

    async def _write(self, changes_of: _Changes) -> Found | None:
        """Write what was said and the run's new columns, if it still goes on; the run as it is then."""
        await self._written()
        work = self._writing(changes_of, self.events.entries(), self.events.reading.outcome.steps)
        fresh, self.stored = await self.io.write(work)
        return fresh

    def _writing(
        self, changes_of: _Changes, entries: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]
    ) -> Callable[[Connection], _Written]:
        """The transaction that does so.  The thread is locked before the run, as everywhere.

        It raises `_LostError` when the run is in another round.
        """
        io, row, stored = self.io, self.row, self.stored

        def work(db: Connection) -> _Written:
            namespace, run_id = row["namespace"], row["id"]
            queries.lock_thread(db, namespace, row["thread_id"])
            fresh = queries.get(db, "runs", namespace, run_id, lock=True)
            if fresh is None or fresh["status"] in runs.TERMINAL:
                return fresh, stored
            if fresh["status"] == "requires_action" or finish.round_of(fresh) != finish.round_of(row):
                raise _LostError
            changes = changes_of(db, fresh)
            queries.change(db, "runs", namespace, run_id, **changes)
            return {**fresh, **changes}, finish.put(io, db, row["body"], entries, steps, stored)

        return work

    # --- the end

    async def _end(self, told: list[Event]) -> list[Event]:
        """The response has ended: everything is written before its end is told."""
        response = self.events.response
        assert response is not None  # noqa: S101 - that is how it ended
        await self._written()
        self.row = {**self.row, "response_id": self.events.response_id}
        error: Any = response.get("error")
        if response.get("status") == "failed" and may_be_asked_again(error) and await self._ask_again(error):
            return [event for event in told if event[0] == "thread.run.in_progress"]
        fresh = await finish.finish(self.io, self.row, response, self.events.reading.outcome, self.stored)
        if fresh["status"] == self.events.run["status"]:
            self.over = True
            return told
        kept = [event for event in told if event[0] not in (f"thread.run.{self.events.run['status']}", "done")]
        if fresh["status"] in runs.TERMINAL:
            return [*kept, *await self._told_by(fresh)]
        if fresh is self.row:  # there is none any more
            return await self._told_by(None)
        if finish.round_of(fresh) != finish.round_of(self.row):
            raise _LostError
        self.row = fresh
        return [*kept, *await self._stop("cancelled" if fresh["status"] == "cancelling" else "failed")]

    async def _ask_again(self, error: Json) -> bool:
        """Whether the upstream takes the run with less input, when it refused the first."""
        if self.events.reading.outcome.steps:
            return False
        try:
            asked = await ask_again(self.io, self.row, self.row["request"], error)
        except errors.UNANSWERED:
            return False
        if asked is None or asked.body is None:
            return False
        await self.body.aclose()
        took = asked

        def work(db: Connection) -> Json:
            state = runs.with_response(self.row["state"], self.events.response_id)
            changes = taken(db, {**self.row, "state": state}, took, self.io.now())
            queries.change(db, "runs", self.row["namespace"], self.row["id"], **changes)
            return changes

        changes = await self.io.write(work)
        run = {**self.row["body"], "status": "in_progress", "started_at": self.events.run["started_at"]}
        self.row, self.body = {**self.row, **changes, "body": run}, asked.body
        self._begin()
        return True

    async def _stop(self, status: str, error: Json | None = None) -> list[Event]:
        """End the run ourselves: what was said stays."""
        await self.body.aclose()
        now = self.io.now()
        told = self.events.stop(status, now, error=error)
        more = {"usage": self.row["state"]["usage"], **({"last_error": error} if error else {})}

        def columns(_db: Connection, fresh: Found) -> Json:
            return {"status": status, "body": runs.moved(fresh["body"], status, now, **more), "lease_until": 0}

        fresh = await self._write(columns)
        self.over = True
        if fresh is not None and fresh["status"] != status:
            told[-2] = (f"thread.run.{fresh['status']}", fresh["body"])
        return told

    async def _told_by(self, fresh: Found | None) -> list[Event]:
        """The last events of a run that somebody else has ended; of one that was deleted there is nothing to tell."""
        self.over = True
        if fresh is None:  # with its thread, before the response was known there
            await self.body.aclose()
            if self.events.response_id is not None and self.row["request"]["store"]:
                row = {**self.row, "response_id": self.events.response_id}
                await delete_upstream(self.io, response_path(row), self.events.response_id)
            return [DONE]
        if fresh["status"] in _BY_RESPONSE and (told := await self._rest_of_response(fresh)):
            return told
        told = self.events.stop(fresh["status"], self.io.now(), run=fresh["body"])
        if fresh["status"] in INCOMPLETE_REASONS:
            await self._put_rest()
        return told

    async def _rest_of_response(self, fresh: Found) -> list[Event]:
        """What is left to tell of a run that was away from its reader and ended well; nothing, if it cannot be had."""
        if self.events.response is not None or self.events.response_id is None:
            return []
        self.row = {**self.row, "response_id": self.events.response_id}
        response = await self._asked_for()
        if response is None:
            return []
        ended = {"type": f"response.{response['status']}", "response": response}
        await self._look_for_files(ended)
        told = self.events.feed(ended, self.io.now())
        return [*told[:-2], (f"thread.run.{fresh['status']}", fresh["body"]), DONE]

    async def _put_rest(self) -> None:
        """Who stopped the run knew only what had been saved: what was told since then is stored too, with its files."""
        io, outcome = self.io, self.events.reading.outcome

        def work(db: Connection, files: list[Json]) -> bool:
            queries.lock_thread(db, self.row["namespace"], self.row["thread_id"])
            fresh = queries.get(db, "runs", self.row["namespace"], self.row["id"], lock=True)
            if fresh is None or finish.round_of(fresh) != finish.round_of(self.row):
                return False
            finish.put(io, db, fresh["body"], outcome.entries, outcome.steps, self.stored)
            queries.add(db, "files", files)
            return True

        async with finish.copied(io, outcome.files, self.events.run) as files:
            is_written = await io.write(lambda db: work(db, files))
        if is_written:
            await generated_files.tell(io, files)

    # --- without a connection

    async def _without_connection(self, body: Body) -> list[Event]:
        """What there is to tell when a connection was lost, or ended without the response's end.

        A background response is taken up where it was left.  Of another the upstream is asked once: it may have
        finished; else the run has failed, because a dropped connection ends it there too (platform.md section 4).
        """
        if self.over or body is not self.body:
            return []
        await body.aclose()
        if self.events.response_id is None:
            return await self._stop("failed", self.events.error or _LOST)
        self.row = {**self.row, "response_id": self.events.response_id}
        if self.row["request"].get("background") and await self._resumed():
            return []
        response = await self._asked_for()
        if response is not None:
            return await self._take([{"type": f"response.{response['status']}", "response": response}])
        if self.row["request"].get("background"):
            return await self._let_go()
        return await self._stop("failed", self.events.error or _LOST)

    async def _resumed(self) -> bool:
        """Whether the stream goes on; tried until nothing has come of it so many times in a row."""
        if self.events.sequence_number > self.resumed_at:
            self.resumed_at, self.resumed = self.events.sequence_number, 0
        while self.resumed < _TRIES:
            if self.resumed:
                await self.io.sleep(_FIRST_PAUSE * 2 ** (self.resumed - 1))
            self.resumed += 1
            if await self._resume():
                return True
        return False

    async def _resume(self) -> bool:
        query = [("stream", "true")]
        if self.events.sequence_number >= 0:
            query.append(("starting_after", str(self.events.sequence_number)))
        try:
            self.body = await self.io.open(response_request(self.row, *query, accept="text/event-stream"))
        except errors.UNANSWERED as error:
            log.warning("the stream of run %s could not be taken up: %s", self.row["id"], type(error).__name__)
            return False
        return True

    async def _asked_for(self) -> Json | None:
        """The response, if it has ended."""
        try:
            response = await self.io.ask(response_request(self.row))
        except errors.UNANSWERED:
            return None
        return response if runs.STATUS_OF_RESPONSE.get(str(response.get("status"))) in runs.TERMINAL else None

    async def _let_go(self) -> list[Event]:
        """The upstream works on and cannot be reached: the next look at the run will find what it has made."""
        await finish.end_lease(self.io, self.row)
        self.over = True
        message = "The connection was lost; the run goes on, and can be retrieved."
        return [("error", errors.ApiError(503, message, kind="server_error").body())]

    async def _leave_to_others(self) -> None:
        """We failed: the next look ends the run, at once and not when its lease has lapsed."""
        if self.over:
            return
        try:
            await finish.end_lease(self.io, {**self.row, "response_id": self.events.response_id})
        except errors.StoreError as error:
            log.warning("run %s waits for its lease to lapse: %s", self.row["id"], type(error).__name__)

    async def _cut(self) -> None:
        """The reader was ended (a program that stops): what was said stays, and the run does not wait for its lease."""
        if self.over or self.io.is_forked():
            return
        try:
            if self.row["request"].get("background") and self.events.response_id is not None:
                await finish.end_lease(self.io, self.row)
            else:
                await self._stop("failed", _LOST)
        except Exception as error:  # noqa: BLE001 - the first cause goes on
            log.warning("run %s could not be ended: %s", self.row["id"], type(error).__name__)
