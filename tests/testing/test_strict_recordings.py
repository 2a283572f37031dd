"""The strict stand-in refuses no request that the service is recorded to have taken, and those that it refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assistants_compat.service.refusal_table import TABLE
from assistants_compat.service.refusals import recognize
from assistants_compat.testing import StandIn, Turn
from assistants_compat.testing.capability_rules import check_capabilities
from assistants_compat.testing.limit_rules import check_limits
from assistants_compat.testing.message_parts import checked_messages
from assistants_compat.testing.options import Options
from assistants_compat.testing.state import Container, Conversation, StoredFile, VectorStore
from kit.paths import SHARED

RESPONSES = SHARED / "recordings" / "responses"
# Refusals that no rule can repeat: of a wrong key, and of an input that is counted in tokens.
NOT_REPEATED = {"invalid_api_key", "context_length_exceeded"}


def recording_names(folder: Path = RESPONSES) -> list[Any]:
    """Return every recording of the Responses side by its path below the folder."""
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    skipped = pytest.param("", marks=pytest.mark.skip(reason="the recordings (../shared) are not there"))
    return paths or [skipped]


def created_responses(recordings: Any, name: str) -> list[Any]:
    """Return the recorded `POST /responses` that have a request body."""
    return [
        exchange
        for exchange in recordings.read(name)
        if exchange.method == "POST" and exchange.url.partition("?")[0].endswith("/responses") and exchange.request_body
    ]


def recorded_turn(exchange: Any) -> Turn | None:
    """Return the recorded answer as a turn, or None if the recording does not have the whole of it."""
    if not exchange.is_stream:
        return Turn(response=json.loads(exchange.body))
    events = [data for _, data in exchange.events() if isinstance(data, dict)]
    return Turn(events=events) if any("response" in event for event in events[-1:]) else None


def ids_below(value: Any) -> set[str]:
    """Return every string in a JSON value."""
    if isinstance(value, dict):
        return {text for entry in value.values() for text in ids_below(entry)}
    if isinstance(value, list):
        return {text for entry in value for text in ids_below(entry)}
    return {value} if isinstance(value, str) else set()


def with_recorded_objects(upstream: StandIn, body: dict[str, Any]) -> None:
    """Give the stand-in the files, stores, containers and conversations that a recorded request names."""
    for text in ids_below(body):
        wire: dict[str, Any] = {"id": text}
        if text.startswith("file-"):
            upstream.files.setdefault(text, StoredFile({**wire, "filename": "a.txt"}, b"x"))
        elif text.startswith("vs_"):
            upstream.vector_stores.setdefault(text, VectorStore(wire))
        elif text.startswith("conv_"):
            upstream.conversations.setdefault(text, Conversation(wire))
        elif text.startswith("cntr_"):
            expiry = {"anchor": "last_active_at", "minutes": 10**9}
            wire.update(status="running", last_active_at=0, expires_after=expiry)
            upstream.containers.setdefault(text, Container(wire))


@pytest.mark.parametrize("name", recording_names())
def test_no_recorded_request_breaks_a_rule(name: str, recordings) -> None:
    """Every recorded `POST /responses` with status 200 passes the rules on lengths, parts, models and tools."""
    for exchange in created_responses(recordings, name):
        if exchange.status == 200:
            body = json.loads(exchange.request_body)
            check_limits(body)
            checked_messages(body.get("input"), "input")
            check_capabilities(Options(), body, is_azure="azure" in exchange.url)


@pytest.mark.parametrize("name", recording_names())
def test_a_recorded_conversation_is_taken_and_refused_as_recorded(name: str, recordings, caller) -> None:
    """A recording is played request by request: what was taken is taken, and what was refused is refused."""
    with StandIn() as upstream:
        call = caller(upstream)
        for exchange in created_responses(recordings, name):
            body = json.loads(exchange.request_body)
            with_recorded_objects(upstream, body)
            turn = recorded_turn(exchange) if exchange.status == 200 else None
            upstream.script(*([turn] if turn else []))
            reply = call("POST /responses", _as_typed(body))
            if exchange.status == 200:
                assert reply.status == 200, reply.body
                continue
            recorded = json.loads(exchange.body)["error"]
            if recorded["code"] not in NOT_REPEATED:
                assert (reply.status, reply.json["error"]) == (exchange.status, recorded)


def _as_typed(body: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded body with what its request types demand and the service does not (see TOLERATED)."""
    typed: dict[str, Any] = json.loads(json.dumps(body))
    for tool in typed.get("tools") or []:
        if tool["type"] == "function":
            tool.setdefault("strict", None)
    for item in typed["input"] if isinstance(typed.get("input"), list) else []:
        if item.get("status", "") is None:
            del item["status"]
    return typed


@pytest.mark.parametrize("name", recording_names())
def test_the_recorded_refusals_are_recognized(name: str, recordings) -> None:
    """Each recorded refusal of a `POST /responses` is a row of the table, but for a wrong key and a wrong number."""
    for exchange in created_responses(recordings, name):
        if exchange.status != 200:
            error = json.loads(exchange.body)["error"]
            known = error["code"] in {"invalid_api_key", "decimal_below_min_value"}
            assert (recognize(TABLE, exchange.status, error) is None) == known
