"""Recorded Assistants traffic, converted to the Responses API, and its calls repeated through the shim over that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from legacy_calls import ERAS

from assistants_compat.recordings import vcr_yaml as files
from assistants_compat.recordings.convert.compare import Field, fields, told
from assistants_compat.recordings.convert.evidence import Evidence, Old, events_of
from assistants_compat.recordings.convert.play import Converted
from kit.converted_recordings import BASE, replayed, written
from kit.doors import Door

# Calls that cannot be repeated, and why; every other call of every recording is.
V1 = "(recorded under assistants=v1)"
REFUSED = {
    f"Run creation requires a Thread with a user message or an assistant with instructions. {V1}": 4,
    f"expected a string, but got a boolean instead. {V1}": 2,
}
RECORDINGS = 54
SHARE, WITHOUT_TIMES = 0.96, 0.98


def _documents(recordings: ModuleType) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every recording with requests, as VCR.py's YAML has it.

    Ruby's files hold one exchange of each of several tests and API versions: each is a recording of its own.
    """
    for family in ERAS:
        for path in sorted((recordings.ROOT / "assistants" / family).iterdir()):
            if path.suffix == ".yaml":
                yield f"{family}/{path.name}", files.load(path)
                continue
            interactions = _interactions(recordings, path)
            apart = [[each] for each in interactions] if path.suffix == ".yml" else [interactions]
            for number, part in enumerate(apart):
                yield f"{family}/{path.name}#{number}", {"interactions": part, "version": 1}


def _interactions(recordings: ModuleType, path: Path) -> list[dict[str, Any]]:
    betas: list[Any] = []
    if path.suffix == ".yml":
        ruby = recordings.yaml.load(path.read_bytes(), Loader=recordings._Loader)
        betas = [item["request"]["headers"].get("Openai-Beta") for item in ruby["http_interactions"]]
    return [
        {
            "request": {
                "method": each.method,
                "uri": each.url,
                "body": each.request_body,
                "headers": {"openai-beta": betas[number]} if betas and betas[number] else {},
            },
            "response": {
                "status": {"code": each.status, "message": "OK"},
                "headers": {name: [value] for name, value in each.headers.items()},
                "body": {"string": each.body},
            },
        }
        for number, each in enumerate(recordings.read(path))
    ]


def test_every_recording_converts_and_answers_as_recorded(
    recordings: ModuleType, door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its calls, repeated over the converted recording, get the recorded answers; the share is shown."""
    every: list[Field] = []
    refused: Counter[str] = Counter()
    converted_all = 0
    for number, (name, document) in enumerate(_documents(recordings)):
        cassette = tmp_path / f"{number}.yaml"
        converted = written(document, cassette)
        assert converted.is_old, name
        converted_all += 1
        reasons = [reason for each in converted.refused for reason in REFUSED if each.reason.endswith(reason)]
        assert len(reasons) == len(converted.refused), [each.reason for each in converted.refused]
        refused.update(reasons)
        every += _repeated(name, document, converted, cassette, door)
    assert refused == REFUSED
    assert converted_all == RECORDINGS
    recorded = [each for each in every if not each.is_new]
    same = sum(each.same for each in recorded)
    times = sum(each.is_time and not each.same for each in recorded)
    figures = f"{converted_all} recordings, {same} of {len(recorded)} recorded fields ({same / len(recorded):.2%})"
    with capsys.disabled():
        print(f"\nconverted recordings ({door.kind}): {figures}; {times} of the others are times")  # noqa: T201
    assert same / len(recorded) > SHARE
    assert same / (len(recorded) - times) > WITHOUT_TIMES


def _repeated(name: str, document: dict[str, Any], converted: Converted, cassette: Path, door: Door) -> list[Field]:
    """Every call again, but those that a poller would not make; what each answers, compared with the recording."""
    olds = Evidence(files.exchanges_from_document(document)).olds
    compared: list[Field] = []
    with replayed(cassette) as (settings, tape):
        http = door.client(SimpleNamespace(base_url=BASE), settings)._client
        for old, outcome in zip(olds, converted.outcomes, strict=True):
            if outcome.kind == "folded":
                continue
            headers = {key: values[0] for key, values in old.exchange.request_headers.items() if key == "openai-beta"}
            request = http.build_request(
                old.exchange.method,
                old.exchange.uri,
                headers={"openai-beta": "assistants=v2", **headers},
                content=old.exchange.request_body or None,
            )
            response = door(http.send(request))
            if outcome.kind == "refused":
                continue
            assert response.status_code == old.exchange.status, f"{name}: {old.call}: {response.text}"
            now = _compared(old, response)
            assert now == outcome.fields or outcome.kind == "copied", f"{name}: {old.call} is not as it was converted"
            compared += now
        assert tape.all_played, f"{name}: something was converted that nobody asks for"
    return compared


def _compared(old: Old, response: Any) -> list[Field]:
    if old.exchange.is_stream:
        return list(fields(told(old.events), told(events_of(response.content))))
    return list(fields(old.answer, response.json()))


def test_a_recording_without_requests_is_left_as_it_is(recordings: ModuleType, tmp_path: Path) -> None:
    """openai-php's stream was kept without its request: there is nothing to repeat, and nothing is made up."""
    [path] = (recordings.ROOT / "assistants" / "openai-php__client").iterdir()
    document = {"interactions": _interactions(recordings, path), "version": 1}
    converted = written(document, tmp_path / "a.yaml")
    assert not converted.is_old
    assert converted.document == document
