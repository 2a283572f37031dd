"""What a recording of Assistants traffic shows: its calls, and every object in them with the call that showed it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ...api import app
from ...translate.file_references import files_of_message, files_of_step
from ...wire.objects import Json, as_object, objects
from ..vcr_yaml import Exchange

_OURS = re.compile(r"(?P<base>.*)(?P<route>/(?:assistants|threads)(?:/.+)?\Z)")
_FILE = re.compile(r"(?P<base>.*)(?P<route>/files/(?P<id>[^/]+)(?P<content>/content)?)\Z")
_FIELD, _VALUE = re.compile(r"\r?\n\r?\n"), re.compile(r"(event|data):\s?(.*)")
_WHOLE = frozenset({"assistant", "thread", "thread.message", "thread.run", "thread.run.step"})
_LISTED = frozenset({"thread.message", "thread.run.step", "thread.run", "assistant"})

Event = tuple[str, Any]


@dataclass(frozen=True)
class Old:
    """A recorded exchange by its `number`, from 1; `route` is its path below the base, None where it is not ours."""

    number: int
    exchange: Exchange
    base: str
    route: str | None
    parts: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def body(self) -> Json:
        """The request's JSON object, else an empty one."""
        return as_object(_json(self.exchange.request_body))

    @cached_property
    def answer(self) -> Json:
        """The answer's JSON object; empty for a stream, and for bytes."""
        return {} if self.exchange.is_stream else as_object(_json(self.exchange.body))

    @cached_property
    def events(self) -> list[Event]:
        """The events of a streamed answer."""
        return events_of(self.exchange.body) if self.exchange.is_stream else []

    @cached_property
    def objects(self) -> list[Json]:
        """The whole objects in the answer, in its order, as often as they come."""
        told = [as_object(data) for _, data in self.events] or objects(self.answer.get("data")) or [self.answer]
        return [each for each in told if each.get("object") in _WHOLE and isinstance(each.get("id"), str)]

    @property
    def call(self) -> str:
        """Its method and path, for a person."""
        return f"{self.exchange.method} {self.route or urlsplit(self.exchange.uri).path}"

    @property
    def refusal(self) -> str:
        """The message of the error that it got."""
        return str(as_object(self.answer.get("error")).get("message") or "")

    @property
    def is_first_version(self) -> bool:
        """Whether it was recorded under the API's first version, whose rules and answers were others."""
        return "assistants=v1" in self.exchange.request_headers.get("openai-beta", ())

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.exchange.status < 400  # noqa: PLR2004 - HTTP

    @property
    def creates(self) -> str | None:
        """The id of the object that it made: `POST` to a collection."""
        new = self.exchange.method == "POST" and self.ok and self.route is not None
        if not (new and str(self.route).rpartition("/")[2] in {"assistants", "threads", "messages", "runs"}):
            return None
        if self.events:
            return next((each["id"] for each in self.objects if each["object"] == "thread.run"), None)
        return self.answer.get("id")

    @property
    def submits_to(self) -> str | None:
        """The run that it gave outputs to."""
        return self.parts.get("run_id") if self.ok and str(self.route).endswith("/submit_tool_outputs") else None

    @property
    def polled(self) -> str | None:
        """The run that it looked at."""
        is_get = self.exchange.method == "GET" and set(self.parts) == {"thread_id", "run_id"}
        return self.parts["run_id"] if is_get and not str(self.route).endswith("/steps") else None

    def is_chronological(self) -> bool:
        """Whether its objects come oldest first: in streams, and in lists that were asked for so."""
        query = dict(parse_qsl(urlsplit(self.exchange.uri).query))
        return bool(self.events) or query.get("order") == "asc"


@dataclass(frozen=True)
class Shown:
    """An object as one call showed it."""

    number: int
    object: Json


class Evidence:
    """All calls of a recording, and what they show."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        """Read them once."""
        self.olds = [_old(number, each) for number, each in enumerate(exchanges, 1)]
        self.generated = self._generated()
        self.olds = [self._with_files(old) for old in self.olds]
        self.shown: dict[str, list[Shown]] = {}
        for old in self.ours:
            for each in old.objects:
                self.shown.setdefault(each["id"], []).append(Shown(old.number, each))
        self._rank = self._ranks()
        self.contents = {old.parts["file_id"]: old.exchange.body for old in self._downloads("/content")}
        self.files = {old.parts["file_id"]: old.answer for old in self._downloads("")}
        self.created = {old.creates: old for old in self.ours if old.creates}

    @property
    def ours(self) -> list[Old]:
        """The calls that the shim answers."""
        return [old for old in self.olds if old.route is not None]

    def last(self, id_: str, kind: str) -> Json | None:
        """An object as it was shown last."""
        return next((each.object for each in reversed(self.shown.get(id_, [])) if each.object["object"] == kind), None)

    def first(self, id_: str, kind: str) -> Json | None:
        """An object as it was shown first."""
        return next((each.object for each in self.shown.get(id_, []) if each.object["object"] == kind), None)

    def all(self, kind: str, **fields: str) -> list[Json]:
        """The objects of a kind with these fields as they were shown last, oldest first."""
        ids = [id_ for id_ in self.shown if (last := self.last(id_, kind)) and fields.items() <= last.items()]
        found = [last for id_ in ids if (last := self.last(id_, kind))]
        return sorted(found, key=lambda each: (each.get("created_at") or 0, self._rank.get(each["id"], 0)))

    def old(self, number: int) -> Old:
        """A call by its number."""
        return self.olds[number - 1]

    @property
    def run_ids(self) -> list[str]:
        """The runs that are shown or asked for."""
        asked = [old.parts["run_id"] for old in self.ours if "run_id" in old.parts]
        return list(dict.fromkeys([id_ for id_ in self.shown if self.last(id_, "thread.run")] + asked))

    def _ranks(self) -> dict[str, int]:
        """Which object came before which, where their times are equal: as the longest lists and streams have them."""
        sequences = []
        for old in self.ours:
            ids = [each["id"] for each in old.objects if each["object"] in _LISTED]
            sequences.append(ids if old.is_chronological() else ids[::-1])
        ranks: dict[str, int] = {}
        for ids in sorted(sequences, key=len, reverse=True):
            for id_ in dict.fromkeys(ids):
                ranks.setdefault(id_, len(ranks))
        return ranks

    def _generated(self) -> set[str]:
        """The files that runs made: linked or shown by an assistant's message, or by a step."""
        uploaded = {as_object(_json(old.exchange.body)).get("id") for old in self.olds if old.exchange.method == "POST"}
        found = {id_ for old in self.olds if old.route for each in old.objects for id_ in files_of(each)}
        return found - uploaded

    def _with_files(self, old: Old) -> Old:
        """The call, which is ours too if it asks for a file that a run made."""
        match = _FILE.fullmatch(urlsplit(old.exchange.uri).path)
        if old.route is not None or match is None or match["id"] not in self.generated:
            return old
        return Old(old.number, old.exchange, match["base"], match["route"], {"file_id": match["id"]})

    def _downloads(self, end: str) -> Iterator[Old]:
        for old in self.ours:
            is_get = old.exchange.method == "GET" and old.ok and "file_id" in old.parts
            if is_get and str(old.route) == f"/files/{old.parts['file_id']}{end}":
                yield old


def files_of(object_: Mapping[str, Any]) -> Iterator[str]:
    """The ids of the files that an assistant's message links, shows or has, or that a step shows."""
    if object_["object"] == "thread.run.step":
        yield from files_of_step(object_)
    elif object_["object"] == "thread.message" and object_.get("role") == "assistant":
        yield from files_of_message(object_)
        for attachment in objects(object_.get("attachments")):
            yield str(attachment.get("file_id"))


def calls_of(step: Mapping[str, Any]) -> list[Json]:
    """The tool calls of a step."""
    return objects(as_object(step.get("step_details")).get("tool_calls"))


def events_of(body: bytes) -> list[Event]:
    """The events of a stream; data that is no JSON is text."""
    events: list[Event] = []
    for block in _FIELD.split(body.decode("utf-8", "replace")):
        found = [_VALUE.match(line) for line in block.splitlines()]
        name = next((each[2].strip() for each in found if each and each[1] == "event"), "")
        data = "\n".join(each[2] for each in found if each and each[1] == "data")
        if data:
            events.append((name, data if (value := _json(data.encode())) is None else value))
    return events


def _old(number: int, exchange: Exchange) -> Old:
    path = urlsplit(exchange.uri).path
    found = _OURS.fullmatch(path)
    beta = next(iter(exchange.request_headers.get("openai-beta", ())), None)
    matched = app.match(exchange.method, found["route"]) if found else None
    if found is None or matched is None or "/chatkit" in path or (beta is not None and "assistants=" not in beta):
        return Old(number, exchange, "", None)
    return Old(number, exchange, found["base"], found["route"], matched.parts)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
