"""Reads the requests for responses that the upstream received."""

from __future__ import annotations

from typing import Any

from assistants_compat.testing import StandIn


def request_bodies(upstream: StandIn) -> list[Any]:
    """Return the body of every `POST /responses`, in order."""
    return [request.json for request in upstream.requests if (request.method, request.path) == ("POST", "/responses")]


def input_messages(body: Any) -> list[tuple[str, str]]:
    """Return role and text of every message in a request's input."""
    return [
        (item["role"], part if isinstance(part, str) else part["text"])
        for item in body["input"]
        if "role" in item
        for part in ([item["content"]] if isinstance(item["content"], str) else item["content"])
        if isinstance(part, str) or "text" in part
    ]


def function_outputs(body: Any) -> dict[str, str]:
    """Return the function outputs in a request's input by call id."""
    return {item["call_id"]: item["output"] for item in body["input"] if item.get("type") == "function_call_output"}
