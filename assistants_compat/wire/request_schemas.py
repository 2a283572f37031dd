"""The request schemas of the Assistants API, as checks.

Keys and limits come from `spec/openapi.json` (`CreateAssistantRequest` and so on). Two limits are wider, as the
service's were: `max_completion_tokens` and `max_prompt_tokens` accept the recorded 16, not only 256 and more.
"""

from __future__ import annotations

from .checks import (
    anything,
    array,
    boolean,
    both,
    choice,
    image_url,
    mapping,
    metadata,
    null,
    nullable,
    number,
    record,
    string,
    string_or,
    tagged,
)
from .json_schemas import check_new_format, check_new_tools

_type = {"type": string()}
_id = string(min_length=1)
_effort = nullable(choice("none", "minimal", "low", "medium", "high", "xhigh", "max"))
_temperature = nullable(number(minimum=0, maximum=2))
_top_p = nullable(number(minimum=0, maximum=1))
_instructions = nullable(string(max_length=256_000))

_function = record(
    {
        "name": string(min_length=1, max_length=64),
        "description": nullable(string()),
        "parameters": nullable(mapping),
        "strict": nullable(boolean),
    },
    required=("name",),
)
_retrieval = {"retrieval": record(_type)}  # v1's name for file_search
# The service added `hybrid_search` to what it served (recorded), so a tool that was read and sent back has it.
_ranking = record(
    {"ranker": string(), "score_threshold": number(minimum=0, maximum=1), "hybrid_search": anything},
)
_tool = tagged(
    {
        "code_interpreter": record(_type),
        "file_search": record(
            {
                **_type,
                "file_search": record(
                    {"max_num_results": number(minimum=1, maximum=50, integer=True), "ranking_options": _ranking}
                ),
            }
        ),
        "function": record({**_type, "function": _function}, required=("function",)),
    },
    _retrieval,
)
# The spec says 128 for an assistant and 20 for a run. The wider limit holds for both.
_tools = array(_tool, max_items=128)

_json_schema = record(
    {
        "name": string(min_length=1, max_length=64),
        "description": nullable(string()),
        "schema": nullable(mapping),
        "strict": nullable(boolean),
    },
    required=("name",),
)
_response_format = nullable(
    string_or(
        choice("auto"),
        tagged(
            {
                "text": record(_type),
                "json_object": record(_type),
                "json_schema": record({**_type, "json_schema": _json_schema}, required=("json_schema",)),
            }
        ),
    )
)
_tool_choice = nullable(
    string_or(
        choice("none", "auto", "required"),
        tagged(
            {
                # The SDK's object of a run has a null `function` for these two.
                "code_interpreter": record({**_type, "function": null}),
                "file_search": record({**_type, "function": null}),
                "function": record(
                    {**_type, "function": record({"name": _id}, required=("name",))}, required=("function",)
                ),
            },
            _retrieval,
        ),
    )
)
_count = number(minimum=1, integer=True)
# The spec allows a null `last_messages` in both, but the strategy `last_messages` cannot work without a number.
_truncation = nullable(
    tagged(
        {
            "auto": record({**_type, "last_messages": nullable(_count)}),
            "last_messages": record({**_type, "last_messages": _count}, required=("last_messages",)),
        }
    )
)

# 20 files, one vector store to search, one to create: the limits of an assistant and of a thread (spec).
_file_ids = array(_id, max_items=20)
_code_resource = nullable(record({"file_ids": _file_ids}))
_new_store = record(
    {"file_ids": array(_id), "chunking_strategy": mapping, "metadata": nullable(metadata)},
)
_search_resource = nullable(
    record({"vector_store_ids": array(_id, max_items=1), "vector_stores": array(_new_store, max_items=1)})
)
_resources = nullable(record({"code_interpreter": _code_resource, "file_search": _search_resource}))

# From older versions of the spec; the limit in the last one is unknown (platform.md section 12).
_text_limit = 256_000
_part = tagged(
    {
        "text": record({**_type, "text": string(max_length=_text_limit)}, required=("text",)),
        "image_url": record(
            {
                **_type,
                "image_url": record({"url": image_url, "detail": choice("auto", "low", "high")}, required=("url",)),
            },
            required=("image_url",),
        ),
        "image_file": record(
            {
                **_type,
                "image_file": record({"file_id": _id, "detail": choice("auto", "low", "high")}, required=("file_id",)),
            },
            required=("image_file",),
        ),
    }
)
_attachment = record(
    {
        "file_id": _id,
        # Null in the SDK's object of a message of v1, for example.
        "tools": nullable(array(tagged({"code_interpreter": record(_type), "file_search": record(_type)}))),
    },
    required=("file_id", "tools"),
)
_message = record(
    {
        # Callers may add messages of the assistant too (spec).
        "role": choice("user", "assistant"),
        "content": string_or(string(min_length=1, max_length=_text_limit), array(_part, min_items=1)),
        "attachments": nullable(array(_attachment)),
        "file_ids": nullable(array(_id, max_items=10)),  # from v1 of the API, like the `file_ids` of an assistant
        "metadata": nullable(metadata),
    },
    required=("role", "content"),
)

_assistant = {
    "model": string(min_length=1),
    "name": nullable(string(max_length=256)),
    "description": nullable(string(max_length=512)),
    "instructions": _instructions,
    "reasoning_effort": _effort,
    "tools": nullable(both(_tools, check_new_tools)),
    "tool_resources": _resources,
    "file_ids": nullable(_file_ids),
    "metadata": nullable(metadata),
    "temperature": _temperature,
    "top_p": _top_p,
    "response_format": both(_response_format, check_new_format),
}
_thread = {
    "messages": nullable(array(_message)),
    "tool_resources": _resources,
    "metadata": nullable(metadata),
}
_run = {
    "assistant_id": _id,
    "model": nullable(string(min_length=1)),
    "instructions": _instructions,
    "reasoning_effort": _effort,
    "tools": nullable(both(_tools, check_new_tools)),
    "metadata": nullable(metadata),
    "temperature": _temperature,
    "top_p": _top_p,
    "stream": nullable(boolean),
    "max_prompt_tokens": nullable(_count),
    "max_completion_tokens": nullable(_count),
    "truncation_strategy": _truncation,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": nullable(boolean),
    "response_format": both(_response_format, check_new_format),
}
_more = {
    "additional_instructions": _instructions,
    "additional_messages": nullable(array(_message)),
}
_metadata_only = record({"metadata": nullable(metadata)})

ASSISTANT_CREATE = record(_assistant, required=("model",))
# Without what only a new assistant is refused for: one that was saved exists, and must come back.
ASSISTANT_SAVED = record(
    {**_assistant, "tools": nullable(_tools), "response_format": _response_format}, required=("model",)
)
ASSISTANT_UPDATE = record(_assistant)
THREAD_CREATE = record(_thread)
THREAD_UPDATE = record({"tool_resources": _resources, "metadata": nullable(metadata)})
MESSAGE_CREATE = _message
MESSAGE_UPDATE = _metadata_only
RUN_CREATE = record({**_run, **_more}, required=("assistant_id",))
THREAD_AND_RUN_CREATE = record(
    # The thread's tool resources: a run cannot have its own (platform.md section 12).
    {**_run, "thread": nullable(record(_thread)), "tool_resources": _resources},
    required=("assistant_id",),
)
RUN_UPDATE = _metadata_only
TOOL_OUTPUTS = record(
    {
        # The id is optional (spec; the SDK's own tests leave it out). The limit is that of an output in the Responses
        # API (platform.md section 10).
        "tool_outputs": array(record({"tool_call_id": _id, "output": nullable(string(max_length=10_485_760))})),
        "stream": nullable(boolean),
    },
    required=("tool_outputs",),
)

# The only value that the parameter `include` of runs and steps may have.
INCLUDE = array(choice("step_details.tool_calls[*].file_search.results[*].content"))
