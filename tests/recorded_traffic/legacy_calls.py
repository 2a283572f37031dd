"""The recorded legacy calls, and the rule that leaves some of them out of the comparison."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from recorded_streams import Event, frames_of

Json = dict[str, Any]

# Families of recordings with the years of their answers: an answer of 2024 lacks fields that came later.
ERAS = {
    "openai__openai-dotnet": "2025-26",
    "traceloop__openllmetry": "2025-26",
    "lmnr-ai__lmnr-python": "2024",
    "alexrudall__ruby-openai": "2024",
}
# Ids of the service; `step_123`, which a recorded caller made up, does not match.
ID = re.compile(r"\b(?:asst_|thread_|msg_|run_|step_|call_|file-|vs_)[0-9A-Za-z]{16,}\b")
_BASE = re.compile(r"https://[^/]+/v1")

V1 = "recorded under assistants=v1"
UPLOAD = "an upload, which the upstream answers untouched"


@dataclass(frozen=True)
class Call:
    """A recorded request with its `answer`, or with the `events` of its stream."""

    method: str
    path: str  # with its query
    body: Any
    status: int
    text: str
    answer: Any
    beta: str | None
    content_type: str | None
    events: tuple[Event, ...] = ()

    def ids(self) -> set[str]:
        """Return the ids in the request."""
        return set(ID.findall(f"{self.path} {json.dumps(self.body)}"))

    def objects(self) -> list[Json]:
        """Return the objects in the answer: of a list, of a stream, or the answer itself; an error has none."""
        if self.events:
            return objects_of(self.events)
        if not isinstance(self.answer, dict) or "object" not in self.answer:
            return []
        return list(self.answer["data"]) if self.answer.get("object") == "list" else [self.answer]

    @property
    def creates(self) -> str | None:
        """The id of the object that this call created, or None."""
        is_creation = self.method == "POST" and self.status == 200 and isinstance(self.answer, dict)
        return str(self.answer["id"]) if is_creation and self.answer["id"] not in self.path else None


def objects_of(events: Iterable[Event]) -> list[Json]:
    """Return the complete objects in a stream, in their order, repetitions included."""
    return [data for name, data in events if not name.endswith(".delta") and name != "done"]


def recorded_calls(recordings: ModuleType) -> Iterator[tuple[str, str, list[Call]]]:
    """Yield the name, the era and the calls of every file of the four families."""
    for family, era in ERAS.items():
        for path in sorted((recordings.ROOT / "assistants" / family).iterdir()):
            betas = _betas(recordings, path)
            exchanges = recordings.read(path)
            assert not betas or len(betas) == len(exchanges)
            calls = [_call(exchange, betas[n] if betas else None) for n, exchange in enumerate(exchanges)]
            yield f"{family}/{path.name}", era, calls


def _betas(recordings: ModuleType, path: Any) -> list[str | None]:
    """Return the OpenAI-Beta header of each request of a Ruby recording, which mixes versions; all others are v2."""
    if path.suffix != ".yml":
        return []
    import yaml  # noqa: PLC0415 - only where the recordings are

    document = yaml.load(path.read_bytes(), Loader=recordings._Loader)  # noqa: S506 - a SafeLoader underneath
    headers = [item["request"]["headers"] for item in document["http_interactions"]]
    return [
        next((value[0] for name, value in names.items() if name.lower() == "openai-beta"), None) for names in headers
    ]


def _call(exchange: Any, beta: str | None) -> Call:
    try:
        body = json.loads(exchange.request_body) if exchange.request_body else None
    except ValueError:  # a multipart form
        body = None
    answer = None if exchange.is_stream else json.loads(exchange.body)
    events = frames_of(exchange.body) if exchange.is_stream else ()
    path, content_type = _BASE.sub("", exchange.url), exchange.headers.get("content-type")
    return Call(exchange.method, path, body, exchange.status, exchange.body, answer, beta, content_type, events)


def reason_to_leave_out(call: Call) -> str | None:
    """Return why a call is not compared, or None."""
    path = call.path.partition("?")[0]
    rules = (
        (V1, call.beta == "assistants=v1"),
        (UPLOAD, path == "/files"),
    )
    return next((reason for reason, holds in rules if holds), None)
