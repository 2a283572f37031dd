"""Output items: made from a scripted turn, with citations as the service makes them, or taken from a recorded body."""

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


def from_turn(state: State, turn: Turn, container: Container | None, asked: Json) -> list[Json]:
    """The items of a turn written by hand: a Code Interpreter call, a message, function calls."""
    if turn.output is not None:
        if container is not None:
            _leave_files(state, turn, container)
        items = [_completed(state, item, container) for item in turn.output]
        furnish(state, turn, items)
        return items
    if turn.uses_code and container is None:
        message = "The scripted turn uses Code Interpreter, the request has no such tool."
        raise ScriptError(message)
    items = []
    annotations: list[Json] = []
    if container is not None and turn.uses_code:
        annotations = _shown_images(state, turn, container)
        _leave_files(state, turn, container)
        items.append(_code_call(state, turn, container))
    if (text := _text(turn, asked)) is not None:
        if container is not None:
            annotations += _links(text, container)
        items.append(_message(state, text, annotations, turn.status))
    return items + [_function_call(state, call) for call in turn.function_calls]


def _text(turn: Turn, asked: Json) -> str | None:
    says_nothing = turn.uses_code or turn.function_calls or turn.status != "completed"
    return turn.text if turn.text is not None or says_nothing else f"You said: {last_user_text(asked)}"


def last_user_text(asked: Json) -> str:
    """The text of the newest user message, which the default turn repeats."""
    said = asked.get("input", "")
    if isinstance(said, str):
        return said
    messages = [item for item in said if item.get("role") == "user"]
    content = messages[-1]["content"] if messages else ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def prefix_of(kind: str) -> str:
    """What the id of an item of this type begins with."""
    return _ITEM_PREFIXES.get(kind, "item_")


def _completed(state: State, raw: Mapping[str, Any], container: Container | None) -> Json:
    """A raw item with what its author could not know: its id, and the ids of the container and its files."""
    item: Json = json.loads(json.dumps(raw))
    item.setdefault("id", state.mint.new(prefix_of(item["type"])))
    if container is None:
        return item
    if item["type"] == "code_interpreter_call":
        item.setdefault("container_id", container.wire["id"])
    ids = {posixpath.basename(file.wire["path"]): file.wire["id"] for file in container.files.values()}
    for citation in _annotations(item):
        citation.setdefault("container_id", container.wire["id"])
        citation.setdefault("file_id", ids.get(citation["filename"]) or state.mint.new("cfile_"))
    return item


def _leave_files(state: State, turn: Turn, container: Container) -> None:
    for name, content in turn.files.items():
        containers.add_made(state, container, f"/mnt/data/{name}", content)


def _shown_images(state: State, turn: Turn, container: Container) -> list[Json]:
    """Case B of recordings.md section 1: span 0/0, `filename == "<file_id>.png"`, before all others."""
    citations = []
    for content in turn.images:
        file_id = state.mint.new("cfile_")
        containers.add_made(state, container, f"/mnt/data/{file_id}.png", content, file_id)
        citations.append(_citation(container, file_id, f"{file_id}.png", 0, 0))
    return citations


def _links(text: str, container: Container) -> list[Json]:
    """Case A: the span is the `sandbox:` URL alone, in characters; only for files that exist in the container.

    Known paths are looked for, the longest first, so that spaces in a name and punctuation after a link do no harm.
    """
    ids = {file.wire["path"]: file.wire["id"] for file in container.files.values()}
    paths = sorted(ids, key=len, reverse=True)
    citations = []
    for link in re.finditer("sandbox:", text):
        path = next((path for path in paths if text.startswith(path, link.end())), None)
        if path is not None:
            end = link.end() + len(path)
            citations.append(_citation(container, ids[path], posixpath.basename(path), link.start(), end))
    return citations


def _citation(container: Container, file_id: str, filename: str, start: int, end: int) -> Json:
    return {
        "type": "container_file_citation",
        "container_id": container.wire["id"],
        "end_index": end,
        "file_id": file_id,
        "filename": filename,
        "start_index": start,
    }


def _code_call(state: State, turn: Turn, container: Container) -> Json:
    """Image before logs, images inline as `data:` URLs (Source: recordings.md section 2)."""
    outputs: list[Json] = [
        {"type": "image", "url": "data:image/png;base64," + base64.b64encode(image).decode()} for image in turn.images
    ]
    outputs += [] if turn.logs is None else [{"type": "logs", "logs": turn.logs}]
    return {
        "id": state.mint.new("ci_"),
        "type": "code_interpreter_call",
        "status": "completed",
        "code": turn.code or "",
        "container_id": container.wire["id"],
        "outputs": outputs,
    }


def _message(state: State, text: str, annotations: list[Json], status: str) -> Json:
    return {
        "id": state.mint.new("msg_"),
        "type": "message",
        # An incomplete response has an incomplete message (Source: MaxTokens.json).
        "status": "completed" if status == "completed" else "incomplete",
        "content": [{"type": "output_text", "annotations": annotations, "logprobs": [], "text": text}],
        "role": "assistant",
    }


def _function_call(state: State, call: Mapping[str, Any]) -> Json:
    arguments = call.get("arguments", "{}")
    return {
        "id": state.mint.new("fc_"),
        "type": "function_call",
        "status": "completed",
        "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
        "call_id": call.get("call_id") or state.mint.new("call_"),
        "name": call["name"],
    }


def furnish(state: State, turn: Turn, output: list[Json]) -> None:
    """Make the containers and files that a recorded output cites, so that they can be downloaded.

    Bytes come from `turn.files` by name, for a shown image from the recorded `data:` URL, else from the name.
    """
    inline = _inline_images(output)
    for item in output:
        if item.get("type") == "code_interpreter_call" and item.get("container_id"):
            _ensure(state, item["container_id"])
        for annotation in _annotations(item):
            container = _ensure(state, annotation["container_id"])
            name, file_id = annotation["filename"], annotation["file_id"]
            if file_id in container.files:
                continue
            is_shown = annotation["end_index"] == 0
            content = turn.files.get(name) or (inline.pop(0) if is_shown and inline else sample_bytes(name))
            containers.add_made(state, container, f"/mnt/data/{name}", content, file_id)


def _ensure(state: State, container_id: str) -> Container:
    return state.containers.get(container_id) or containers.add(state, "recorded", container_id=container_id)


def _annotations(item: Json) -> list[Json]:
    parts = item.get("content") or [] if item.get("type") == "message" else []
    found = [annotation for part in parts for annotation in part.get("annotations") or []]
    return [annotation for annotation in found if annotation["type"] == "container_file_citation"]


def _inline_images(output: list[Json]) -> list[bytes]:
    urls = [
        out["url"] for item in output for out in item.get("outputs") or [] if str(out.get("url")).startswith("data:")
    ]
    return [base64.b64decode(url.partition("base64,")[2]) for url in urls]
