"""What the upstream was asked for, as the tests of frameworks (tests/clients) look at it."""

from __future__ import annotations

from typing import Any

from assistants_compat.testing import StandIn


def bodies(upstream: StandIn) -> list[Any]:
    """The bodies of every `POST /responses`, in order."""
    return [each.json for each in upstream.requests if (each.method, each.path) == ("POST", "/responses")]


def said(body: Any) -> list[tuple[str, str]]:
    """The role and the text of every message in a request's input."""
    return [
        (item["role"], part if isinstance(part, str) else part["text"])
        for item in body["input"]
        if "role" in item
        for part in ([item["content"]] if isinstance(item["content"], str) else item["content"])
        if isinstance(part, str) or "text" in part
    ]


def outputs(body: Any) -> dict[str, str]:
    """The function outputs in a request's input by the ids of their calls."""
    return {item["call_id"]: item["output"] for item in body["input"] if item.get("type") == "function_call_output"}
