"""Finds the saved objects in a JSON value, whatever it is that holds them.

The old API's lists and objects are taken as they are. Exporters and applications saved other shapes: a thread with its
messages in it, bundles of a thread, its messages and its runs, tables by thread id, rows of a database, items of the
Responses API, HAR files. An object in another one is taken by itself, and gets the ids that its place implies. Data
under a key that has no place in the store is counted by its key, so that nothing is lost in silence.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ...engine.saved.app_rows import holds_data, is_app_row, message_from_row, metadata_from_saved, row_time
from ...engine.saved.objects import EXTENSION_KEY, SAVED_KINDS
from ...engine.saved.sdk_dumps import seconds_from_time
from ...translate.legacy_objects import KNOWN_KEYS
from ...wire.ids import IdKind, looks_like_thread_id, new_id
from ...wire.objects import Json
from .har import is_har, objects_from_har

# The kind of the objects under a key that does not say it, or None if they must say it themselves.
_KINDS_BY_KEY: Mapping[str, str | None] = {
    **dict.fromkeys(("assistant", "assistants"), "assistant"),
    **dict.fromkeys(("thread", "threads"), "thread"),
    **dict.fromkeys(("message", "messages"), "thread.message"),
    **dict.fromkeys(("run", "runs"), "thread.run"),
    **dict.fromkeys(("step", "steps", "run_step", "run_steps", "runSteps"), "thread.run.step"),
    **dict.fromkeys(("data", "items", "history", "conversation", "conversations")),
}
_KINDS_BY_PREFIX = {
    "asst": "assistant", "thread": "thread", "msg": "thread.message", "run": "thread.run", "step": "thread.run.step",
}  # fmt: skip
# The kind of a list's objects, by the kind of the id that it stands under.
_KINDS_OF_CHILDREN = {"thread": "thread.message", "thread.run": "thread.run.step"}
_ID = re.compile(r"(asst|thread|msg|run|step)_(?P<rest>[0-9A-Za-z]{3,128})\Z", re.ASCII)
_NO_ID = re.compile(r"(ids?|steps?|messages?|runs?|names?|titles?|data|metadata|info|urls?|types?|counts?|details)\Z")
_ID_IN_FILE_NAME = re.compile(r"thread_[0-9A-Za-z]{16,128}", re.ASCII)
_PAGE_KEYS = frozenset({"object", "data", "first_id", "last_id", "has_more"})
_THREAD_ID_KEYS = ("thread_id", "threadId", "openai_thread_id", "thread")
_THREAD_FIELDS = ("created_at", "metadata", "tool_resources")
_RUN_ID_KEYS = ("run_id", "runId", "run")
_CONTEXT_KEYS = frozenset({*_THREAD_ID_KEYS, *_RUN_ID_KEYS, *_PAGE_KEYS, "id", "type"})
# Messages, runs and steps keep unknown keys, and are served with them; these kinds have no place for them.
_WITHOUT_PLACE_FOR_KEYS = frozenset({"assistant", "thread"})
_IN_THREAD = frozenset({"thread.message", "thread.run", "thread.run.step"})
_BETWEEN_ROWS = 1e-6  # seconds; keeps rows without a time in their order
_DEEPEST = 32  # levels of lists and bundles that are looked into


class InputObject(NamedTuple):
    """A JSON value from the input: its location, the directory of its file, and the value itself.

    `oldest_first` says that a list of such values is oldest first if no times show its direction. `has_guessed_time`
    says that the input has no time for it.
    """

    location: str
    directory: Path
    value: Any
    oldest_first: bool = False
    has_guessed_time: bool = False


@dataclass(frozen=True)
class InputFile:
    """What is known of a file apart from its values; `changed_at` is in seconds since the epoch."""

    location: str
    directory: Path
    changed_at: float


@dataclass(frozen=True)
class _Place:
    """Where a value stands, and what that says about it.

    `conversation` is the location of the list, bundle or file whose rows form one thread if they name none.
    """

    location: str
    conversation: str
    thread_id: str | None = None
    run_id: str | None = None
    kind: str | None = None
    time: float | None = None  # of rows that have none
    is_bundled: bool = False  # then an inner list is no conversation of its own
    depth: int = 0


class ObjectFinder:
    """Finds the objects of one import.

    `unknown_keys` counts the keys with data that were left out. `new_threads` maps each thread id that was made,
    because the input has none, to the location of its rows. Ids are made from the input alone, so that importing it
    again makes the same ones.
    """

    def __init__(self) -> None:
        """Start without any ids."""
        self.unknown_keys: Counter[str] = Counter()
        self.new_threads: dict[str, str] = {}
        self._file = InputFile("", Path(), 0)
        self._thread_id_of_file: str | None = None
        self._thread_ids: dict[str, str] = {}  # by the location of their rows
        self._last_times: dict[str, float] = {}
        self._repetitions: Counter[bytes] = Counter()

    def start_file(self, file: InputFile) -> None:
        """Begin with the values of a file."""
        self._file = file
        named = _ID_IN_FILE_NAME.search(Path(file.location).name)
        self._thread_id_of_file = named[0] if named else None
        self._last_times.clear()

    def objects_in(self, location: str, value: Any) -> Iterable[InputObject]:
        """Return every object in a value, in order; a value that holds none is returned itself, and refused later."""
        if _is_as_served(value):  # most are, and this is quick
            return (InputObject(location, self._file.directory, value),)
        return self._objects_in(value, _Place(location, self._file.location, self._thread_id_of_file))

    def _objects_in(self, value: Any, place: _Place) -> Iterator[InputObject]:
        if _is_as_served(value):
            yield self._found(value, place)
            return
        if isinstance(value, list) and place.depth < _DEEPEST:
            yield from self._in_list(value, place)
            return
        if isinstance(value, dict) and place.depth < _DEEPEST:
            reader = self._reader_of(value, place)
            if reader is not None:
                yield from reader(value, place)
                return
        yield self._found(value, place)

    def _reader_of(  # noqa: PLR0911 - one for each shape
        self, value: Json, place: _Place
    ) -> Callable[[Json, _Place], Iterator[InputObject]] | None:
        kind = value.get("object")
        if isinstance(kind, str) and kind in SAVED_KINDS:
            return self._in_object
        if isinstance(value.get("data"), list) and (kind == "list" or value.keys() <= _PAGE_KEYS):
            return self._in_page
        if is_har(value):
            return self._in_har
        if is_app_row(value):
            return self._in_row
        if value and all(map(_kind_of_id, value)):
            return self._in_table_by_id
        if kind is None and _implied_kind(value, place) is not None:
            return self._in_object_of_implied_kind
        return self._in_bundle if any(_is_container(key, child) for key, child in value.items()) else None

    def _found(self, value: Any, place: _Place) -> InputObject:
        return InputObject(place.location, self._file.directory, value)

    # --- lists

    def _in_list(self, values: list[Any], place: _Place) -> Iterator[InputObject]:
        conversation = place.conversation if place.is_bundled else place.location
        time = place.time
        if time is None and values and is_app_row(values[0]) and row_time(values[0]) is None:
            first_time = next((time for time in map(row_time, values) if time is not None), None)
            time = None if first_time is None else first_time - 1
        for index, value in enumerate(values):
            inner = replace(
                place,
                location=f"{place.location}[{index}]",
                conversation=conversation,
                time=time,
                depth=place.depth + 1,
            )
            yield from self._objects_in(value, inner)

    def _in_page(self, page: Json, place: _Place) -> Iterator[InputObject]:
        return self._in_list(page["data"], place)

    def _in_table_by_id(self, table: Json, place: _Place) -> Iterator[InputObject]:
        """Read for example `{"thread_abc": [messages]}` or `{"asst_abc": {...}}`."""
        for id_, child in table.items():
            kind = str(_kind_of_id(id_))
            inner = replace(
                place,
                location=f"{place.location}.{id_}",
                thread_id=id_ if kind == "thread" else place.thread_id,
                run_id=id_ if kind == "thread.run" else place.run_id,
                kind=_KINDS_OF_CHILDREN.get(kind),
                is_bundled=True,
                depth=place.depth + 1,
            )
            if isinstance(child, dict) and "id" not in child and child.get("object", kind) == kind:
                is_bundle = "object" not in child and self._reader_of(child, inner) is not None
                child = child if is_bundle else {"id": id_, "object": kind, **child}  # noqa: PLW2901 - the same object
            yield from self._objects_in(child, inner)

    def _in_har(self, har: Json, place: _Place) -> Iterator[InputObject]:
        for index, saved in objects_from_har(har, SAVED_KINDS):
            yield from self._in_object(saved, replace(place, location=f"{place.location} entry {index + 1}"))

    # --- objects with others in them

    def _in_object_of_implied_kind(self, value: Json, place: _Place) -> Iterator[InputObject]:
        return self._in_object({**value, "object": _implied_kind(value, place)}, place)

    def _in_object(self, saved: Json, place: _Place) -> Iterator[InputObject]:
        kind = saved["object"]
        extra_keys = saved.keys() - KNOWN_KEYS.get(kind, saved.keys())
        nested: dict[str, Any] = {}
        if extra_keys and EXTENSION_KEY not in saved:
            nested = {key: saved[key] for key in saved if key in extra_keys and _is_container(key, saved[key])}
            if kind in _WITHOUT_PLACE_FOR_KEYS:
                self._note_unknown(kind, {key: saved[key] for key in extra_keys if key not in nested})
            if nested:
                saved = {key: item for key, item in saved.items() if key not in nested}
        if kind in _IN_THREAD:
            saved = self._with_ids_of_place(saved, place)
        if kind == "thread.message" and not _is_complete_message(saved):
            yield from self._in_row(saved, place)
        else:
            yield self._found(saved, place)
        if nested:
            yield from self._in_children(nested, self._place_of_children(saved, kind, place))

    def _with_ids_of_place(self, saved: Json, place: _Place) -> Json:
        more: Json = {}
        if place.thread_id is not None and saved.get("thread_id") is None:
            more["thread_id"] = place.thread_id
        if place.run_id is not None and saved.get("run_id") is None and saved["object"] == "thread.run.step":
            more["run_id"] = place.run_id
        return {**saved, **more} if more else saved

    @staticmethod
    def _place_of_children(saved: Json, kind: str, place: _Place) -> _Place:
        id_ = saved.get("id") if isinstance(saved.get("id"), str) else None
        thread_id = id_ if kind == "thread" else saved.get("thread_id") or place.thread_id
        return replace(
            place,
            thread_id=thread_id,
            run_id=id_ if kind == "thread.run" else place.run_id,
            time=seconds_from_time(saved.get("created_at")) if kind == "thread" else place.time,
            conversation=place.location,
            is_bundled=True,
            depth=place.depth + 1,
        )

    def _in_children(self, children: Mapping[str, Any], place: _Place) -> Iterator[InputObject]:
        for key, child in children.items():
            yield from self._objects_in(
                child, replace(place, location=f"{place.location}.{key}", kind=_KINDS_BY_KEY.get(key))
            )

    def _in_bundle(self, bundle: Json, place: _Place) -> Iterator[InputObject]:
        """Read for example `{"thread": {...}, "messages": [...], "runs": [{..., "steps": [...]}]}`."""
        thread_id = _id_under(bundle, _THREAD_ID_KEYS)
        if thread_id is None:
            thread_id = bundle["id"] if looks_like_thread_id(str(bundle.get("id"))) else place.thread_id
        children = {key: child for key, child in bundle.items() if _is_container(key, child)}
        others = {key: child for key, child in bundle.items() if key not in children and key not in _CONTEXT_KEYS}
        inner = replace(
            place,
            thread_id=thread_id,
            run_id=_id_under(bundle, _RUN_ID_KEYS) or place.run_id,
            conversation=place.location,
            is_bundled=True,
            depth=place.depth + 1,
        )
        thread = children.get("thread")
        if isinstance(thread, dict) and "data" not in thread:
            children["thread"] = thread = {"id": thread_id, **thread}
            if thread.get("created_at") is None:
                thread["created_at"] = self._earliest_time(children)
            inner = replace(inner, time=seconds_from_time(thread["created_at"]))
        elif thread_id is not None:
            fields: Json = {key: others.pop(key) for key in _THREAD_FIELDS if key in others}
            inner = replace(inner, time=seconds_from_time(fields.get("created_at")))
            if any(map(holds_data, fields.values())):
                yield self._found(self._thread_of_bundle(thread_id, fields, children), place)
        self._note_unknown("", others)
        yield from self._in_children(children, inner)

    def _thread_of_bundle(self, thread_id: str, fields: Json, children: Mapping[str, Any]) -> Json:
        metadata = metadata_from_saved(fields.get("metadata") or {})
        if metadata is None:
            self._note_unknown("thread", {"metadata": fields["metadata"]})
        created_at = fields.get("created_at")
        if created_at is None:
            created_at = self._earliest_time(children)
        return {**fields, "id": thread_id, "object": "thread", "created_at": created_at, "metadata": metadata}

    def _earliest_time(self, children: Mapping[str, Any]) -> float:
        """Return when a thread without a time began: when its first child did, else when the file was changed."""
        return min(_times_in(children), default=self._file.changed_at)

    def _note_unknown(self, kind: str, keys: Mapping[str, Any]) -> None:
        for key, child in keys.items():
            if holds_data(child) and key != EXTENSION_KEY:
                self.unknown_keys[f"{kind}: {key}" if kind else key] += 1

    # --- rows of an application

    def _in_row(self, row: Json, place: _Place) -> Iterator[InputObject]:
        found = message_from_row(row)
        self._note_unknown("message", dict.fromkeys(found.unknown_keys, 1))
        message = found.message
        if "thread_id" not in message:
            message["thread_id"] = place.thread_id or self._thread_id_of(place, message)
        thread_id = message["thread_id"]
        saved_time = message.get("created_at")
        if saved_time is None:
            last_time = self._last_times.get(thread_id)
            if last_time is None:
                last_time = float(int(self._file.changed_at if place.time is None else place.time))
            message["created_at"] = last_time + _BETWEEN_ROWS
        if "id" not in message:
            message["id"] = self._new_message_id(message, found.own_id, saved_time)
        if isinstance(message["created_at"], (int, float)):
            self._last_times[thread_id] = message["created_at"]
        yield InputObject(
            place.location,
            self._file.directory,
            message,
            oldest_first=True,
            has_guessed_time=saved_time is None,
        )

    def _new_message_id(self, message: Json, own_id: str | None, time: object) -> str:
        # Equal rows of one thread get different ids. A file that repeats rows of another one, with their times, repeats
        # their ids too; rows without a time may be equal by chance, so they are counted over all files.
        second = int(time) if isinstance(time, (int, float)) else time  # some formats drop the fraction
        key = _digest(message["thread_id"], own_id, message["role"], message["content"], second)
        counted = key if time is None else _digest(key.hex(), self._file.location)
        self._repetitions[counted] += 1
        return _id_from("msg", key.hex(), self._repetitions[counted])

    def _thread_id_of(self, place: _Place, message: Json) -> str:
        """Return an id for a conversation that has none, made from its place in its file and its first message."""
        location = place.conversation
        thread_id = self._thread_ids.get(location)
        if thread_id is None:
            place_in_file = Path(self._file.location).name + location[len(self._file.location) :]
            beginning = [place_in_file, message["role"], message["content"], message.get("created_at")]
            thread_id = _id_from("thread", *beginning)
            while thread_id in self.new_threads:  # a file of the same name begins with the same words
                thread_id = _id_from("thread", thread_id)
            self._thread_ids[location] = thread_id
            self.new_threads[thread_id] = location
        return thread_id


def _is_as_served(value: Any) -> bool:
    """Whether a value is an object as the service sent it, which needs nothing of its place and has no other in it."""
    if type(value) is not dict or type(value.get("object")) is not str:
        return False
    if EXTENSION_KEY in value:  # from an export of this library
        return True
    known_keys = KNOWN_KEYS.get(value["object"])
    return (
        known_keys is not None
        and value.keys() <= known_keys
        and (value.get("thread_id") is not None or value["object"] not in _IN_THREAD)
        and (value["object"] != "thread.message" or _is_complete_message(value))
        and (value["object"] != "thread.run.step" or value.get("run_id") is not None)
    )


def _digest(*values: object) -> bytes:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).digest()


def _id_from(kind: IdKind, *values: object) -> str:
    digest = _digest(*values)
    return new_id(kind, lambda length: digest[:length])


def _kind_of_id(key: str) -> str | None:
    """Return the kind of the objects whose ids begin like this key, or None if the key is no id."""
    match = _ID.match(key)
    return None if match is None or _NO_ID.match(match["rest"]) else _KINDS_BY_PREFIX[match[1]]


def _implied_kind(value: Json, place: _Place) -> str | None:
    """Return the kind of an object that does not say it, from the list that it is in or from its id."""
    id_ = value.get("id")
    if not isinstance(id_, str) or value.get("created_at") is None:
        return None
    return place.kind or _kind_of_id(id_)


def _is_complete_message(saved: Json) -> bool:
    """Whether a message has what the service always sent, or is no message at all."""
    has_ids = None not in (saved.get("id"), saved.get("created_at"), saved.get("thread_id"))
    content = saved.get("content")
    return (has_ids and isinstance(content, list) and all(map(_is_served_block, content))) or not is_app_row(saved)


def _is_served_block(block: object) -> bool:
    if type(block) is not dict:
        return False
    type_ = block.get("type")
    if type_ == "text":
        text = block.get("text")
        return type(text) is dict and text.get("annotations") is not None
    return type_ == "refusal" or (type_ in ("image_file", "image_url") and type(block.get(type_)) is dict)


def _id_under(bundle: Json, keys: tuple[str, ...]) -> str | None:
    """Return the id under the first of these keys, or of the object under it."""
    for key in keys:
        value = bundle.get(key)
        id_ = value.get("id") if isinstance(value, dict) else value
        if isinstance(id_, str) and id_:
            return id_
    return None


def _is_container(key: str, value: Any, depth: int = 4) -> bool:
    """Whether the value under a key holds objects: its name says so, or its first entries are objects."""
    if not value or not isinstance(value, (dict, list)):
        return False
    if _KINDS_BY_KEY.get(key) is not None:
        return isinstance(value, dict) or isinstance(value[0], (dict, list))
    return _holds_objects(value, depth)


def _holds_objects(value: Any, depth: int) -> bool:
    if depth == 0:
        return False
    if isinstance(value, list):
        return any(_holds_objects(entry, depth - 1) for entry in value[:3])
    if not isinstance(value, dict) or not value:
        return False
    return (
        str(value.get("object")) in SAVED_KINDS
        or is_app_row(value)
        or all(map(_kind_of_id, value))
        or any(_is_container(key, child, depth - 1) for key, child in value.items())
    )


def _times_in(value: Any) -> Iterator[float]:
    """Yield the times of the rows and objects in the lists of a bundle."""
    if isinstance(value, list):
        for entry in value:
            yield from _times_in(entry)
    elif isinstance(value, dict):
        time = row_time(value) if is_app_row(value) else seconds_from_time(value.get("created_at"))
        if time is not None:
            yield time
        else:
            for child in value.values():
                yield from _times_in(child) if isinstance(child, (dict, list)) else ()
