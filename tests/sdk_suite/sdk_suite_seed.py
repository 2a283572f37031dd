"""Seeds a store and an upstream with the literal ids of the SDK's suite."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sdk_suite_cases import CALL_ID

from assistants_compat.store import queries
from assistants_compat.store.database import Connection, transact
from assistants_compat.store.locations import database_url
from assistants_compat.testing.state import StoredResponse
from assistants_compat.translate.request import request_from_run
from assistants_compat.translate.run import run_from_request, run_with_status
from assistants_compat.translate.thread import message_from_request
from assistants_compat.wire.objects import Run

if TYPE_CHECKING:
    from assistants_compat import Settings
    from assistants_compat.testing import StandIn

NOW = 1_700_000_000

# Parameters of the assistant. With instructions a run can start on a thread without messages.
_ASSISTANT = {"model": "gpt-4.1", "instructions": "You are a test."}
_USAGE = {
    "prompt_tokens": 1,
    "completion_tokens": 1,
    "total_tokens": 2,
    "prompt_token_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


_CALL = {"id": CALL_ID, "type": "function", "function": {"name": "look", "arguments": "{}"}}
_TOOL = {"type": "function", "function": {"name": "look"}}

# The id of an object by its noun: newer suites write `thread_id` and so on, older ones `string` for everything.
IdOf = Callable[[str], str]
ID_STYLES: tuple[IdOf, ...] = ("{}_id".format, "string".format)


def seed_store(settings: Settings, *, waiting: bool) -> None:
    """Empty the store and add one assistant, thread, message, run and step in each style of ids.

    The run is completed, so it neither locks its thread nor is polled upstream; or it is `waiting` for the output of
    the call `tool_call_id`.
    """
    transact(database_url(settings.store), lambda db: _fill(db, settings, waiting=waiting), write=True)


def _fill(db: Connection, settings: Settings, *, waiting: bool) -> None:
    for table in reversed(list(queries.TABLES.values())):  # children before their parents
        db.execute(table.delete())
    for id_of in ID_STYLES:
        thread_id, run_id = id_of("thread"), id_of("run")
        run = _waiting_run(id_of) if waiting else _completed_run(id_of)
        message = message_from_request(id_of("message"), thread_id, NOW, {"role": "user", "content": "string"})
        bodies: list[tuple[queries.TableName, str, Any, dict[str, Any]]] = [
            ("assistants", id_of("assistant"), _ASSISTANT, {}),
            ("threads", thread_id, {}, {}),
            ("messages", id_of("message"), message, {"thread_id": thread_id}),
            ("runs", run_id, run, _columns_of(run, id_of)),
            ("steps", id_of("step"), _step(id_of), {"thread_id": thread_id, "run_id": run_id}),
        ]
        for noun, id_, body, columns in bodies:
            row = {"namespace": settings.namespace, "id": id_, "created_at": NOW, "body": body, **columns}
            queries.insert_rows(db, noun, [row])


def _completed_run(id_of: IdOf) -> Run:
    params = {"assistant_id": id_of("assistant")}
    run = run_from_request(id_of("run"), id_of("thread"), NOW, params, _ASSISTANT, ttl=600)
    return run_with_status(run_with_status(run, "in_progress", NOW), "completed", NOW, usage=_USAGE)


def _waiting_run(id_of: IdOf) -> Run:
    """Return a waiting run, created now because a run expires."""
    now = int(time.time())
    params = {"assistant_id": id_of("assistant"), "tools": [_TOOL]}
    run = run_from_request(id_of("run"), id_of("thread"), now, params, _ASSISTANT, ttl=600)
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [_CALL]}}
    return run_with_status(run_with_status(run, "in_progress", now), "requires_action", now, required_action=action)


def _columns_of(run: Run, id_of: IdOf) -> dict[str, Any]:
    return {
        "thread_id": id_of("thread"),
        "assistant_id": id_of("assistant"),
        "status": run["status"],
        "expires_at": run["created_at"] + 600,
        "request": request_from_run(run, {}, []),
        "response_id": id_of("resp"),
        "state": {"usage": _USAGE, "step_usage": _USAGE, "sent": []},
    }


def _step(id_of: IdOf) -> dict[str, Any]:
    """Return a step as served: the recorded keys, and two more that the spec requires."""
    return {
        "id": id_of("step"),
        "object": "thread.run.step",
        "created_at": NOW,
        "run_id": id_of("run"),
        "assistant_id": id_of("assistant"),
        "thread_id": id_of("thread"),
        "type": "message_creation",
        "status": "completed",
        "cancelled_at": None,
        "completed_at": NOW,
        "expires_at": None,
        "failed_at": None,
        "last_error": None,
        "step_details": {"type": "message_creation", "message_creation": {"message_id": id_of("message")}},
        "usage": _USAGE,
        "expired_at": None,
        "metadata": {},
    }


def seed_upstream(upstream: StandIn) -> None:
    """Add to the upstream the files that the suite attaches, under its ids, and the response that calls a function."""
    for id_ in ("file_id", "string"):
        file = upstream.files.pop(upstream.put_file("data.txt", b"a,b\n1,2\n", "assistants"))
        file.wire["id"] = id_
        upstream.files[id_] = file
    for id_of in ID_STYLES:
        call = {"type": "function_call", "id": "fc_1", "call_id": CALL_ID, "name": "look", "arguments": "{}"}
        upstream.responses[id_of("resp")] = StoredResponse(
            final={"id": id_of("resp"), "status": "completed", "background": True, "output": [call]},
            input_items=[],
            context=[call],
            events=[],
            include=frozenset(),
            polls_left=0,
            reachable=True,
            finished=True,
        )
