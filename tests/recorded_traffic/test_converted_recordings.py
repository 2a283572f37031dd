"""Recorded Assistants traffic converts, and its calls get the recorded answers over the converted recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from legacy_calls import ERAS

from assistants_compat.recordings import vcr_yaml as files
from assistants_compat.recordings.convert.compare import FieldComparison, compare_values, summarize_events
from assistants_compat.recordings.convert.evidence import Evidence, RecordedCall, parse_events
from assistants_compat.recordings.convert.play import Conversion
from kit.converted_recordings import BASE, convert_to_file, replay_cassette
from kit.doors import Door

# Why some calls cannot be converted, and how many; every other call of every recording is converted.
V1 = "(recorded under assistants=v1)"
REFUSED = {
    f"Run creation requires a Thread with a user message or an assistant with instructions. {V1}": 4,
    f"expected a string, but got a boolean instead. {V1}": 2,
}
RECORDINGS = 54
SHARE, WITHOUT_TIMES = 0.96, 0.98


def _documents(recordings: ModuleType) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every recording with requests as VCR.py's YAML.

    Ruby's files hold one exchange of each of several tests and API versions, so each exchange is a recording of
    its own.
    """
    for family in ERAS:
        for path in sorted((recordings.ROOT / "assistants" / family).iterdir()):
            if path.suffix == ".yaml":
                yield f"{family}/{path.name}", files.load(path)
                continue
            interactions = _interactions(recordings, path)
            parts = [[interaction] for interaction in interactions] if path.suffix == ".yml" else [interactions]
            for number, part in enumerate(parts):
                yield f"{family}/{path.name}#{number}", {"interactions": part, "version": 1}


def _interactions(recordings: ModuleType, path: Path) -> list[dict[str, Any]]:
    betas: list[Any] = []
    if path.suffix == ".yml":
        ruby = recordings.yaml.load(path.read_bytes(), Loader=recordings._Loader)
        betas = [item["request"]["headers"].get("Openai-Beta") for item in ruby["http_interactions"]]
    return [
        {
            "request": {
                "method": exchange.method,
                "uri": exchange.url,
                "body": exchange.request_body,
                "headers": {"openai-beta": betas[number]} if betas and betas[number] else {},
            },
            "response": {
                "status": {"code": exchange.status, "message": "OK"},
                "headers": {name: [value] for name, value in exchange.headers.items()},
                "body": {"string": exchange.body},
            },
        }
        for number, exchange in enumerate(recordings.read(path))
    ]


def test_every_recording_converts_and_answers_as_recorded(
    recordings: ModuleType, door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calls repeated over a converted recording get the recorded answers; the share of equal fields is printed."""
    fields: list[FieldComparison] = []
    refused: Counter[str] = Counter()
    converted_count = 0
    for number, (name, document) in enumerate(_documents(recordings)):
        cassette = tmp_path / f"{number}.yaml"
        converted = convert_to_file(document, cassette)
        assert converted.has_legacy_calls, name
        converted_count += 1
        reasons = [reason for refusal in converted.refused for reason in REFUSED if refusal.reason.endswith(reason)]
        assert len(reasons) == len(converted.refused), [refusal.reason for refusal in converted.refused]
        refused.update(reasons)
        fields += _repeat_calls(name, document, converted, cassette, door)
    assert refused == REFUSED
    assert converted_count == RECORDINGS
    recorded = [field for field in fields if not field.is_new]
    equal = sum(field.is_same for field in recorded)
    times = sum(field.is_time and not field.is_same for field in recorded)
    figures = f"{converted_count} recordings, {equal} of {len(recorded)} recorded fields ({equal / len(recorded):.2%})"
    with capsys.disabled():
        print(f"\nconverted recordings ({door.kind}): {figures}; {times} of the others are times")  # noqa: T201
    assert equal / len(recorded) > SHARE
    assert equal / (len(recorded) - times) > WITHOUT_TIMES


def _repeat_calls(
    name: str, document: dict[str, Any], converted: Conversion, cassette: Path, door: Door
) -> list[FieldComparison]:
    """Repeat every call that was not folded, and return its answer compared with the recording."""
    recorded_calls = Evidence(files.exchanges_from_document(document)).calls
    all_fields: list[FieldComparison] = []
    with replay_cassette(cassette) as (settings, tape):
        http = door.client(SimpleNamespace(base_url=BASE), settings)._client
        for recorded_call, outcome in zip(recorded_calls, converted.outcomes, strict=True):
            if outcome.kind == "folded":
                continue
            headers = {
                key: values[0] for key, values in recorded_call.exchange.request_headers.items() if key == "openai-beta"
            }
            request = http.build_request(
                recorded_call.exchange.method,
                recorded_call.exchange.uri,
                headers={"openai-beta": "assistants=v2", **headers},
                content=recorded_call.exchange.request_body or None,
            )
            response = door(http.send(request))
            if outcome.kind == "refused":
                continue
            assert response.status_code == recorded_call.exchange.status, (
                f"{name}: {recorded_call.label}: {response.text}"
            )
            fields = _compare_answer(recorded_call, response)
            assert fields == outcome.fields or outcome.kind == "copied", (
                f"{name}: {recorded_call.label} is not as it was converted"
            )
            all_fields += fields
        assert tape.all_played, f"{name}: the converted recording has requests that no call makes"
    return all_fields


def _compare_answer(recorded_call: RecordedCall, response: Any) -> list[FieldComparison]:
    if recorded_call.exchange.is_stream:
        return list(
            compare_values(summarize_events(recorded_call.events), summarize_events(parse_events(response.content)))
        )
    return list(compare_values(recorded_call.response_json, response.json()))


def test_a_recording_without_requests_is_unchanged(recordings: ModuleType, tmp_path: Path) -> None:
    """openai-php's stream was kept without its request, so no call is converted and the recording is unchanged."""
    [path] = (recordings.ROOT / "assistants" / "openai-php__client").iterdir()
    document = {"interactions": _interactions(recordings, path), "version": 1}
    converted = convert_to_file(document, tmp_path / "a.yaml")
    assert not converted.has_legacy_calls
    assert converted.document == document
