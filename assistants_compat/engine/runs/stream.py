"""Streams a run: translates the upstream's events to legacy events and saves the run as it goes.

`doors/stream_readers.py` reads a stream to its end even if the caller stops early. A message or step is stored before
its events are sent, or scheduled with `IO.write_later` when it only begins, so that an event handler can retrieve it.
Growing text is stored once a second. Each save renews the lease, which shows that the run has a reader.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ... import errors
from ...store import queries
from ...store.database import Connection, DeferredWrite
from ...store.queries import Row
from ...translate import run as run_status
from ...translate.output import INCOMPLETE_REASONS
from ...translate.response_events import events_from_response, has_ended
from ...translate.run_events import LIST_FILES_BEFORE, RunEvents
from ...translate.sse import DONE, Event, encode_events
from ...translate.thread import thread_from_fields
from ...translate.told_times import events_with_stored_times, times_of_told_run
from ...wire.exchange import Reply
from ...wire.ids import RepeatableIds
from ...wire.objects import Json
from .. import generated_files
from ..containers import delete_upstream, record_unlisted
from ..io import IO
from . import ask_upstream, create, finish, tool_outputs
from .event_sources import EventSource
from .refresh import abandon_response, accept_streamed_retry, cancel_upstream
from .remedies import asks_for_less_input
from .run_log import log_if_ended
from .stream_files import FileReports, list_files, unlisted_containers
from .stream_write import ColumnsOf, TakenOverError, WriteResult, progress_columns, stored_bodies, write_transaction

log = logging.getLogger("assistants_compat")

_SAVE_INTERVAL_SECONDS = 1.0  # between two saves of a text that grows
_RESUME_ATTEMPTS = 5  # in a row without a new event, to resume a background stream
_FIRST_PAUSE_SECONDS = 0.5  # before the second attempt; doubled after each
_HEADERS = {"content-type": "text/event-stream; charset=utf-8"}
_END_SUFFIXES = (".completed", ".failed", ".incomplete")  # of messages and steps
_ENDED_BY_RESPONSE = frozenset({"completed", "incomplete"})
_CONNECTION_LOST_ERROR = {
    "code": "server_error",
    "message": "The connection to the model was lost in the middle of its response.",
}


async def create_run(
    io: IO, params: Json, *, thread_id: str, thread: Json | None = None, content: bool = False
) -> Reply:
    """Create a run and stream it, with the text of search results if `content`; raises as `create.create_run`."""
    row, upstream_request, thread_row = await create.begin_run(
        io, params, thread_id=thread_id, thread=thread, stream=True, content=content
    )
    stream = _RunStream(io, row, upstream_request)
    created_thread = None
    if thread_row is not None:
        created_thread = thread_from_fields(thread_id, thread_row["created_at"], thread_row["body"], answers_post=False)
    return _reply(stream, stream.events.begin(thread=created_thread))


async def submit_tool_outputs(io: IO, row: Row, outputs: list[Json]) -> Reply:
    """Submit tool outputs and stream the run's next round; raises as `tool_outputs.submit_tool_outputs` does."""
    row, upstream_request, step = await tool_outputs.begin_next_round(io, row, outputs, stream=True)
    stream = _RunStream(io, row, upstream_request)
    return _reply(stream, stream.events.begin(completed_step=step))


def _reply(stream: _RunStream, first_events: list[Event]) -> Reply:
    return Reply(200, headers=dict(_HEADERS), chunks=stream.frames(first_events), run_id=stream.row["id"])


class _RunStream:
    """The stream of one round: reads its response, and another one if the input must be reduced."""

    def __init__(self, io: IO, row: Row, upstream_request: ask_upstream.UpstreamRequest) -> None:
        assert upstream_request.body is not None  # noqa: S101 - the request was sent with `stream`
        self.io, self.row, self.body = io, row, upstream_request.body
        self.is_over = False
        self.resumed_after, self.resume_attempts = -1, 0
        self.read_timeout: Exception | None = None  # the HTTP client's, by the caller's own timeout
        self.deferred_save: DeferredWrite[WriteResult] | None = None  # of events that were sent already
        self.reports = FileReports(io)
        self._start_response()

    def _start_response(self) -> None:
        """Reset the translation and the saving, for a response that begins."""
        self.new_id = RepeatableIds(self.io.new_id)
        state = self.row["state"]
        content = bool(state.get("content"))
        self.events = RunEvents(self.row["body"], self.new_id, earlier_usage=state["usage"], content=content)
        self.stored_hashes: dict[str, int] | None = {}
        self.next_save_at = self.io.monotonic() + _SAVE_INTERVAL_SECONDS

    async def frames(self, first_events: list[Event]) -> AsyncGenerator[bytes, None]:
        """Yield the stream up to `[DONE]`. Our own failures become its last event. Closing it early ends the run."""
        try:
            yield encode_events(first_events)
            if self.row["status"] in run_status.TERMINAL:  # it ended while the request was under way
                yield encode_events(await self._final_events(self.row))
            while not self.is_over:
                body = self.body
                async with aclosing(self._events_from_source(body)) as event_lists:
                    async for events in event_lists:
                        yield encode_events(events)
                if events := await self._events_after_disconnect(body):
                    yield encode_events(events)
        except errors.CallerCodeError as error:
            await self._end_interrupted()
            raise error.original from error.original.__cause__
        except TakenOverError:
            taken_over = errors.ApiError(409, TakenOverError.MESSAGE, kind="server_error")
            yield encode_events([("error", taken_over.body())])
        except Exception as error:  # noqa: BLE001 - the status is sent already: an error can only be the last event
            await self._release_after_error()
            yield encode_events([("error", errors.api_error_from(error).body())])
        except BaseException:
            await self._end_interrupted()
            raise
        finally:
            await self.body.aclose()

    # --- one connection

    async def _events_from_source(self, body: EventSource) -> AsyncGenerator[list[Event], None]:
        """Yield the legacy events of one source, until the response or the connection ends."""
        try:
            async with aclosing(body.event_lists()) as event_lists:
                async for upstream_events in event_lists:
                    if self.is_over:
                        continue  # read to the end, so that the HTTP client can reuse the connection
                    if events := await self._process_events(upstream_events):
                        yield events
                    if self._is_finished_with(body):
                        return
        except errors.UnreachableError as error:
            name = type(error.original).__name__
            log.warning("the stream of run %s was disconnected: %s", self.row["id"], name)
            self.read_timeout = error.original if name == "ReadTimeout" else None  # of httpx or httpx2

    def _is_finished_with(self, body: EventSource) -> bool:
        """Whether the run was ended early, or continues over another connection."""
        return body is not self.body or (self.is_over and self.events.response is None)

    async def _process_events(self, upstream_events: list[Json]) -> list[Event]:
        """Translate upstream events and save the run if that is due; return the legacy events to send."""
        is_due = self.deferred_save is not None and self.io.is_due(self.deferred_save)
        if is_due and (last_events := await self._events_after_deferred_save()):
            return last_events  # the run is over, and later upstream events are dropped
        now = self.io.now()
        events: list[Event] = []
        for event in upstream_events:
            if self.resume_attempts and self._was_already_sent(event):
                continue  # a server that ignores `starting_after` repeats the stream
            if event["type"] in LIST_FILES_BEFORE:
                await list_files(self.io, self.events, self.new_id.assigned_ids, event)
            events += self.events.feed(event, now)
            if self.events.response is not None:
                return await self._end_response(events)
        # A background run must be resumable, so its response id is stored with the first events.
        is_response_known = self.row["response_id"] is not None or not self.row["request"].get("background")
        if is_response_known and not self.events.items_changed and self.io.monotonic() < self.next_save_at:
            return events
        return [*events, *await self._save(events)]

    def _was_already_sent(self, event: Json) -> bool:
        number = event.get("sequence_number")
        return isinstance(number, int) and number <= self.events.sequence_number

    async def _save(self, new_events: list[Event]) -> list[Event]:
        """Store the run's progress; return its last events if it has been ended elsewhere or must end now.

        Growing text can wait for the next save if the store is busy. An object that only begins is written later, so
        that its first text does not wait for the store.
        """
        io, events = self.io, self.events
        if last_events := await self._events_after_deferred_save():
            return last_events
        is_growth_only, events.items_changed = not events.items_changed, False
        self.next_save_at = io.monotonic() + _SAVE_INTERVAL_SECONDS
        # Files come only with the end of a message or step, not while text grows.
        generated = {} if is_growth_only else events.reader.outcome.files
        has_end = any(name.endswith(_END_SUFFIXES) for name, _ in new_events)
        # A background run outlives this process, which may die at any moment: it is saved at once.
        if not (is_growth_only or generated or has_end or self.row["request"].get("background")):
            # A copy, because the objects may grow before they are written.
            entries, steps = json.loads(json.dumps([events.entries(), events.reader.outcome.steps]))
            columns_of = progress_columns(io, events, self.new_id.assigned_ids, {}, [])
            work = write_transaction(io, self.row, columns_of, entries, steps, self.stored_hashes)
            self.deferred_save = io.write_later(work)
            return []
        try:
            async with finish.copied_files(io, generated, events.run) as files:
                columns_of = progress_columns(io, events, self.new_id.assigned_ids, generated, files)
                current = await self._write(columns_of)
        except errors.StoreBusyError as error:
            if not is_growth_only:
                raise
            log.warning("run %s was not saved, the next save retries: %s", self.row["id"], type(error).__name__)
            return []
        if current is not None and current["status"] not in run_status.TERMINAL:
            await self.reports.report(events.reader.outcome.files, files)
        return await self._events_after_save(current)

    async def _events_after_deferred_save(self) -> list[Event]:
        """Wait for the deferred save, if there is one; return the run's last events if it must end."""
        return [] if self.deferred_save is None else await self._events_after_save(await self._await_deferred_save())

    async def _await_deferred_save(self) -> Row | None:
        """Wait for the deferred save and return the run's row; None without one, or if the run was deleted."""
        if self.deferred_save is None:
            return None
        # If waiting raises, it is unknown what was written; None makes the next save look for each object.
        deferred_save, self.deferred_save, self.stored_hashes = self.deferred_save, None, None
        current, self.stored_hashes = await self.io.write_result(deferred_save)
        return current

    async def _await_deferred_save_unless_busy(self) -> None:
        """Wait for the deferred save; a busy store does not matter, because the caller writes everything again."""
        with contextlib.suppress(errors.StoreBusyError):
            await self._await_deferred_save()

    async def _events_after_save(self, current: Row | None) -> list[Event]:
        """Return the run's last events if it has been ended elsewhere, is being cancelled or is late; else none."""
        if current is None or current["status"] in run_status.TERMINAL:
            return await self._final_events(current)
        self.row = current
        if current["status"] == "cancelling":
            return await self._end_run("cancelled")
        if self.io.now() >= current["expires_at"]:
            await self.body.aclose()  # first: the client's pool may have no other connection
            await cancel_upstream(self.io, current)
            return await self._end_run("expired")
        return []

    async def _write(self, columns_of: ColumnsOf) -> Row | None:
        """Write messages, steps and the run's new columns if it is still active; return its row."""
        await self._await_deferred_save_unless_busy()
        entries, steps = self.events.entries(), self.events.reader.outcome.steps
        work = write_transaction(self.io, self.row, columns_of, entries, steps, self.stored_hashes)
        current, self.stored_hashes = await self.io.write(work)
        return current

    # --- the end

    async def _end_response(self, new_events: list[Event]) -> list[Event]:
        """Finish the round after its response has ended; everything is written before the last events are sent."""
        response = self.events.response
        assert response is not None  # noqa: S101 - set when the response ended
        await self._await_deferred_save_unless_busy()
        self.row = {**self.row, "response_id": self.events.response_id}
        error: Any = response.get("error")
        is_retryable = response.get("status") == "failed" and asks_for_less_input(self.row["request"], error)
        if is_retryable and await self._retry_failed_response(error):
            return [event for event in new_events if event[0] == "thread.run.in_progress"]
        streamed = finish.StreamedRound(self.events.reader.outcome, self.events.run, self.stored_hashes)
        current = await finish.finish_round(self.io, self.row, response, streamed)
        await self.reports.end(self.events.reader.outcome.files)
        if current["status"] == self.events.run["status"]:
            self.is_over = True
            return new_events
        last_names = (f"thread.run.{self.events.run['status']}", "done")
        other_events = [event for event in new_events if event[0] not in last_names]
        if current["status"] in run_status.TERMINAL:
            self.stored_hashes = None  # `finish_round` may have written objects, so each is looked up
            return [*other_events, *await self._final_events(current)]
        if current is self.row:  # `finish_round` found no row: the run was deleted
            return await self._final_events(None)
        if finish.round_number(current) != finish.round_number(self.row):
            raise TakenOverError
        self.row = current
        return [*other_events, *await self._end_run("cancelled" if current["status"] == "cancelling" else "failed")]

    async def _retry_failed_response(self, error: Json) -> bool:
        """Try the run with less input after the upstream refused its input; return whether that was accepted."""
        if self.events.reader.outcome.steps:  # part of the first response was sent already
            return False
        try:
            upstream_request = await ask_upstream.retry_with_less_input(self.io, self.row, self.row["request"], error)
        except errors.UPSTREAM_FAILURES:
            return False
        if upstream_request is None or upstream_request.body is None:
            return False
        await self.body.aclose()
        accepted = upstream_request

        try:
            columns = await self.io.write(lambda db: accept_streamed_retry(self.io, db, self.row, accepted))
        except BaseException:
            await accepted.aclose()
            raise
        if columns is None:  # the run ended or was deleted meanwhile, which `finish_round` notices
            await abandon_response(self.io, self.row["id"], accepted)
            return False
        run = {**self.row["body"], "status": "in_progress", "started_at": self.events.run["started_at"]}
        self.row, self.body = {**self.row, **columns, "body": run}, upstream_request.body
        self._start_response()
        return True

    async def _end_run(self, status: str, error: Json | None = None) -> list[Event]:
        """End the run before its response ends and return its last events; the text so far is kept."""
        await self.body.aclose()
        now = self.io.now()
        unlisted = unlisted_containers(self.events)
        last_events = self.events.stop(status, now, error=error)
        changes = {"usage": self.row["state"]["usage"], **({"last_error": error} if error else {})}
        # Those of a response that has ended; all others are copied when their message or step ends.
        has_unsaved_files = self.events.response is not None and bool(self.events.reader.outcome.files)
        files: list[Json] = []
        ended_here = False

        def columns_of(db: Connection, current: Row) -> Json:
            nonlocal ended_here
            ended_here = True
            outcome_files = self.events.reader.outcome.files
            finish.write_files(db, current["namespace"], outcome_files, files)
            # A save that was interrupted while it copied: messages name these files already.
            not_copied = generated_files.rows_without_copy(self.io, db, outcome_files.values(), current["body"])
            queries.insert_rows(db, "files", not_copied)
            record_unlisted(self.io, db, current["body"], unlisted, self.events.response_created_at)
            times = times_of_told_run(self.events.run, current["body"], status)
            run = run_status.run_with_status(current["body"], status, now, **changes, **times)
            return {"status": status, "body": run, "lease_until": 0}

        async with contextlib.AsyncExitStack() as stack:
            if has_unsaved_files:  # a loop that ends takes no new asynchronous generator, such as `copied_files`
                outcome = self.events.reader.outcome
                files += await stack.enter_async_context(finish.copied_files(self.io, outcome.files, self.events.run))
            current = await self._write(columns_of)
        self.is_over = True
        if ended_here and current is not None:
            await self.reports.report(self.events.reader.outcome.files, files)
            await log_if_ended(self.io, current)
        elif current is not None:  # a poll has ended it meanwhile
            last_events[-2] = (f"thread.run.{current['status']}", current["body"])
            if current["status"] in INCOMPLETE_REASONS:
                await self._store_remaining()
        await self.reports.end(self.events.reader.outcome.files)
        return last_events

    async def _final_events(self, current: Row | None) -> list[Event]:
        """Return the last events of a run that was ended elsewhere; only `[DONE]` if it was deleted."""
        self.is_over = True
        if current is None:  # deleted with its thread, perhaps before the response id was stored: delete that here
            await self.body.aclose()
            if self.events.response_id is not None and self.row["request"]["store"]:
                row = {**self.row, "response_id": self.events.response_id}
                await delete_upstream(self.io, ask_upstream.response_path(row), self.events.response_id)
            return [DONE]
        if current["status"] in _ENDED_BY_RESPONSE and (last_events := await self._remaining_events(current)):
            await self.reports.end(self.events.reader.outcome.files)
            return last_events
        last_events = self.events.stop(current["status"], self.io.now(), run=current["body"])
        if current["status"] in INCOMPLETE_REASONS:
            await self._store_remaining()
        await self.reports.end(self.events.reader.outcome.files)
        return last_events

    async def _remaining_events(self, current: Row) -> list[Event]:
        """Return the remaining events of a run that another reader finished; none if its response cannot be read."""
        if self.events.response is not None or self.events.response_id is None:
            return []
        self.row = {**self.row, "response_id": self.events.response_id}
        response = await self._get_ended_response()
        if response is None:
            return []
        end_event = events_from_response(response)[-1]
        await list_files(self.io, self.events, self.new_id.assigned_ids, end_event)
        new_events = self.events.feed(end_event, self.io.now())
        new_events = events_with_stored_times(new_events, await stored_bodies(self.io, current))
        return [*new_events[:-2], (f"thread.run.{current['status']}", current["body"]), DONE]

    async def _store_remaining(self) -> None:
        """Store what was sent after the last save, with its files, of a run that was ended elsewhere."""
        io, outcome, unlisted = self.io, self.events.reader.outcome, unlisted_containers(self.events)

        def work(db: Connection, files: list[Json]) -> bool:
            queries.lock_thread(db, self.row["namespace"], self.row["thread_id"])
            current = queries.get(db, "runs", self.row["namespace"], self.row["id"], lock=True)
            if current is None or finish.round_number(current) != finish.round_number(self.row):
                return False
            finish.write_objects(io, db, current["body"], outcome.entries, outcome.steps, self.stored_hashes)
            finish.write_files(db, self.row["namespace"], outcome.files, files)
            record_unlisted(io, db, current["body"], unlisted, self.events.response_created_at)
            return True

        async with finish.copied_files(io, outcome.files, self.events.run) as files:
            is_written = await io.write(lambda db: work(db, files))
        if is_written:
            await self.reports.report(outcome.files, files)

    # --- without a connection

    async def _events_after_disconnect(self, body: EventSource) -> list[Event]:
        """Continue after a connection was lost or ended before its response; return the events to send.

        A background response is resumed where it stopped. Any other one is retrieved once, because it may have
        finished. If it has not, the run fails: a dropped connection ends it upstream too (platform.md section 4).

        If the caller's own read timeout has passed, it is raised instead; then a background run is left to pollers.
        """
        if self.is_over or body is not self.body:
            return []
        await body.aclose()
        if self.events.response_id is not None:
            self.row = {**self.row, "response_id": self.events.response_id}
            is_resumable = bool(self.row["request"].get("background")) and self.read_timeout is None
            if is_resumable and await self._resume_with_retries():
                return []
            response = await self._get_ended_response()
            if response is not None:
                return await self._process_events(events_from_response(response)[-1:])
        if self.read_timeout is not None:
            raise errors.CallerCodeError(self.read_timeout)
        if self.events.response_id is None:
            return await self._end_run("failed", self.events.error or _CONNECTION_LOST_ERROR)
        if self.row["request"].get("background"):
            return await self._leave_run_to_pollers()
        return await self._end_run("failed", self.events.error or _CONNECTION_LOST_ERROR)

    async def _resume_with_retries(self) -> bool:
        """Resume a background stream, with pauses; give up after several attempts in a row without a new event."""
        if self.events.sequence_number > self.resumed_after:
            self.resumed_after, self.resume_attempts = self.events.sequence_number, 0
        while self.resume_attempts < _RESUME_ATTEMPTS:
            if self.resume_attempts:
                await self.io.sleep(_FIRST_PAUSE_SECONDS * 2 ** (self.resume_attempts - 1))
            self.resume_attempts += 1
            if await self._resume_once():
                return True
        return False

    async def _resume_once(self) -> bool:
        """Open the stream after the last event that arrived, or poll again; return whether that worked."""
        try:
            self.body = await ask_upstream.resumed_events(self.io, self.row, self.body, self.events.sequence_number)
        except errors.UPSTREAM_FAILURES as error:
            log.warning("the stream of run %s could not be resumed: %s", self.row["id"], type(error).__name__)
            return False
        if self.body.is_polled:
            self.resume_attempts = 0  # an answer counts like a new event
        return True

    async def _get_ended_response(self) -> Json | None:
        """Retrieve the response; None if it has not ended or cannot be read."""
        try:
            response = await ask_upstream.retrieve_response(self.io, self.row)
        except errors.UPSTREAM_FAILURES:
            return None
        return response if has_ended(response) else None

    async def _leave_run_to_pollers(self) -> list[Event]:
        """Stop streaming a background run that cannot be reached; the next poll picks up its result."""
        await finish.release_lease(self.io, self.row)
        await self.reports.end(self.events.reader.outcome.files)
        self.is_over = True
        message = "The connection was lost; the run goes on, and can be retrieved."
        return [("error", errors.ApiError(503, message, kind="server_error").body())]

    async def _release_after_error(self) -> None:
        """Release the lease after our own failure, so that the next poll can end the run at once."""
        if self.is_over:
            return
        try:
            await finish.release_lease(self.io, {**self.row, "response_id": self.events.response_id})
        except errors.StoreError as error:
            log.warning("run %s is locked until its lease expires: %s", self.row["id"], type(error).__name__)

    async def _end_interrupted(self) -> None:
        """End or release the run when its reader is stopped, for example at program exit; the text so far is kept."""
        if self.is_over or self.io.is_forked():
            return
        try:
            if self.row["request"].get("background") and self.events.response_id is not None:
                await finish.release_lease(self.io, self.row)
            else:
                await self._end_run("failed", _CONNECTION_LOST_ERROR)
        except Exception as error:  # noqa: BLE001 - the original exception is raised, not this one
            log.warning("run %s could not be ended when its stream stopped: %s", self.row["id"], type(error).__name__)
