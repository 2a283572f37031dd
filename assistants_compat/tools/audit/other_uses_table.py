"""What the library does with uses that are not calls of the SDK's methods: data only, like the other tables.

These are types, event handlers, headers, routes, frameworks and common mistakes. `audit` and docs/auditing.md show it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .parameters_table import Support, Verdict


@dataclass(frozen=True)
class Advice:
    """What to know about a use: the verdict, what the library does, and what native code has instead."""

    verdict: Verdict
    note: str
    native: str


CLIENT_PART = Advice(
    "works", "calls through it work; the audit lists those that the same file makes", "client.responses"
)
V1_METHOD = Advice(
    "unsupported",
    "not a method of Assistants API v2; the field `file_ids` of v1 is accepted in a request (`extra_body`)",
    "attachments of a message, or file_ids of a container",
)
UNKNOWN_PARAMETER = Support(
    "mistake", "the SDK's method has no such parameter and raises TypeError; use `extra_body` to send it"
)
SDK_TYPES = Advice("works", "answers are objects of these classes", "openai.types.responses")
_MOVED_TYPE = "openai 1.66 moved it and newer SDKs do not have the old name: change it, or keep an older SDK"
_RENAMED_TYPE = "renamed for version 2 of the API: the SDK no longer has this name"
_FIRST_VERSION_TYPE = "a type of Assistants API v1: the SDK no longer has this name"
_VECTOR_STORE_TYPES = (
    *("AutoFileChunkingStrategyParam", "FileChunkingStrategy", "FileChunkingStrategyParam"),
    *("OtherFileChunkingStrategyObject", "StaticFileChunkingStrategy", "StaticFileChunkingStrategyObject"),
    *("StaticFileChunkingStrategyObjectParam", "StaticFileChunkingStrategyParam", "VectorStore"),
    *("VectorStoreCreateParams", "VectorStoreDeleted", "VectorStoreListParams", "VectorStoreUpdateParams"),
)
_MODULE_WORD = re.compile(r"(?<!\A)(?=[A-Z])")

# The names that an SDK since 1.3 had and the newest one has not, with those that replaced them. A name stands for what
# is below it too. Source: the SDK's wheels 1.3.9, 1.17.1, 1.21.2, 1.40.8, 1.65.5, 1.66.5 and 3.57.0.
DROPPED_TYPES: Mapping[str, Advice] = {
    old: Advice("unsupported", note, new)
    for note, names in (
        (
            _MOVED_TYPE,
            {
                "openai.types.beta.vector_stores": "openai.types.vector_stores",
                "openai.resources.beta.vector_stores": "openai.resources.vector_stores",
                "openai.resources.beta.VectorStores": "openai.resources.VectorStores",
                "openai.resources.beta.AsyncVectorStores": "openai.resources.AsyncVectorStores",
                **{f"openai.types.beta.{name}": f"openai.types.{name}" for name in _VECTOR_STORE_TYPES},
                **{
                    f"openai.types.beta.{module}": f"openai.types.{module}"
                    for module in (_MODULE_WORD.sub("_", name).lower() for name in _VECTOR_STORE_TYPES)
                },
            },
        ),
        (
            _RENAMED_TYPE,
            {
                f"openai.types.beta.{old}": f"openai.types.beta.{new}"
                for old, new in (
                    ("AssistantResponseFormat", "AssistantResponseFormatOption"),
                    ("AssistantResponseFormatParam", "AssistantResponseFormatOptionParam"),
                    ("RetrievalTool", "FileSearchTool"),
                    ("RetrievalToolParam", "FileSearchToolParam"),
                    ("threads.MessageContentImageFile", "threads.ImageFileContentBlock"),
                    ("threads.MessageContentText", "threads.TextContentBlock"),
                    ("threads.ThreadMessage", "threads.Message"),
                    ("threads.runs.CodeToolCall", "threads.runs.CodeInterpreterToolCall"),
                    ("threads.runs.RetrievalToolCall", "threads.runs.FileSearchToolCall"),
                )
            },
        ),
        (
            _FIRST_VERSION_TYPE,
            {
                "openai.types.beta.assistants": "attachments of a message, or file_ids of a container",
                "openai.types.beta.threads.messages": "attachments of a message, or file_ids of a container",
            },
        ),
    )
    for old, new in names.items()
}


def advice_about_type(name: str) -> Advice:
    """Return what to know about a name of the SDK's types or resources below `beta`."""
    parts = name.split(".")
    starts = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((DROPPED_TYPES[start] for start in starts if start in DROPPED_TYPES), SDK_TYPES)


EVENT_HANDLER = Advice(
    "works", "its methods are called in the old order", "for event in responses.create(..., stream=True)"
)

OBJECT_FIELDS: Mapping[tuple[str, ...], Advice] = {
    ("required_action", "submit_tool_outputs"): Advice(
        "works", "returned in the old format", "the items of type function_call in response.output"
    ),
    ("file_path", "file_id"): Advice(
        "works",
        "an id that files.content accepts, even after the container has expired",
        "container_id and file_id of a container_file_citation",
    ),
    ("image_file", "file_id"): Advice(
        "works",
        "an id that files.content accepts, even after the container has expired",
        "a container_file_citation, or the outputs of a code_interpreter_call",
    ),
    ("file_citation", "file_id"): Advice("works", "the id of the file that was searched", "file_id of a file_citation"),
    ("file_citation", "quote"): Advice(
        "differs", "not returned; the SDK's v2 types have it in stream deltas only", "the results of a file_search_call"
    ),
}
REPLACE_ANNOTATION = Advice(
    "works",
    "the annotation's text is exactly the annotated part of the value, markers included",
    "start_index and end_index of a container_file_citation; a file_citation has an index and no text",
)

BETA_HEADER = Advice("works", "not needed: the SDK sends it with each `beta` call", "remove it")
V1_BETA_HEADER = Advice("differs", "answered in the v2 format; `retrieval` and `file_ids` are understood", "remove it")
CLIENT_ROUTE = Advice("works", "answered like the SDK's own methods", "client.responses")
OTHER_LIBRARY_ROUTE = Advice(
    "unsupported",
    "a request from another HTTP library does not go through the wrapped client",
    "POST /v1/responses; or use the SDK with a wrapped client",
)

NEW_CLIENT = Advice("works", "wrap this client", "the same client")
DATED_AZURE_CLIENT = Advice(
    "works",
    "wrap this client; the dated api_version is not sent to the v1 routes",
    'OpenAI(base_url=endpoint + "/openai/v1/", api_key=...)',
)
DATED_DEFAULT_QUERY = Advice(
    "mistake", "the v1 routes answer 404 to a dated api-version", "remove it, or use `preview`"
)
FILE_UPLOAD = Advice(
    "works",
    "forwarded to the upstream unchanged",
    "the same call; use purpose `user_data` for files that are only input",
)

CONTAINER_FILE_METADATA = Advice(
    "mistake",
    "containers.files.retrieve returns metadata, not content",
    "containers.files.content.retrieve(file_id, container_id=...)",
)
CONTAINER_FILE_ID = Advice(
    "mistake",
    "the Files API does not know the files of containers and answers 404",
    "containers.files.content.retrieve(file_id, container_id=...)",
)
BUSY_POLLING = Advice(
    "mistake",
    "every retrieve of an active run sends a request to the upstream: sleep between polls, or use runs.poll",
    "responses.retrieve with a pause between two",
)
AZURE_AGENTS = Advice(
    "unsupported",
    "Azure's Agents (classic) have their own SDK, whose requests do not go through an openai client: see docs/azure.md",
    "project.get_openai_client().responses",
)
UNPARSED_FILE = Advice("unsupported", "the file is not valid Python 3 and was searched as text", "")


@dataclass(frozen=True)
class Framework:
    """A framework whose class uses the Assistants API, and the packages that have this class."""

    name: str
    packages: tuple[str, ...]
    advice: Advice


def _framework_advice(argument: str) -> Advice:
    return Advice(
        "works",
        f"pass it a wrapped client ({argument}), or call `install()` before it creates its own",
        "an agent of the framework that uses the Responses API",
    )


FRAMEWORKS: Mapping[str, Framework] = {
    "OpenAIAssistantRunnable": Framework(
        "LangChain", ("langchain", "langchain_classic"), _framework_advice("client=, async_client=")
    ),
    "OpenAIAssistantV2Runnable": Framework(
        "LangChain", ("langchain_community",), _framework_advice("client=, async_client=")
    ),
    "GPTAssistantAgent": Framework("AutoGen", ("autogen",), _framework_advice("openai_client")),
    "OpenAIAssistantAgent": Framework(
        "LlamaIndex or AutoGen", ("llama_index", "autogen_ext"), _framework_advice("client=")
    ),
}

# The rows of the table in docs/auditing.md: a description of each use, and its advice.
DOCUMENTED_USES: Mapping[str, Advice] = {
    "a part of a client that is passed elsewhere, `client.beta.threads`": CLIENT_PART,
    "methods of Assistants API v1, `beta.assistants.files`": V1_METHOD,
    "a parameter that a method does not have": Advice(
        "mistake", UNKNOWN_PARAMETER.note, "a parameter of the native call"
    ),
    "types, `openai.types.beta.threads`": SDK_TYPES,
    "types that the SDK no longer has, `openai.types.beta.VectorStore`": DROPPED_TYPES["openai.types.beta.VectorStore"],
    "types of Assistants API v1, `openai.types.beta.assistants`": DROPPED_TYPES["openai.types.beta.assistants"],
    "subclasses of `AssistantEventHandler`": EVENT_HANDLER,
    **{f"`{'.'.join(pair)}`": other for pair, other in OBJECT_FIELDS.items()},
    "`replace(annotation.text, ...)`": REPLACE_ANNOTATION,
    "the header `OpenAI-Beta`, set by hand": BETA_HEADER,
    "the header `OpenAI-Beta: assistants=v1`": V1_BETA_HEADER,
    "a route requested with the client's own methods, `client.post('/threads', cast_to=...)`": CLIENT_ROUTE,
    "a route requested with another HTTP library, `requests.post('.../v1/threads')`": OTHER_LIBRARY_ROUTE,
    "the creation of a client": NEW_CLIENT,
    "an Azure client with a dated `api_version`": DATED_AZURE_CLIENT,
    "a dated `api-version` in the `default_query` of `OpenAI`": DATED_DEFAULT_QUERY,
    "`files.create(purpose='assistants')`": FILE_UPLOAD,
    "the result of `containers.files.retrieve(...)` used as content": CONTAINER_FILE_METADATA,
    "`files.content` with the id of a container's file": CONTAINER_FILE_ID,
    "a loop over `runs.retrieve` without a pause": BUSY_POLLING,
    "Azure's Agents (classic), `azure.ai.agents`": AZURE_AGENTS,
    "a file that is not valid Python 3": UNPARSED_FILE,
    **{f"`{name}` of {framework.name}": framework.advice for name, framework in FRAMEWORKS.items()},
}
