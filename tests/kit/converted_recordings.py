"""Converts recordings and replays them in place of the network, as the pytest plugin does."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.recordings import vcr_yaml as files
from assistants_compat.recordings.convert.play import Conversion, convert
from assistants_compat.recordings.convert.seed import insert_seed
from assistants_compat.recordings.replay import ReplayClockAndIds, replay_data
from assistants_compat.runtime import clock

BASE = "https://api.openai.com/v1"


def interaction(method: str, path: str, body: Any, answer: Any, **more: Any) -> dict[str, Any]:
    """Return an exchange as VCR.py writes it; `answer` is JSON, the text of a stream, or bytes."""
    kind = "text/event-stream; charset=utf-8" if isinstance(answer, str) else "application/json"
    kind = "application/octet-stream" if isinstance(answer, bytes) else kind
    sent = None if body is None else json.dumps(body)
    content = answer if isinstance(answer, (str, bytes)) else json.dumps(answer, indent=2)
    return {
        "request": {
            "method": method,
            "uri": path if "://" in path else f"{BASE}{path}",
            "body": sent,
            "headers": {"openai-beta": ["assistants=v2"], "content-type": ["application/json"]},
        },
        "response": {
            "status": {"code": more.get("status", 200), "message": "OK"},
            "headers": {"content-type": [kind]},
            "body": {"string": content},
        },
    }


def document(*interactions: dict[str, Any]) -> dict[str, Any]:
    """Return a recording of these exchanges."""
    return {"interactions": list(interactions), "version": 1}


def convert_to_file(recording: dict[str, Any], to: Path) -> Conversion:
    """Convert a recording, reading it from a file and writing the result to another."""
    old = to.with_suffix(".old.yaml")
    old.write_text(files.dump(recording), "utf-8")
    converted = convert(files.load(old))
    to.write_text(files.dump(converted.document), "utf-8")
    return converted


@contextmanager
def replay_cassette(cassette: Path) -> Iterator[tuple[Settings, Any]]:
    """Replay a converted recording; yield the settings for the test's client, and VCR.py's cassette."""
    vcr = pytest.importorskip("vcr", reason="vcrpy is not installed")
    key = replay_data(files.load(cassette))
    settings = Settings(store="sqlite://", namespace=uuid.uuid4().hex)
    insert_seed(settings, key.get("seed") or {})
    recorder = vcr.VCR()
    recorder.register_matcher("json", _same_body)
    play = recorder.use_cassette(str(cassette), record_mode="none", match_on=["method", "uri", "json"])
    with clock.replace_current(ReplayClockAndIds(key)), play as tape:
        yield settings, tape


def _same_body(request: Any, recorded: Any) -> None:
    assert _parsed_body(request.body) == _parsed_body(recorded.body)


def _parsed_body(body: Any) -> Any:
    if isinstance(body, str):
        body = body.encode()
    try:
        return json.loads(body) if body else None
    except ValueError:
        return bytes(body)
