"""Plays the calls of an old recording through the shim, and keeps what it asks its upstream: `convert`."""

from __future__ import annotations

import copy
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from ...doors import sdk_internals
from ...doors.wrap import Entrance, SyncDoor
from ...runtime import clock, overrides
from ...settings import Settings
from ...wire import ids
from ...wire.objects import Json, as_object
from ..replay import KEY, START, counted
from ..vcr_yaml import document_from_interactions, exchanges_from_document, interaction_from_exchange
from . import seed as seeding
from .compare import Field, fields, told
from .evidence import Evidence, Old, events_of
from .recorded_run import Plan
from .upstream import Upstream, asked_round

_SERVER_TROUBLE = frozenset({408, 409, 429, *range(500, 600)})
_STAMPS = ("completed_at", "failed_at", "cancelled_at", "incomplete_at", "started_at")
_TTL = 600


@dataclass
class Outcome:
    """What became of one old exchange: `copied`, `folded` into the next look, `played`, or `refused` for a `reason`."""

    number: int
    call: str
    kind: str
    reason: str = ""
    fields: list[Field] = field(default_factory=list)

    @property
    def differing(self) -> list[Field]:
        """The fields that are not as recorded."""
        return [each for each in self.fields if not each.same]


@dataclass
class Converted:
    """A converted recording: its document, what became of each old exchange, and what is not known or differs."""

    document: Json
    outcomes: list[Outcome]
    troubles: list[str]
    is_old: bool  # whether there was anything to convert

    @property
    def refused(self) -> list[Outcome]:
        """The exchanges that cannot be converted."""
        return [each for each in self.outcomes if each.kind == "refused"]

    def share(self) -> tuple[int, int]:
        """How many recorded fields the shim answers as recorded, of how many."""
        every = [each for outcome in self.outcomes for each in outcome.fields if not each.is_new]
        return sum(each.same for each in every), len(every)


def convert(document: Mapping[str, Any]) -> Converted:
    """A recording of Assistants traffic as one of the Responses API; raises `CassetteError` for what is no recording.

    The store is in memory and of this process: one conversion at a time.
    """
    exchanges = exchanges_from_document(document)
    evidence = Evidence(exchanges)
    if not evidence.ours:
        return Converted(dict(document), [], [], is_old=False)
    return _Playing(evidence, list(document["interactions"])).play()


class Planned(clock.Sources):
    """The ids and times of the recording, and what of them was asked for."""

    def __init__(self, evidence: Evidence) -> None:
        """Begin with nothing planned."""
        self.generated = evidence.generated
        self.time = START
        self.clock: dict[str, list[int]] = {}
        self.minted: dict[str, list[str]] = {}
        self._plan: dict[str, deque[str | None]] = {}
        self._numbers: dict[str, int] = {}

    def tell(self, plan: Plan) -> None:
        """Give these ids next."""
        for kind, each in plan.items():
            self._plan.setdefault(kind, deque()).extend(each)

    def forget(self) -> None:
        """Give none that was planned and not asked for."""
        self._plan.clear()

    def now(self) -> int:
        """The time of the call."""
        return self.time

    def mint(self, kind: ids.Kind) -> str:
        """The planned id, or a counted one where nobody sees it; requests have ids that nobody compares."""
        planned = self._plan.get(kind)
        id_ = planned.popleft() if planned else None
        if id_ is None:
            self._numbers[kind] = self._numbers.get(kind, 0) + 1
            id_ = counted(kind, self._numbers[kind])
        if kind != "req":
            self.minted.setdefault(kind, []).append(id_)
        return id_

    def begins(self, method: str, route: str) -> None:
        """Note when this call came."""
        self.clock.setdefault(f"{method} {route}", []).append(self.time)

    def owns(self, file_id: str) -> bool:
        """Whether a run of the recording made it."""
        return file_id in self.generated

    def are_named_in(self, body: bytes) -> bool:
        """Whether a body in JSON names such a file."""
        return any(f'"{file_id}"'.encode() in body for file_id in self.generated)


class _Playing:
    def __init__(self, evidence: Evidence, interactions: list[Any]) -> None:
        self.evidence, self.interactions = evidence, interactions
        self.planned = Planned(evidence)
        self.upstream = Upstream(evidence, self.planned.tell)
        self.given = seeding.given_messages(evidence)
        self.outcomes: list[Outcome] = []
        self.written: list[Json] = []

    def play(self) -> Converted:
        seed, troubles = seeding.found(self.evidence)
        settings = Settings(store="sqlite://", files=None, namespace=f"conversion-{uuid.uuid4().hex}")
        # Under its own settings: in a test, the pytest plugin would give it the test's store.
        unchanged = overrides.chosen(lambda given: given)
        with clock.exchanged(self.planned), unchanged, _door(settings, self.upstream) as door:
            seeding.seed(settings, seed)
            for old in self.evidence.olds:
                self._one(old, door)
        for run in self.upstream.runs.values():
            troubles += run.troubles
        key: Json = {"ids": self.planned.minted, "clock": self.planned.clock}
        if seed:
            key["seed"] = seed
        troubles += self.upstream.troubles
        return Converted(
            document_from_interactions(self.written, **{KEY: key}),
            self.outcomes,
            list(dict.fromkeys(troubles)),
            is_old=True,
        )

    def _one(self, old: Old, door: SyncDoor) -> None:
        outcome = Outcome(old.number, old.call, "played")
        self.outcomes.append(outcome)
        if old.route is None:
            outcome.kind = "copied"
            self.written.append(copy.deepcopy(self.interactions[old.number - 1]))
        elif old.polled is not None and self._is_looked_at_again(old):
            outcome.kind = "folded"
        elif old.exchange.status in _SERVER_TROUBLE and not _asks(old):
            outcome.kind = "refused"
            outcome.reason = f"the service was in trouble ({old.exchange.status}), and is not asked for this any more"
        else:
            self._play(old, outcome, door)

    def _is_looked_at_again(self, old: Old) -> bool:
        """Whether the next call is the same look: then a poller made both, and is content with the last."""
        following = next((each for each in self.evidence.ours if each.number > old.number), None)
        return old.ok and following is not None and following.polled == old.polled

    def _play(self, old: Old, outcome: Outcome, door: SyncDoor) -> None:
        self.planned.forget()
        self.planned.tell(self._ids(old))
        self.planned.time = max(_time(old), self.planned.time if self.planned.clock else 0)
        run_id = old.submits_to or (old.creates if _asks(old) else None)
        self.upstream.old = old
        self.upstream.wanted = None
        if run_id is not None:
            self.upstream.wanted = run_id, asked_round(old, self.upstream.run(run_id))
        request = _request(sdk_internals.http_library(), old)
        try:
            response = door.send(request)
        finally:
            sent, self.upstream.sent = self.upstream.sent, []
            self.written += map(interaction_from_exchange, sent)
        if response.status_code != old.exchange.status:
            outcome.kind = "refused"
            said = as_object(as_object(_json(response)).get("error")).get("message") or ""
            outcome.reason = f"recorded {old.exchange.status}, now {response.status_code}: {said}"
            if old.is_first_version:
                outcome.reason += " (recorded under assistants=v1)"
        elif old.exchange.is_stream:
            outcome.fields = list(fields(told(old.events), told(events_of(response.content))))
        elif str(old.route).endswith("/content"):
            same = response.content == old.exchange.body
            recorded = f"{len(old.exchange.body)} bytes"
            outcome.fields = [Field("content", recorded, recorded if same else f"{len(response.content)} other bytes")]
        else:
            outcome.fields = list(fields(old.answer, _json(response)))

    def _ids(self, old: Old) -> Plan:
        """The ids that the call itself gives."""
        plan: Plan = {"msg": list(self.given.get(old.number, ()))}
        thread, made = seeding.made_thread(old), old.creates
        if thread is not None:
            plan["thread"] = [thread]
        noun = str(old.route).rpartition("/")[2]
        kind = {"assistants": "asst", "messages": "msg", "runs": "run"}.get(noun)
        if made is not None and kind is not None:
            plan[kind] = [made]
        if noun in {"threads", "runs"}:
            # Those whose ids nobody read come first among what the thread was given; what a run makes comes after.
            given = as_object(old.body.get("thread") if old.route == "/threads/runs" else old.body)
            count = len(given.get("messages") or ()) + len(old.body.get("additional_messages") or ())
            known = self.given.get(old.number, [])
            plan["msg"] = [*known, *[None] * (count - len(known))]
        return plan


def _asks(old: Old) -> bool:
    """Whether a call begins a round of a run."""
    is_run = str(old.route).endswith("/runs")
    return old.exchange.method == "POST" and (is_run or str(old.route).endswith("/submit_tool_outputs"))


def _time(old: Old) -> int:
    """When a call came: as what it made, or what it shows of a run, says, else as its answer's Date says."""
    return _shown_time(old) or _date(old.exchange.header("date"))


def _date(header: str | None) -> int:
    try:
        return int(parsedate_to_datetime(header).timestamp()) if header else 0
    except ValueError:
        return 0


def _shown_time(old: Old) -> int:
    shown = old.objects
    if not shown:
        return 0
    if old.creates or (old.exchange.method == "POST" and not str(old.route).endswith("/cancel")):
        of_run = [each for each in shown if each["object"] == "thread.run"] or shown
        last = of_run[-1]
        return int(of_run[0].get("created_at") or last.get("created_at") or 0)
    run = shown[0]
    if old.polled is None or run["object"] != "thread.run":
        return 0
    if run["status"] == "expired":
        return int(run["created_at"]) + _TTL
    stamps = [run.get(name) for name in _STAMPS]
    return max((int(each) for each in stamps if each), default=0)


def _request(library: Any, old: Old) -> Any:
    """The old call as it was sent, without what was for the wire alone."""
    kept = ("openai-beta", "content-type", "range", "if-range")
    given = old.exchange.request_headers
    headers = {"openai-beta": "assistants=v2", **{name: given[name][0] for name in kept if given.get(name)}}
    body = old.exchange.request_body or None
    return library.Request(old.exchange.method, old.exchange.uri, headers=headers, content=body)


def _json(response: Any) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


@contextmanager
def _door(settings: Settings, upstream: Upstream) -> Iterator[SyncDoor]:
    """A door over the recording, in the HTTP library of the installed SDK."""
    library = sdk_internals.http_library()
    transport = library.MockTransport(lambda request: upstream.answer(request, library))
    with library.Client(transport=transport, trust_env=False) as http:
        yield SyncDoor(http, Entrance(settings, base="", azure=False))
