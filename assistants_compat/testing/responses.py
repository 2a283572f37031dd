"""The Responses API: create (plain, background, stream), retrieve, resume, cancel, delete, input items."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from . import containers, conversations, output_items, response_objects
from .exchange import Answer, Refusal, ScriptError
from .input_items import listed_item
from .pagination import page
from .request_rules import check_pairs
from .state import StoredResponse
from .stream_events import events_from_response
from .turns import Turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .exchange import Request
    from .state import Container, Json, State

_TERMINAL_EVENTS = {"response.completed", "response.failed", "response.incomplete"}


def create(state: State, request: Request) -> Answer:
    """Carry out the next turn of the script, or echo the user when there is none."""
    asked = request.json_object()
    history = _history(state, asked)
    said = asked.get("input")
    check_pairs(history, said if isinstance(said, list) else [])
    is_recorded = bool(state.turns) and state.turns[0].is_recorded
    container = _container(state, asked, history, is_recorded=is_recorded)
    turn = state.turns.popleft() if state.turns else Turn()
    stored = _carry_out(state, asked, turn, history, container)
    final = stored.final
    state.responses[final["id"]] = stored
    if (conversation_id := response_objects.conversation_id(asked)) is not None:
        # "Automatically added to this conversation after this response completes" (spec); here it always does at once.
        conversations.find(state, conversation_id).items[:] = stored.context
    if asked.get("stream"):
        return _stream(stored, stored.events, turn.pace)
    if asked.get("background"):
        return Answer.of_json(response_objects.unfinished(final, "queued"))
    stored.finished = True
    return Answer.of_json(response_objects.shown(final, stored.include))


def _carry_out(
    state: State, asked: Json, turn: Turn, history: list[Json], container: Container | None
) -> StoredResponse:
    include = frozenset(asked.get("include") or [])
    inputs = history + _input_items(state, asked)
    final = _final(state, asked, turn, container)
    is_background = bool(asked.get("background"))
    if turn.events is not None:
        events = [dict(event) for event in turn.events]
    else:
        obfuscate = (asked.get("stream_options") or {}).get("include_obfuscation", True) and not is_background
        events = events_from_response(response_objects.shown(final, include), include, obfuscate=obfuscate)
    return StoredResponse(
        final=final,
        input_items=inputs,
        context=inputs + final["output"],
        events=events,
        include=include,
        polls_left=turn.polls if is_background else 0,
        # Source: test_background_mode_vcr.yaml: a background response can be polled whatever `store` says.
        reachable=is_background or asked.get("store") is not False,
        finished=False,
    )


def _final(state: State, asked: Json, turn: Turn, container: Container | None) -> Json:
    recorded = turn.response if turn.events is None else _recorded_final(turn)
    if recorded is not None:
        final = json.loads(json.dumps(recorded))
        output_items.furnish(state, turn, final["output"])
        if asked.get("background"):
            final["background"] = True
        return dict(final)
    final = response_objects.response_body(
        asked, response_id=state.mint.new("resp_"), created_at=state.now(), status=turn.status
    )
    final["output"] = output_items.from_turn(state, turn, container, asked)
    final["usage"] = dict(turn.usage) if turn.usage is not None else response_objects.usage(asked, final["output"])
    if turn.status == "failed":
        final["error"] = dict(turn.error or {"code": "server_error", "message": "The model failed."})
        final["usage"] = turn.usage  # Source: openai-error.1.chunks.txt: null
    if turn.status == "incomplete":
        final["incomplete_details"] = dict(turn.incomplete_details or {"reason": "max_output_tokens"})
    return response_objects.unfinished(final, "cancelled") if turn.status == "cancelled" else final


def _recorded_final(turn: Turn) -> Json:
    """The response in the last event, billing left out as the stream leaves it out."""
    last = [event["response"] for event in turn.events or [] if event["type"] in _TERMINAL_EVENTS]
    if not last:
        message = "The scripted events end without a finished response."
        raise ScriptError(message)
    return dict(last[-1])


def _history(state: State, asked: Json) -> list[Json]:
    if (conversation_id := response_objects.conversation_id(asked)) is not None:
        return list(conversations.find(state, conversation_id).items)
    previous = asked.get("previous_response_id")
    if previous is None:
        return []
    stored = state.responses.get(previous)
    if stored is None or not (stored.reachable and stored.finished):
        # Source: platform reports only; text, param and code agree in several public clients.
        message = f"Previous response with id '{previous}' not found."
        raise Refusal(400, message, param="previous_response_id", code="previous_response_not_found")
    return list(stored.context)


def _container(state: State, asked: Json, history: list[Json], *, is_recorded: bool) -> Container | None:
    """The container of this request: the one named, the living one of an earlier call in context, or a new one.

    Source: platform.md section 6; return_image.yaml shows the reuse by replayed items. An expired one in context is
    refused even with `auto` (a report for `previous_response_id`; for replayed items an assumption).
    """
    tool = next((tool for tool in asked.get("tools") or [] if tool.get("type") == "code_interpreter"), None)
    if tool is None:
        return None
    if isinstance(tool["container"], str):
        return containers.use(state, tool["container"])
    said = asked.get("input")
    context = history + (said if isinstance(said, list) else [])
    for item in reversed(context):
        if item.get("type") == "code_interpreter_call" and item.get("container_id") in state.containers:
            return containers.use(state, item["container_id"])
    # A recorded answer brings the container that it had.
    return None if is_recorded else containers.add(state, "", tool["container"])


def _input_items(state: State, asked: Json) -> list[Json]:
    """The input as it is listed."""
    said = asked.get("input") or []
    items = [{"role": "user", "content": said}] if isinstance(said, str) else said
    return [listed_item(state, item) for item in items]


def _find(state: State, response_id: str) -> StoredResponse:
    stored = state.responses.get(response_id)
    # A direct stream can be read by id only once it has ended; one that was dropped never (platform.md section 4).
    if stored is None or not stored.reachable or not (stored.finished or stored.final.get("background")):
        raise Refusal(404, f"Response with id '{response_id}' not found.")
    return stored


def retrieve(state: State, request: Request, response_id: str) -> Answer:
    """A look: background responses are `in_progress` for as many looks as the turn says, then final.

    With `stream=true` the events after `starting_after` are played again (Source: CanStreamBackgroundResponses.json).
    """
    stored = _find(state, response_id)
    if request.value("stream") == "true":
        after = int(request.value("starting_after") or -1)
        return _stream(stored, [event for event in stored.events if event["sequence_number"] > after], 0)
    if not stored.finished and stored.polls_left > 0:
        stored.polls_left -= 1
        return Answer.of_json(response_objects.unfinished(stored.final, "in_progress"))
    stored.finished = True
    return Answer.of_json(response_objects.shown(stored.final, frozenset(request.values("include"))))


def cancel(state: State, _request: Request, response_id: str) -> Answer:
    """Background only and idempotent (Source: CanCancelBackgroundResponses.json, platform.md section 5).

    The refusal of a synchronous one is known from public servers that copy the service.
    """
    stored = _find(state, response_id)
    if not stored.final.get("background"):
        raise Refusal(400, "Cannot cancel a synchronous response.")
    if not stored.finished:
        stored.final = response_objects.unfinished(stored.final, "cancelled")
        stored.context = list(stored.input_items)
        stored.finished = True
    return Answer.of_json(response_objects.shown(stored.final, frozenset()))


def delete(state: State, _request: Request, response_id: str) -> Answer:
    """`{id, object, deleted}` (Source: CanDeleteResponse.json)."""
    _find(state, response_id)
    del state.responses[response_id]
    return Answer.of_json({"id": response_id, "object": "response.deleted", "deleted": True})


def input_items(state: State, request: Request, response_id: str) -> Answer:
    """Newest first, earlier turns of the chain included (Source: FunctionCallWorks.json)."""
    return page(request, _find(state, response_id).input_items)


def _stream(stored: StoredResponse, events: list[Json], pace: float) -> Answer:
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return Answer(200, headers=headers, chunks=_frames(stored, events, pace))


def _frames(stored: StoredResponse, events: list[Json], pace: float) -> Iterator[bytes]:
    """`event:` and `data:` lines, no `[DONE]` (Source: recordings.md section 4)."""
    for number, event in enumerate(events):
        if pace and number:
            time.sleep(pace)
        if event["type"] in _TERMINAL_EVENTS:
            # Before the client can have seen it: its next request may come at once.
            stored.finished = True
        data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        yield f"event: {event['type']}\ndata: {data}\n\n".encode()
