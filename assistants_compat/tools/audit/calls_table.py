"""What becomes of each call of the Assistants API: data alone, read by `audit` and by docs/endpoints.md.

One row a method of the SDK, with the routes that it asks for.  Tests compare the rows with the SDK's classes, with the
routes that `app` answers, and with the API's description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import parameters_table as fates
from .parameters_table import Fate, Fates, differs, works


@dataclass(frozen=True)
class Row:
    """A method of the SDK: where it goes, what the library does with it, and what the native call would be.

    `call` is what follows the client (`beta.threads.create`), `routes` are `METHOD /path` below the API's base.
    """

    call: str
    routes: tuple[str, ...]
    fate: Fate
    native: str
    parameters: Fates = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """The parameters that stand in a path."""
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

_KEPT = works("kept here")
_MOVED = works("kept here; a run moves when somebody looks at it")
_CREATED = works("a response in the background; one run id for all its rounds")
_TOLD = works("the old events in the old order; the upstream chooses where a text is cut into deltas")
_UNTOUCHED = works("goes on to the upstream untouched")
_UPLOADED = works("goes on to the upstream; a generated file that it names is uploaded at its first use")
_RENAMED = works("goes on to the upstream, under its copy's id where it names a generated file")
_DELETED = differs(
    "kept here; what was made for the thread upstream (containers, responses, vector stores) is deleted too"
)
_STOPPED = differs("answered `cancelling`; a stream notices it at its next event")
_LISTED = differs(
    "all steps of a response have the time at which the run was seen to have ended; the last has its usage"
)

_OWN = "none: keep it in a database or in code of your own"
_ITEMS = "conversations.items.list(conversation_id)"
_ITEM = "conversations.items.create(conversation_id, items=[...])"
_ASK = "responses.create(model=..., instructions=..., input=[...], tools=[...], background=True, store=True)"
_LOOK = "responses.retrieve(response_id)"
_POLL = "responses.create(...), or with background=True and responses.retrieve(response_id) until it has ended"
_STREAM = "responses.create(..., stream=True), or responses.stream(...)"
_ANSWER = "responses.create(previous_response_id=..., input=[{'type': 'function_call_output', ...}], ...)"
_OUTPUT = "the items of response.output: function_call, code_interpreter_call, file_search_call, message"

_RUN_POLL = (f"POST {_RUNS}", f"GET {_RUN}")
_OUTPUTS_POLL = (f"POST {_OUTPUTS}", f"GET {_RUN}")
_THREAD_POLL = ("POST /threads/runs", f"GET {_RUN}")

_RESOURCES = {name: fates.THREAD[name] for name in ("metadata", "tool_resources")}

ROWS = (
    Row("beta.assistants.create", ("POST /assistants",), _KEPT, _OWN, fates.ASSISTANT),
    Row("beta.assistants.retrieve", (f"GET {_ASSISTANT}",), _KEPT, _OWN),
    Row("beta.assistants.update", (f"POST {_ASSISTANT}",), _KEPT, _OWN, fates.ASSISTANT),
    Row("beta.assistants.list", ("GET /assistants",), _KEPT, _OWN, fates.PAGING),
    Row("beta.assistants.delete", (f"DELETE {_ASSISTANT}",), _KEPT, _OWN),
    Row("beta.threads.create", ("POST /threads",), _KEPT, "conversations.create(items=[...])", fates.THREAD),
    Row("beta.threads.retrieve", (f"GET {_THREAD}",), _KEPT, "conversations.retrieve(conversation_id)"),
    Row("beta.threads.update", (f"POST {_THREAD}",), _KEPT, "conversations.update(conversation_id, ...)", _RESOURCES),
    Row("beta.threads.delete", (f"DELETE {_THREAD}",), _DELETED, "conversations.delete(conversation_id)"),
    Row("beta.threads.create_and_run", ("POST /threads/runs",), _CREATED, _ASK, fates.THREAD_AND_RUN),
    Row("beta.threads.create_and_run_poll", _THREAD_POLL, _CREATED, _POLL, fates.THREAD_AND_RUN_POLLED),
    Row("beta.threads.create_and_run_stream", ("POST /threads/runs",), _TOLD, _STREAM, fates.THREAD_AND_RUN_STREAMED),
    Row("beta.threads.messages.create", (f"POST {_MESSAGES}",), _KEPT, _ITEM, fates.MESSAGE),
    Row("beta.threads.messages.retrieve", (f"GET {_MESSAGE}",), _KEPT, "conversations.items.retrieve(item_id, ...)"),
    Row("beta.threads.messages.update", (f"POST {_MESSAGE}",), _KEPT, _OWN, fates.UPDATED),
    Row(
        "beta.threads.messages.list", (f"GET {_MESSAGES}",), _MOVED, f"response.output, or {_ITEMS}", fates.MESSAGES_OF
    ),
    Row("beta.threads.messages.delete", (f"DELETE {_MESSAGE}",), _KEPT, "conversations.items.delete(item_id, ...)"),
    Row("beta.threads.runs.create", (f"POST {_RUNS}",), _CREATED, _ASK, fates.RUN),
    Row("beta.threads.runs.create_and_poll", _RUN_POLL, _CREATED, _POLL, fates.RUN_POLLED),
    Row("beta.threads.runs.create_and_stream", (f"POST {_RUNS}",), _TOLD, _STREAM, fates.RUN_STREAMED),
    Row("beta.threads.runs.stream", (f"POST {_RUNS}",), _TOLD, _STREAM, fates.RUN_STREAMED),
    Row("beta.threads.runs.poll", (f"GET {_RUN}",), _MOVED, _LOOK, fates.POLLED),
    Row("beta.threads.runs.retrieve", (f"GET {_RUN}",), _MOVED, _LOOK),
    Row("beta.threads.runs.update", (f"POST {_RUN}",), _KEPT, _OWN, fates.UPDATED),
    Row("beta.threads.runs.list", (f"GET {_RUNS}",), _MOVED, f"{_OWN}; there is no list of responses", fates.PAGING),
    Row("beta.threads.runs.cancel", (f"POST {_RUN}/cancel",), _STOPPED, "responses.cancel(response_id)"),
    Row("beta.threads.runs.submit_tool_outputs", (f"POST {_OUTPUTS}",), _CREATED, _ANSWER, fates.OUTPUTS),
    Row("beta.threads.runs.submit_tool_outputs_and_poll", _OUTPUTS_POLL, _CREATED, _ANSWER, fates.OUTPUTS_POLLED),
    Row("beta.threads.runs.submit_tool_outputs_stream", (f"POST {_OUTPUTS}",), _TOLD, _ANSWER, fates.OUTPUTS_STREAMED),
    Row("beta.threads.runs.steps.list", (f"GET {_RUN}/steps",), _LISTED, _OUTPUT, fates.STEPS_OF),
    Row("beta.threads.runs.steps.retrieve", (f"GET {_STEP}",), _LISTED, _OUTPUT, fates.STEP),
)

# These live upstream, and legacy code finds them below `beta` as before. The native call is the same without it.
_SAME = "the same without `beta`"
STORES = (
    Row("vector_stores.create", ("POST /vector_stores",), _UPLOADED, _SAME, fates.STORE),
    Row("vector_stores.retrieve", (f"GET {_STORE}",), _UNTOUCHED, _SAME),
    Row("vector_stores.update", (f"POST {_STORE}",), _UNTOUCHED, _SAME, fates.STORE_UPDATED),
    Row("vector_stores.list", ("GET /vector_stores",), _UNTOUCHED, _SAME, fates.STORE_PAGING),
    Row("vector_stores.delete", (f"DELETE {_STORE}",), _UNTOUCHED, _SAME),
    Row("vector_stores.search", (f"POST {_STORE}/search",), _UNTOUCHED, _SAME, fates.STORE_SEARCH),
    Row("vector_stores.files.create", (f"POST {_FILES}",), _UPLOADED, _SAME, fates.STORE_FILE),
    Row("vector_stores.files.retrieve", (f"GET {_FILE}",), _RENAMED, _SAME),
    Row("vector_stores.files.update", (f"POST {_FILE}",), _RENAMED, _SAME, fates.STORE_FILE_UPDATED),
    Row("vector_stores.files.list", (f"GET {_FILES}",), _UNTOUCHED, _SAME, fates.STORE_FILES),
    Row("vector_stores.files.delete", (f"DELETE {_FILE}",), _RENAMED, _SAME),
    Row("vector_stores.files.content", (f"GET {_FILE}/content",), _RENAMED, _SAME),
    Row(
        "vector_stores.files.create_and_poll",
        (f"POST {_FILES}", f"GET {_FILE}"),
        _UPLOADED,
        _SAME,
        fates.STORE_FILE_POLLED,
    ),
    Row("vector_stores.files.upload", (f"POST {_FILES}",), _UNTOUCHED, _SAME, fates.STORE_UPLOAD),
    Row("vector_stores.files.upload_and_poll", (f"POST {_FILES}",), _UNTOUCHED, _SAME, fates.STORE_UPLOAD_POLLED),
    Row("vector_stores.files.poll", (f"GET {_FILE}",), _RENAMED, _SAME, fates.STORE_WAIT),
    Row("vector_stores.file_batches.create", (f"POST {_BATCHES}",), _UPLOADED, _SAME, fates.BATCH),
    Row("vector_stores.file_batches.retrieve", (f"GET {_BATCH}",), _UNTOUCHED, _SAME),
    Row("vector_stores.file_batches.cancel", (f"POST {_BATCH}/cancel",), _UNTOUCHED, _SAME),
    Row("vector_stores.file_batches.list_files", (f"GET {_BATCH}/files",), _UNTOUCHED, _SAME, fates.STORE_FILES),
    Row(
        "vector_stores.file_batches.create_and_poll",
        (f"POST {_BATCHES}", f"GET {_BATCH}"),
        _UPLOADED,
        _SAME,
        fates.BATCH_POLLED,
    ),
    Row("vector_stores.file_batches.upload_and_poll", (f"POST {_BATCHES}",), _UNTOUCHED, _SAME, fates.BATCH_UPLOAD),
    Row("vector_stores.file_batches.poll", (f"GET {_BATCH}",), _UNTOUCHED, _SAME, fates.BATCH_WAIT),
)

_GENERATED = differs("a generated file is answered here, whatever became of its container; any other goes on upstream")
_PAGED = differs("generated files first, newest first, then the upstream's pages as they are")
_CONTENT = "containers.files.content.retrieve(file_id, container_id=...), within 20 idle minutes"
FILES = (
    Row("files.list", ("GET /files",), _PAGED, "containers.files.list(container_id)", fates.FILES),
    Row(
        "files.retrieve", ("GET /files/{file_id}",), _GENERATED, "containers.files.retrieve(file_id, container_id=...)"
    ),
    Row("files.content", ("GET /files/{file_id}/content",), _GENERATED, _CONTENT),
    Row("files.retrieve_content", ("GET /files/{file_id}/content",), _GENERATED, _CONTENT),
    Row("files.delete", ("DELETE /files/{file_id}",), _GENERATED, "containers.files.delete(file_id, container_id=...)"),
)

# By what follows the client in legacy code.
BY_CALL: Mapping[str, Row] = {
    **{row.call: row for row in (*ROWS, *FILES)},
    **{f"beta.{row.call}": row for row in STORES},
}
