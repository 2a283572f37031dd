"""Reads the objects in a HAR file, which a browser saves of a session, for example with the old API's playground."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

from ...wire.objects import Json, as_object, as_object_list


def is_har(value: object) -> bool:
    """Whether a JSON value is the content of a HAR file."""
    return isinstance(value, dict) and isinstance(as_object(value.get("log")).get("entries"), list)


def objects_from_har(har: Json, kinds: Collection[str]) -> list[tuple[int, Json]]:
    """Return the objects in the answers of a session, each with the index of its entry.

    Only objects of these kinds are returned. A session shows an object several times, and its runs are unfinished at
    first: the last one counts.
    """
    found: dict[tuple[str, str], tuple[int, Json]] = {}
    for index, entry in enumerate(har["log"]["entries"]):
        for value in _answers(as_object(as_object(as_object(entry).get("response")).get("content"))):
            for saved in _objects(value):
                kind, id_ = saved.get("object"), saved.get("id")
                if isinstance(kind, str) and kind in kinds and isinstance(id_, str):
                    key = (kind.removesuffix(".deleted"), id_)
                    found.pop(key, None)  # so that it moves to the place where it was seen last
                    found[key] = (index, saved)
    return list(found.values())


def _answers(content: Json) -> Iterator[Any]:
    """Yield the JSON values of an answer: its body, or the data of each event of a stream."""
    text = content.get("text")
    if not isinstance(text, str):
        return
    if content.get("encoding") == "base64":
        try:
            text = base64.b64decode(text).decode()
        except (binascii.Error, ValueError):
            return
    is_stream = "event-stream" in str(content.get("mimeType", ""))
    documents = [line[5:] for line in text.splitlines() if line.startswith("data:")] if is_stream else [text]
    for document in documents:
        with suppress(ValueError, RecursionError):  # an image, a page, or the end of a stream
            yield json.loads(document)


def _objects(value: Any) -> list[Json]:
    if isinstance(value, dict) and value.get("object") == "list":
        return as_object_list(value.get("data"))
    return as_object_list([value])
