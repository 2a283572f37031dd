"""What a recording of Assistants traffic shows: its calls, and every object in them with the call that showed it.

Nothing here knows the Responses API; `recorded_run.py` builds responses from this evidence.
"""

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
from ...wire.objects import Json, as_object, as_object_list
from ..legacy_requests import is_legacy_exchange
from ..vcr_yaml import Exchange

_ASSISTANTS_PATH = re.compile(r"(?P<base>.*)(?P<route>/(?:assistants|threads)(?:/.+)?\Z)")
_FILE_PATH = re.compile(r"(?P<base>.*)(?P<route>/files/(?P<id>[^/]+)(?P<content>/content)?)\Z")
_EVENT_BREAK, _EVENT_FIELD = re.compile(r"\r?\n\r?\n"), re.compile(r"(event|data):\s?(.*)")
# Objects that calls return whole; deltas and errors are not among them.
_WHOLE_OBJECTS = frozenset({"assistant", "thread", "thread.message", "thread.run", "thread.run.step"})
_LISTED_OBJECTS = frozenset({"thread.message", "thread.run.step", "thread.run", "assistant"})

Event = tuple[str, Any]


@dataclass(frozen=True)
class RecordedCall:
    """A recorded exchange with its `number`, from 1.

    `route` is its path below the base URL, or None for a call that the library does not answer.
    """

    number: int
    exchange: Exchange
    base: str
    route: str | None
    path_params: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def request_json(self) -> Json:
        """The JSON object of the request; empty if it has none."""
        return as_object(_parse_json(self.exchange.request_body))

    @cached_property
    def response_json(self) -> Json:
        """The JSON object of the response; empty for a stream, and for bytes."""
        return {} if self.exchange.is_stream else as_object(_parse_json(self.exchange.body))

    @cached_property
    def events(self) -> list[Event]:
        """The events of a streamed response."""
        return parse_events(self.exchange.body) if self.exchange.is_stream else []

    @cached_property
    def objects(self) -> list[Json]:
        """The whole objects in the response, in its order, including repetitions."""
        candidates = (
            [as_object(data) for _, data in self.events]
            or as_object_list(self.response_json.get("data"))
            or [self.response_json]
        )
        return [
            candidate
            for candidate in candidates
            if candidate.get("object") in _WHOLE_OBJECTS and isinstance(candidate.get("id"), str)
        ]

    @property
    def label(self) -> str:
        """Its method and path, as reports show them."""
        return f"{self.exchange.method} {self.route or urlsplit(self.exchange.uri).path}"

    @property
    def error_message(self) -> str:
        """The message of its error; empty if it succeeded."""
        return str(as_object(self.response_json.get("error")).get("message") or "")

    @property
    def is_first_version(self) -> bool:
        """Whether it was recorded under the API's first version, which had other rules and answers."""
        return "assistants=v1" in self.exchange.request_headers.get("openai-beta", ())

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.exchange.status < 400  # noqa: PLR2004 - HTTP

    @property
    def created_id(self) -> str | None:
        """The id of the object that the call created with a `POST` to a collection, if it did."""
        is_post = self.exchange.method == "POST" and self.ok and self.route is not None
        if not (is_post and str(self.route).rpartition("/")[2] in {"assistants", "threads", "messages", "runs"}):
            return None
        # A streamed request creates a run, whatever other objects its stream shows.
        if self.events:
            return next((object_["id"] for object_ in self.objects if object_["object"] == "thread.run"), None)
        return self.response_json.get("id")

    @property
    def submitted_run_id(self) -> str | None:
        """The run that the call submitted tool outputs to, if it did."""
        return self.path_params.get("run_id") if self.ok and str(self.route).endswith("/submit_tool_outputs") else None

    @property
    def polled_run_id(self) -> str | None:
        """The run that the call retrieved, if it did."""
        is_get = self.exchange.method == "GET" and set(self.path_params) == {"thread_id", "run_id"}
        return self.path_params["run_id"] if is_get and not str(self.route).endswith("/steps") else None

    def is_chronological(self) -> bool:
        """Return whether its objects come oldest first: in streams, and in lists with `order=asc`."""
        query = dict(parse_qsl(urlsplit(self.exchange.uri).query))
        return bool(self.events) or query.get("order") == "asc"


@dataclass(frozen=True)
class Observation:
    """An object as one call showed it."""

    call_number: int
    object: Json


class Evidence:
    """All calls of a recording, and the objects in them."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        """Index the exchanges once."""
        self.calls = [_recorded_call(number, exchange) for number, exchange in enumerate(exchanges, 1)]
        self.generated_file_ids = self._find_generated_files()
        # Only now is it known which requests for files the library answers.
        self.calls = [self._with_file_route(call) for call in self.calls]
        self.observations: dict[str, list[Observation]] = {}
        for call in self.answered_calls:
            for object_ in call.objects:
                self.observations.setdefault(object_["id"], []).append(Observation(call.number, object_))
        self._positions = self._order_objects()
        self.file_contents = {call.path_params["file_id"]: call.exchange.body for call in self._file_calls("/content")}
        self.file_objects = {call.path_params["file_id"]: call.response_json for call in self._file_calls("")}
        self.creating_calls = {call.created_id: call for call in self.answered_calls if call.created_id}

    @property
    def answered_calls(self) -> list[RecordedCall]:
        """The calls that the library answers."""
        return [call for call in self.calls if call.route is not None]

    def last_seen(self, id_: str, kind: str) -> Json | None:
        """Return an object as a call showed it last."""
        return next(
            (
                observation.object
                for observation in reversed(self.observations.get(id_, []))
                if observation.object["object"] == kind
            ),
            None,
        )

    def first_seen(self, id_: str, kind: str) -> Json | None:
        """Return an object as a call showed it first."""
        return next(
            (
                observation.object
                for observation in self.observations.get(id_, [])
                if observation.object["object"] == kind
            ),
            None,
        )

    def find(self, kind: str, **fields: str) -> list[Json]:
        """Return the objects of a kind with these fields, as they were shown last, oldest first."""
        ids = [
            id_ for id_ in self.observations if (last := self.last_seen(id_, kind)) and fields.items() <= last.items()
        ]
        objects = [last for id_ in ids if (last := self.last_seen(id_, kind))]
        return sorted(
            objects, key=lambda object_: (object_.get("created_at") or 0, self._positions.get(object_["id"], 0))
        )

    def call(self, number: int) -> RecordedCall:
        """Return a call by its number."""
        return self.calls[number - 1]

    @property
    def run_ids(self) -> list[str]:
        """The runs that the recording shows, or that a call names."""
        named = [call.path_params["run_id"] for call in self.answered_calls if "run_id" in call.path_params]
        return list(dict.fromkeys([id_ for id_ in self.observations if self.last_seen(id_, "thread.run")] + named))

    def _order_objects(self) -> dict[str, int]:
        """Return the position of each object, for objects with equal times: the longest lists and streams decide."""
        # Times are whole seconds, so the objects of one run often have the same one.
        sequences = []
        for call in self.answered_calls:
            ids = [object_["id"] for object_ in call.objects if object_["object"] in _LISTED_OBJECTS]
            sequences.append(ids if call.is_chronological() else ids[::-1])
        positions: dict[str, int] = {}
        for ids in sorted(sequences, key=len, reverse=True):
            for id_ in dict.fromkeys(ids):
                positions.setdefault(id_, len(positions))
        return positions

    def _find_generated_files(self) -> set[str]:
        """Return the files that runs made: an assistant's message links or shows them, or a step does."""
        # A message can cite an uploaded file too, and requests for that one go to the upstream.
        uploaded = {
            as_object(_parse_json(call.exchange.body)).get("id")
            for call in self.calls
            if call.exchange.method == "POST"
        }
        referenced = {
            id_ for call in self.calls if call.route for object_ in call.objects for id_ in _file_ids(object_)
        }
        return referenced - uploaded

    def _with_file_route(self, call: RecordedCall) -> RecordedCall:
        """Return the call, with its route if it requests a generated file: the library answers those too."""
        match = _FILE_PATH.fullmatch(urlsplit(call.exchange.uri).path)
        if call.route is not None or match is None or match["id"] not in self.generated_file_ids:
            return call
        return RecordedCall(call.number, call.exchange, match["base"], match["route"], {"file_id": match["id"]})

    def _file_calls(self, suffix: str) -> Iterator[RecordedCall]:
        for call in self.answered_calls:
            is_get = call.exchange.method == "GET" and call.ok and "file_id" in call.path_params
            if is_get and str(call.route) == f"/files/{call.path_params['file_id']}{suffix}":
                yield call


def _file_ids(object_: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids of the files that an assistant's message links, shows or attaches, or that a step shows."""
    if object_["object"] == "thread.run.step":
        yield from files_of_step(object_)
    elif object_["object"] == "thread.message" and object_.get("role") == "assistant":
        yield from files_of_message(object_)
        for attachment in as_object_list(object_.get("attachments")):
            yield str(attachment.get("file_id"))


def tool_calls_of(step: Mapping[str, Any]) -> list[Json]:
    """Return the tool calls of a step."""
    return as_object_list(as_object(step.get("step_details")).get("tool_calls"))


def parse_events(body: bytes) -> list[Event]:
    """Return the events of a stream; data that is not JSON stays text (`[DONE]`)."""
    events: list[Event] = []
    for block in _EVENT_BREAK.split(body.decode("utf-8", "replace")):
        fields = [_EVENT_FIELD.match(line) for line in block.splitlines()]
        name = next((match[2].strip() for match in fields if match and match[1] == "event"), "")
        data = "\n".join(match[2] for match in fields if match and match[1] == "data")
        if data:
            events.append((name, data if (value := _parse_json(data.encode())) is None else value))
    return events


def _recorded_call(number: int, exchange: Exchange) -> RecordedCall:
    path = urlsplit(exchange.uri).path
    match = _ASSISTANTS_PATH.fullmatch(path)
    beta = next(iter(exchange.request_headers.get("openai-beta", ())), None)
    matched = app.match_route(exchange.method, match["route"]) if match else None
    if match is None or matched is None or not is_legacy_exchange(exchange.uri, beta, exchange.body):
        return RecordedCall(number, exchange, "", None)
    return RecordedCall(number, exchange, match["base"], match["route"], matched.path_params)


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
