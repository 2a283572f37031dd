"""Which cases of the SDK's own suite run, and how many they are: the one place that says so."""

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
    """The SDK's aiohttp client, or None where its extra is not installed."""
    try:
        return openai.DefaultAioHttpClient()
    except RuntimeError:  # the SDK's own answer then
        return None


_WAITING = ("_cancel", "_submit_tool_outputs_")


def wants_a_waiting_run(function: str) -> bool:
    """Whether a test function takes for granted that `run_id` waits for the outputs of its functions.

    The others find it completed, for a run that waits holds its thread.
    """
    return any(word in function for word in _WAITING)


# How many cases there are, by the SDK's version without its patch, for its ordinary clients and for its aiohttp client
# (an extra that may be missing); all must pass. A version that is not here yet does not run: first see what its suite
# asks for, then write it down.
EXPECTED: dict[str, dict[Client, int]] = {
    "1.109": {"ordinary": 472, "aiohttp": 116},
    "2.54": {"ordinary": 472, "aiohttp": 116},
    "3.54": {"ordinary": 472, "aiohttp": 116},
}
