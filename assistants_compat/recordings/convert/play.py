"""Converts a recording: plays its old calls through the library and records the upstream requests that result.

The entry point is `convert`. What the upstream answers is decided in `upstream.py`.
"""

from __future__ import annotations

import copy
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from ...doors import sdk_internals
from ...doors.wrap import RequestRouter, SyncClientProxy
from ...runtime import clock, overrides
from ...settings import Settings
from ...wire import ids
from ...wire.objects import Json, as_object
from ..replay import DEFAULT_START_TIME, REPLAY_KEY, numbered_id
from ..vcr_yaml import document_from_interactions, exchanges_from_document, interaction_from_exchange
from .compare import FieldComparison, compare_values, summarize_events
from .evidence import Evidence, RecordedCall, parse_events
from .recorded_run import IdPlan
from .seed import created_thread_id, find_seed, insert_seed, nested_message_ids
from .upstream import RecordedUpstream, round_started_by

_SERVER_ERRORS = frozenset({408, 409, 429, *range(500, 600)})
_RUN_TIME_FIELDS = ("completed_at", "failed_at", "cancelled_at", "incomplete_at", "started_at")
_RUN_LIFETIME = 600  # seconds


@dataclass
class Outcome:
    """What happened to one old exchange.

    `kind` is `copied`, `folded` (dropped in favour of the next poll), `played`, or `refused` with a `reason`.
    """

    number: int
    call: str
    kind: str
    reason: str = ""
    polled_status: str = ""  # of the run, if the exchange was a poll
    fields: list[FieldComparison] = field(default_factory=list)

    @property
    def differences(self) -> list[FieldComparison]:
        """The fields that are not as recorded."""
        return [comparison for comparison in self.fields if not comparison.is_same]


@dataclass
class FoldedPolls:
    """Polls of a run that one poll now stands for.

    `numbers` are theirs, without that of `kept`, the one that stays. `recorded` counts the polls by the status that
    they showed, and `current` does the same for the new recording.
    """

    kept: Outcome
    numbers: list[int]
    recorded: Counter[str]

    @property
    def current(self) -> Counter[str]:
        """How often a test now sees each status."""
        return Counter([self.kept.polled_status])


@dataclass
class Conversion:
    """A converted recording: its document, the outcome of each old exchange, and what the recording does not show."""

    document: Json
    outcomes: list[Outcome]
    warnings: list[str]
    has_legacy_calls: bool  # False: there was nothing to convert

    @property
    def refused(self) -> list[Outcome]:
        """The exchanges that cannot be converted."""
        return [outcome for outcome in self.outcomes if outcome.kind == "refused"]

    @property
    def folded(self) -> list[FoldedPolls]:
        """The polls that were dropped, by the poll that stands for them."""
        groups: list[FoldedPolls] = []
        pending: list[Outcome] = []
        for outcome in self.outcomes:
            if outcome.kind == "folded":
                pending.append(outcome)
            elif outcome.kind != "copied" and pending:
                numbers = [poll.number for poll in pending]
                recorded = Counter(poll.polled_status for poll in [*pending, outcome])
                groups.append(FoldedPolls(outcome, numbers, recorded))
                pending = []
        return groups

    def count_fields(self) -> tuple[int, int]:
        """Return how many recorded fields the library answers as recorded, and how many there are."""
        recorded = [comparison for outcome in self.outcomes for comparison in outcome.fields if not comparison.is_new]
        return sum(comparison.is_same for comparison in recorded), len(recorded)


def convert(document: Mapping[str, Any]) -> Conversion:
    """Convert a recording of Assistants traffic into one of the Responses API.

    Raises `CassetteError` for a document that is not a recording. Run one conversion at a time: the store is in memory,
    and the clock and the ids are replaced in the whole process.
    """
    exchanges = exchanges_from_document(document)
    evidence = Evidence(exchanges)
    if not evidence.answered_calls:
        return Conversion(dict(document), [], [], has_legacy_calls=False)
    return _Converter(evidence, list(document["interactions"])).convert()


class PlannedClockAndIds(clock.ClockAndIds):
    """The ids and times of the recording, and which of them the library used."""

    def __init__(self, evidence: Evidence) -> None:
        """Start with an empty plan."""
        self.generated_file_ids = evidence.generated_file_ids
        self.time = DEFAULT_START_TIME
        self.call_times: dict[str, list[int]] = {}
        self.assigned_ids: dict[str, list[str]] = {}
        self._plan: dict[str, deque[str | None]] = {}
        self._numbers: dict[str, int] = {}

    def plan_ids(self, plan: IdPlan) -> None:
        """Assign these ids next."""
        for kind, planned in plan.items():
            self._plan.setdefault(kind, deque()).extend(planned)

    def clear_plan(self) -> None:
        """Drop the planned ids that were not used."""
        self._plan.clear()

    def now(self) -> int:
        """Return the time of the current call."""
        return self.time

    def new_id(self, kind: ids.IdKind) -> str:
        """Return the planned id, or a numbered one where the recording does not show the id."""
        planned = self._plan.get(kind)
        id_ = planned.popleft() if planned else None
        if id_ is None:
            self._numbers[kind] = self._numbers.get(kind, 0) + 1
            id_ = numbered_id(kind, self._numbers[kind])
        # No test compares the ids of requests, so the cassette does not keep them.
        if kind != "req":
            self.assigned_ids.setdefault(kind, []).append(id_)
        return id_

    def on_legacy_request(self, method: str, route: str) -> None:
        """Note the time of this call."""
        self.call_times.setdefault(f"{method} {route}", []).append(self.time)

    def may_be_generated_file(self, file_id: str) -> bool:
        """Return whether a run of the recording made the file."""
        return file_id in self.generated_file_ids

    def mentions_generated_file(self, body: bytes) -> bool:
        """Return whether a JSON body names such a file."""
        return any(f'"{file_id}"'.encode() in body for file_id in self.generated_file_ids)


class _Converter:
    def __init__(self, evidence: Evidence, interactions: list[Any]) -> None:
        self.evidence, self.interactions = evidence, interactions
        self.clock_and_ids = PlannedClockAndIds(evidence)
        self.upstream = RecordedUpstream(evidence, self.clock_and_ids.plan_ids)
        self.nested_message_ids = nested_message_ids(evidence)
        self.outcomes: list[Outcome] = []
        self.new_interactions: list[Json] = []

    def convert(self) -> Conversion:
        seed, warnings = find_seed(self.evidence)
        settings = Settings(store="sqlite://", files=None, namespace=f"conversion-{uuid.uuid4().hex}")
        # In a test, the pytest plugin would replace this store by the test's own, and look for mocks.
        no_override = overrides.override_settings(lambda settings: settings)
        no_mocks = overrides.leave_to_client(lambda _request, _http_client: False)
        with (
            clock.replace_current(self.clock_and_ids),
            no_override,
            no_mocks,
            _client_proxy(settings, self.upstream) as proxy,
        ):
            insert_seed(settings, seed)
            for call in self.evidence.calls:
                self._convert_call(call, proxy)
        for run in self.upstream.runs.values():
            warnings += run.warnings
        replay: Json = {"ids": self.clock_and_ids.assigned_ids, "clock": self.clock_and_ids.call_times}
        if seed:
            replay["seed"] = seed
        warnings += self.upstream.warnings
        return Conversion(
            document_from_interactions(self.new_interactions, **{REPLAY_KEY: replay}),
            self.outcomes,
            list(dict.fromkeys(warnings)),
            has_legacy_calls=True,
        )

    def _convert_call(self, call: RecordedCall, proxy: SyncClientProxy) -> None:
        outcome = Outcome(call.number, call.label, "played")
        if call.polled_run_id is not None:
            outcome.polled_status = str(call.response_json.get("status") or call.exchange.status)
        self.outcomes.append(outcome)
        status = call.exchange.status
        if call.route is None:
            outcome.kind = "copied"
            # The interaction itself: an `Exchange` would lose the keys that other tools added to it.
            self.new_interactions.append(copy.deepcopy(self.interactions[call.number - 1]))
        elif call.polled_run_id is not None and self._is_polled_again(call):
            outcome.kind = "folded"
        elif status in _SERVER_ERRORS and not _starts_round(call):
            outcome.kind = "refused"
            outcome.reason = f"the service answered {status}, but the library now answers this call without asking it"
        else:
            self._play(call, outcome, proxy)

    def _is_polled_again(self, call: RecordedCall) -> bool:
        """Return whether the next call polls the same run: a poller made both, and the last is enough for it."""
        next_call = next((other for other in self.evidence.answered_calls if other.number > call.number), None)
        return call.ok and next_call is not None and next_call.polled_run_id == call.polled_run_id

    def _play(self, call: RecordedCall, outcome: Outcome, proxy: SyncClientProxy) -> None:
        # Ids that an earlier call left over would shift those of this call.
        self.clock_and_ids.clear_plan()
        self.clock_and_ids.plan_ids(self._ids_of_call(call))
        # Some calls show no time; the clock then stays, and it never goes back.
        self.clock_and_ids.time = max(_call_time(call), self.clock_and_ids.time if self.clock_and_ids.call_times else 0)
        run_id = call.submitted_run_id or (call.created_id if _starts_round(call) else None)
        self.upstream.call = call
        self.upstream.expected_round = None
        if run_id is not None:
            self.upstream.expected_round = run_id, round_started_by(call, self.upstream.run(run_id))
        request = _build_request(sdk_internals.http_library(), call)
        try:
            response = proxy.send(request)
        finally:
            exchanges, self.upstream.exchanges = self.upstream.exchanges, []
            self.new_interactions += map(interaction_from_exchange, exchanges)
        if response.status_code != call.exchange.status:
            outcome.kind = "refused"
            error_message = as_object(as_object(_response_json(response)).get("error")).get("message") or ""
            outcome.reason = f"recorded {call.exchange.status}, now {response.status_code}: {error_message}"
            if call.is_first_version:
                outcome.reason += " (recorded under assistants=v1)"
        elif call.exchange.is_stream:
            current_events = parse_events(response.content)
            outcome.fields = list(compare_values(summarize_events(call.events), summarize_events(current_events)))
        elif str(call.route).endswith("/content"):
            is_same = response.content == call.exchange.body
            recorded = f"{len(call.exchange.body)} bytes"
            current = recorded if is_same else f"{len(response.content)} other bytes"
            outcome.fields = [FieldComparison("content", recorded, current)]
        else:
            outcome.fields = list(compare_values(call.response_json, _response_json(response)))

    def _ids_of_call(self, call: RecordedCall) -> IdPlan:
        """Return the ids of the objects that the call itself creates."""
        nested_ids = self.nested_message_ids.get(call.number, [])
        plan: IdPlan = {"msg": list(nested_ids)}
        thread_id, created_id = created_thread_id(call), call.created_id
        if thread_id is not None:
            plan["thread"] = [thread_id]
        noun = str(call.route).rpartition("/")[2]
        kind = {"assistants": "asst", "messages": "msg", "runs": "run"}.get(noun)
        if created_id is not None and kind is not None:
            plan[kind] = [created_id]
        if noun in {"threads", "runs"}:
            # The library assigns the ids of nested messages before those of a run's messages. Nested messages that the
            # recording never shows need a place in the plan too.
            body = call.request_json
            thread = as_object(body.get("thread") if call.route == "/threads/runs" else body)
            count = len(thread.get("messages") or ()) + len(body.get("additional_messages") or ())
            plan["msg"] = [*nested_ids, *[None] * (count - len(nested_ids))]
        return plan


def _starts_round(call: RecordedCall) -> bool:
    """Return whether a call starts a round of a run."""
    is_run = str(call.route).endswith("/runs")
    return call.exchange.method == "POST" and (is_run or str(call.route).endswith("/submit_tool_outputs"))


def _call_time(call: RecordedCall) -> int:
    """Return the time of a call: from the object that it created or the run that it shows, else from its Date."""
    return _time_from_objects(call) or _parse_date(call.exchange.header("date"))


def _parse_date(header: str | None) -> int:
    try:
        return int(parsedate_to_datetime(header).timestamp()) if header else 0
    except ValueError:
        return 0


def _time_from_objects(call: RecordedCall) -> int:
    objects = call.objects
    if not objects:
        return 0
    if call.created_id or (call.exchange.method == "POST" and not str(call.route).endswith("/cancel")):
        runs = [object_ for object_ in objects if object_["object"] == "thread.run"] or objects
        last = runs[-1]
        return int(runs[0].get("created_at") or last.get("created_at") or 0)
    run = objects[0]
    if call.polled_run_id is None or run["object"] != "thread.run":
        return 0
    # An expired run has no time of its own, but runs expire a fixed time after their creation.
    if run["status"] == "expired":
        return int(run["created_at"]) + _RUN_LIFETIME
    times = [run.get(name) for name in _RUN_TIME_FIELDS]
    return max((int(time) for time in times if time), default=0)


def _build_request(http_library: Any, call: RecordedCall) -> Any:
    """Return the old call as it was sent, with only the headers that the library reads."""
    names = ("openai-beta", "content-type", "range", "if-range")
    recorded = call.exchange.request_headers
    headers = {"openai-beta": "assistants=v2", **{name: recorded[name][0] for name in names if recorded.get(name)}}
    body = call.exchange.request_body or None
    return http_library.Request(call.exchange.method, call.exchange.uri, headers=headers, content=body)


def _response_json(response: Any) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


@contextmanager
def _client_proxy(settings: Settings, upstream: RecordedUpstream) -> Iterator[SyncClientProxy]:
    """Yield a client proxy over the recorded upstream, in the HTTP library of the installed SDK."""
    http_library = sdk_internals.http_library()
    transport = http_library.MockTransport(lambda request: upstream.answer(request, http_library))
    with http_library.Client(transport=transport, trust_env=False) as http:
        yield SyncClientProxy(http, RequestRouter(settings, base="", azure=False))
