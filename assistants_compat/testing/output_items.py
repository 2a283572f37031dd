"""Output items of a response, with the service's citations: built from a scripted turn, or taken from a recording."""

from __future__ import annotations

import base64
import json
import posixpath
import re
from typing import TYPE_CHECKING, Any

from . import containers
from .exchange import ScriptError
from .sample_files import sample_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .state import Container, Json, State
    from .turns import Turn

_ITEM_PREFIXES = {
    "message": "msg_",
    "code_interpreter_call": "ci_",
    "function_call": "fc_",
    "reasoning": "rs_",
    "file_search_call": "fs_",
}


def items_from_turn(state: State, turn: Turn, container: Container | None, params: Json) -> list[Json]:
    """Return the items of a hand-written turn: a Code Interpreter call, a message, function calls."""
    if turn.output is not None:
        if container is not None:
            _add_generated_files(state, turn, container)
        items = [_with_missing_ids(state, item, container) for item in turn.output]
        create_cited_files(state, turn, items)
        return items
    if turn.uses_code and container is None:
        message = "The scripted turn uses Code Interpreter, but the request has no code_interpreter tool: add the tool."
        raise ScriptError(message)
    items = []
    annotations: list[Json] = []
    if container is not None and turn.uses_code:
        annotations = _add_shown_images(state, turn, container)
        _add_generated_files(state, turn, container)
        # The call before the message: its images are cited in the next message (recordings.md section 1).
        items.append(_code_call(state, turn, container))
    if (text := _message_text(turn, params)) is not None:
        if container is not None:
            annotations += _link_citations(text, container)
        items.append(_message(state, text, annotations, turn.status))
    return items + [_function_call(state, call) for call in turn.function_calls]


def _message_text(turn: Turn, params: Json) -> str | None:
    may_be_silent = turn.uses_code or turn.function_calls or turn.status != "completed"
    return turn.text if turn.text is not None or may_be_silent else f"You said: {last_user_text(params)}"


def last_user_text(params: Json) -> str:
    """Return the text of the newest user message, which the default turn repeats."""
    request_input = params.get("input", "")
    if isinstance(request_input, str):
        return request_input
    messages = [item for item in request_input if item.get("role") == "user"]
    content = messages[-1]["content"] if messages else ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def id_prefix(kind: str) -> str:
    """Return the prefix of the ids of this type of item."""
    return _ITEM_PREFIXES.get(kind, "item_")


def _with_missing_ids(state: State, raw: Mapping[str, Any], container: Container | None) -> Json:
    """Return a copy of a raw item with its missing ids: its own, and those of the container and its files."""
    item: Json = json.loads(json.dumps(raw))  # a deep copy as plain JSON: the script belongs to the test
    item.setdefault("id", state.ids.new(id_prefix(item["type"])))
    if container is None:
        return item
    if item["type"] == "code_interpreter_call":
        item.setdefault("container_id", container.wire["id"])
    # A citation names only the base name (recordings.md section 1).
    ids = {posixpath.basename(file.wire["path"]): file.wire["id"] for file in container.files.values()}
    for citation in _container_citations(item):
        citation.setdefault("container_id", container.wire["id"])
        citation.setdefault("file_id", ids.get(citation["filename"]) or state.ids.new("cfile_"))
    return item


def _add_generated_files(state: State, turn: Turn, container: Container) -> None:
    for name, content in turn.files.items():
        containers.add_generated_file(state, container, f"/mnt/data/{name}", content)


def _add_shown_images(state: State, turn: Turn, container: Container) -> list[Json]:
    """Add the shown images to the container and return their citations.

    Case B of recordings.md section 1: span 0/0, `filename == "<file_id>.png"`, before all other citations.
    """
    citations = []
    for content in turn.images:
        file_id = state.ids.new("cfile_")
        containers.add_generated_file(state, container, f"/mnt/data/{file_id}.png", content, file_id)
        citations.append(_citation(container, file_id, f"{file_id}.png", 0, 0))
    return citations


def _link_citations(text: str, container: Container) -> list[Json]:
    """Return the citations of the `sandbox:` links in a text to files that exist in the container.

    Case A of recordings.md section 1: the span is the `sandbox:` URL alone, counted in characters. Known paths are
    matched, the longest first, because a name may contain spaces and punctuation may follow a link.
    """
    ids = {file.wire["path"]: file.wire["id"] for file in container.files.values()}
    paths = sorted(ids, key=len, reverse=True)  # `/mnt/data/a.csv.gz` before `/mnt/data/a.csv`
    citations = []
    for link in re.finditer("sandbox:", text):
        path = next((path for path in paths if text.startswith(path, link.end())), None)
        if path is not None:
            end = link.end() + len(path)
            citations.append(_citation(container, ids[path], posixpath.basename(path), link.start(), end))
    return citations


def _citation(container: Container, file_id: str, filename: str, start: int, end: int) -> Json:
    return {
        # The keys in the recorded order (recordings.md section 1).
        "type": "container_file_citation",
        "container_id": container.wire["id"],
        "end_index": end,
        "file_id": file_id,
        "filename": filename,
        "start_index": start,
    }


def _code_call(state: State, turn: Turn, container: Container) -> Json:
    """Return the Code Interpreter call: images as `data:` URLs, then logs (Source: recordings.md section 2)."""
    outputs: list[Json] = [
        {"type": "image", "url": "data:image/png;base64," + base64.b64encode(image).decode()} for image in turn.images
    ]
    outputs += [] if turn.logs is None else [{"type": "logs", "logs": turn.logs}]
    return {
        "id": state.ids.new("ci_"),
        "type": "code_interpreter_call",
        "status": "completed",
        "code": turn.code or "",
        "container_id": container.wire["id"],
        "outputs": outputs,
    }


def _message(state: State, text: str, annotations: list[Json], status: str) -> Json:
    return {
        "id": state.ids.new("msg_"),
        "type": "message",
        # An incomplete response has an incomplete message (Source: MaxTokens.json).
        "status": "completed" if status == "completed" else "incomplete",
        "content": [{"type": "output_text", "annotations": annotations, "logprobs": [], "text": text}],
        "role": "assistant",
    }


def _function_call(state: State, call: Mapping[str, Any]) -> Json:
    arguments = call.get("arguments", "{}")
    return {
        "id": state.ids.new("fc_"),
        "type": "function_call",
        "status": "completed",
        "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
        "call_id": call.get("call_id") or state.ids.new("call_"),
        "name": call["name"],
    }


def create_cited_files(state: State, turn: Turn, output: list[Json]) -> None:
    """Create the containers and files that a recorded output cites, so that they can be downloaded.

    The bytes come from `turn.files` by name, or for a shown image from the recorded `data:` URL. Other files get sample
    bytes.
    """
    inline = _inline_images(output)
    for item in output:
        if item.get("type") == "code_interpreter_call" and item.get("container_id"):
            _find_or_create_container(state, item["container_id"])
        for annotation in _container_citations(item):
            container = _find_or_create_container(state, annotation["container_id"])
            name, file_id = annotation["filename"], annotation["file_id"]
            if file_id in container.files:  # cited before, in this or an earlier response
                continue
            is_shown = annotation["end_index"] == 0 and name.startswith(file_id)  # case B of recordings.md section 1
            # Images are cited in the order in which the calls showed them, and no citation names its output.
            content = turn.files.get(name) or (inline.pop(0) if is_shown and inline else sample_bytes(name))
            containers.add_generated_file(state, container, f"/mnt/data/{name}", content, file_id)


def _find_or_create_container(state: State, container_id: str) -> Container:
    return state.containers.get(container_id) or containers.add_container(state, "recorded", container_id=container_id)


def _container_citations(item: Json) -> list[Json]:
    parts = item.get("content") or [] if item.get("type") == "message" else []
    annotations = [annotation for part in parts for annotation in part.get("annotations") or []]
    return [annotation for annotation in annotations if annotation["type"] == "container_file_citation"]


def _inline_images(output: list[Json]) -> list[bytes]:
    urls = [
        call_output["url"]
        for item in output
        for call_output in item.get("outputs") or []
        if str(call_output.get("url")).startswith("data:")
    ]
    return [base64.b64decode(url.partition("base64,")[2]) for url in urls]
