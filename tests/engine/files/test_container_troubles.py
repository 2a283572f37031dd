"""Containers that do not give what they have: the run ends as any other, and its file can be had afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn
from kit.doors import Door
from kit.files import CONTENT, TURN, contents
from kit.legacy_code import CODE, CSV, start_run

ERROR = {"error": {"message": "Not now.", "type": "server_error", "param": None, "code": None}}
LOST = "the connection to the container was lost"
TROUBLES = {  # what happens, and what is said of it
    "not found": (Fault(CONTENT, status=404, body=ERROR), "the container answered 404"),
    "server errors": (Fault(CONTENT, status=500, body=ERROR, times=3), "the container answered 500"),
    "stalls": (Fault(CONTENT, stall=3, times=3), LOST),
    "no answer": (Fault(CONTENT, drop=True, times=3), LOST),
    "short bodies": (Fault(CONTENT, truncate=True, times=3), LOST),
    "wrong lengths": (Fault(CONTENT, status=200, body=CSV + b"x", times=3), f"sent {len(CSV) + 1} of {len(CSV)} bytes"),
    "errors with status 200": (Fault(CONTENT, status=200, body=ERROR, times=3), f"of {len(CSV)} bytes"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_container_that_gives_no_file(door: Door, upstream: StandIn, sqlite_settings: Settings, trouble: str) -> None:
    """The run is completed with its link, nothing of the file is kept, what was wrong is said; and later it comes."""
    fault, reason = TROUBLES[trouble]
    client = door.client(upstream, sqlite_settings)
    upstream.script(TURN)
    upstream.fault(fault)
    run = start_run(door, client, assistant={"tools": CODE})
    patient = client.with_options(timeout=1.5) if fault.stall else client
    done = door(patient.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    [annotation] = message.content[0].text.annotations
    file_id = annotation.file_path.file_id
    assert done.status == "completed"
    assert reason in door(client.files.retrieve(file_id)).status_details
    assert contents(Path(str(sqlite_settings.files))) == {}
    upstream.fault(Fault(CONTENT, status=404, body=ERROR))
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {file_id}"):
        door(client.files.content(file_id))
    assert door(client.files.content(file_id)).read() == CSV


@pytest.mark.parametrize("trouble", [name for name, (fault, _) in TROUBLES.items() if fault.times > 1])
def test_a_container_that_gives_a_file_at_the_last_try(
    door: Door, upstream: StandIn, sqlite_settings: Settings, trouble: str
) -> None:
    """Two bad answers cost a second and no file."""
    fault, _ = TROUBLES[trouble]
    client = door.client(upstream, sqlite_settings)
    upstream.script(TURN)
    upstream.fault(replace(fault, times=2))
    run = start_run(door, client, assistant={"tools": CODE})
    patient = client.with_options(timeout=1.5) if fault.stall else client
    door(patient.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    assert list(contents(Path(str(sqlite_settings.files))).values()) == [CSV]
