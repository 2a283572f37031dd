"""What becomes of everything that is no call of the SDK's methods: data alone, as `knowledge`.

Types, handlers, headers, routes, frameworks, and common mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .parameters_table import Fate, Verdict


@dataclass(frozen=True)
class Other:
    """A verdict, what the library does with it, and what native code has instead."""

    verdict: Verdict
    note: str
    native: str


NAMESPACE = Other("works", "calls through it work; they are listed where this file makes them", "client.responses")
FIRST_VERSION = Other(
    "unsupported",
    "no method of the SDK's second version; the first version's `file_ids` are understood in a request (`extra_body`)",
    "attachments of a message, or file_ids of a container",
)
NO_PARAMETER = Fate("mistake", "the SDK's method has no such parameter and raises TypeError; `extra_body` sends it")
TYPES = Other("works", "answers are objects of these classes", "openai.types.responses")
HANDLER = Other("works", "its methods are called in the old order", "for event in responses.create(..., stream=True)")

OBJECTS: Mapping[tuple[str, ...], Other] = {
    ("required_action", "submit_tool_outputs"): Other(
        "works", "served in the old shape", "the items of type function_call in response.output"
    ),
    ("file_path", "file_id"): Other(
        "works",
        "an id that files.content takes, also when the container is gone",
        "container_id and file_id of a container_file_citation",
    ),
    ("image_file", "file_id"): Other(
        "works",
        "an id that files.content takes, also when the container is gone",
        "a container_file_citation, or the outputs of a code_interpreter_call",
    ),
    ("file_citation", "file_id"): Other("works", "the file that was searched", "file_id of a file_citation"),
    ("file_citation", "quote"): Other(
        "differs", "not served; the SDK's second version has it in deltas only", "the results of a file_search_call"
    ),
}
REPLACED = Other(
    "works",
    "the annotation's text is the very span of the value, markers included",
    "start_index and end_index of a container_file_citation; a file_citation has an index and no text",
)

HEADER = Other("works", "not needed: the SDK sends it with each call of `beta`", "leave it out")
HEADER_OF_THE_FIRST = Other(
    "differs", "answered in the shapes of the second version; `retrieval` and `file_ids` are understood", "leave it out"
)
ROUTE_OF_THE_SDK = Other("works", "answered as the SDK's own methods are", "client.responses")
ROUTE = Other(
    "unsupported",
    "a request of another HTTP library does not pass the wrapped client",
    "POST /v1/responses, or the SDK's client, wrapped",
)

CLIENT = Other("works", "wrap it here", "the same client")
DATED = Other(
    "works",
    "wrap it here; the dated api_version is not sent to the v1 routes",
    'OpenAI(base_url=endpoint + "/openai/v1/", api_key=...)',
)
DATED_QUERY = Other("mistake", "the v1 routes answer a dated api-version with 404", "leave it out, or `preview`")
UPLOAD = Other("works", "goes on to the upstream untouched", "the same; purpose `user_data` for what is input alone")

METADATA_ONLY = Other(
    "mistake",
    "containers.files.retrieve gives metadata, no bytes",
    "containers.files.content.retrieve(file_id, container_id=...)",
)
NOT_A_FILE = Other(
    "mistake",
    "the Files API does not know a container's file and answers 404",
    "containers.files.content.retrieve(file_id, container_id=...)",
)
NO_PAUSE = Other(
    "mistake",
    "every look at an active run asks the upstream: sleep between two, or use runs.poll",
    "responses.retrieve with a pause between two",
)
UNPARSED = Other("unsupported", "this file could not be read as Python 3, and was searched as text", "")


@dataclass(frozen=True)
class Framework:
    """A framework's class that drives the Assistants API, and the packages that it comes from."""

    name: str
    packages: tuple[str, ...]
    other: Other


def _takes(argument: str) -> Other:
    return Other(
        "works",
        f"give it a wrapped client ({argument}), or call `install()` before it makes its own",
        "an agent of the framework over the Responses API",
    )


FRAMEWORKS: Mapping[str, Framework] = {
    "OpenAIAssistantRunnable": Framework(
        "LangChain", ("langchain", "langchain_classic"), _takes("client=, async_client=")
    ),
    "OpenAIAssistantV2Runnable": Framework("LangChain", ("langchain_community",), _takes("client=, async_client=")),
    "GPTAssistantAgent": Framework("AutoGen", ("autogen",), _takes("openai_client")),
    "OpenAIAssistantAgent": Framework("LlamaIndex or AutoGen", ("llama_index", "autogen_ext"), _takes("client=")),
}

# What the documentation says of each, by what is found.
SAID: Mapping[str, Other] = {
    "a part of a client that is passed on, `client.beta.threads`": NAMESPACE,
    "methods of the first version, `beta.assistants.files`": FIRST_VERSION,
    "a parameter that a method does not have": Other("mistake", NO_PARAMETER.note, "a parameter of the native call"),
    "types, `openai.types.beta.threads`": TYPES,
    "subclasses of `AssistantEventHandler`": HANDLER,
    **{f"`{'.'.join(pair)}`": other for pair, other in OBJECTS.items()},
    "`replace(annotation.text, ...)`": REPLACED,
    "the header `OpenAI-Beta` by hand": HEADER,
    "the header `OpenAI-Beta: assistants=v1`": HEADER_OF_THE_FIRST,
    "a route by the client's own methods, `client.post('/threads', cast_to=...)`": ROUTE_OF_THE_SDK,
    "a route by another HTTP library, `requests.post('.../v1/threads')`": ROUTE,
    "a client that is made": CLIENT,
    "an Azure client with a dated `api_version`": DATED,
    "a dated `api-version` in the `default_query` of `OpenAI`": DATED_QUERY,
    "`files.create(purpose='assistants')`": UPLOAD,
    "bytes of `containers.files.retrieve(...)`": METADATA_ONLY,
    "`files.content` of a container's file": NOT_A_FILE,
    "a loop over `runs.retrieve` without a pause": NO_PAUSE,
    "a file that is no Python 3": UNPARSED,
    **{f"`{name}` of {each.name}": each.other for name, each in FRAMEWORKS.items()},
}
