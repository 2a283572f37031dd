"""What the library does with each call of the Assistants API: data only, shown by `audit` and docs/endpoints.md.

There is one row for each method of the SDK, with the routes that it requests. Tests compare the rows with the SDK's
classes, with the routes of `api.app`, and with the API's description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import parameters_table as params
from .parameters_table import ParameterSupport, Support, differs, works


@dataclass(frozen=True)
class MethodRow:
    """A method of the SDK: its routes, what the library does with it, and the native call that replaces it.

    `call` is what follows the client (`beta.threads.create`); `routes` are `METHOD /path` below the API's base URL.
    `parameters` has no entry for ids that are part of a path.
    """

    call: str
    routes: tuple[str, ...]
    support: Support
    native: str
    parameters: ParameterSupport = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """The parameters that are part of a path."""
        return tuple(dict.fromkeys(name for route in self.routes for name in re.findall(r"\{(\w+)\}", route)))


_ASSISTANT = "/assistants/{assistant_id}"
_THREAD = "/threads/{thread_id}"
_MESSAGES = f"{_THREAD}/messages"
_MESSAGE = f"{_MESSAGES}/{{message_id}}"
_RUNS = f"{_THREAD}/runs"
_RUN = f"{_RUNS}/{{run_id}}"
_STEP = f"{_RUN}/steps/{{step_id}}"
_OUTPUTS = f"{_RUN}/submit_tool_outputs"
_STORE = "/vector_stores/{vector_store_id}"
_FILES = f"{_STORE}/files"
_FILE = f"{_FILES}/{{file_id}}"
_BATCHES = f"{_STORE}/file_batches"
_BATCH = f"{_BATCHES}/{{batch_id}}"

_STORED = works("answered from the library's store")
_REFRESHED = works("answered from the library's store; an active run is refreshed first")
_BACKGROUND_RESPONSE = works("sent as a background response; a run keeps one id over all its responses")
_STREAMED = works("the old events in the old order; the upstream decides where a text is split into deltas")
_FORWARDED = works("forwarded to the upstream unchanged")
_FORWARDED_WITH_UPLOAD = works("forwarded to the upstream; a generated file that it names is uploaded on first use")
_FORWARDED_WITH_COPY_ID = works(
    "forwarded to the upstream; the id of a generated file is replaced by that of its uploaded copy"
)
_DELETED_UPSTREAM_TOO = differs(
    "deleted from the library's store; what was created upstream for the thread (containers, responses, vector stores) "
    "is deleted too"
)
_CANCELLED = differs("answers `cancelling`; a stream notices the cancellation at its next event")
_STEPS = differs(
    "the steps of a polled run appear at the end of each round, with the time at which the library saw it; the last "
    "one has the usage"
)

_NO_EQUIVALENT = "none: keep it in your own database or code"
_LIST_ITEMS = "conversations.items.list(conversation_id)"
_CREATE_ITEM = "conversations.items.create(conversation_id, items=[...])"
_CREATE_RESPONSE = (
    "responses.create(model=..., instructions=..., input=[...], tools=[...], background=True, store=True)"
)
_RETRIEVE_RESPONSE = "responses.retrieve(response_id)"
_CREATE_AND_POLL_RESPONSE = (
    "responses.create(...), or with background=True and responses.retrieve(response_id) until it ends"
)
_STREAM_RESPONSE = "responses.create(..., stream=True), or responses.stream(...)"
_SEND_TOOL_OUTPUTS = "responses.create(previous_response_id=..., input=[{'type': 'function_call_output', ...}], ...)"
_OUTPUT_ITEMS = "the items of response.output: function_call, code_interpreter_call, file_search_call, message"

_RUN_POLL_ROUTES = (f"POST {_RUNS}", f"GET {_RUN}")
_TOOL_OUTPUTS_POLL_ROUTES = (f"POST {_OUTPUTS}", f"GET {_RUN}")
_THREAD_AND_RUN_POLL_ROUTES = ("POST /threads/runs", f"GET {_RUN}")

_THREAD_UPDATE = {name: params.THREAD[name] for name in ("metadata", "tool_resources")}

BETA_ROWS = (
    MethodRow("beta.assistants.create", ("POST /assistants",), _STORED, _NO_EQUIVALENT, params.ASSISTANT),
    MethodRow("beta.assistants.retrieve", (f"GET {_ASSISTANT}",), _STORED, _NO_EQUIVALENT),
    MethodRow("beta.assistants.update", (f"POST {_ASSISTANT}",), _STORED, _NO_EQUIVALENT, params.ASSISTANT),
    MethodRow("beta.assistants.list", ("GET /assistants",), _STORED, _NO_EQUIVALENT, params.PAGING),
    MethodRow("beta.assistants.delete", (f"DELETE {_ASSISTANT}",), _STORED, _NO_EQUIVALENT),
    MethodRow("beta.threads.create", ("POST /threads",), _STORED, "conversations.create(items=[...])", params.THREAD),
    MethodRow("beta.threads.retrieve", (f"GET {_THREAD}",), _STORED, "conversations.retrieve(conversation_id)"),
    MethodRow(
        "beta.threads.update",
        (f"POST {_THREAD}",),
        _STORED,
        "conversations.update(conversation_id, ...)",
        _THREAD_UPDATE,
    ),
    MethodRow(
        "beta.threads.delete", (f"DELETE {_THREAD}",), _DELETED_UPSTREAM_TOO, "conversations.delete(conversation_id)"
    ),
    MethodRow(
        "beta.threads.create_and_run",
        ("POST /threads/runs",),
        _BACKGROUND_RESPONSE,
        _CREATE_RESPONSE,
        params.THREAD_AND_RUN,
    ),
    MethodRow(
        "beta.threads.create_and_run_poll",
        _THREAD_AND_RUN_POLL_ROUTES,
        _BACKGROUND_RESPONSE,
        _CREATE_AND_POLL_RESPONSE,
        params.THREAD_AND_RUN_POLL,
    ),
    MethodRow(
        "beta.threads.create_and_run_stream",
        ("POST /threads/runs",),
        _STREAMED,
        _STREAM_RESPONSE,
        params.THREAD_AND_RUN_STREAM,
    ),
    MethodRow("beta.threads.messages.create", (f"POST {_MESSAGES}",), _STORED, _CREATE_ITEM, params.MESSAGE),
    MethodRow(
        "beta.threads.messages.retrieve", (f"GET {_MESSAGE}",), _STORED, "conversations.items.retrieve(item_id, ...)"
    ),
    MethodRow("beta.threads.messages.update", (f"POST {_MESSAGE}",), _STORED, _NO_EQUIVALENT, params.METADATA),
    MethodRow(
        "beta.threads.messages.list",
        (f"GET {_MESSAGES}",),
        _REFRESHED,
        f"response.output, or {_LIST_ITEMS}",
        params.MESSAGE_LIST,
    ),
    MethodRow(
        "beta.threads.messages.delete", (f"DELETE {_MESSAGE}",), _STORED, "conversations.items.delete(item_id, ...)"
    ),
    MethodRow("beta.threads.runs.create", (f"POST {_RUNS}",), _BACKGROUND_RESPONSE, _CREATE_RESPONSE, params.RUN),
    MethodRow(
        "beta.threads.runs.create_and_poll",
        _RUN_POLL_ROUTES,
        _BACKGROUND_RESPONSE,
        _CREATE_AND_POLL_RESPONSE,
        params.RUN_CREATE_AND_POLL,
    ),
    MethodRow(
        "beta.threads.runs.create_and_stream", (f"POST {_RUNS}",), _STREAMED, _STREAM_RESPONSE, params.RUN_STREAM
    ),
    MethodRow("beta.threads.runs.stream", (f"POST {_RUNS}",), _STREAMED, _STREAM_RESPONSE, params.RUN_STREAM),
    MethodRow("beta.threads.runs.poll", (f"GET {_RUN}",), _REFRESHED, _RETRIEVE_RESPONSE, params.RUN_POLL),
    MethodRow("beta.threads.runs.retrieve", (f"GET {_RUN}",), _REFRESHED, _RETRIEVE_RESPONSE),
    MethodRow("beta.threads.runs.update", (f"POST {_RUN}",), _STORED, _NO_EQUIVALENT, params.METADATA),
    MethodRow(
        "beta.threads.runs.list",
        (f"GET {_RUNS}",),
        _REFRESHED,
        f"{_NO_EQUIVALENT}; responses cannot be listed",
        params.PAGING,
    ),
    MethodRow("beta.threads.runs.cancel", (f"POST {_RUN}/cancel",), _CANCELLED, "responses.cancel(response_id)"),
    MethodRow(
        "beta.threads.runs.submit_tool_outputs",
        (f"POST {_OUTPUTS}",),
        _BACKGROUND_RESPONSE,
        _SEND_TOOL_OUTPUTS,
        params.TOOL_OUTPUTS,
    ),
    MethodRow(
        "beta.threads.runs.submit_tool_outputs_and_poll",
        _TOOL_OUTPUTS_POLL_ROUTES,
        _BACKGROUND_RESPONSE,
        _SEND_TOOL_OUTPUTS,
        params.TOOL_OUTPUTS_POLL,
    ),
    MethodRow(
        "beta.threads.runs.submit_tool_outputs_stream",
        (f"POST {_OUTPUTS}",),
        _STREAMED,
        _SEND_TOOL_OUTPUTS,
        params.TOOL_OUTPUTS_STREAM,
    ),
    MethodRow("beta.threads.runs.steps.list", (f"GET {_RUN}/steps",), _STEPS, _OUTPUT_ITEMS, params.STEP_LIST),
    MethodRow("beta.threads.runs.steps.retrieve", (f"GET {_STEP}",), _STEPS, _OUTPUT_ITEMS, params.STEP_RETRIEVE),
)

# Vector stores exist upstream. Legacy code still finds them below `beta`; the native call is the same without it.
_WITHOUT_BETA = "the same call without `beta`"
VECTOR_STORE_ROWS = (
    MethodRow("vector_stores.create", ("POST /vector_stores",), _FORWARDED_WITH_UPLOAD, _WITHOUT_BETA, params.STORE),
    MethodRow("vector_stores.retrieve", (f"GET {_STORE}",), _FORWARDED, _WITHOUT_BETA),
    MethodRow("vector_stores.update", (f"POST {_STORE}",), _FORWARDED, _WITHOUT_BETA, params.STORE_UPDATE),
    MethodRow("vector_stores.list", ("GET /vector_stores",), _FORWARDED, _WITHOUT_BETA, params.STORE_PAGING),
    MethodRow("vector_stores.delete", (f"DELETE {_STORE}",), _FORWARDED, _WITHOUT_BETA),
    MethodRow("vector_stores.search", (f"POST {_STORE}/search",), _FORWARDED, _WITHOUT_BETA, params.STORE_SEARCH),
    MethodRow(
        "vector_stores.files.create", (f"POST {_FILES}",), _FORWARDED_WITH_UPLOAD, _WITHOUT_BETA, params.STORE_FILE
    ),
    MethodRow("vector_stores.files.retrieve", (f"GET {_FILE}",), _FORWARDED_WITH_COPY_ID, _WITHOUT_BETA),
    MethodRow(
        "vector_stores.files.update",
        (f"POST {_FILE}",),
        _FORWARDED_WITH_COPY_ID,
        _WITHOUT_BETA,
        params.STORE_FILE_UPDATE,
    ),
    MethodRow("vector_stores.files.list", (f"GET {_FILES}",), _FORWARDED, _WITHOUT_BETA, params.STORE_FILE_LIST),
    MethodRow("vector_stores.files.delete", (f"DELETE {_FILE}",), _FORWARDED_WITH_COPY_ID, _WITHOUT_BETA),
    MethodRow("vector_stores.files.content", (f"GET {_FILE}/content",), _FORWARDED_WITH_COPY_ID, _WITHOUT_BETA),
    MethodRow(
        "vector_stores.files.create_and_poll",
        (f"POST {_FILES}", f"GET {_FILE}"),
        _FORWARDED_WITH_UPLOAD,
        _WITHOUT_BETA,
        params.STORE_FILE_CREATE_AND_POLL,
    ),
    MethodRow("vector_stores.files.upload", (f"POST {_FILES}",), _FORWARDED, _WITHOUT_BETA, params.STORE_FILE_UPLOAD),
    MethodRow(
        "vector_stores.files.upload_and_poll",
        (f"POST {_FILES}",),
        _FORWARDED,
        _WITHOUT_BETA,
        params.STORE_FILE_UPLOAD_AND_POLL,
    ),
    MethodRow(
        "vector_stores.files.poll", (f"GET {_FILE}",), _FORWARDED_WITH_COPY_ID, _WITHOUT_BETA, params.STORE_FILE_POLL
    ),
    MethodRow(
        "vector_stores.file_batches.create", (f"POST {_BATCHES}",), _FORWARDED_WITH_UPLOAD, _WITHOUT_BETA, params.BATCH
    ),
    MethodRow("vector_stores.file_batches.retrieve", (f"GET {_BATCH}",), _FORWARDED, _WITHOUT_BETA),
    MethodRow("vector_stores.file_batches.cancel", (f"POST {_BATCH}/cancel",), _FORWARDED, _WITHOUT_BETA),
    MethodRow(
        "vector_stores.file_batches.list_files",
        (f"GET {_BATCH}/files",),
        _FORWARDED,
        _WITHOUT_BETA,
        params.STORE_FILE_LIST,
    ),
    MethodRow(
        "vector_stores.file_batches.create_and_poll",
        (f"POST {_BATCHES}", f"GET {_BATCH}"),
        _FORWARDED_WITH_UPLOAD,
        _WITHOUT_BETA,
        params.BATCH_CREATE_AND_POLL,
    ),
    MethodRow(
        "vector_stores.file_batches.upload_and_poll",
        (f"POST {_BATCHES}",),
        _FORWARDED,
        _WITHOUT_BETA,
        params.BATCH_UPLOAD,
    ),
    MethodRow("vector_stores.file_batches.poll", (f"GET {_BATCH}",), _FORWARDED, _WITHOUT_BETA, params.BATCH_POLL),
)

_GENERATED_FILE = differs(
    "a generated file is answered from the library's store, even after its container has expired; other ids are "
    "forwarded to the upstream"
)
_MERGED_FILE_LIST = differs(
    "generated files and the upstream's in one list, by time; copies that were uploaded as input are left out"
)
_CONTAINER_FILE_CONTENT = (
    "containers.files.content.retrieve(file_id, container_id=...), until the container expires (20 idle minutes)"
)
FILE_ROWS = (
    MethodRow(
        "files.list", ("GET /files",), _MERGED_FILE_LIST, "containers.files.list(container_id)", params.FILE_LIST
    ),
    MethodRow(
        "files.retrieve",
        ("GET /files/{file_id}",),
        _GENERATED_FILE,
        "containers.files.retrieve(file_id, container_id=...)",
    ),
    MethodRow("files.content", ("GET /files/{file_id}/content",), _GENERATED_FILE, _CONTAINER_FILE_CONTENT),
    MethodRow("files.retrieve_content", ("GET /files/{file_id}/content",), _GENERATED_FILE, _CONTAINER_FILE_CONTENT),
    MethodRow(
        "files.delete",
        ("DELETE /files/{file_id}",),
        _GENERATED_FILE,
        "containers.files.delete(file_id, container_id=...)",
    ),
)

# Every row by what follows the client in legacy code.
ROWS_BY_CALL: Mapping[str, MethodRow] = {
    **{row.call: row for row in (*BETA_ROWS, *FILE_ROWS)},
    **{f"beta.{row.call}": row for row in VECTOR_STORE_ROWS},
}
