"""What becomes of each parameter of the Assistants API: data alone, read by `audit` and by docs/endpoints.md.

A parameter is `works` where a program notices nothing, and `differs` where it may; the words say what is done with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["works", "differs", "mistake", "unsupported"]


@dataclass(frozen=True)
class Fate:
    """What becomes of something: a verdict, and in words what the library does with it."""

    verdict: Verdict
    note: str


Fates = Mapping[str, Fate]


def works(note: str) -> Fate:
    """Nothing to notice."""
    return Fate("works", note)


def differs(note: str) -> Fate:
    """It is there, and a program may notice that another service answers."""
    return Fate("differs", note)


_METADATA = works("kept here, with the old limits (16 pairs, keys of 64, values of 512 characters)")
_TEMPERATURE = works("sent only where the assistant or the run sets it; the default is served and not sent")
_ONLY_SERVED = "kept here and served; it is not sent"
_WITH_POLL = {"poll_interval_ms": works("the SDK's own: milliseconds between two looks")}
_HANDLED = {"event_handler": works("the SDK's own: its handler reads our events")}

PAGING: Fates = {
    "limit": works("1 to 100, 20 where none is given"),
    "order": works("`asc` or `desc` by the time of creation"),
    "after": works("the id behind which a page begins"),
    "before": works("the id before which a page ends"),
}

_SHARED: Fates = {
    "instructions": works("sent as `instructions`; a run's go before the assistant's"),
    "model": works("as named, or what `Settings(models=...)` says for it; the run shows the name that was given"),
    "metadata": _METADATA,
    "tools": differs(
        "a function is flattened and `strict` always sent; `code_interpreter` gets a container, which dies after 20 "
        "idle minutes and not after an hour; `file_search` the vector stores, and is not sent where there is none"
    ),
    "temperature": _TEMPERATURE,
    "top_p": _TEMPERATURE,
    "response_format": works("sent as `text.format`, `json_schema` flattened; `auto` is not sent"),
}

_REASONING: Fates = {"reasoning_effort": works("sent as `reasoning.effort`")}

ASSISTANT: Fates = {
    **_SHARED,
    **_REASONING,
    "name": works(_ONLY_SERVED),
    "description": works(_ONLY_SERVED),
    "tool_resources": works(
        "files of the code interpreter, vector stores of the search; stores to be made are made upstream"
    ),
}

THREAD: Fates = {
    "messages": works("kept in their order"),
    "metadata": _METADATA,
    "tool_resources": works("as an assistant's; both are there for a run"),
}

MESSAGE: Fates = {
    "role": works("`user` or `assistant`"),
    "content": works("kept here; images in an assistant's message are not told to the model"),
    "attachments": works(
        "a file for search joins the thread's vector store, one for the code interpreter its container"
    ),
    "metadata": _METADATA,
}

_RUN: Fates = {
    **_SHARED,
    "assistant_id": works("an assistant of the store, else the old 404"),
    "stream": works("the old events; a run goes on when its reader leaves"),
    "max_prompt_tokens": differs("kept here: the run ends `incomplete` once the input of its rounds was larger in sum"),
    "max_completion_tokens": differs("sent as `max_output_tokens`, at least 16; in each round what is left of it"),
    "truncation_strategy": differs(
        "`auto` sends the whole thread, and drops whole turns from the middle where the upstream finds it too long; "
        "`last_messages` sends the newest"
    ),
    "tool_choice": differs("as given; a choice that forces a call holds for the first round of a run"),
    "parallel_tool_calls": works("as given"),
}

RUN: Fates = {
    **_RUN,
    **_REASONING,
    "include": works("the texts of search results, in the steps of a stream"),
    "additional_instructions": works("added to `instructions` on a line of their own"),
    "additional_messages": works("added to the thread before the run"),
}

THREAD_AND_RUN: Fates = {
    **_RUN,
    "thread": works("made with the run; when the run is refused there is no thread either"),
    "tool_resources": works("of the new thread"),
}

OUTPUTS: Fates = {
    "tool_outputs": works("sent as `function_call_output`; all waiting calls must be answered"),
    "stream": _RUN["stream"],
}

UPDATED: Fates = {"metadata": _METADATA}
STEP: Fates = {"include": works("the texts of search results")}
STEPS_OF: Fates = {**PAGING, **STEP}
MESSAGES_OF: Fates = {**PAGING, "run_id": works("only what this run wrote")}

RUN_POLLED: Fates = {**RUN, **_WITH_POLL}
RUN_STREAMED: Fates = {**RUN, **_HANDLED}
THREAD_AND_RUN_POLLED: Fates = {**THREAD_AND_RUN, **_WITH_POLL}
THREAD_AND_RUN_STREAMED: Fates = {**THREAD_AND_RUN, **_HANDLED}
OUTPUTS_POLLED: Fates = {**OUTPUTS, **_WITH_POLL}
OUTPUTS_STREAMED: Fates = {**OUTPUTS, **_HANDLED}
POLLED: Fates = _WITH_POLL

# Vector stores are the upstream's own: nothing is done with these but for the ids of generated files.
_UPSTREAM = works("the upstream's own")
_FILE = works("the upstream's own; a generated file is uploaded at its first use")


def _passed(*names: str) -> Fates:
    return dict.fromkeys(names, _UPSTREAM)


_CHUNKED = _passed("chunking_strategy", "attributes")
_WAITED = _passed("poll_interval_ms", "max_wait_seconds")
STORE_PAGING: Fates = _passed("after", "before", "limit", "order")
STORE_FILES: Fates = _passed("after", "before", "filter", "limit", "order")
STORE: Fates = {
    **_passed("name", "description", "metadata", "expires_after", "chunking_strategy"),
    "file_ids": _FILE,
}
STORE_UPDATED: Fates = _passed("name", "metadata", "expires_after")
STORE_SEARCH: Fates = _passed("query", "filters", "max_num_results", "ranking_options", "rewrite_query")
STORE_FILE: Fates = {**_CHUNKED, "file_id": _FILE}
STORE_FILE_UPDATED: Fates = _passed("attributes")
STORE_FILE_POLLED: Fates = {**STORE_FILE, **_WAITED}
STORE_UPLOAD: Fates = _passed("file", "chunking_strategy")
STORE_UPLOAD_POLLED: Fates = {**_CHUNKED, **_WAITED, **_passed("file")}
STORE_WAIT: Fates = _WAITED
BATCH: Fates = {**_CHUNKED, "file_ids": _FILE, "files": _FILE}
BATCH_POLLED: Fates = {**BATCH, **_passed("poll_interval_ms")}
BATCH_UPLOAD: Fates = {
    **_passed("files", "max_concurrency", "poll_interval_ms", "chunking_strategy"),
    "file_ids": _FILE,
}
BATCH_WAIT: Fates = _passed("poll_interval_ms")
FILES: Fates = {
    "purpose": works("holds for generated files (`assistants_output`) and for the upstream's"),
    "order": works("within each of the two"),
    "limit": works("as it was"),
    "after": works("as it was"),
}
