"""The one place that says which cases of the SDK's own suite run, and how many they are."""

from __future__ import annotations

from typing import Any, Literal

import openai

Client = Literal["ordinary", "aiohttp"]

FILES = (
    "tests/api_resources/beta/test_assistants.py",
    "tests/api_resources/beta/test_threads.py",
    "tests/api_resources/beta/threads/test_messages.py",
    "tests/api_resources/beta/threads/test_runs.py",
    "tests/api_resources/beta/threads/runs/test_steps.py",
    "tests/lib/test_assistants.py",
)

AIOHTTP_MISSING = "the aiohttp extra of the SDK is not installed"


def aiohttp_client() -> Any:
    """Return the SDK's aiohttp client, or None where its extra is not installed."""
    try:
        return openai.DefaultAioHttpClient()
    except RuntimeError:  # the SDK raises this without its extra
        return None


_WAITING = ("_cancel", "_submit_tool_outputs_")


def needs_waiting_run(function: str) -> bool:
    """Return whether a test function needs a run that waits for tool outputs.

    All others get a completed run, because a waiting run locks its thread.
    """
    return any(word in function for word in _WAITING)


# The number of cases that must pass, by SDK version without its patch, for ordinary clients and for the aiohttp client
# (an extra that may be missing). A version that is not listed does not run: see what its suite needs, then add it.
EXPECTED: dict[str, dict[Client, int]] = {
    "1.109": {"ordinary": 472, "aiohttp": 116},
    "2.54": {"ordinary": 472, "aiohttp": 116},
    "3.54": {"ordinary": 472, "aiohttp": 116},
}
