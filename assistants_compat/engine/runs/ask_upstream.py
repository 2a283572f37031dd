"""Asking the upstream for a response, and for what it refuses: a second way before the caller hears of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from ... import errors
from ...store import queries
from ...store.database import Connection
from ...store.queries import Found
from ...translate.request import OUTPUTS, RESULTS, container_of
from ...translate.run import STATUS_OF_RESPONSE, last_messages, with_response
from ...translate.transcript import Input, call_ids, image_ids, turns_from_entries, with_names
from ...wire.objects import Json
from ..containers import Place, moved
from ..io import IO, LEASE, Body, Request
from ..uploads import images_of, names

log = logging.getLogger("assistants_compat")

# Matched on the message, because the code is null (platform.md section 4): items that were replayed and no longer fit.
_STALE_ITEMS = re.compile(r"without its required|No tool output found for function call")
_LOST_RESPONSE = "previous_response_not_found"
_MODES = frozenset({"background", "stream"})
_CONTEXT_LENGTH = "context_length_exceeded"
_PREVIOUS = "previous_response_id"


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
    """What the upstream took, the request without its input and that input, and the response that it gave.

    Of a stream there is no response yet but a `body` that is still to be read, and is to be closed.
    """

    request: Json
    input: Input
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


async def ask(  # noqa: PLR0913 - a request, and what of it may be given up
    io: IO, request: Json, wanted: Input, *, trim: bool = False, forget: bool = False, place: Place | None = None
) -> Asked:
    """What the upstream took in the end, and its response.

    Four refusals have a second way: background mode (asked again inline, and remembered once that worked), an input
    that is too long (`trim`: whole turns are dropped from the middle, as the service did), tool items of earlier runs
    that no longer fit (`forget`: they are left out, what was said stays), and a container that is gone (`place`: the
    next one has its files, and what ran in it is left out).  Any other is the caller's to see.
    """
    first, has_moved = request, False
    while True:
        try:
            response, body = await _respond(io, request, wanted)
        except errors.UpstreamError as error:
            if place is not None and isinstance(container_of(request), str) and errors.container_is_gone(error.error()):
                request = await moved(io, place, request, again=has_moved)
                wanted, has_moved = _without_calls(wanted), True
                continue
            second = _second_way(io, error, request, wanted, trim=trim, forget=forget)
            if second is None:
                raise
            request, wanted = second
            continue
        if first.get("background") and not request.get("background"):
            log.info("the upstream refuses background responses; runs are created inline from now on")
            io.without_background.add(io.upstream.name)
        return Asked(request, wanted, response, body)


def _without_calls(wanted: Input) -> Input:
    """The input without what earlier runs did, also where they did nothing: it is not tried again."""
    return replace(wanted.plainer() or wanted, plain=True)


def with_input(request: Json, wanted: Input) -> Json:
    """The whole body of `POST /responses`."""
    return {**request, "input": [item for turn in wanted.turns for item in turn]}


async def _respond(io: IO, request: Json, wanted: Input) -> tuple[Json, Body | None]:
    body = with_input(request, wanted)
    if request.get("stream"):
        return {}, await io.open(Request("POST", "/responses", body, accept="text/event-stream"))
    response = await io.ask(Request("POST", "/responses", body))
    if not isinstance(response.get("id"), str):
        raise errors.bad_upstream("a response without an id")
    status_of_response(response)
    return response, None


def response_path(row: Found) -> str:
    """Where the response of a run is."""
    return f"/responses/{quote(str(row['response_id']), safe='')}"


def response_request(row: Found, *query: tuple[str, str], accept: str = "application/json") -> Request:
    """The GET of a run's response, with everything that its creation asked for."""
    asked = row["request"].get("include", ())
    included = tuple(("include[]", hidden) for hidden in (OUTPUTS, RESULTS) if hidden in asked)
    return Request("GET", response_path(row), query=(*query, *included), accept=accept)


def status_of_response(response: Mapping[str, Any]) -> str:
    """The status that an upstream response gives a run; raises `ApiError` (502) when it has none that is known."""
    status = STATUS_OF_RESPONSE.get(str(response.get("status")))
    if status is None:
        raise errors.bad_upstream("a response without a known status")
    return status


async def ask_again(
    io: IO, row: Found, request: Json, error: Mapping[str, Any], given: Sequence[Json] = ()
) -> Asked | None:
    """Ask once more, with less, for a run whose input was refused when nothing could be left out any more.

    A background response refuses its input when it has failed, and what `previous_response_id` stands for cannot be
    changed: so the thread's transcript is sent instead; `given` are items that follow it.  None where nothing more can
    be left out, or the error is another one.
    """
    trim = row["body"]["truncation_strategy"]["type"] == "auto"
    whole = await io.read(lambda db: _whole(db, row, io.now(), given))
    place, was_plain = Place.of(row), bool(row["state"].get("plain"))
    container = container_of(request) if errors.container_is_gone(error) else None
    wanted: Input | None
    if isinstance(container, str) or (container is not None and not was_plain):
        request = await moved(io, place, request, again=was_plain)
        wanted = _without_calls(_as_before(row, whole))
    else:
        wanted = _less(row, whole, error, trim=trim)
    if wanted is None:
        return None
    request = {key: value for key, value in request.items() if key != _PREVIOUS}
    return await ask(io, request, wanted, trim=trim, forget=True, place=place)


def _whole(db: Connection, row: Found, now: int, given: Sequence[Json]) -> Input:
    """All that the run could send: its thread and its own calls, with `given` at the end."""
    run = row["body"]
    entries = queries.transcript(db, row["namespace"], run["thread_id"])
    turns = turns_from_entries(entries, now, last_messages=last_messages(run), run_id=run["id"])
    known = names(db, row["namespace"], [(id_, "vision") for id_ in image_ids(turns)])  # the run has uploaded them
    turns = with_names(turns, images_of(known))
    turns[-1:] = [[*(turns[-1] if turns else ()), *given]]
    own = [item for entry in entries if entry["run_id"] == run["id"] for item in entry.get("items", ())]
    return Input(turns, own=call_ids([*own, *given]))


def _less(row: Found, whole: Input, error: Mapping[str, Any], *, trim: bool) -> Input | None:
    """What was left out the last time, and what the error says besides."""
    state, wanted = row["state"], _as_before(row, whole)
    if is_too_long(error):
        return wanted.shorter() if trim else None
    if not is_stale(error) or state.get("plain"):
        return None
    # In a later round the transcript by itself is less than what `previous_response_id` stands for.
    later = replace(wanted, plain=True) if state["usage"] is not None else None
    return wanted.plainer() or later


def _as_before(row: Found, whole: Input) -> Input:
    """Without what was left out the last time."""
    wanted = (whole.plainer() or whole) if row["state"].get("plain") else whole
    for _ in range(row["state"].get("cuts", 0)):
        wanted = wanted.shorter() or wanted
    return wanted


def taken(db: Connection, row: Found, asked: Asked, now: int) -> Json:
    """The columns of a run's row once the upstream took what was asked.

    Tool items that it did not take are forgotten, so that no later run of the thread is refused for them.
    """
    if asked.input.plain:
        queries.forget_items(db, row["namespace"], row["thread_id"], but=row["id"])
    # What is not stored upstream is sent again in the next round, as the upstream took it.
    sent = [] if asked.request["store"] else asked.input.turns
    state = {**row["state"], "sent": sent, "cuts": asked.input.cuts, "plain": asked.input.plain}
    state.pop("step_usage", None)  # its step has it, or ended without
    return {
        "response_id": asked.response_id,
        "request": {key: value for key, value in asked.request.items() if key != _PREVIOUS},
        "state": with_response(state, asked.response_id),
        "lease_until": 0 if asked.body is None else now + LEASE,
    }


def remember_response(db: Connection, row: Found, asked: Asked) -> None:
    """Note a response that came for a run that was stopped meanwhile: it is deleted with the thread."""
    state = with_response(row["state"], asked.response_id)
    queries.change(db, "runs", row["namespace"], row["id"], state=state)


def may_be_asked_again(error: object) -> bool:
    """Whether less input may be taken where this error of the upstream came."""
    return is_too_long(error) or is_stale(error)


def is_stale(error: object) -> bool:
    """Whether an error of the upstream says that it no longer takes what earlier responses made."""
    if not isinstance(error, dict):
        return False
    is_lost = error.get("code") == _LOST_RESPONSE or errors.container_is_gone(error)
    return is_lost or bool(_STALE_ITEMS.search(str(error.get("message"))))


def is_too_long(error: object) -> bool:
    """Whether an error of the upstream says that the input does not fit the model's context."""
    return isinstance(error, dict) and error.get("code") == _CONTEXT_LENGTH


def _second_way(  # noqa: PLR0913 - a refusal, what was refused, and what may be given up
    io: IO, error: errors.UpstreamError, request: Json, wanted: Input, *, trim: bool, forget: bool
) -> tuple[Json, Input] | None:
    said = error.error()
    may_fall_back = bool(request.get("stream")) or io.settings.mode == "auto"
    if request.get("background") and may_fall_back and _refuses_background(error):
        return {key: value for key, value in request.items() if key != "background"}, wanted
    less = wanted.shorter() if trim and is_too_long(said) else wanted.plainer() if forget and is_stale(said) else None
    return None if less is None else (request, less)


def _refuses_background(error: errors.UpstreamError) -> bool:
    """A refusal that names the parameter: in `param` where there is one, else servers use words of their own."""
    if error.status not in (400, 404, 422, 501):
        return False
    param = error.error().get("param")
    return param == "background" if param else b"background" in error.body.lower()
