"""Small recordings of Assistants traffic, shaped like the real ones (`../shared/recordings/assistants`)."""

from __future__ import annotations

import json
from typing import Any

from kit.converted_recordings import interaction

Json = dict[str, Any]
BASE_TIME = 1_720_000_000


def id_of(kind: str, name: str) -> str:
    """Return an id that looks like the service's."""
    return f"{kind}{name}".ljust(len(kind) + 24, "x")


ASSISTANT, THREAD = id_of("asst_", "Tutor"), id_of("thread_", "Maths")
QUESTION, ANSWER = id_of("msg_", "Question"), id_of("msg_", "Answer")
RUN, STEP = id_of("run_", "First"), id_of("step_", "Says")


def assistant(**more: Any) -> Json:
    """Return an assistant as the service served it."""
    return {
        "id": ASSISTANT,
        "object": "assistant",
        "created_at": BASE_TIME,
        "name": "Tutor",
        "description": None,
        "model": "gpt-4o",
        "instructions": "Help.",
        "tools": [],
        "top_p": 1.0,
        "temperature": 1.0,
        "reasoning_effort": None,
        "tool_resources": {},
        "metadata": {},
        "response_format": "auto",
        **more,
    }


def thread(**more: Any) -> Json:
    """Return a thread as the service served it."""
    return {
        "id": THREAD,
        "object": "thread",
        "created_at": BASE_TIME + 1,
        "metadata": {},
        "tool_resources": {},
        **more,
    }


def message(id_: str, role: str, *blocks: Any, **more: Any) -> Json:
    """Return a message as the service served it; a string among `blocks` becomes a text without annotations."""
    content = [text(block) if isinstance(block, str) else block for block in blocks]
    by_run = (
        {"assistant_id": ASSISTANT, "run_id": RUN} if role == "assistant" else {"assistant_id": None, "run_id": None}
    )
    times = {"created_at": BASE_TIME + (5 if role == "assistant" else 2)}
    rest = {"role": role, "content": content, "attachments": [], "metadata": {}}
    return {"id": id_, "object": "thread.message", **times, **by_run, "thread_id": THREAD, **rest, **more}


def text(value: str, *annotations: Json) -> Json:
    """Return a text block."""
    return {"type": "text", "text": {"value": value, "annotations": list(annotations)}}


def run(status: str, **more: Any) -> Json:
    """Return a run as the service served it in this status."""
    ended = status not in {"queued", "in_progress", "requires_action", "cancelling"}
    usage: Json = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    usage |= {"prompt_token_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}
    stamp = {"cancelled": "cancelled_at", "failed": "failed_at", "completed": "completed_at"}.get(status)
    return {
        "id": RUN,
        "object": "thread.run",
        "created_at": BASE_TIME + 3,
        "assistant_id": ASSISTANT,
        "thread_id": THREAD,
        "status": status,
        "started_at": None if status == "queued" else BASE_TIME + 3,
        "expires_at": None if ended else BASE_TIME + 603,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "required_action": None,
        "last_error": None,
        "model": "gpt-4o",
        "instructions": "Help.",
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "reasoning_effort": None,
        "max_completion_tokens": None,
        "max_prompt_tokens": None,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "incomplete_details": None,
        "usage": usage if status in {"completed", "incomplete"} else None,
        "response_format": "auto",
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        **({stamp: BASE_TIME + 9} if stamp else {}),
        **more,
    }


def step(id_: str, details: Json, **more: Any) -> Json:
    """Return a finished step as the service served it."""
    return {
        "id": id_,
        "object": "thread.run.step",
        "created_at": BASE_TIME + 4,
        "run_id": RUN,
        "assistant_id": ASSISTANT,
        "thread_id": THREAD,
        "type": details["type"],
        "status": "completed",
        "cancelled_at": None,
        "completed_at": BASE_TIME + 9,
        "expires_at": None,
        "failed_at": None,
        "last_error": None,
        "step_details": details,
        "usage": None,
        **more,
    }


def message_details(message_id: str = ANSWER) -> Json:
    """Return the details of a step that writes a message."""
    return {"type": "message_creation", "message_creation": {"message_id": message_id}}


def tool_calls_details(*calls: Json) -> Json:
    """Return the details of a step that calls tools."""
    return {"type": "tool_calls", "tool_calls": list(calls)}


def list_page(*objects: Json) -> Json:
    """Return a list page that holds all of these objects."""
    first, last = (objects[0]["id"], objects[-1]["id"]) if objects else (None, None)
    return {"object": "list", "data": list(objects), "first_id": first, "last_id": last, "has_more": False}


def stream(*events: tuple[str, Json]) -> str:
    """Return the text of an event stream."""
    frames = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    return f"{frames}event: done\ndata: [DONE]\n\n"


def delta(message_id: str, piece: str, *annotations: Json) -> tuple[str, Json]:
    """Return the event for a piece of a message."""
    content = [{"index": 0, "type": "text", "text": {"value": piece, "annotations": list(annotations)}}]
    return "thread.message.delta", {"id": message_id, "object": "thread.message.delta", "delta": {"content": content}}


def creation_calls(tools: list[Json] | None = None, **more: Any) -> list[Json]:
    """Return the calls that create an assistant, a thread and a question."""
    request = {"name": "Tutor", "model": "gpt-4o", "instructions": "Help.", "tools": tools or []}
    return [
        interaction("POST", "/assistants", request, assistant(tools=tools or [])),
        interaction("POST", "/threads", {}, thread()),
        interaction(
            "POST",
            f"/threads/{THREAD}/messages",
            {"role": "user", "content": "3x + 11 = 14?", **more},
            message(QUESTION, "user", "3x + 11 = 14?", attachments=more.get("attachments", [])),
        ),
    ]


def run_calls(*states: Json, tools: list[Json] | None = None) -> list[Json]:
    """Return the calls that create a run and poll it, one for each of these states."""
    first, *others = states
    path = f"/threads/{THREAD}/runs"
    polls = [interaction("GET", f"{path}/{RUN}", None, {**state, "tools": tools or []}) for state in others]
    return [interaction("POST", path, {"assistant_id": ASSISTANT}, {**first, "tools": tools or []}), *polls]


def list_messages_call(*messages: Json) -> Json:
    """Return the call that lists the thread's messages, newest first."""
    return interaction("GET", f"/threads/{THREAD}/messages", None, list_page(*messages))
