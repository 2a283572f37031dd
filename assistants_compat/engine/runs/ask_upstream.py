"""Sends `POST /responses` and retries refusals that have a known remedy before the caller sees them.

The remedies are in `remedies.py`. This module neither creates runs nor changes their status.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from ... import errors
from ...store import queries
from ...store.database import Connection
from ...store.queries import Row
from ...translate.code_outputs import lacks_code_outputs
from ...translate.prompt_budget import (
    PromptBudget,
    budget_of_run,
    estimated_tokens,
    input_within_budget,
    tokens_of_items,
)
from ...translate.replay import replayable_items
from ...translate.request import INCLUDE_CODE_OUTPUTS, INCLUDE_SEARCH_RESULTS, container_of_request
from ...translate.request_input import body_with_input
from ...translate.run import STATUS_OF_RESPONSE, TERMINAL, last_messages, with_response_id
from ...translate.transcript import (
    GONE_IMAGES_KEY,
    RunInput,
    call_ids,
    image_file_ids,
    turns_from_entries,
    with_upstream_file_ids,
)
from ...wire.objects import Json, Run
from ..images import with_image_data
from ..io import IO, LEASE_SECONDS, Request, StreamedResponse
from ..uploads import uploaded_image_ids
from .event_sources import EventSource, PolledEvents, StreamedEvents
from .remedies import (
    NOTHING_ALLOWED,
    RESPONSES_SERVED,
    STREAM_UNVERIFIED,
    Allowed,
    Recovery,
    asks_for_less_input,
    row_of_error,
)

log = logging.getLogger("assistants_compat")

_MODE_KEYS = frozenset({"background", "stream"})
_PREVIOUS_RESPONSE_ID = "previous_response_id"
_MEASURED_RUNS = 5  # so many runs of a thread correct the estimate of tokens
BACKGROUND_IGNORED = "background was ignored"
"""A note in `io.memory`."""

# A streamed run whose creator has not been heard of for this long counts as dead. The creator may have to fill a
# container before it sends the request, so this is much longer than the lease of a stream.
_CREATION_LEASE_SECONDS = 300


def creation_lease(io: IO, request: Json, *, is_unstreamed: bool = False) -> int:
    """Return for how many seconds the creator of a streamed response may be silent.

    A response that the upstream does not stream arrives when it has ended, which may take as long as the run may.
    """
    is_unstreamed = is_unstreamed or io.memory.knows(STREAM_UNVERIFIED, request["model"])
    return max(_CREATION_LEASE_SECONDS, io.settings.run_ttl) if is_unstreamed else _CREATION_LEASE_SECONDS


def with_response_mode(io: IO, request: Json, *, stream: bool, is_unstreamed: bool = False) -> Json:
    """Return the request with `background` and `stream` set by the settings.

    Mode `auto` and streams leave `background` out for an upstream that has refused it. Without stored responses it is
    never set. A streamed run whose model the upstream does not stream (`is_unstreamed`) is asked for as a polled one.
    """
    settings = io.settings
    if not settings.store_responses:
        background = False
    elif stream and not (is_unstreamed or io.memory.knows(STREAM_UNVERIFIED, request["model"])):
        background = settings.stream == "background" and _can_use_background(io, request)
    elif settings.mode == "auto":
        background = _can_use_background(io, request)
    else:
        background = settings.mode == "background"
    enabled_modes = {key: True for key, enabled in (("background", background), ("stream", stream)) if enabled}
    other_fields = {key: value for key, value in request.items() if key not in _MODE_KEYS}
    # Keep the order of the keys: users' cassettes may match request bodies as text.
    return {"model": request["model"], "store": request["store"], **enabled_modes, **other_fields}


def _can_use_background(io: IO, request: Json) -> bool:
    """Whether nothing is known that speaks against a background response."""
    if io.memory.knows("code_outputs_missing") and container_of_request(request) is not None:
        return False
    return not (io.memory.knows("background_refused") or io.memory.knows("response_not_served"))


@dataclass(frozen=True)
class UpstreamRequest:
    """A request that the upstream accepted: its fields, its input and the response.

    `request` does not contain the input. For a streamed run `body` has the events, and the owner of this object must
    close it; `response` is empty unless the upstream answered without a stream.
    """

    request: Json
    input: RunInput
    response: Json
    body: EventSource | None = None

    @property
    def response_id(self) -> str | None:
        """The id of the response; None for a stream, whose first event brings the id."""
        return self.response.get("id")

    async def aclose(self) -> None:
        """Close the stream, if there is one."""
        if self.body is not None:
            await self.body.aclose()


async def create_response(
    io: IO, request: Json, run_input: RunInput, allowed: Allowed = NOTHING_ALLOWED, *, run_id: str
) -> UpstreamRequest:
    """Create a response upstream; return the request that the upstream accepted in the end, with its response.

    Refusals that have a remedy are retried, as far as `allowed` permits; every other one is raised as `UpstreamError`.
    What was learned is remembered once the upstream has accepted the request.
    """
    return await _send(io, Recovery(io, request, run_input, allowed), run_id)


async def _send(io: IO, recovery: Recovery, run_id: str) -> UpstreamRequest:
    """Do the work of `create_response`."""
    while True:
        try:
            response, body = await _post_response(
                io, recovery.request, recovery.input, is_unstreamed=recovery.is_unstreamed
            )
        except errors.UpstreamError as error:
            may_leave_stream = bool(recovery.request.get("stream")) and not recovery.is_unstreamed
            if may_leave_stream and row_of_error(error.details(), error.status) == STREAM_UNVERIFIED:
                recovery.leave_stream(with_response_mode(io, recovery.request, stream=True, is_unstreamed=True))
                await _extend_lease(io, run_id, creation_lease(io, recovery.request, is_unstreamed=True))
            elif not await recovery.adapt(error):
                raise
            continue
        recovery.remember()
        return UpstreamRequest(recovery.request, recovery.input, response, body)


async def _extend_lease(io: IO, run_id: str, seconds: int) -> None:
    """Keep a run that has a lease from counting as dead for these seconds."""
    namespace, until = io.settings.namespace, io.now() + seconds
    await io.write(lambda db: queries.renew_lease(db, namespace, run_id, until))


def with_input(request: Json, run_input: RunInput) -> Json:
    """Return the complete body of `POST /responses`."""
    items = (item for turn in run_input.turns for item in turn)
    return body_with_input(request, replayable_items(items, stored=bool(request["store"])))


async def _post_response(
    io: IO, request: Json, run_input: RunInput, *, is_unstreamed: bool
) -> tuple[Json, EventSource | None]:
    """Send the request; return the response (of a stream an empty one) and for a streamed run the source of its events.

    An upstream that does not stream the model is asked without `stream`; the run's `request` keeps it.
    """
    is_unstreamed = is_unstreamed or io.memory.knows(STREAM_UNVERIFIED, request["model"])
    body = with_input(request, await with_image_data(io, run_input))
    answer: StreamedResponse | Json
    if request.get("stream") and not is_unstreamed:
        answer = await io.open(Request("POST", "/responses", body, accept="text/event-stream"))
    else:
        body.pop("stream", None)
        answer = await io.ask(Request("POST", "/responses", body))
    if not isinstance(answer, dict):
        return {}, StreamedEvents(io, answer)
    if not isinstance(answer.get("id"), str):
        raise errors.bad_upstream("a response without an id")
    answer = with_status(answer)
    is_over = status_of_response(answer) in TERMINAL
    if request.get("background") and is_over and not answer.get("background"):
        io.memory.note(BACKGROUND_IGNORED)
    elif request.get("background") and not io.memory.has_note(RESPONSES_SERVED):
        io.memory.note_created(answer["id"])
    row: Row = {"response_id": answer["id"], "request": request}
    return answer, events_of_answer(io, row, answer) if request.get("stream") else None


def events_of_answer(io: IO, row: Row, answer: StreamedResponse | Json) -> EventSource:
    """Return the events of a stream, or of a response that the upstream did not stream; `row` is its run's."""
    if not isinstance(answer, dict):
        return StreamedEvents(io, answer)
    return PolledEvents(io, answer, lambda: retrieve_response(io, row))


async def retrieve_response(io: IO, row: Row) -> Json:
    """Retrieve a run's response; once more if the outputs of its code are missing."""
    response = with_status(await io.ask(response_request(row)))
    io.memory.note(RESPONSES_SERVED)
    is_over = status_of_response(response) in TERMINAL
    if is_over and row["request"].get("background") and lacks_code_outputs(response):
        with contextlib.suppress(*errors.UPSTREAM_FAILURES):
            response = with_status(await io.ask(response_request(row)))
        if lacks_code_outputs(response) and io.memory.is_first("code outputs are missing"):
            log.warning("the outputs of code are missing in a background response; `doctor --live --save` checks that")
    return response


async def resumed_events(io: IO, row: Row, source: EventSource, sequence_number: int) -> EventSource:
    """Ask for the rest of a background response whose `source` was lost after the event with this number."""
    if source.is_polled:
        return events_of_answer(io, row, await retrieve_response(io, row))
    after = (("starting_after", str(sequence_number)),) if sequence_number >= 0 else ()
    request = response_request(row, ("stream", "true"), *after, accept="text/event-stream")
    return events_of_answer(io, row, await io.open(request))


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


def with_status(response: Json) -> Json:
    """Return the response with a status; some servers leave it out, and the spec does not require it (gateways.md F7).

    Without one, a response that has output and does not run in the background is complete.
    """
    if response.get("status") is None and response.get("output") and not response.get("background"):
        return {**response, "status": "completed"}
    return response


def status_of_response(response: Mapping[str, Any]) -> str:
    """Return the run status that matches a response's status; raise `ApiError` (502) when that is unknown."""
    status = STATUS_OF_RESPONSE.get(str(response.get("status")))
    if status is None:
        raise errors.bad_upstream("a response without a known status")
    return status


async def retry_with_less_input(  # noqa: PLR0913, PLR0917 - a run, its request, and how that was refused
    io: IO,
    row: Row,
    request: Json,
    error: Mapping[str, Any],
    extra_items: Sequence[Json] = (),
    status: int | None = None,
) -> UpstreamRequest | None:
    """Send a run's request again with less input, after a refusal that `create_response` could not handle.

    Such a refusal comes as a response that has failed (`status` is None), or for a request with `previous_response_id`,
    whose input cannot be changed. The thread's transcript is sent instead, followed by `extra_items`. Returns None when
    nothing more can be left out, or when `error` is not about the input.
    """
    if not asks_for_less_input(request, error, status):
        return None
    request, run_input = await _with_own_items(io, row, request, extra_items)
    recovery = Recovery.of_repeated(io, row, request, run_input, status)
    return await _send(io, recovery, row["id"]) if await recovery.adapt_to(status, error) else None


async def request_with_own_items(io: IO, row: Row, request: Json, extra_items: Sequence[Json] = ()) -> UpstreamRequest:
    """Send a run's request with its thread's transcript and its own items, instead of `previous_response_id`."""
    request, run_input = await _with_own_items(io, row, request, extra_items)
    return await create_response(io, request, run_input, Allowed.from_run(io, row), run_id=row["id"])


async def request_that_fits(io: IO, row: Row, request: Json, extra_items: Sequence[Json]) -> UpstreamRequest | None:
    """Send a run's next round with less of its thread, if all of it would exceed what `max_prompt_tokens` leaves.

    `extra_items` are the round's own. Returns None if everything fits, or if leaving out turns would not make it fit.
    """
    last_usage = row["state"].get("step_usage")
    if row["body"]["max_prompt_tokens"] is None or last_usage is None:  # most runs, for which nothing is read
        return None
    budget = await io.read(lambda db: budget_of_next_request(db, row["namespace"], row["body"], row["state"]))
    if budget is None:
        return None
    # The upstream counted what the round continues; its answer will be part of the prompt too.
    counted = last_usage["prompt_tokens"] + last_usage["completion_tokens"]
    if counted + tokens_of_items(extra_items) * budget.factor <= budget.tokens:
        return None
    shorter, run_input = await _with_own_items(io, row, request, extra_items)
    if not budget.has_room_for(estimated_tokens(shorter, run_input.turns)):
        return None
    return await create_response(io, shorter, run_input, Allowed.from_run(io, row), run_id=row["id"])


async def _with_own_items(io: IO, row: Row, request: Json, extra_items: Sequence[Json]) -> tuple[Json, RunInput]:
    """Return the request without `previous_response_id`, and the transcript as input that takes its place."""
    request = {key: value for key, value in request.items() if key != _PREVIOUS_RESPONSE_ID}

    def read_input(db: Connection) -> RunInput:
        full_input = _full_input(db, row, io.now(), extra_items)
        budget = budget_of_next_request(db, row["namespace"], row["body"], row["state"])
        return _with_earlier_reductions(row, input_within_budget(full_input, request, budget))

    return request, await io.read(read_input)


def budget_of_next_request(
    db: Connection, namespace: str, run: Run, state: Mapping[str, Any] = MappingProxyType({})
) -> PromptBudget | None:
    """Return how many tokens of input the next request of a run may have; None if nothing limits them.

    `state` is that of the run's row, if it has one. What the upstream has counted for the run or, before it has counted
    any, for the newest runs of the thread corrects the estimate.
    """
    if run["max_prompt_tokens"] is None:
        return None
    states = [state]
    if state.get("usage") is None:
        rows, _ = queries.get_page(db, "runs", namespace, queries.Page(_MEASURED_RUNS), thread_id=run["thread_id"])
        states = [row["state"] for row in rows]
    prompts = [each["prompt_tokens"] for each in states if "counted" in each.get("prompt_tokens", ())]
    used_tokens = state["usage"]["prompt_tokens"] if state.get("usage") else 0
    return budget_of_run(run, used_tokens, [(each["estimated"], each["counted"]) for each in prompts])


def _full_input(db: Connection, row: Row, now: int, extra_items: Sequence[Json]) -> RunInput:
    """Return everything that the run could send: its thread, its own calls and then `extra_items`."""
    run = row["body"]
    entries = queries.transcript(db, row["namespace"], run["thread_id"])
    turns = turns_from_entries(entries, now, last_messages=last_messages(run), run_id=run["id"])
    turns = with_upstream_file_ids(turns, uploaded_image_ids(db, row["namespace"], image_file_ids(turns)))
    turns[-1:] = [[*(turns[-1] if turns else ()), *extra_items]]
    own_entries = [entry for entry in entries if entry["run_id"] == run["id"]]
    own_items = [item for entry in own_entries for item in entry.get("items", ())]
    return RunInput(
        turns,
        own_call_ids=call_ids([*own_items, *extra_items]),
        gone_images=tuple(image for entry in own_entries for image in entry.get(GONE_IMAGES_KEY, ())),
    )


def _with_earlier_reductions(row: Row, full_input: RunInput) -> RunInput:
    """Apply the reductions that the run's last accepted request had."""
    state, run_input = row["state"], full_input
    if state.get("plain"):
        run_input = replace(run_input.without_tool_items() or run_input, tool_items_dropped=True)
    if state.get("image_resent"):
        run_input = replace(run_input, image_resent=True)
    for _ in range(state.get("cuts", 0)):
        run_input = run_input.without_middle_turns() or run_input
    return run_input


def accepted_columns(db: Connection, row: Row, upstream_request: UpstreamRequest, now: int) -> Json:
    """Return the new columns of a run's row after the upstream accepted a request.

    Also deletes the thread's tool items that the upstream refused, so that they do not fail a later run.
    """
    if upstream_request.input.tool_items_dropped:
        queries.delete_items(db, row["namespace"], row["thread_id"], except_run_id=row["id"])
    if upstream_request.input.gone_images:
        # Not which: a URL may be a secret.
        log.info("run %s is sent without %d images of its thread", row["id"], len(upstream_request.input.gone_images))
        queries.upsert(db, "messages", _gone_images_row(row, upstream_request.input.gone_images, now))
    # With `store_responses=False` the next round sends this input again, exactly as the upstream accepted it.
    resent_turns = [] if upstream_request.request["store"] else upstream_request.input.turns
    state = {
        **row["state"],
        "sent": resent_turns,
        "cuts": upstream_request.input.cuts,
        "plain": upstream_request.input.tool_items_dropped,
        **({"image_resent": True} if upstream_request.input.image_resent else {}),
    }
    run_input = upstream_request.input
    is_reduced = run_input.cuts or run_input.tool_items_dropped or run_input.gone_images
    if is_reduced and state["usage"] is None:
        state.pop("prompt_tokens", None)  # estimated for the whole input
    state.pop("step_usage", None)  # its step has it by now, or ended without usage
    return {
        "response_id": upstream_request.response_id,
        "request": {key: value for key, value in upstream_request.request.items() if key != _PREVIOUS_RESPONSE_ID},
        "state": with_response_id(state, upstream_request.response_id),
        "lease_until": 0 if upstream_request.body is None else now + LEASE_SECONDS,
    }


def _gone_images_row(row: Row, images: Sequence[str], now: int) -> Row:
    """Return the transcript entry that keeps later runs from sending images that the upstream could not read."""
    return {
        "namespace": row["namespace"],
        "id": f"msg_images_{row['id']}",
        "created_at": now,
        "thread_id": row["thread_id"],
        "run_id": row["id"],
        "kind": "item",
        "body": {"id": f"msg_images_{row['id']}", "items": [], "until": None, GONE_IMAGES_KEY: list(images)},
    }


def remember_response(db: Connection, row: Row, upstream_request: UpstreamRequest) -> None:
    """Record a response that arrived after its run had ended, so that it is deleted with the thread."""
    state = with_response_id(row["state"], upstream_request.response_id)
    queries.update_row(db, "runs", row["namespace"], row["id"], state=state)
