"""What tests of files share that no single one owns: what is in a directory, and a run whose file could not be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, CSV, LINK, finish_run

PNG = b"\x89PNG\r\n\x1a\n-a-picture"
TURN = Turn(text=LINK, files={"sales.csv": CSV})
CONTENT = "GET /containers/*/files/*/content"
MISSING = Fault(match=CONTENT, status=404, body={"error": {"message": "Not now.", "type": "x"}})


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a directory by its name, also hidden and half-written ones."""
    return {path.name: path.read_bytes() for path in directory.iterdir()} if directory.is_dir() else {}


def run_with(door: Door, client: Any, upstream: StandIn, turn: Turn = TURN) -> Any:
    """A finished run with this scripted turn."""
    upstream.script(turn)
    return finish_run(door, client, assistant={"tools": CODE})


def run_without_its_file(door: Door, client: Any, upstream: StandIn) -> tuple[Any, str]:
    """A finished run whose file could not be copied, and the file's id."""
    upstream.fault(MISSING)
    run = run_with(door, client, upstream)
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    return run, str(message.content[0].text.annotations[0].file_path.file_id)
