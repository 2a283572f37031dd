"""Translates the transcript of a thread into the items of a Conversation, and back.

A Conversation has no attachments, and its assistant messages cannot refer to files of the Files API. So the text of a
message names the file of each annotation, image and attachment on a line: `[sandbox:/mnt/data/sales.csv: file-abc]`.
Uploading those files is I/O and happens in `tools/conversations.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ..wire.objects import Json, as_object, as_object_list
from .transcript import input_parts_from_message

FileUse = tuple[str, Literal["assistants", "vision"]]
"""The id of a file, and the purpose for which the upstream needs it."""

ITEM_INCLUDES = ("code_interpreter_call.outputs", "message.input_image.image_url")
"""The parts of items that the upstream lists only on request (`include`)."""

_CODE_CALL = "code_interpreter_call"
_ROLES = ("user", "assistant")
_LEGACY_IMAGE_DETAILS = ("auto", "low", "high")  # a newer value of `detail` is dropped
_MAX_CODE_INTERPRETER_FILES = 20  # of a thread (spec)
_CONTAINER_GONE = "its container no longer exists"


# --- from a thread to a Conversation


def files_of_entries(entries: Iterable[Mapping[str, Any]]) -> list[FileUse]:
    """Return the files that messages show, link, cite or attach; each use of a file appears once."""
    uses: list[FileUse] = []
    for entry in entries:
        for block in as_object_list(entry.get("content")):
            if block["type"] == "image_file":
                uses.append((block["image_file"]["file_id"], "vision"))
            uses += [(_cited_file_id(annotation), "assistants") for annotation in _annotations(block)]
        uses += [(str(attachment["file_id"]), "assistants") for attachment in _file_attachments(entry)]
    return list(dict.fromkeys(uses))


def items_from_entries(
    entries: Iterable[Mapping[str, Any]], upstream_ids: Mapping[FileUse, str], now: int
) -> tuple[list[Json], dict[str, str]]:
    """Return the items of a transcript in its order, and the reasons why others are left out, by item id.

    `upstream_ids` are the upstream's ids of generated files. A Code Interpreter call is included while its container
    lives.
    """
    items: list[Json] = []
    omission_reasons: dict[str, str] = {}
    for entry in entries:
        if "role" in entry:
            item = _item_from_message(entry, upstream_ids)
            if item is not None:
                items.append(item)
        elif entry.get("until") is None or now < entry["until"]:
            items += entry["items"]
        else:
            omission_reasons.update({str(item.get("id")): _CONTAINER_GONE for item in entry["items"]})
    return items, omission_reasons


def without_code_calls(items: Iterable[Json]) -> tuple[list[Json], list[str]]:
    """Return the items without Code Interpreter calls, and the ids of those calls."""
    all_items = list(items)
    calls = [str(item["id"]) for item in all_items if item.get("type") == _CODE_CALL]
    return [item for item in all_items if item.get("type") != _CODE_CALL], calls


def _item_from_message(message: Mapping[str, Any], upstream_ids: Mapping[FileUse, str]) -> Json | None:
    file_lines = [
        f"[{annotation['text']}: {_upstream_id(_cited_file_id(annotation), 'assistants', upstream_ids)}]"
        for block in as_object_list(message["content"])
        for annotation in _annotations(block)
    ]
    for attachment in _file_attachments(message):
        tools = ", ".join(str(tool["type"]) for tool in as_object_list(attachment.get("tools")))
        label = f"attachment for {tools}" if tools else "attachment"
        file_lines.append(f"[{label}: {_upstream_id(str(attachment['file_id']), 'assistants', upstream_ids)}]")
    file_lines = list(dict.fromkeys(file_lines))  # a file may be linked more than once
    if message["role"] == "assistant":
        text = "\n\n".join(
            filter(None, [*(_text_from_block(block, upstream_ids) for block in message["content"]), *file_lines])
        )
        # A plain string: an item with parts has no assistant role (platform.md section 3).
        return {"role": "assistant", "content": text} if text else None
    parts = [_with_upstream_id(part, upstream_ids) for part in input_parts_from_message(message)]
    parts += [{"type": "input_text", "text": line} for line in file_lines]
    return {"role": "user", "content": parts}


def _text_from_block(block: Json, upstream_ids: Mapping[FileUse, str]) -> str:
    if block["type"] == "text":
        return str(block["text"]["value"])
    if block["type"] == "image_file":
        return f"[image: {_upstream_id(block['image_file']['file_id'], 'vision', upstream_ids)}]"
    if block["type"] == "image_url":
        return f"[image: {block['image_url']['url']}]"
    return str(block.get("refusal", ""))


def _with_upstream_id(part: Json, upstream_ids: Mapping[FileUse, str]) -> Json:
    return {**part, "file_id": _upstream_id(part["file_id"], "vision", upstream_ids)} if "file_id" in part else part


def _upstream_id(file_id: str, purpose: Literal["assistants", "vision"], upstream_ids: Mapping[FileUse, str]) -> str:
    return upstream_ids.get((file_id, purpose), file_id)


def _annotations(block: Json) -> list[Json]:
    return as_object_list(as_object(block.get("text")).get("annotations")) if block["type"] == "text" else []


def _cited_file_id(annotation: Json) -> str:
    return str(as_object(annotation.get(annotation["type"])).get("file_id"))


def _file_attachments(message: Mapping[str, Any]) -> list[Json]:
    return [attachment for attachment in as_object_list(message.get("attachments")) if attachment.get("file_id")]


# --- from a Conversation to a thread


def entries_from_items(items: Iterable[Json], container_expiry: Mapping[str, int]) -> tuple[list[Json], dict[str, str]]:
    """Return transcript entries, and the reasons why items are left out, by item id.

    The entries are messages as a caller would create them, and the items between them. `container_expiry`
    maps each living container to the time until which calls that ran in it may be sent. A function call without an
    output is left out, because the upstream refuses every later request that contains one.
    """
    entries: list[Json] = []
    omission_reasons: dict[str, str] = {}
    calls: dict[str, Json] = {}
    remaining_files = _MAX_CODE_INTERPRETER_FILES
    for item in items:
        item_type, item_id = item.get("type", "message"), str(item.get("id"))
        if item_type == "message" and item.get("role") in _ROLES:
            message = _message_from_item(item, omission_reasons, remaining_files)
            remaining_files -= sum(1 for attachment in message["attachments"] if attachment["tools"])
            entries.append(message)
        elif item_type == "message":
            # The legacy API has no such role. Later runs send the message, but callers cannot list it.
            message_item = {"type": "message", "role": item.get("role"), "content": item.get("content")}
            entries.append({"items": [message_item], "until": None})
        elif item_type == "function_call":
            calls[str(item.get("call_id"))] = item
        elif item_type == "function_call_output" and (call := calls.pop(str(item.get("call_id")), None)) is not None:
            pair = [
                _pick_keys(call, "type", "call_id", "name", "arguments"),
                _pick_keys(item, "type", "call_id", "output"),
            ]
            entries.append({"items": pair, "until": None})
        elif item_type == _CODE_CALL and item.get("container_id") in container_expiry:
            entries.append({"items": [_code_call_for_replay(item)], "until": container_expiry[item["container_id"]]})
        else:
            is_code_call = item_type == _CODE_CALL
            omission_reasons[item_id] = _CONTAINER_GONE if is_code_call else f"a thread cannot hold a {item_type}"
    omission_reasons.update({str(call.get("id")): "this function call has no output" for call in calls.values()})
    return entries, omission_reasons


def container_ids_from_items(items: Iterable[Json]) -> list[str]:
    """Return the ids of the containers in which the items' code ran; each appears once."""
    return list(dict.fromkeys(str(item.get("container_id")) for item in items if item.get("type") == _CODE_CALL))


def _pick_keys(item: Json, *keys: str) -> Json:
    return {key: item[key] for key in keys if key in item}


def _code_call_for_replay(item: Json) -> Json:
    logs = [output for output in as_object_list(item.get("outputs")) if output.get("type") == "logs"]
    kept_fields = _pick_keys(item, "type", "id", "container_id")
    return {**kept_fields, "status": "completed", "code": item.get("code"), "outputs": logs}


def _message_from_item(item: Json, omission_reasons: dict[str, str], remaining_files: int) -> Json:
    content: list[Json] = []
    attachments: list[Json] = []
    item_content: object = item.get("content")
    is_text = isinstance(item_content, str)
    parts = [{"type": "input_text", "text": item_content}] if is_text else as_object_list(item_content)
    for part in parts:
        part_type = str(part.get("type"))
        if part_type in ("input_text", "output_text", "text"):
            content.append({"type": "text", "text": str(part.get("text") or "")})
            for annotation in as_object_list(part.get("annotations")):
                if annotation.get("type") == "container_file_citation":
                    file = f"{annotation.get('filename')} in container {annotation.get('container_id')}"
                    omission_reasons[str(annotation.get("file_id"))] = f"{file} was not copied"
        elif part_type == "refusal":
            content.append({"type": "text", "text": str(part.get("refusal") or "")})
        elif part_type == "input_image" and part.get("file_id"):
            content.append({"type": "image_file", "image_file": {"file_id": part["file_id"], **_image_detail(part)}})
        elif part_type == "input_image" and part.get("image_url"):
            content.append({"type": "image_url", "image_url": {"url": part["image_url"], **_image_detail(part)}})
        elif part_type == "input_file" and part.get("file_id"):
            # A file beyond the limit is attached without a tool, so it does not join the thread's files.
            tools = [{"type": "code_interpreter"}] if len(attachments) < remaining_files else []
            attachments.append({"file_id": part["file_id"], "tools": tools})
        else:
            omission_reasons[str(item.get("id"))] = f"a message cannot hold a {part_type}"
    # The legacy API requires a part (spec), and a message may hold nothing but files.
    content = content or [{"type": "text", "text": ""}]
    return {"role": item["role"], "content": content, "attachments": attachments}


def _image_detail(part: Json) -> Json:
    return {"detail": part["detail"]} if part.get("detail") in _LEGACY_IMAGE_DETAILS else {}
