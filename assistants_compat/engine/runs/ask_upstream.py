"""Sends `POST /responses` and retries refusals that have a known remedy before the caller sees them.

The remedies are inline instead of background mode, less input, and another container. This module neither creates
runs nor changes their status.
"""

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
from ...store.queries import Row
from ...translate.request import INCLUDE_CODE_OUTPUTS, INCLUDE_SEARCH_RESULTS, container_of_request
from ...translate.run import STATUS_OF_RESPONSE, last_messages, with_response_id
from ...translate.transcript import RunInput, call_ids, image_file_ids, turns_from_entries, with_upstream_file_ids
from ...wire.objects import Json
from ..containers import ContainerChoice, with_replacement_container
from ..io import IO, LEASE_SECONDS, Request, StreamedResponse
from ..uploads import upstream_ids, upstream_image_ids

log = logging.getLogger("assistants_compat")

# The upstream refuses replayed items that no longer fit. The match is on the message, because the code is null
# (platform.md section 4).
_STALE_ITEMS = re.compile(r"without its required|No tool output found for function call")
_LOST_RESPONSE = "previous_response_not_found"
_MODE_KEYS = frozenset({"background", "stream"})
_CONTEXT_LENGTH = "context_length_exceeded"
_PREVIOUS_RESPONSE_ID = "previous_response_id"


def with_response_mode(io: IO, request: Json, *, stream: bool) -> Json:
    """Return the request with `background` and `stream` set by the settings.

    Mode `auto` and streams leave `background` out for an upstream that has refused it. Without stored responses it is
    never set.
    """
    settings = io.settings
    if not settings.store_responses:
        background = False
    elif stream:
        background = settings.stream == "background" and io.upstream.name not in io.without_background
    elif settings.mode == "auto":
        background = io.upstream.name not in io.without_background
    else:
        background = settings.mode == "background"
    enabled_modes = {key: True for key, enabled in (("background", background), ("stream", stream)) if enabled}
    other_fields = {key: value for key, value in request.items() if key not in _MODE_KEYS}
    # Keep the order of the keys: users' cassettes may match request bodies as text.
    return {"model": request["model"], "store": request["store"], **enabled_modes, **other_fields}


@dataclass(frozen=True)
class UpstreamRequest:
    """A request that the upstream accepted: its fields, its input and the response.

    `request` does not contain the input. For a stream `response` is empty and `body` holds the unread stream, which
    the owner of this object must close.
    """

    request: Json
    input: RunInput
    response: Json
    body: StreamedResponse | None = None

    @property
    def response_id(self) -> str | None:
        """The id of the response; None for a stream, whose first event brings the id."""
        return self.response.get("id")

    async def aclose(self) -> None:
        """Close the stream, if there is one."""
        if self.body is not None:
            await self.body.aclose()


async def create_response(  # noqa: PLR0913 - a request, and which fallbacks are allowed
    io: IO,
    request: Json,
    run_input: RunInput,
    *,
    may_shorten: bool = False,
    may_drop_tool_items: bool = False,
    container_choice: ContainerChoice | None = None,
) -> UpstreamRequest:
    """Create a response upstream; return the request that the upstream accepted in the end, with its response.

    Four refusals are retried; every other one is raised as `UpstreamError`:

    - Background mode: the request is sent inline. Once that works, the process remembers the refusal.
    - Input that is too long, with `may_shorten`: whole turns are dropped from the middle, as the service did.
    - Stale tool items of earlier runs, with `may_drop_tool_items`: the items are dropped and the messages stay.
    - A container that is gone, with `container_choice`: another container gets the files, and the tool items of
      earlier runs are dropped.
    """
    original_request, has_new_container = request, False
    while True:
        try:
            response, body = await _post_response(io, request, run_input)
        except errors.UpstreamError as error:
            if (
                container_choice is not None
                and isinstance(container_of_request(request), str)
                and errors.container_is_gone(error.error())
            ):
                request = await with_replacement_container(io, container_choice, request, use_auto=has_new_container)
                run_input, has_new_container = _drop_tool_items(run_input), True
                continue
            fallback = _fallback(
                io, error, request, run_input, may_shorten=may_shorten, may_drop_tool_items=may_drop_tool_items
            )
            if fallback is None:
                raise
            request, run_input = fallback
            continue
        if original_request.get("background") and not request.get("background"):
            log.info("the upstream refuses background responses; runs are created inline from now on")
            io.without_background.add(io.upstream.name)
        return UpstreamRequest(request, run_input, response, body)


def _drop_tool_items(run_input: RunInput) -> RunInput:
    """Drop the tool items of earlier runs and mark them as dropped.

    The mark is set even when there was nothing to drop, so that this fallback is not tried twice.
    """
    return replace(run_input.without_tool_items() or run_input, tool_items_dropped=True)


def with_input(request: Json, run_input: RunInput) -> Json:
    """Return the complete body of `POST /responses`."""
    return {**request, "input": [item for turn in run_input.turns for item in turn]}


async def _post_response(io: IO, request: Json, run_input: RunInput) -> tuple[Json, StreamedResponse | None]:
    """Send the request; return the response, or for a stream an empty one and the unread body."""
    body = with_input(request, run_input)
    if request.get("stream"):
        return {}, await io.open(Request("POST", "/responses", body, accept="text/event-stream"))
    response = await io.ask(Request("POST", "/responses", body))
    if not isinstance(response.get("id"), str):
        raise errors.bad_upstream("a response without an id")
    status_of_response(response)
    return response, None


def response_path(row: Row) -> str:
    """Return the upstream path of a run's response."""
    return f"/responses/{quote(str(row['response_id']), safe='')}"


def response_request(row: Row, *query: tuple[str, str], accept: str = "application/json") -> Request:
    """Build the GET of a run's response, with the same `include` values as its creation."""
    requested_includes = row["request"].get("include", ())
    include_params = tuple(
        ("include[]", include)
        for include in (INCLUDE_CODE_OUTPUTS, INCLUDE_SEARCH_RESULTS)
        if include in requested_includes
    )
    return Request("GET", response_path(row), query=(*query, *include_params), accept=accept)


def status_of_response(response: Mapping[str, Any]) -> str:
    """Return the run status that matches a response's status; raise `ApiError` (502) when that is unknown."""
    status = STATUS_OF_RESPONSE.get(str(response.get("status")))
    if status is None:
        raise errors.bad_upstream("a response without a known status")
    return status


async def retry_with_less_input(
    io: IO, row: Row, request: Json, error: Mapping[str, Any], extra_items: Sequence[Json] = ()
) -> UpstreamRequest | None:
    """Send a run's request again with less input, after a refusal that `create_response` could not handle.

    Such a refusal comes as a background response that has failed, or for a request with `previous_response_id`, whose
    input cannot be changed. The thread's transcript is sent instead, followed by `extra_items`. Returns None when
    nothing more can be left out, or when `error` is not about the input.
    """
    may_shorten = row["body"]["truncation_strategy"]["type"] == "auto"
    full_input = await io.read(lambda db: _full_input(db, row, io.now(), extra_items))
    container_choice, had_items_dropped = ContainerChoice.from_run(row), bool(row["state"].get("plain"))
    container = container_of_request(request) if errors.container_is_gone(error) else None
    run_input: RunInput | None
    if isinstance(container, str) or (container is not None and not had_items_dropped):
        request = await with_replacement_container(io, container_choice, request, use_auto=had_items_dropped)
        run_input = _drop_tool_items(_with_earlier_reductions(row, full_input))
    else:
        run_input = _reduced_input(row, full_input, error, may_shorten=may_shorten)
    if run_input is None:
        return None
    request = {key: value for key, value in request.items() if key != _PREVIOUS_RESPONSE_ID}
    return await create_response(
        io, request, run_input, may_shorten=may_shorten, may_drop_tool_items=True, container_choice=container_choice
    )


def _full_input(db: Connection, row: Row, now: int, extra_items: Sequence[Json]) -> RunInput:
    """Return everything that the run could send: its thread, its own calls and then `extra_items`."""
    run = row["body"]
    entries = queries.transcript(db, row["namespace"], run["thread_id"])
    turns = turns_from_entries(entries, now, last_messages=last_messages(run), run_id=run["id"])
    # Does not raise `NotUploadedError`: the images were uploaded when the run was reserved.
    ids_by_use = upstream_ids(db, row["namespace"], [(id_, "vision") for id_ in image_file_ids(turns)])
    turns = with_upstream_file_ids(turns, upstream_image_ids(ids_by_use))
    turns[-1:] = [[*(turns[-1] if turns else ()), *extra_items]]
    own_items = [item for entry in entries if entry["run_id"] == run["id"] for item in entry.get("items", ())]
    return RunInput(turns, own_call_ids=call_ids([*own_items, *extra_items]))


def _reduced_input(row: Row, full_input: RunInput, error: Mapping[str, Any], *, may_shorten: bool) -> RunInput | None:
    """Return the input with the earlier reductions and the one that `error` requires; None when none is left."""
    state, run_input = row["state"], _with_earlier_reductions(row, full_input)
    if is_context_length_error(error):
        return run_input.without_middle_turns() if may_shorten else None
    if not is_stale_items_error(error) or state.get("plain"):
        return None
    # In a later round `previous_response_id` stood for more than the transcript, which alone is already less input.
    transcript_only = replace(run_input, tool_items_dropped=True) if state["usage"] is not None else None
    return run_input.without_tool_items() or transcript_only


def _with_earlier_reductions(row: Row, full_input: RunInput) -> RunInput:
    """Apply the reductions that the run's last accepted request had."""
    run_input = (full_input.without_tool_items() or full_input) if row["state"].get("plain") else full_input
    for _ in range(row["state"].get("cuts", 0)):
        run_input = run_input.without_middle_turns() or run_input
    return run_input


def accepted_columns(db: Connection, row: Row, upstream_request: UpstreamRequest, now: int) -> Json:
    """Return the new columns of a run's row after the upstream accepted a request.

    Also deletes the thread's tool items that the upstream refused, so that they do not fail a later run.
    """
    if upstream_request.input.tool_items_dropped:
        queries.delete_items(db, row["namespace"], row["thread_id"], except_run_id=row["id"])
    # With `store_responses=False` the next round sends this input again, exactly as the upstream accepted it.
    resent_turns = [] if upstream_request.request["store"] else upstream_request.input.turns
    state = {
        **row["state"],
        "sent": resent_turns,
        "cuts": upstream_request.input.cuts,
        "plain": upstream_request.input.tool_items_dropped,
    }
    state.pop("step_usage", None)  # its step has it by now, or ended without usage
    return {
        "response_id": upstream_request.response_id,
        "request": {key: value for key, value in upstream_request.request.items() if key != _PREVIOUS_RESPONSE_ID},
        "state": with_response_id(state, upstream_request.response_id),
        "lease_until": 0 if upstream_request.body is None else now + LEASE_SECONDS,
    }


def remember_response(db: Connection, row: Row, upstream_request: UpstreamRequest) -> None:
    """Record a response that arrived after its run had ended, so that it is deleted with the thread."""
    state = with_response_id(row["state"], upstream_request.response_id)
    queries.update_row(db, "runs", row["namespace"], row["id"], state=state)


def can_retry_with_less_input(error: object) -> bool:
    """Whether the upstream may accept less input after this error."""
    return is_context_length_error(error) or is_stale_items_error(error)


def is_stale_items_error(error: object) -> bool:
    """Whether an upstream error means that items of earlier responses are no longer accepted."""
    if not isinstance(error, dict):
        return False
    is_lost = error.get("code") == _LOST_RESPONSE or errors.container_is_gone(error)
    return is_lost or bool(_STALE_ITEMS.search(str(error.get("message"))))


def is_context_length_error(error: object) -> bool:
    """Whether an upstream error means that the input does not fit the model's context."""
    return isinstance(error, dict) and error.get("code") == _CONTEXT_LENGTH


def _fallback(  # noqa: PLR0913 - a refusal, the refused request, and which fallbacks are allowed
    io: IO,
    error: errors.UpstreamError,
    request: Json,
    run_input: RunInput,
    *,
    may_shorten: bool,
    may_drop_tool_items: bool,
) -> tuple[Json, RunInput] | None:
    """Return the request and input to send after a refusal; None when there is no remedy."""
    details = error.error()
    # A stream works without `background` too. Otherwise mode `background` forbids the fallback.
    may_fall_back = bool(request.get("stream")) or io.settings.mode == "auto"
    if request.get("background") and may_fall_back and _refuses_background(error):
        return {key: value for key, value in request.items() if key != "background"}, run_input
    reduced_input = None
    if may_shorten and is_context_length_error(details):
        reduced_input = run_input.without_middle_turns()
    elif may_drop_tool_items and is_stale_items_error(details):
        reduced_input = run_input.without_tool_items()
    return None if reduced_input is None else (request, reduced_input)


def _refuses_background(error: errors.UpstreamError) -> bool:
    """Whether a refusal is about `background`.

    Some servers name the parameter in `param`; others mention it only somewhere in the body.
    """
    if error.status not in (400, 404, 422, 501):
        return False
    param = error.error().get("param")
    return param == "background" if param else b"background" in error.body.lower()
