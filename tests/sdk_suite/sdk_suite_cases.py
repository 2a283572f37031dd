"""Which cases of the SDK's own suite run, and which cannot pass yet: the one place that says so."""

from __future__ import annotations

from dataclasses import dataclass

FILES = (
    "tests/api_resources/beta/test_assistants.py",
    "tests/api_resources/beta/test_threads.py",
    "tests/api_resources/beta/threads/test_messages.py",
    "tests/api_resources/beta/threads/test_runs.py",
    "tests/api_resources/beta/threads/runs/test_steps.py",
    "tests/lib/test_assistants.py",
)

# By the feature that the 400 `not_supported` names. These cases run all the same, and must get just that answer: a
# feature that starts to work turns them red, so that its cases are taken off this list.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "cancelling runs": (
        "test_method_cancel",
        "test_raw_response_cancel",
        "test_streaming_response_cancel",
    ),
    "function tools": (
        "test_method_submit_tool_outputs_overload_1",
        "test_method_submit_tool_outputs_with_all_params_overload_1",
        "test_raw_response_submit_tool_outputs_overload_1",
        "test_streaming_response_submit_tool_outputs_overload_1",
        "test_method_submit_tool_outputs_overload_2",
        "test_raw_response_submit_tool_outputs_overload_2",
        "test_streaming_response_submit_tool_outputs_overload_2",
    ),
    "streaming": (
        "test_method_create_overload_2",
        "test_method_create_with_all_params_overload_2",
        "test_raw_response_create_overload_2",
        "test_streaming_response_create_overload_2",
        "test_method_create_and_run_overload_2",
        "test_method_create_and_run_with_all_params_overload_2",
        "test_raw_response_create_and_run_overload_2",
        "test_streaming_response_create_and_run_overload_2",
    ),
}
FEATURE_OF = {name: feature for feature, names in LEFT_OUT.items() for name in names}

_LATER = ("cancel", "submit_tool_outputs", "overload_2")  # the second overload is the one with `stream=True`


def may_be_left_out(function: str) -> bool:
    """Whether a test function is one of cancel, tool outputs or streams by its name.

    The SDK refuses the empty ids of `test_path_params_*` by itself, so nothing is asked of us there and all must pass.
    """
    return any(word in function for word in _LATER) and not function.startswith("test_path_params_")


@dataclass(frozen=True)
class Numbers:
    """What must come out for one version of the SDK: all three counts are exact."""

    passed: int
    passed_with_aiohttp: int  # of these, the cases of its aiohttp client, which run where that extra is installed
    left_out: dict[str, int]


# By the version without its patch.
EXPECTED: dict[str, Numbers] = {}
