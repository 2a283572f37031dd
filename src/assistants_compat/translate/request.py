"""What a run sends upstream: `POST /responses` from an assistant, a thread and a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..wire import Json, Run

OUTPUTS = "code_interpreter_call.outputs"
"""Without this `include` the outputs of a call are null (recorded); every request with the tool sends it."""

_LEAST_OUTPUT_TOKENS = 16  # the Responses API refuses less (spec)


def request_from_run(run: Run, given: Mapping[str, Any], file_ids: list[str], *, background: bool) -> Json:
    """The body of `POST /responses` without its `input`.

    `given` holds what the caller set on the run or the assistant: a default that is only echoed (temperature 1.0) is
    not sent, because reasoning models refuse it.  `store` is always explicit: a background response may otherwise not
    outlive ten minutes (platform.md section 5).
    """
    body: Json = {"model": run["model"], "store": True}
    if background:
        body["background"] = True
    if run["instructions"]:
        body["instructions"] = run["instructions"]
    for key, put in _PARAMETERS.items():
        if given.get(key) is not None:
            body.update(put(given[key]))
    if run["tools"]:
        body["tools"] = [_TOOLS[tool["type"]](tool, file_ids) for tool in run["tools"]]
        if given.get("tool_choice") is not None:
            body["tool_choice"] = given["tool_choice"]
    if any(tool["type"] == "code_interpreter" for tool in run["tools"]):
        body["include"] = [OUTPUTS]
    return body


def _code_interpreter(_tool: Json, file_ids: list[str]) -> Json:
    container: Json = {"type": "auto"}
    if file_ids:
        container["file_ids"] = file_ids
    return {"type": "code_interpreter", "container": container}


_TOOLS = {"code_interpreter": _code_interpreter}


def _text_format(response_format: Any) -> Json:
    if response_format == "auto":
        return {}
    if response_format["type"] == "json_schema":
        schema = response_format["json_schema"]
        return {"text": {"format": {"type": "json_schema", **schema, "schema": schema.get("schema") or {}}}}
    return {"text": {"format": {"type": response_format["type"]}}}


# What becomes of each legacy parameter upstream, when the caller set it.
_PARAMETERS: dict[str, Callable[[Any], Json]] = {
    "temperature": lambda value: {"temperature": value},
    "top_p": lambda value: {"top_p": value},
    "parallel_tool_calls": lambda value: {"parallel_tool_calls": value},
    "reasoning_effort": lambda value: {"reasoning": {"effort": value}},
    "max_completion_tokens": lambda value: {"max_output_tokens": max(_LEAST_OUTPUT_TOKENS, value)},
    "response_format": _text_format,
}


def input_from_messages(messages: Iterable[Mapping[str, Any]]) -> list[Json]:
    """The transcript as input items, oldest first.

    A user's message is a list of parts.  An assistant's is plain text in an easy message: an `InputMessage` has no
    assistant role (platform.md section 3), and upstream ids of earlier answers are never sent again.
    """
    items = [_item(message) for message in messages]
    return [item for item in items if item is not None]


def _item(message: Mapping[str, Any]) -> Json | None:
    if message["role"] == "assistant":
        text = "\n\n".join(filter(None, (_said(block) for block in message["content"])))
        return {"role": "assistant", "content": text} if text else None
    return {"role": "user", "content": [_PARTS[block["type"]](block) for block in message["content"]]}


def _said(block: Json) -> str:
    if block["type"] == "text":
        return str(block["text"]["value"])
    return str(block.get("refusal", ""))


def _image_url(block: Json) -> Json:
    image = block["image_url"]
    return {"type": "input_image", "image_url": image["url"], "detail": image["detail"]}


def _image_file(block: Json) -> Json:
    image = block["image_file"]
    return {"type": "input_image", "file_id": image["file_id"], "detail": image["detail"]}


_PARTS = {
    "text": lambda block: {"type": "input_text", "text": block["text"]["value"]},
    "image_url": _image_url,
    "image_file": _image_file,
}
