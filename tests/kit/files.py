"""Helpers of several file tests: the contents of a directory, and a run whose file could not be copied."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from assistants_compat.testing import Fault, StandIn, Turn
from assistants_compat.testing.exchange import Answer
from kit.doors import Door
from kit.legacy_code import CODE, CSV, LINK, finish_run

PNG = b"\x89PNG\r\n\x1a\n-a-picture"
TURN = Turn(text=LINK, files={"sales.csv": CSV})
CONTENT_REQUEST = "GET /containers/*/files/*/content"
CONTENT_NOT_FOUND = Fault(match=CONTENT_REQUEST, status=404, body={"error": {"message": "Not now.", "type": "x"}})


def directory_contents(directory: Path) -> dict[str, bytes]:
    """Return the content of every file in a directory by name, hidden and half-written ones included."""
    return {path.name: path.read_bytes() for path in directory.iterdir()} if directory.is_dir() else {}


def finish_run_with_turn(door: Door, client: Any, upstream: StandIn, turn: Turn = TURN) -> Any:
    """Return a finished run with this scripted turn."""
    upstream.script(turn)
    return finish_run(door, client, assistant={"tools": CODE})


def run_with_uncopied_file(door: Door, client: Any, upstream: StandIn) -> tuple[Any, str]:
    """Return a finished run whose file could not be copied, and the file's id."""
    upstream.fault(CONTENT_NOT_FOUND)
    run = finish_run_with_turn(door, client, upstream)
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    return run, str(message.content[0].text.annotations[0].file_path.file_id)


def refuse_missing_files(
    upstream: StandIn, monkeypatch: pytest.MonkeyPatch, status: int, text: str, param: str | None
) -> None:
    """Refuse in these words what names a file that does not exist, in a response or a container; `{}` is the file."""
    answer_normally = upstream.answer

    def answer(request: Any) -> Any:
        if request.method == "POST" and request.path.startswith(("/responses", "/containers")):
            for file_id in re.findall(rb'"(file-[^"]+)"', request.body):
                if file_id.decode() not in upstream.files:
                    error = {"message": text.format(file_id.decode()), "type": "x", "param": param, "code": None}
                    return Answer(status, json.dumps({"error": error}).encode(), {"content-type": "application/json"})
        return answer_normally(request)

    monkeypatch.setattr(upstream, "answer", answer)
