"""Each live check, over the strict stand-in: as the library assumes, the other way, and undecided."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.cli.live_checks.catalogue import CHECKS
from assistants_compat.cli.live_checks.check import Target
from assistants_compat.cli.live_checks.runner import LiveRun, run_checks, select_checks
from assistants_compat.service.refusal_table import row
from assistants_compat.testing import Fault, StandIn, Turn
from assistants_compat.tools.upstream import run_with_client
from kit.doors import Door

NOTE = {"name": "note", "arguments": {"text": "hi"}}
CODE = Turn(code="print('abc123')", logs="abc123\n")
CODE_AND_NOTE = Turn(code="print(1)", logs="1\n", function_calls=[NOTE])
REASONED_CODE = Turn(
    output=[
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA-reasoning"},
        {
            "type": "code_interpreter_call",
            "code": "1",
            "outputs": [{"type": "logs", "logs": "1"}],
            "status": "completed",
        },
    ]
)
TWO_CALLS = Turn(
    function_calls=[{"name": "weather", "arguments": {"city": city}, "call_id": f"call_{city}"} for city in ("a", "b")]
)
FILE = {"doctor.csv": b"first"}
DONE = {"id": "resp_done", "object": "response", "status": "completed", "output": []}
RunLive = Callable[..., LiveRun]


def refused(name: str, **fields: Any) -> Fault:
    """Return the service's refusal of a row of the table."""
    refusal = row(name)
    values = {"param": "temperature", "index": 0, "item": "ci_1", "max": 100, "length": 101, **fields}
    param = None if refusal.param is None else refusal.param.format(**values)
    message = fields.get("message") or refusal.message.format_map(_Named(values))
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": refusal.code}
    return Fault(status=refusal.status, body={"error": error})


class _Named(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return f"x_{key}"


def fault_requests(upstream: StandIn, match: str, faults: Mapping[int, Fault]) -> None:
    """Answer the n-th request that matches with a fault, counted from 1."""
    original, counter, pattern = upstream.fault_for, [0], Fault(match=match)

    def fault_for(request: Any) -> Fault | None:
        found = original(request)
        if pattern.fits(request.method, request.path):
            counter[0] += 1
            return faults.get(counter[0], found)
        return found

    upstream.fault_for = fault_for  # type: ignore[method-assign]


@pytest.fixture
def upstream(request: pytest.FixtureRequest, upstream: StandIn) -> Iterator[StandIn]:
    """The stand-in; for check 19 without the OpenAPI description, whose limit of 500 files has a text of its own."""
    case = getattr(request.node, "callspec", None)
    if case is None or getattr(case.params.get("case"), "number", 0) != 19:
        yield upstream
        return
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def run_live(sync: Door, upstream: StandIn, sqlite_settings: Settings) -> RunLive:
    """Return a function that runs live checks over the stand-in and shows that nothing is left there."""

    def run(*numbers: int, model: str = "gpt-4o", azure: bool = False, told: list[str] | None = None) -> LiveRun:
        client = sync.client(upstream, sqlite_settings, azure=azure)
        tell = (lambda _line: None) if told is None else told.append
        targets, checks = [Target(model, azure)], select_checks(numbers)
        result: Any = run_with_client(client, lambda io: run_checks(io, checks, targets, tell, poll_seconds=0.001))
        assert result.not_deleted == []
        kept = (upstream.files, upstream.containers, upstream.vector_stores, upstream.conversations)
        assert kept == ({}, {}, {}, {})
        is_kept = not upstream._state.options.zero_retention
        assert [id_ for id_, stored in upstream.responses.items() if stored.final["store"] and is_kept] == []
        return result  # type: ignore[no-any-return]

    return run


@dataclass(frozen=True)
class Case:
    """How the stand-in answers a check, and what the verdict says and advises."""

    number: int
    says: str
    do: str = ""
    turns: Sequence[Turn] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    match: str = "POST /responses"
    faults: Mapping[int, Fault] = field(default_factory=dict)
    model: str = "gpt-4o"
    azure: bool = False

    def prepare(self, upstream: StandIn) -> None:
        """Make the stand-in answer so."""
        upstream.script(*self.turns)
        upstream.configure(**self.options)
        fault_requests(upstream, self.match, self.faults)


LENIENT = {"strict": False}
AS_ASSUMED = [
    Case(1, "temperature with gpt-4o is accepted"),
    Case(1, "temperature with gpt-5.6-luna is refused", model="gpt-5.6-luna"),
    Case(2, "top_p with o3 is refused", model="o3"),
    Case(3, "refused (400: Unsupported parameter: 'reasoning.effort'"),
    Case(3, "effort none with temperature for gpt-5.6-luna is accepted", model="gpt-5.6-luna"),
    Case(4, "refused (400: Encrypted content is not supported"),
    Case(4, "is accepted", model="o3"),
    Case(5, "JSON mode with the word in the input is accepted", turns=[Turn(function_calls=[NOTE])] * 2),
    Case(6, "only in the round before is refused", turns=[Turn(function_calls=[NOTE])]),
    Case(7, "one empty message is accepted"),
    Case(8, "it was found 5 times"),
    Case(9, "the outputs of code are in a background response", turns=[CODE]),
    Case(10, "an earlier code call is accepted", turns=[CODE]),
    Case(10, "without its reasoning is refused", turns=[REASONED_CODE], model="o3"),
    Case(11, "under store: false is refused (404", turns=[CODE]),
    Case(12, "without its code call is accepted", turns=[CODE_AND_NOTE]),
    Case(13, "two words.txt in a container is accepted"),
    Case(14, "gets a new id", turns=[Turn(code="1", files=FILE), Turn(code="1", files=FILE)]),
    Case(15, "an image whose file was deleted is refused"),
    Case(16, "x.parquet for assistants is refused (400: Invalid extension parquet"),
    Case(17, "purpose vision is accepted"),
    Case(17, "purpose vision is refused", azure=True),
    Case(18, "three vector stores is refused"),
    Case(19, "of more than 100 files is refused"),
    Case(20, "a stream of gpt-4o is accepted"),
    Case(21, "tool_choice required without tools is refused"),
    Case(22, "a function called a.b is refused"),
    Case(23, "tool_choice none with gpt-4o is accepted"),
    Case(24, "the output of one of two calls is refused", turns=[TWO_CALLS]),
    Case(25, "its output in two batches is accepted"),
    Case(26, "the key may list"),
    Case(27, "an image by its address is accepted"),
    Case(
        27,
        "an image by its address is refused",
        azure=True,
        faults={3: refused("image_unavailable", message="Timeout while downloading https://x.example/a.png")},
    ),
]
OTHER_WAY = [
    Case(1, "temperature with gpt-4o is refused", "effort none'", faults={1: refused("sampling_unsupported")}),
    Case(1, "temperature with o3 is accepted", "name o3 in the assistant", model="o3", options=LENIENT),
    Case(2, "top_p", "doctor --live --save", faults={1: refused("sampling_unsupported", param="top_p")}),
    Case(3, "is accepted", "effort none' keeps temperature", options=LENIENT),
    Case(3, "is refused", "do not map", model="gpt-5.6-luna", faults={1: refused("effort_value_unsupported")}),
    Case(4, "is accepted", options=LENIENT),
    Case(4, "is refused", "--save", model="o3", faults={1: refused("encrypted_unsupported")}),
    Case(5, "only in the instructions is accepted", options=LENIENT, turns=[Turn(), Turn(function_calls=[NOTE])]),
    Case(6, "only in the round before is accepted", options=LENIENT, turns=[Turn(function_calls=[NOTE])]),
    Case(7, "an empty input with instructions is accepted", faults={1: Fault(status=200, body=DONE)}),
    Case(
        8,
        "is not found right after it was made",
        "ASSISTANTS_COMPAT_MODE=inline",
        match="GET /responses/*",
        faults={2: refused("item_not_found", message="Response with id 'resp_1' not found.")},
    ),
    Case(8, "a background response is refused", "MODE=inline", options={"background_refused": True}),
    Case(
        9,
        "has no outputs of its code",
        "ASSISTANTS_COMPAT_MODE=inline",
        turns=[Turn(output=[{"type": "code_interpreter_call", "code": "1", "outputs": []}])],
    ),
    Case(10, "an earlier code call is refused", "nothing to set", turns=[CODE], faults={2: refused("item_not_found")}),
    Case(11, "under store: false is accepted", turns=[CODE], options=LENIENT),
    Case(12, "with its code call is accepted", turns=[CODE_AND_NOTE], options=LENIENT),
    Case(
        13,
        "x.parquet in a container is refused",
        "attach live-report.json",
        match="POST /containers/*/files",
        faults={1: refused("file_extension")},
    ),
    Case(14, "keeps its id", "its own name", turns=[Turn(code="1", files=FILE), Turn(code="1")]),
    Case(15, "an image whose file was deleted is accepted", faults={1: Fault(status=200, body=DONE)}),
    Case(16, "x.parquet for assistants is accepted", options=LENIENT),
    Case(17, "is refused", "nothing to set", match="POST /files", faults={1: refused("vision_purpose")}),
    Case(17, "is accepted", azure=True, options=LENIENT),
    Case(18, "three vector stores is accepted", options=LENIENT),
    Case(19, "of more than 500 files is accepted", options=LENIENT),
    Case(20, "is refused", "verify the organization", model="gpt-5", options={"verified": False}),
    Case(21, "tool_choice required without tools is accepted", options=LENIENT),
    Case(21, "is refused", "--save", faults={1: refused("parallel_tool_calls_unsupported")}),
    Case(22, "a function called a.b is accepted", options=LENIENT),
    Case(
        23,
        "tool_choice code_interpreter with gpt-4o is refused",
        "leave tool_choice out",
        faults={1: refused("tool_choice_hosted")},
    ),
    Case(24, "is accepted", turns=[TWO_CALLS], faults={2: Fault(status=200, body=DONE)}),
    Case(
        25,
        "in two batches is refused",
        "nothing to set",
        match="POST /conversations/*/items",
        faults={1: refused("function_output_missing")},
    ),
    Case(
        26,
        "api.vector_stores.read",
        "give the key the scope",
        match="GET /vector_stores",
        faults={
            1: refused("scope_missing", message="Insufficient permissions. Missing scopes: api.vector_stores.read.")
        },
    ),
    Case(27, "a background response is refused", "MODE=inline", options={"background_refused": True}),
    Case(27, "is not there", "MODELS=gpt-4=NEW", model="gpt-4", azure=True, faults={1: refused("model_unknown")}),
]


def case_id(case: Case) -> str:
    """Name a case by its number and model."""
    return f"{case.number}-{case.model}{'-azure' if case.azure else ''}"


def check_case(case: Case, run_live: RunLive, upstream: StandIn, outcome: str) -> LiveRun:
    """Run a case and check its outcome, what it says and what it advises."""
    case.prepare(upstream)
    live = run_live(case.number, model=case.model, azure=case.azure)
    [result] = live.results
    assert (result.verdict.outcome, result.verdict.says) == (outcome, result.verdict.says)
    assert case.says in result.verdict.says
    assert case.do in result.verdict.do
    return live


@pytest.mark.parametrize("case", AS_ASSUMED, ids=case_id)
def test_an_upstream_as_assumed_gets_that_verdict(case: Case, run_live: RunLive, upstream: StandIn) -> None:
    """Where the upstream answers as the public sources say, the check is as assumed and advises nothing."""
    live = check_case(case, run_live, upstream, "as assumed")
    assert live.results[0].verdict.do == ""


@pytest.mark.parametrize("case", OTHER_WAY, ids=case_id)
def test_an_upstream_that_differs_gets_the_other_verdict(case: Case, run_live: RunLive, upstream: StandIn) -> None:
    """Where the upstream answers otherwise, the check says so, with the setting that follows if there is one."""
    check_case(case, run_live, upstream, "the other way")


def test_every_check_has_a_case_of_each_outcome() -> None:
    """All 27 checks are tested as assumed and the other way."""
    assert list(CHECKS) == list(range(1, 28))
    for cases in (AS_ASSUMED, OTHER_WAY):
        assert {case.number for case in cases} == set(CHECKS)


PASSING: dict[str, Fault] = {
    "429": Fault(status=429, body={"error": {"message": "Rate limit", "code": "rate_limit_exceeded"}}, times=999),
    "500": Fault(status=500, body={"error": {"message": "Server error"}}, times=999),
    "503": Fault(html=True, status=503, times=999),
    "401": Fault(status=401, body={"error": {"message": "Incorrect API key provided: sk-x"}}, times=999),
    "403": Fault(status=403, body={"error": {"message": "No access."}}, times=999),
    "drop": Fault(drop=True, times=999),
}


@pytest.mark.parametrize("number", CHECKS)
@pytest.mark.parametrize("name", PASSING)
def test_an_upstream_in_trouble_is_never_a_verdict(
    number: int, name: str, run_live: RunLive, upstream: StandIn
) -> None:
    """A 429, a 5xx, a rejected key and a lost connection are undecided for every check, after one request."""
    upstream.fault(PASSING[name])
    live = run_live(number)
    [result] = live.results
    assert result.verdict.outcome == "undecided"
    assert live.known() == {}
    assert len(upstream.requests) == 1


ONE_REQUEST = (1, 2, 3, 4, 17, 20)


@pytest.mark.parametrize("number", sorted(CHECKS.keys() - ONE_REQUEST))
def test_trouble_in_the_middle_of_a_check_is_no_verdict(number: int, run_live: RunLive, upstream: StandIn) -> None:
    """A check whose second request fails is undecided, and what its first request made is deleted."""
    upstream.script(*next(case.turns for case in AS_ASSUMED if case.number == number))
    fault_requests(upstream, "*", {2: Fault(status=500)})
    [result] = run_live(number).results
    assert result.verdict.outcome == "undecided"
    assert "the upstream failed (500)" in result.verdict.says


def test_a_model_that_does_not_exist_is_no_verdict(run_live: RunLive, upstream: StandIn) -> None:
    """Checks of a model that the upstream does not have are undecided, and say how to name another one."""
    upstream.configure(models=["gpt-9"])
    [result] = run_live(1).results
    assert (result.verdict.outcome, result.verdict.do) == ("undecided", "name a model of yours with --model")


def test_words_that_the_table_does_not_know_are_no_verdict(run_live: RunLive, upstream: StandIn) -> None:
    """A refusal in unknown words is undecided, and asks for a report."""
    upstream.fault(Fault("POST /responses", status=400, body={"error": {"message": "Something new."}}))
    [result] = run_live(1).results
    assert result.verdict.outcome == "undecided"
    assert "in words that the library does not know (400: Something new.)" in result.verdict.says
    assert "live-report.json" in result.verdict.do


def test_an_answer_of_another_form_is_no_verdict(run_live: RunLive, upstream: StandIn) -> None:
    """A check that cannot read an answer is undecided, and the others still run."""
    upstream.fault(Fault("POST /vector_stores", status=200, body={"object": "nonsense"}, times=3))
    search, last = run_live(18, 27).results
    assert (search.verdict.outcome, last.verdict.outcome) == ("undecided", "as assumed")


def test_a_gateway_that_wraps_errors_gets_the_same_verdict(run_live: RunLive, upstream: StandIn) -> None:
    """A refusal as JSON text within the message, as LiteLLM sends it, is recognized."""
    inner = '{"error": {"message": "Unsupported parameter: \'temperature\' is not supported with this model.", '
    inner += '"param": "temperature", "code": null}}'
    error = {"message": f"litellm.BadRequestError: OpenAIException - {inner}", "param": None, "code": "400"}
    upstream.fault(Fault("POST /responses", status=400, body={"error": error}))
    assert run_live(1).results[0].verdict.outcome == "the other way"


def test_zero_retention_is_recognized_by_any_check(run_live: RunLive, upstream: StandIn) -> None:
    """An organization with zero data retention is recognized from its refusals, with the setting to choose."""
    upstream.configure(zero_retention=True)
    upstream.script(Turn(function_calls=[NOTE]))
    live = run_live(6, 9)
    assert [result.verdict.outcome for result in live.results] == ["the other way"] * 2
    for result in live.results:
        assert "ASSISTANTS_COMPAT_STORE_RESPONSES=false" in result.verdict.do
    assert "Code Interpreter is not available" in live.results[1].verdict.do
    assert live.known() == {("zero_retention_previous_response", ""): True, ("zero_retention_code", ""): True}


def test_a_missing_scope_is_named_by_any_check(run_live: RunLive, upstream: StandIn) -> None:
    """A restricted key's missing scopes are named with the advice, and are no verdict on the request."""
    message = "You have insufficient permissions for this operation. Missing scopes: api.responses.write. Check them."
    upstream.fault(Fault("POST /responses", status=401, body={"error": {"message": message}}))
    verdict = run_live(1).results[0].verdict
    assert (verdict.outcome, verdict.says) == ("undecided", "the key lacks the scope api.responses.write")
    assert "give the key the scope api.responses.write" in verdict.do


def test_code_checks_share_one_container(run_live: RunLive, upstream: StandIn) -> None:
    """Checks 9 to 14 make one container and one first code call together, and both are deleted."""
    files = [Turn(code="1", files=FILE), Turn(code="1", files=FILE)]
    upstream.script(CODE, Turn(), Turn(), CODE_AND_NOTE, Turn(), *files)
    run_live(9, 10, 11, 12, 13, 14)
    made = [request for request in upstream.requests if (request.method, request.path) == ("POST", "/containers")]
    assert len(made) == 1
    deleted = [request.path for request in upstream.requests if request.method == "DELETE"]
    assert sum(path.startswith("/containers/") for path in deleted) == 1


def test_ctrl_c_deletes_what_was_made_and_keeps_the_results(run_live: RunLive, upstream: StandIn) -> None:
    """After Ctrl-C everything that the checks made is deleted, and the verdicts so far are returned."""
    upstream.script(CODE)

    class Interrupting(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if line.startswith("10 "):
                raise KeyboardInterrupt

    told = Interrupting()
    live = run_live(1, 9, 10, told=told)
    assert live.is_interrupted
    assert [result.check.number for result in live.results] == [1, 9]
    assert told[-1] == "interrupted; deleting what was made"


def test_what_cannot_be_deleted_is_told(sync: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """The paths of what could not be deleted are in the result."""
    upstream.fault(Fault("DELETE /files/*", status=500, times=9))
    client = sync.client(upstream, sqlite_settings)
    checks = select_checks([17])
    live: Any = run_with_client(client, lambda io: run_checks(io, checks, [Target("gpt-4o")], lambda _line: None))
    assert live.not_deleted == [f"/files/{id_}" for id_ in upstream.files]


def run_interrupted(client: Any, *interrupted: int) -> LiveRun:
    """Run check 16 and raise KeyboardInterrupt within the n-th requests."""
    counter = [0]

    async def work(io: Any) -> LiveRun:
        original = io.upstream.send

        async def send(request: Any) -> Any:
            counter[0] += 1
            if counter[0] in interrupted:
                raise KeyboardInterrupt
            return await original(request)

        io.upstream.send = send
        return await run_checks(io, select_checks([16]), [Target("gpt-4o")], lambda _line: None)

    result: Any = run_with_client(client, work)
    return result  # type: ignore[no-any-return]


def test_ctrl_c_within_a_request_deletes_what_was_made(
    sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """Ctrl-C while a request is under way deletes what earlier requests of the same check made."""
    upstream.configure(strict=False)
    live = run_interrupted(sync.client(upstream, sqlite_settings), 3)
    assert (live.is_interrupted, live.results, live.not_deleted) == (True, [], [])
    assert upstream.files == {}


def test_a_second_ctrl_c_tells_what_is_left(sync: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A second Ctrl-C ends the deleting too, and what is left is told."""
    upstream.configure(strict=False)
    live = run_interrupted(sync.client(upstream, sqlite_settings), 3, 4)
    assert sorted(live.not_deleted) == sorted(f"/files/{id_}" for id_ in upstream.files)
    assert len(live.not_deleted) == 2


def test_a_file_that_cannot_be_deleted_makes_no_verdict(
    sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """A check of deleted files is undecided where the file could not be deleted."""
    upstream.fault(Fault("DELETE /files/*", status=500, times=1))
    checks, client = select_checks([15]), sync.client(upstream, sqlite_settings)
    live: Any = run_with_client(client, lambda io: run_checks(io, checks, [Target("gpt-4o")], lambda _line: None))
    assert [result.verdict.outcome for result in live.results] == ["undecided"]
    assert upstream.files == {}
