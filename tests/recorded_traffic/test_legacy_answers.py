"""The library answers recorded legacy calls as the service did, except for the documented differences."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import legacy_calls as calls
import pytest
from legacy_differences import ABSENT, Difference, Ids, differences, rows_of, table_of
from legacy_replay import ReplayResult, replay_all, replay_by_hand
from platform_schemas import SCHEMA_OF_OBJECT
from recorded_streams import Event, fold_deltas

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import Door
from kit.paths import DOCS
from kit.stream_deltas import DeltaSums
from kit.stream_grammar import check_order, check_usage

DOCUMENT = DOCS / "differences.md"
COMPARED = 182
STREAMED = 5
LEFT_OUT = {
    calls.V1: 21,  # ruby-openai recorded each scenario once for each version
    calls.UPLOAD: 2,
}
A, B = "asst_" + "a" * 24, "asst_" + "b" * 24
X, Y = "asst_" + "x" * 24, "asst_" + "y" * 24


@pytest.fixture
def replayed(recordings: ModuleType, door: Door, upstream: StandIn, sqlite_settings: Settings) -> ReplayResult:
    """The result of replaying all recordings of the four families through one kind of client."""
    return replay_all(recordings, door, upstream, _stores(sqlite_settings))


def _stores(settings: Settings) -> Iterator[Settings]:
    number = 0
    while True:
        number += 1
        yield dataclasses.replace(settings, namespace=f"recording-{number}", mode="background")


def test_the_differences_are_those_in_the_documentation(
    replayed: ReplayResult, capsys: pytest.CaptureFixture[str], check: Callable[[str, object], None]
) -> None:
    """Every difference is a row of the documented table, every row occurs, and each answer fits the spec."""
    rows, table = rows_of(replayed.differences_by_era), table_of(DOCUMENT)
    assert rows - table.keys() == set(), "differences that docs/differences.md does not list"
    assert table.keys() - rows == set(), "rows of docs/differences.md that no longer occur"
    assert all(table.values()), "a row without a reason"
    assert replayed.left_out == LEFT_OUT
    assert (len(replayed.compared), len(replayed.streamed)) == (COMPARED, STREAMED)
    for call, ours in replayed.compared:
        _check_by_spec(call, ours, check)
        _check_times(call.objects(), ours)
    for call, events in replayed.streamed:
        _check_stream(call, events, check)
    figures = f"{COMPARED} and {STREAMED} streams compared, {sum(LEFT_OUT.values())} left out, {len(rows)} differences"
    with capsys.disabled():
        print(f"\nlegacy answers: {figures}")  # noqa: T201


def _check_by_spec(call: calls.Call, ours: Any, check: Callable[[str, object], None]) -> None:
    """Check that our answer has the keys that the spec requires, even where the recorded one has not."""
    if call.status != 200:
        assert set(ours["error"]) == {"message", "type", "param", "code"}
    elif ours["object"] == "list":
        last = call.path.partition("?")[0].rpartition("/")[2].capitalize()
        check(f"List{'RunSteps' if last == 'Steps' else last}Response", ours)
    else:
        check(SCHEMA_OF_OBJECT[ours["object"]], ours)


def _check_times(recorded: list[Any], ours: Any) -> None:
    """Check that a run expires as long after its creation as recorded, and that step tokens add up."""
    for recorded_object, our_object in zip(recorded, ours.get("data", [ours]), strict=True) if recorded else ():
        if recorded_object.get("expires_at") and recorded_object["object"] == "thread.run":
            assert (
                our_object["expires_at"] - our_object["created_at"]
                == recorded_object["expires_at"] - recorded_object["created_at"]
                == 600
            )
        if recorded_object["object"] == "thread.run.step" and our_object is ours["data"][0]:
            assert sum(step["usage"]["total_tokens"] for step in recorded) == our_object["usage"]["total_tokens"]


def _check_stream(call: calls.Call, ours: tuple[Event, ...], check: Callable[[str, object], None]) -> None:
    """Check each object of a stream against the spec, its expiry, the order of the events and the sum of tokens."""
    our_objects = calls.objects_of(ours)
    for recorded, our_object in zip(call.objects(), our_objects, strict=True):
        check(SCHEMA_OF_OBJECT[our_object["object"]], our_object)
        if recorded.get("expires_at"):
            run = dict(ours)["thread.run.in_progress"]
            assert our_object["expires_at"] == run["expires_at"] == run["created_at"] + 600
    check_order(ours)
    check_usage(ours)
    if [name for name, _ in ours].count(
        "thread.run.step.created"
    ) == 1:  # then all tokens of the response are this step's
        assert _usages(our_objects) == _usages(call.objects())


def _usages(objects: list[Any]) -> list[Any]:
    return [entry["usage"] for entry in objects if entry["object"] == "thread.run.step"]


def test_the_hand_edited_stream_has_the_recorded_order(
    recordings: ModuleType, door: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """openai-php's stream has edited payloads (instructions change midway), so only order and texts are compared."""
    recorded, ours = replay_by_hand(recordings, door, upstream, sqlite_settings)
    assert {data["instructions"] for name, data in recorded if name in {"thread.run.created", "thread.run.queued"}} == {
        "You are a very useful assistant",
        "You are a very useful assistant.",
    }
    assert fold_deltas(ours) == fold_deltas(recorded)
    assert list(DeltaSums().add_all(ours).contents.values()) == list(DeltaSums().add_all(recorded).contents.values())
    check_order(ours)


def test_recorded_answers_are_indented(recordings: ModuleType) -> None:
    """Recorded answers are indented wherever the recording kept the bytes, so the replay demands the same of ours."""
    texts = [
        call.text
        for name, _, recorded in calls.recorded_calls(recordings)
        if ".y" in name
        for call in recorded
        if call.answer
    ]
    assert len(texts) > 50
    assert all(text == json.dumps(json.loads(text), indent=2) for text in texts)


@pytest.mark.parametrize(
    ("recorded", "ours", "expected"),
    [
        ({"object": "a", "k": None}, {"object": "a"}, Difference("a.k", "null", ABSENT)),
        ({"object": "a"}, {"object": "a", "k": {}}, Difference("a.k", ABSENT, "{}")),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, Difference("", "keys: a, b", "keys: b, a")),
        ({"top_p": 1.0}, {"top_p": 1}, Difference("top_p", "1.0", "1")),
        ({"a": None}, {"a": ""}, Difference("a", "null", '""')),
        ({"a_at": None}, {"a_at": 5}, Difference("a_at", "null", "a time")),
        ({"a_at": 5}, {"a_at": "5"}, Difference("a_at", "a time", '"5"')),
        ({"id": A}, {"id": X.replace("asst", "run")}, Difference("id", "an id", "an id")),
        ({"ids": [A, B, A]}, {"ids": [X, Y, Y]}, Difference("ids[]", "an id", "an id")),
        ({"ids": [A, B]}, {"ids": [X, X]}, Difference("ids[]", "an id", "an id")),
        ({"data": [{"object": "a", "n": 1}]}, {"data": [{"object": "a", "n": 2}]}, Difference("a.n", "1", "2")),
        ({"data": [1, 2]}, {"data": [1]}, Difference("data", "2 entries", "1 entries")),
        (
            {"object": "thread.run.step", "usage": None},
            {"object": "thread.run.step", "usage": {"total_tokens": 0}},
            Difference("thread.run.step.usage", "null", '{"total_tokens": 0}'),
        ),
        ({"error": {"code": "x"}}, {"error": {"code": "y"}}, Difference("error.code", '"x"', '"y"')),
    ],
)
def test_the_comparison_reports_each_kind_of_difference(recorded: Any, ours: Any, expected: Difference) -> None:
    """A missing key, an order, a type, a null, a value and another object's id are each one difference."""
    assert list(differences(recorded, ours, Ids())) == [expected]


def test_times_and_new_ids_are_compared_by_kind() -> None:
    """Another time or another id of the same kind is no difference, and ids are learned."""
    ids = Ids()
    assert not list(differences({"id": A, "created_at": 1, "n": [A]}, {"id": X, "created_at": 2, "n": [X]}, ids))
    assert ids.translate(f"/assistants/{A}?after={B}") == f"/assistants/{X}?after={B}"


def test_rows_join_alternatives_and_eras() -> None:
    """A difference of both eras is one row, and several answers of ours to one value share a cell."""
    late = {("2025-26", Difference("a.k", ABSENT, ours)) for ours in ("null", "a time")}
    early = {("2024", Difference("a.k", ABSENT, ours)) for ours in ("null", "a time")}
    assert rows_of(late | early) == {("a.k (2024, 2025-26)", ABSENT, "a time or null")}
    assert rows_of(late) == {("a.k (2025-26)", ABSENT, "a time or null")}
