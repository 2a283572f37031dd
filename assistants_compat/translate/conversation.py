"""A thread as items of a Conversation, and back.

A Conversation knows no attachments, and its assistant messages no files of the Files API: which file an annotation, an
image or an attachment is, is said in the text, a line each (`[sandbox:/mnt/data/sales.csv: file-abc]`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ..wire.objects import Json, as_object, objects
from .transcript import user_parts

Use = tuple[str, Literal["assistants", "vision"]]

SHOWN = ("code_interpreter_call.outputs", "message.input_image.image_url")
"""What a list of items tells only when it is asked for (`include`)."""

_CODE = "code_interpreter_call"
_ROLES = ("user", "assistant")
_LEGACY_DETAILS = ("auto", "low", "high")
_MOST_FILES = 20  # of a thread's code interpreter (spec)


# --- going out


def files_of_entries(entries: Iterable[Mapping[str, Any]]) -> list[Use]:
    """The files that messages show, link, cite or attach, each once, and as what."""
    uses: list[Use] = []
    for entry in entries:
        for block in objects(entry.get("content")):
            if block["type"] == "image_file":
                uses.append((block["image_file"]["file_id"], "vision"))
            uses += [(_cited(note), "assistants") for note in _notes(block)]
        uses += [(str(each["file_id"]), "assistants") for each in _attached(entry)]
    return list(dict.fromkeys(uses))


def items_from_entries(
    entries: Iterable[Mapping[str, Any]], names: Mapping[Use, str], now: int
) -> tuple[list[Json], dict[str, str]]:
    """The items of a transcript, in its order, and why others are left out, by their ids.

    `names` are the upstream's ids of files that are ours.  A Code Interpreter call goes along while its container
    lives.
    """
    items: list[Json] = []
    left_out: dict[str, str] = {}
    for entry in entries:
        if "role" in entry:
            item = _item_from_message(entry, names)
            if item is not None:
                items.append(item)
        elif entry.get("until") is None or now < entry["until"]:
            items += entry["items"]
        else:
            left_out.update({str(item.get("id")): "its container is no longer there" for item in entry["items"]})
    return items, left_out


def without_code(items: Iterable[Json]) -> tuple[list[Json], list[str]]:
    """The items without calls of the Code Interpreter, and the ids of those."""
    kept = list(items)
    calls = [str(item["id"]) for item in kept if item.get("type") == _CODE]
    return [item for item in kept if item.get("type") != _CODE], calls


def _item_from_message(message: Mapping[str, Any], names: Mapping[Use, str]) -> Json | None:
    said = [
        f"[{note['text']}: {_named(_cited(note), 'assistants', names)}]"
        for block in objects(message["content"])
        for note in _notes(block)
    ]
    for each in _attached(message):
        tools = ", ".join(str(tool["type"]) for tool in objects(each.get("tools")))
        what = f"attachment for {tools}" if tools else "attachment"
        said.append(f"[{what}: {_named(str(each['file_id']), 'assistants', names)}]")
    said = list(dict.fromkeys(said))
    if message["role"] == "assistant":
        text = "\n\n".join(filter(None, [*(_said(block, names) for block in message["content"]), *said]))
        return {"role": "assistant", "content": text} if text else None
    parts = [_with_name(part, names) for part in user_parts(message)]
    parts += [{"type": "input_text", "text": line} for line in said]
    return {"role": "user", "content": parts}


def _said(block: Json, names: Mapping[Use, str]) -> str:
    if block["type"] == "text":
        return str(block["text"]["value"])
    if block["type"] == "image_file":
        return f"[image: {_named(block['image_file']['file_id'], 'vision', names)}]"
    if block["type"] == "image_url":
        return f"[image: {block['image_url']['url']}]"
    return str(block.get("refusal", ""))


def _with_name(part: Json, names: Mapping[Use, str]) -> Json:
    return {**part, "file_id": _named(part["file_id"], "vision", names)} if "file_id" in part else part


def _named(file_id: str, purpose: Literal["assistants", "vision"], names: Mapping[Use, str]) -> str:
    return names.get((file_id, purpose), file_id)


def _notes(block: Json) -> list[Json]:
    return objects(as_object(block.get("text")).get("annotations")) if block["type"] == "text" else []


def _cited(note: Json) -> str:
    return str(as_object(note.get(note["type"])).get("file_id"))


def _attached(message: Mapping[str, Any]) -> list[Json]:
    return [each for each in objects(message.get("attachments")) if each.get("file_id")]


# --- coming in


def entries_from_items(items: Iterable[Json], until: Mapping[str, int]) -> tuple[list[Json], dict[str, str]]:
    """Messages as a caller would give them, and what stands between them; why others are left out, by their ids.

    `until` says of each container that lives how long what ran in it may be sent.  A call that nobody has answered is
    left out: the upstream refuses every later request with one.
    """
    entries: list[Json] = []
    left_out: dict[str, str] = {}
    calls: dict[str, Json] = {}
    room = _MOST_FILES
    for item in items:
        kind, id_ = item.get("type", "message"), str(item.get("id"))
        if kind == "message" and item.get("role") in _ROLES:
            message = _message_from_item(item, left_out, room)
            room -= sum(1 for each in message["attachments"] if each["tools"])
            entries.append(message)
        elif kind == "message":
            # The old API had no such role: it is told to later runs, and not listed.
            told = {"type": "message", "role": item.get("role"), "content": item.get("content")}
            entries.append({"items": [told], "until": None})
        elif kind == "function_call":
            calls[str(item.get("call_id"))] = item
        elif kind == "function_call_output" and (call := calls.pop(str(item.get("call_id")), None)) is not None:
            pair = [_kept(call, "type", "call_id", "name", "arguments"), _kept(item, "type", "call_id", "output")]
            entries.append({"items": pair, "until": None})
        elif kind == _CODE and item.get("container_id") in until:
            entries.append({"items": [_code_call(item)], "until": until[item["container_id"]]})
        else:
            left_out[id_] = "its container is no longer there" if kind == _CODE else f"a thread holds no {kind}"
    left_out.update({str(call.get("id")): "nobody has answered this function call" for call in calls.values()})
    return entries, left_out


def containers_of_items(items: Iterable[Json]) -> list[str]:
    """The containers in which the items' code ran, each once."""
    return list(dict.fromkeys(str(item.get("container_id")) for item in items if item.get("type") == _CODE))


def _kept(item: Json, *keys: str) -> Json:
    return {key: item[key] for key in keys if key in item}


def _code_call(item: Json) -> Json:
    logs = [output for output in objects(item.get("outputs")) if output.get("type") == "logs"]
    kept = _kept(item, "type", "id", "container_id")
    return {**kept, "status": "completed", "code": item.get("code"), "outputs": logs}


def _message_from_item(item: Json, left_out: dict[str, str], room: int) -> Json:
    content: list[Json] = []
    attachments: list[Json] = []
    said: object = item.get("content")
    parts = [{"type": "input_text", "text": said}] if isinstance(said, str) else objects(said)
    for part in parts:
        kind = str(part.get("type"))
        if kind in ("input_text", "output_text", "text"):
            content.append({"type": "text", "text": str(part.get("text") or "")})
            for note in objects(part.get("annotations")):
                if note.get("type") == "container_file_citation":
                    where = f"in container {note.get('container_id')}"
                    left_out[str(note.get("file_id"))] = f"{note.get('filename')} {where} was not copied"
        elif kind == "refusal":
            content.append({"type": "text", "text": str(part.get("refusal") or "")})
        elif kind == "input_image" and part.get("file_id"):
            content.append({"type": "image_file", "image_file": {"file_id": part["file_id"], **_detail(part)}})
        elif kind == "input_image" and part.get("image_url"):
            content.append({"type": "image_url", "image_url": {"url": part["image_url"], **_detail(part)}})
        elif kind == "input_file" and part.get("file_id"):
            tools = [{"type": "code_interpreter"}] if len(attachments) < room else []
            attachments.append({"file_id": part["file_id"], "tools": tools})
        else:
            left_out[str(item.get("id"))] = f"a message holds no {kind}"
    content = content or [{"type": "text", "text": ""}]
    return {"role": item["role"], "content": content, "attachments": attachments}


def _detail(part: Json) -> Json:
    return {"detail": part["detail"]} if part.get("detail") in _LEGACY_DETAILS else {}
