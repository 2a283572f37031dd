"""The one place that says which cases of the SDK's own suite run, and how many they are."""

from __future__ import annotations

from typing import Any, Literal

import openai

CALL_ID = "tool_call_id"  # the one that waits in a run

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
    """Return the SDK's aiohttp client, or None where its extra is not installed or the SDK has none."""
    class_ = getattr(openai, "DefaultAioHttpClient", None)
    try:
        return class_ and class_()
    except RuntimeError:  # the SDK raises this without its extra
        return None


_WAITING = ("_cancel", "_submit_tool_outputs_")


def needs_waiting_run(function: str) -> bool:
    """Return whether a test function needs a run that waits for tool outputs.

    All others get a completed run, because a waiting run locks its thread.
    """
    return any(word in function for word in _WAITING)


# The number of cases that must pass, by SDK version without its patch, for ordinary clients and for the aiohttp client
# (an extra that may be missing). The suite of a version that is not listed runs too: all of its cases must pass, and
# the test prints how many they are.
EXPECTED: dict[str, dict[Client, int]] = {
    "1.109": {"ordinary": 472, "aiohttp": 116},
    "2.54": {"ordinary": 472, "aiohttp": 116},
    "3.54": {"ordinary": 472, "aiohttp": 116},
    "3.57": {"ordinary": 472, "aiohttp": 116},
}
# The suites up to openai 1.40 submit three outputs for the one call of a run, which the service refused with this text
# (recorded). Such a case is left out.
THREE_OUTPUTS = f"Expected tool outputs for call_ids ['{CALL_ID}'], got "
THREE_OUTPUTS_REASON = "refused as by the service: three outputs for one call"
# openai 1.76 compares the signatures of two of its own methods, whose types differ there. These cases send no request,
# and fail with the SDK alone.
OWN_SIGNATURES = "errors encountered when comparing signatures"
OWN_SIGNATURES_REASON = "fail with the SDK alone: the signatures of two of its own methods differ"
FEWEST = 200  # cases of any version: fewer mean that the suite did not run as it should
