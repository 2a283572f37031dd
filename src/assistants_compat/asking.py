"""Asking the upstream for a response, and for what it refuses: a second way before the caller hears of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import errors
from .io import IO, Body, Request
from .store import queries
from .store.queries import Found
from .translate import transcript
from .translate.run import STATUS_OF_RESPONSE
from .translate.transcript import Turns
from .wire import Json

log = logging.getLogger("assistants_compat")

# Matched on the message, because the code is null (platform.md section 4): items that were replayed and no longer fit.
_STALE_ITEMS = re.compile(r"without its required|No tool output found for function call|Container is expired")
_MODES = frozenset({"background", "stream"})
_CONTEXT_LENGTH = "context_length_exceeded"


def in_mode(io: IO, request: Json, *, stream: bool) -> Json:
    """The request with `background` and `stream` as the settings say, and only where the upstream does that."""
    settings = io.settings
    if not settings.store_responses:
        background = False
    elif stream:
        background = settings.stream == "background" and io.upstream.name not in io.without_background
    elif settings.mode == "auto":
        background = io.upstream.name not in io.without_background
    else:
        background = settings.mode == "background"
    modes = {key: True for key, wanted in (("background", background), ("stream", stream)) if wanted}
    rest = {key: value for key, value in request.items() if key not in _MODES}
    # The order of keys is kept: recordings of users may match bodies as text.
    return {"model": request["model"], "store": request["store"], **modes, **rest}


@dataclass(frozen=True)
class Asked:
    """What the upstream took, the request without its input, and the response that it gave.

    Of a stream there is no response yet but a `body` that is still to be read, and is to be closed.
    """

    request: Json
    turns: Turns
    response: Json
    body: Body | None = None

    @property
    def response_id(self) -> str | None:
        """The id of the response; of a stream, its first event tells it."""
        return self.response.get("id")

    async def aclose(self) -> None:
        """Close what is still to be read."""
        if self.body is not None:
            await self.body.aclose()


async def ask(io: IO, request: Json, turns: Turns, *, trim: bool = False, forget: bool = False) -> Asked:
    """What the upstream took in the end, and its response.

    Three refusals have a second way: background mode (asked again inline, and remembered once that worked), an input
    that is too long (`trim`: whole turns are dropped from the middle, as the service did), and replayed tool items of
    earlier runs that no longer fit (`forget`: they are left out, what was said stays).  Any other is the caller's to
    see.
    """
    wanted = request
    while True:
        try:
            response, body = await _respond(io, request, turns)
        except errors.UpstreamError as error:
            second = _second_way(io, error, request, turns, trim=trim, forget=forget)
            if second is None:
                raise
            request, turns = second
            continue
        if wanted.get("background") and not request.get("background"):
            log.info("the upstream refuses background responses; runs are created inline from now on")
            io.without_background.add(io.upstream.name)
        return Asked(request, turns, response, body)


async def _respond(io: IO, request: Json, turns: Turns) -> tuple[Json, Body | None]:
    input_ = [item for turn in turns for item in turn]
    if request.get("stream"):
        accept = "text/event-stream"
        return {}, await io.open(Request("POST", "/responses", {**request, "input": input_}, accept=accept))
    response = await io.ask(Request("POST", "/responses", {**request, "input": input_}))
    if not isinstance(response.get("id"), str):
        raise errors.bad_upstream("a response without an id")
    status_of_response(response)
    return response, None


def status_of_response(response: Mapping[str, Any]) -> str:
    """The status that an upstream response gives a run; raises `ApiError` (502) when it has none that is known."""
    status = STATUS_OF_RESPONSE.get(str(response.get("status")))
    if status is None:
        raise errors.bad_upstream("a response without a known status")
    return status


async def ask_shorter(io: IO, row: Found, request: Json, given: Sequence[Json] = ()) -> Asked | None:
    """Ask once more for a run whose input was found too long when nothing could be cut any more, or too late.

    A background response says so when it has failed, and what `previous_response_id` stands for cannot be cut: so the
    thread's transcript is sent instead, without its middle; `given` are items that follow it.  `state["cuts"]` counts
    how often that was done for this run.  None where the run must not be cut, or has nothing left that could be.
    """
    run = row["body"]
    if run["truncation_strategy"]["type"] != "auto":
        return None
    entries = await io.read(lambda db: queries.transcript(db, row["namespace"], run["thread_id"]))
    shorter: Turns | None = transcript.turns_from_entries(entries, io.now())
    for _ in range(row["state"].get("cuts", 0) + 1):
        shorter = transcript.without_middle(shorter) if shorter else None
    if shorter is None:
        return None
    shorter[-1] = [*shorter[-1], *given]
    request = {key: value for key, value in request.items() if key != "previous_response_id"}
    return await ask(io, request, shorter, trim=True, forget=True)


def is_too_long(error: object) -> bool:
    """Whether an error of the upstream says that the input does not fit the model's context."""
    return isinstance(error, dict) and error.get("code") == _CONTEXT_LENGTH


def _second_way(  # noqa: PLR0913 - a refusal, what was refused, and what may be given up
    io: IO, error: errors.UpstreamError, request: Json, turns: Turns, *, trim: bool, forget: bool
) -> tuple[Json, Turns] | None:
    said = error.error()
    may_fall_back = bool(request.get("stream")) or io.settings.mode == "auto"
    if request.get("background") and may_fall_back and _refuses_background(error):
        return {key: value for key, value in request.items() if key != "background"}, turns
    if trim and is_too_long(said):
        shorter = transcript.without_middle(turns)
        return None if shorter is None else (request, shorter)
    if forget and _STALE_ITEMS.search(str(said.get("message"))):
        plain = transcript.without_tool_items(turns)
        return None if plain == turns else (request, plain)
    return None


def _refuses_background(error: errors.UpstreamError) -> bool:
    """A refusal that names the parameter: in `param` where there is one, else servers use words of their own."""
    if error.status not in (400, 404, 422, 501):
        return False
    param = error.error().get("param")
    return param == "background" if param else b"background" in error.body.lower()
