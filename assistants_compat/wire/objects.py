"""The API objects, with keys in the order in which the service sent them (recordings.md section 5).

`Json` is any object from outside, and unknown keys survive. The TypedDicts are the objects that we serve. Comments
mark each oddity and its source.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn, TypedDict

Json = dict[str, Any]


def reject_json_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which are not JSON; for the decoder's `parse_constant`."""
    raise ValueError(name)


def parse_finite_float(text: str) -> float:
    """Refuse numbers like 1e999, which JSON cannot represent again; for the decoder's `parse_float`."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


_MAX_NESTING = 500  # Python 3.10 to 3.12 write less than 1000 levels, minus the caller's own stack


def check_nesting(value: object) -> None:
    """Raise `RecursionError` for JSON that is nested deeper than every Python can write it again.

    Python 3.12 parses 1500 levels but writes fewer than 1000 with an indent: an object would be stored, and each answer
    that shows it would fail.
    """
    level = [value]
    for _ in range(_MAX_NESTING):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return
    raise RecursionError


def as_object(value: object) -> Json:
    """The value if it is an object, else an empty object."""
    return value if isinstance(value, dict) else {}


def as_object_list(value: object) -> list[Json]:
    """The objects in a list, or an empty list for any other value.

    Entries of other types are skipped, so that unexpected upstream data never breaks a run.
    """
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


class Usage(TypedDict):
    """Token counts of a run or a run step."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_token_details: Json  # sic: `prompt_token_details`, but `completion_tokens_details` (recorded)
    completion_tokens_details: Json


class Assistant(TypedDict):
    """An assistant as served."""

    id: str
    object: str
    created_at: int
    name: str | None
    description: str | None
    model: str
    instructions: str | None
    tools: list[Json]
    top_p: float
    temperature: float
    reasoning_effort: str | None
    tool_resources: Json
    metadata: Json
    response_format: Any


class Thread(TypedDict):
    """A thread as served."""

    id: str
    object: str
    created_at: int
    metadata: Json
    tool_resources: Json  # `{}` from POST, the code interpreter's file ids from GET (recorded)


class Message(TypedDict):
    """A message as served: the keys of the recorded stream. The spec requires all of them, REST left some out."""

    id: str
    object: str
    created_at: int
    assistant_id: str | None
    thread_id: str
    run_id: str | None
    status: str
    incomplete_details: Json | None
    incomplete_at: int | None  # only messages have it: the end of an incomplete run is its `completed_at`
    completed_at: int | None
    role: str
    content: list[Json]
    attachments: list[Json]  # never `file_ids`, which an update still answered with (recorded)
    metadata: Json


class Run(TypedDict):
    """A run as served: the 29 recorded keys."""

    id: str
    object: str
    created_at: int
    assistant_id: str
    thread_id: str
    status: str
    started_at: int | None
    expires_at: int | None
    cancelled_at: int | None
    failed_at: int | None
    completed_at: int | None
    required_action: Json | None
    last_error: Json | None
    model: str
    instructions: str | None  # null where the assistant has none (recorded), although the spec says string
    tools: list[Json]
    tool_resources: Json  # always `{}` over REST (recorded)
    metadata: Json
    temperature: float
    top_p: float
    reasoning_effort: str | None
    max_completion_tokens: int | None
    max_prompt_tokens: int | None
    truncation_strategy: Json
    incomplete_details: Json | None
    usage: Usage | None
    response_format: Any
    tool_choice: Any
    parallel_tool_calls: bool  # added during 2024: recordings from before lack it


class RunStep(TypedDict):
    """A run step as served: the 15 recorded keys, then two that the spec requires."""

    id: str
    object: str
    created_at: int
    run_id: str
    assistant_id: str
    thread_id: str
    type: str
    status: str
    cancelled_at: int | None
    completed_at: int | None
    expires_at: int | None
    failed_at: int | None
    last_error: Json | None
    step_details: Json
    usage: Usage | None
    expired_at: int | None  # required by the spec, next to the recorded `expires_at`
    metadata: Json


class File(TypedDict):
    """A generated file as served by the Files API."""

    object: str  # before the id (recorded)
    id: str
    purpose: str
    filename: str  # of a linked file the full path in the container, as on the service (platform.md section 7)
    bytes: int
    created_at: int
    expires_at: int | None
    status: str
    status_details: str | None
