"""What the library does with each parameter of the Assistants API: data only, shown by `audit` and docs/endpoints.md.

The verdict is `works` if a program notices no difference and `differs` if it may; the note says what the library does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["works", "differs", "mistake", "unsupported"]


@dataclass(frozen=True)
class Support:
    """How far the library supports a call or parameter: a verdict, and a note that says what it does."""

    verdict: Verdict
    note: str


ParameterSupport = Mapping[str, Support]


def works(note: str) -> Support:
    """Return the support of what works as before."""
    return Support("works", note)


def differs(note: str) -> Support:
    """Return the support of what works, but in a way that a program may notice."""
    return Support("differs", note)


_METADATA = works("stored by the library, with the old limits (16 pairs; keys up to 64, values up to 512 characters)")
_TEMPERATURE = works("sent only if the assistant or the run sets it; the old default is returned but not sent")
_STORED_AND_RETURNED = "stored and returned; not sent to the model"
_POLL_INTERVAL = {"poll_interval_ms": works("handled by the SDK: milliseconds between two polls")}
_EVENT_HANDLER = {"event_handler": works("handled by the SDK: the handler receives the library's events")}

PAGING: ParameterSupport = {
    "limit": works("1 to 100; the default is 20"),
    "order": works("`asc` or `desc` by creation time"),
    "after": works("the id after which the page starts"),
    "before": works("the id before which the page ends"),
}

_SHARED: ParameterSupport = {
    "instructions": works("sent as `instructions`; those of a run replace the assistant's"),
    "model": works(
        "sent as named, or as `Settings(models=...)` maps it, then without what the new model refuses; the run "
        "shows the original name"
    ),
    "metadata": _METADATA,
    "tools": differs(
        "functions are flattened and always sent with `strict`; `code_interpreter` gets a container, which expires "
        "after 20 idle minutes instead of an hour; `file_search` gets the vector stores, and is not sent without one"
    ),
    "temperature": _TEMPERATURE,
    "top_p": _TEMPERATURE,
    "response_format": works("sent as `text.format`, with `json_schema` flattened; `auto` is not sent"),
}

_REASONING: ParameterSupport = {"reasoning_effort": works("sent as `reasoning.effort`")}

ASSISTANT: ParameterSupport = {
    **_SHARED,
    **_REASONING,
    "name": works(_STORED_AND_RETURNED),
    "description": works(_STORED_AND_RETURNED),
    "tool_resources": works(
        "files for the code interpreter and vector stores for file search; new vector stores are created upstream"
    ),
}

THREAD: ParameterSupport = {
    "messages": works("stored in order"),
    "metadata": _METADATA,
    "tool_resources": works("like the assistant's; a run uses both"),
}

MESSAGE: ParameterSupport = {
    "role": works("`user` or `assistant`"),
    "content": works("stored by the library; images in an assistant's message are not sent to the model"),
    "attachments": works(
        "files for file search are added to the thread's vector store, files for the code interpreter to its container"
    ),
    "metadata": _METADATA,
}

_ANY_RUN: ParameterSupport = {
    **_SHARED,
    "assistant_id": works("an assistant in the library's store, otherwise the old 404"),
    "stream": works("the old events; a run continues if its reader stops early"),
    "max_prompt_tokens": differs(
        "whole turns in the middle of the thread are dropped until the input is estimated to fit; the run ends "
        "`incomplete` if the upstream still counts more"
    ),
    "max_completion_tokens": differs(
        "sent as `max_output_tokens`, at least 16; each further response of the run gets what is left"
    ),
    "truncation_strategy": differs(
        "`auto` sends the whole thread, and drops whole turns from the middle if the upstream finds it too long; "
        "`last_messages` sends the newest messages"
    ),
    "tool_choice": differs("sent as set; a choice that forces a call applies only to the first response of a run"),
    "parallel_tool_calls": works("sent as set, if the run has tools"),
}

RUN: ParameterSupport = {
    **_ANY_RUN,
    **_REASONING,
    "include": works("adds the texts of search results to the steps of a stream"),
    "additional_instructions": works("appended to `instructions` on a new line"),
    "additional_messages": works("added to the thread before the run"),
}

THREAD_AND_RUN: ParameterSupport = {
    **_ANY_RUN,
    "thread": works("created with the run; if the run is refused, no thread is created either"),
    "tool_resources": works("those of the new thread"),
}

TOOL_OUTPUTS: ParameterSupport = {
    "tool_outputs": works("sent as `function_call_output` items; all pending calls must be answered"),
    "stream": _ANY_RUN["stream"],
}

METADATA: ParameterSupport = {"metadata": _METADATA}
STEP_RETRIEVE: ParameterSupport = {"include": works("adds the texts of search results")}
STEP_LIST: ParameterSupport = {**PAGING, **STEP_RETRIEVE}
MESSAGE_LIST: ParameterSupport = {**PAGING, "run_id": works("only the messages that this run wrote")}

RUN_CREATE_AND_POLL: ParameterSupport = {**RUN, **_POLL_INTERVAL}
RUN_STREAM: ParameterSupport = {**RUN, **_EVENT_HANDLER}
THREAD_AND_RUN_POLL: ParameterSupport = {**THREAD_AND_RUN, **_POLL_INTERVAL}
THREAD_AND_RUN_STREAM: ParameterSupport = {**THREAD_AND_RUN, **_EVENT_HANDLER}
TOOL_OUTPUTS_POLL: ParameterSupport = {**TOOL_OUTPUTS, **_POLL_INTERVAL}
TOOL_OUTPUTS_STREAM: ParameterSupport = {**TOOL_OUTPUTS, **_EVENT_HANDLER}
RUN_POLL: ParameterSupport = _POLL_INTERVAL

# The upstream handles vector stores. The library only replaces the ids of generated files.
_FORWARDED = works("handled by the upstream")
_FORWARDED_FILE = works("handled by the upstream; a generated file is uploaded on first use")


def _forwarded(*names: str) -> ParameterSupport:
    return dict.fromkeys(names, _FORWARDED)


_STORE_FILE_OPTIONS = _forwarded("chunking_strategy", "attributes")
_STORE_FILE_POLLING = _forwarded("poll_interval_ms", "max_wait_seconds")
STORE_PAGING: ParameterSupport = _forwarded("after", "before", "limit", "order")
STORE_FILE_LIST: ParameterSupport = _forwarded("after", "before", "filter", "limit", "order")
STORE: ParameterSupport = {
    **_forwarded("name", "description", "metadata", "expires_after", "chunking_strategy"),
    "file_ids": _FORWARDED_FILE,
}
STORE_UPDATE: ParameterSupport = _forwarded("name", "metadata", "expires_after")
STORE_SEARCH: ParameterSupport = _forwarded("query", "filters", "max_num_results", "ranking_options", "rewrite_query")
STORE_FILE: ParameterSupport = {**_STORE_FILE_OPTIONS, "file_id": _FORWARDED_FILE}
STORE_FILE_UPDATE: ParameterSupport = _forwarded("attributes")
STORE_FILE_CREATE_AND_POLL: ParameterSupport = {**STORE_FILE, **_STORE_FILE_POLLING}
STORE_FILE_UPLOAD: ParameterSupport = _forwarded("file", "chunking_strategy")
STORE_FILE_UPLOAD_AND_POLL: ParameterSupport = {**_STORE_FILE_OPTIONS, **_STORE_FILE_POLLING, **_forwarded("file")}
STORE_FILE_POLL: ParameterSupport = _STORE_FILE_POLLING
BATCH: ParameterSupport = {**_STORE_FILE_OPTIONS, "file_ids": _FORWARDED_FILE, "files": _FORWARDED_FILE}
BATCH_CREATE_AND_POLL: ParameterSupport = {**BATCH, **_forwarded("poll_interval_ms")}
BATCH_UPLOAD: ParameterSupport = {
    **_forwarded("files", "max_concurrency", "poll_interval_ms", "chunking_strategy"),
    "file_ids": _FORWARDED_FILE,
}
BATCH_POLL: ParameterSupport = _forwarded("poll_interval_ms")
FILE_LIST: ParameterSupport = {
    "purpose": works("filters both the generated files (`assistants_output`) and the upstream's"),
    "order": works("applies to the generated files and the upstream's separately"),
    "limit": works("unchanged"),
    "after": works("unchanged"),
}
