"""The Responses API: create (plain, background, streamed), retrieve, resume, cancel, delete, list input items."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from . import containers, conversations, output_items, response_objects
from .capability_rules import check_capabilities
from .exchange import Answer, Refusal, ScriptError, json_bytes
from .input_items import listed_item
from .item_rules import check_items, forget_items, has_dead_link, remember_items
from .options import ENCRYPTED_REASONING
from .pagination import page
from .request_rules import check_item_pairs
from .state import StoredResponse
from .stream_events import events_from_response
from .table_refusals import table_refusal
from .turns import Turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .exchange import Request
    from .state import Container, Json, State

_ZERO_RETENTION_SECONDS = 600  # how long a background response lasts under zero retention (platform.md section 5)
# The code is that of the SDK's type ResponseError; no public source has the text.
_DEAD_LINK = Turn(
    status="failed", error={"code": "failed_to_download_image", "message": "Failed to download image."}, polls=0
)
_TERMINAL_EVENTS = {"response.completed", "response.failed", "response.incomplete"}


def create(state: State, request: Request) -> Answer:
    """Create a response from the next scripted turn, or echo the user if there is none."""
    params = request.json_object()
    if state.options.zero_retention:
        params = {**params, "store": False}  # whatever the request says (platform.md section 5)
    history = _history(state, params)
    check_capabilities(state.options, params, is_azure=request.is_azure)
    request_input = params.get("input")
    check_item_pairs(history, request_input if isinstance(request_input, list) else [])
    if state.options.strict:
        check_items(state, params, history)
    is_recorded = bool(state.turns) and state.turns[0].is_recorded
    container = _choose_container(state, params, history, is_recorded=is_recorded)
    # After everything that may refuse the request, because a refused request must not use up a turn.
    if state.options.strict and params.get("background") and has_dead_link(state, params):
        turn = _DEAD_LINK
    else:
        turn = state.turns.popleft() if state.turns else Turn()
    stored = _respond(state, params, turn, history, container)
    final = stored.final
    state.responses[final["id"]] = stored
    remember_items(state, final["id"], params, final["output"])
    if (conversation_id := response_objects.conversation_id(params)) is not None:
        # "Automatically added to this conversation after this response completes" (spec); here this happens at once.
        conversations.find(state, conversation_id).items[:] = stored.context
    if params.get("stream"):
        return _stream(stored, stored.events, turn.pace)
    if params.get("background"):
        return Answer.with_json(response_objects.unfinished_response(final, "queued"))
    stored.finished = True
    return Answer.with_json(response_objects.visible_response(final, stored.include))


def _respond(
    state: State, params: Json, turn: Turn, history: list[Json], container: Container | None
) -> StoredResponse:
    include = frozenset(params.get("include") or [])
    inputs = history + _input_items(state, params)
    final = _final_response(state, params, turn, container)
    is_background = bool(params.get("background"))
    if turn.events is not None:
        events = [dict(event) for event in turn.events]
    else:
        obfuscate = (params.get("stream_options") or {}).get("include_obfuscation", True) and not is_background
        events = events_from_response(response_objects.visible_response(final, include), include, obfuscate=obfuscate)
    return StoredResponse(
        final=final,
        input_items=inputs,
        context=inputs + final["output"],
        events=events,
        include=include,
        polls_left=turn.polls if is_background else 0,
        # Source: test_background_mode_vcr.yaml: a background response can be polled even with `store: false`.
        reachable=is_background or params.get("store") is not False,
        finished=False,
        expires_at=state.now() + _ZERO_RETENTION_SECONDS if state.options.zero_retention else None,
    )


def _final_response(state: State, params: Json, turn: Turn, container: Container | None) -> Json:
    recorded = turn.response if turn.events is None else _recorded_response(turn)
    if recorded is not None:
        final = json.loads(json.dumps(recorded))  # a deep copy: the script belongs to the test
        output_items.create_cited_files(state, turn, final["output"])
        if params.get("background"):
            final["background"] = True
        return dict(final)
    final = response_objects.response_body(
        params, response_id=state.ids.new("resp_"), created_at=state.now(), status=turn.status
    )
    final["output"] = output_items.items_from_turn(state, turn, container, params)
    final["usage"] = dict(turn.usage) if turn.usage is not None else response_objects.usage(params, final["output"])
    if turn.status == "failed":
        final["error"] = dict(turn.error or {"code": "server_error", "message": "The model failed."})
        final["usage"] = turn.usage  # null by default; source: openai-error.1.chunks.txt
    if turn.status == "incomplete":
        final["incomplete_details"] = dict(turn.incomplete_details or {"reason": "max_output_tokens"})
    return response_objects.unfinished_response(final, "cancelled") if turn.status == "cancelled" else final


def _recorded_response(turn: Turn) -> Json:
    """Return the response of the last terminal event, which has no `billing`, as in every stream."""
    responses = [event["response"] for event in turn.events or [] if event["type"] in _TERMINAL_EVENTS]
    if not responses:
        message = "The scripted events have no response.completed, response.failed or response.incomplete: add one."
        raise ScriptError(message)
    return dict(responses[-1])


def _history(state: State, params: Json) -> list[Json]:
    if (conversation_id := response_objects.conversation_id(params)) is not None:
        return list(conversations.find(state, conversation_id).items)
    previous = params.get("previous_response_id")
    if previous is None:
        return []
    if state.options.zero_retention:
        raise table_refusal("zero_retention_previous_response")
    stored = state.responses.get(previous)
    if stored is None or not (stored.reachable and stored.finished):
        raise table_refusal("previous_response_gone", response=previous)
    return list(stored.context)


def _choose_container(state: State, params: Json, history: list[Json], *, is_recorded: bool) -> Container | None:
    """Return the container of this request: the one it names, the one of an earlier call in its context, or a new one.

    Source: platform.md section 6; return_image.yaml shows that replayed items reuse a container. An expired one in the
    context is refused even with `auto` (a report for `previous_response_id`; an assumption for replayed items).
    """
    tool = next((tool for tool in params.get("tools") or [] if tool.get("type") == "code_interpreter"), None)
    if tool is None:
        return None
    if isinstance(tool["container"], str):
        return containers.use_in_response(state, tool["container"])
    request_input = params.get("input")
    context = history + (request_input if isinstance(request_input, list) else [])
    for item in reversed(context):  # the newest call decides
        if item.get("type") == "code_interpreter_call" and (
            item.get("container_id") in state.containers or state.options.strict
        ):
            return containers.use_in_response(state, item["container_id"])
    _check_container_files(state, params)
    # A recorded response cites its own container, which `create_cited_files` creates.
    return None if is_recorded else containers.add_container(state, "", tool["container"])


def _check_container_files(state: State, params: Json) -> None:
    """Refuse files that were deleted.

    No public source has the text (live check 15 of `doctor --live` asks): it is the assumption of the table.
    """
    if state.options.strict:
        for index, tool in enumerate(params["tools"]):
            container = tool.get("container")
            for file_id in (container.get("file_ids") or []) if isinstance(container, dict) else []:
                if file_id not in state.files:
                    raise table_refusal("container_file_gone", file=file_id, index=index)


def _input_items(state: State, params: Json) -> list[Json]:
    """Return the input as the service lists it."""
    request_input = params.get("input") or []
    items = [{"role": "user", "content": request_input}] if isinstance(request_input, str) else request_input
    return [listed_item(state, item) for item in items]


def _find(state: State, response_id: str) -> StoredResponse:
    stored = state.responses.get(response_id)
    is_over = stored is not None and stored.expires_at is not None and state.now() > stored.expires_at
    # A direct stream can be read by id only after its end, and never if it was dropped (platform.md section 4).
    if stored is None or is_over or not stored.reachable or not (stored.finished or stored.final.get("background")):
        raise Refusal(404, f"Response with id '{response_id}' not found.")
    return stored


def retrieve(state: State, request: Request, response_id: str) -> Answer:
    """Return a response; a background response is `in_progress` for the turn's number of `polls`, then final.

    With `stream=true` send the events after `starting_after` again (Source: CanStreamBackgroundResponses.json).
    """
    stored = _find(state, response_id)
    is_persisted = stored.final.get("store") is not False
    if state.options.strict and is_persisted and ENCRYPTED_REASONING in request.values("include"):
        raise table_refusal("encrypted_of_stored")
    if request.value("stream") == "true":
        after = int(request.value("starting_after") or -1)
        return _stream(stored, [event for event in stored.events if event["sequence_number"] > after], 0)
    if not stored.finished and stored.polls_left > 0:
        stored.polls_left -= 1
        return Answer.with_json(response_objects.unfinished_response(stored.final, "in_progress"))
    stored.finished = True
    return Answer.with_json(response_objects.visible_response(stored.final, frozenset(request.values("include"))))


def cancel(state: State, _request: Request, response_id: str) -> Answer:
    """Cancel a background response; a second cancel changes nothing.

    Source: CanCancelBackgroundResponses.json, platform.md section 5. The refusal for a synchronous response is known
    from public servers that imitate the service.
    """
    stored = _find(state, response_id)
    if not stored.final.get("background"):
        raise table_refusal("cancel_synchronous")
    if not stored.finished:
        stored.final = response_objects.unfinished_response(stored.final, "cancelled")
        # A response that continues this one must not see output that was never served.
        stored.context = list(stored.input_items)
        stored.finished = True
    # This endpoint has no `include` (spec).
    return Answer.with_json(response_objects.visible_response(stored.final, frozenset()))


def delete(state: State, _request: Request, response_id: str) -> Answer:
    """Delete a response: `{id, object, deleted}` (Source: CanDeleteResponse.json)."""
    _find(state, response_id)
    del state.responses[response_id]
    forget_items(state, response_id)
    return Answer.with_json({"id": response_id, "object": "response.deleted", "deleted": True})


def input_items(state: State, request: Request, response_id: str) -> Answer:
    """List the input items, newest first, with those of earlier turns of the chain (Source: FunctionCallWorks.json)."""
    return page(request, _find(state, response_id).input_items)


def _stream(stored: StoredResponse, events: list[Json], pace: float) -> Answer:
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return Answer(200, headers=headers, chunks=_sse_frames(stored, events, pace))


def _sse_frames(stored: StoredResponse, events: list[Json], pace: float) -> Iterator[bytes]:
    """Yield server-sent events with `event:` and `data:` lines and no `[DONE]` (Source: recordings.md section 4)."""
    for number, event in enumerate(events):
        if pace and number:
            time.sleep(pace)
        if event["type"] in _TERMINAL_EVENTS:
            # Before the client can see the event, because its next request may follow at once.
            stored.finished = True
        yield b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json_bytes(event))
