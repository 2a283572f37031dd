"""Where the events of a run's response come from: an open stream, or a response that is polled instead.

A response is polled where the upstream does not stream it: it refuses streams to organisations that are not verified
(refusal `stream_unverified`), or a gateway answers a stream's request with JSON.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol

from ... import errors
from ...translate.response_events import events_from_response, has_ended
from ...translate.run_events import END_EVENTS
from ...translate.sse import Decoder
from ...wire.objects import Json
from ..io import IO, StreamedResponse

log = logging.getLogger("assistants_compat")

_FIRST_POLL_SECONDS = 0.5  # most short answers are there by then
_POLL_SECONDS = 1.0  # as the SDK's helpers poll


class EventSource(Protocol):
    """The events of one response over one connection; the code that has it closes it."""

    is_polled: bool

    def event_lists(self) -> AsyncGenerator[list[Json], None]:
        """Yield events as they arrive, sometimes none; raises `UnreachableError` when the connection breaks."""

    async def aclose(self) -> None:
        """Close the connection; closing twice is allowed."""


class StreamedEvents:
    """The events of an open stream."""

    is_polled = False

    def __init__(self, io: IO, body: StreamedResponse) -> None:
        """Nothing is read yet. Other requests of `io` may ask for the connection if the client's pool has no other."""
        self._io, self._body, self._chunks = io, body, body.chunks()
        self._decoder = Decoder()
        self._read_ahead: deque[list[Json]] = deque()
        self._error: errors.UnreachableError | None = None

    async def event_lists(self) -> AsyncGenerator[list[Json], None]:
        """Yield events as they arrive."""
        self._io.connection_holders.append(self._read_to_end)
        try:
            async with aclosing(self._chunks) as chunks:
                async for chunk in chunks:
                    yield self._decoder.feed(chunk)
                    while self._read_ahead:
                        yield self._read_ahead.popleft()
                    if self._error is not None:
                        raise self._error
            yield self._decoder.end()
        finally:
            self._io.connection_holders.clear()

    async def _read_to_end(self) -> None:
        """Read the rest of the response into memory and close the connection, so that another request can have it.

        The consumer waits for that request, so nobody else reads meanwhile.
        """
        try:
            async for chunk in self._chunks:
                events = self._decoder.feed(chunk)
                self._read_ahead.append(events)
                if any(event["type"] in END_EVENTS for event in events):
                    break  # the connection may stay open for long after it
        except errors.UnreachableError as error:
            self._error = error
        await self._chunks.aclose()
        await self._body.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._body.aclose()


class PolledEvents:
    """The events of a response that the upstream does not stream."""

    is_polled = True

    def __init__(self, io: IO, response: Json, retrieve: Callable[[], Awaitable[Json]]) -> None:
        """Begin with the response as it is; `retrieve` returns it again."""
        self._io, self._response, self._retrieve = io, response, retrieve
        self._is_closed = False

    async def event_lists(self) -> AsyncGenerator[list[Json], None]:
        """Yield the events so far after each poll, the last ones once the response has ended.

        Ends early if the response cannot be retrieved.
        """
        response, pause = self._response, _FIRST_POLL_SECONDS
        while True:
            yield events_from_response(response)
            if has_ended(response) or self._is_closed:
                return
            await self._io.sleep(pause)
            pause = _POLL_SECONDS
            try:
                response = await self._retrieve()
            except errors.UPSTREAM_FAILURES as error:
                log.warning("a response could not be polled: %s", type(error).__name__)
                return

    async def aclose(self) -> None:
        """Poll no more."""
        self._is_closed = True


class NoEvents:
    """The source of a run that ended before its request."""

    is_polled = False

    @staticmethod
    async def event_lists() -> AsyncGenerator[list[Json], None]:
        """Yield nothing."""
        for events in list[list[Json]]():
            yield events

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""
