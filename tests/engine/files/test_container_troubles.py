"""A run completes although its container fails to serve a file, and the file can be downloaded later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn
from kit.doors import Door
from kit.files import CONTENT_REQUEST, TURN, directory_contents
from kit.legacy_code import CODE, CSV, start_run

ERROR = {"error": {"message": "Not now.", "type": "server_error", "param": None, "code": None}}
LOST = "the connection to the container was lost"
TROUBLES = {  # each fault, and the reason that `status_details` gives
    "not found": (Fault(CONTENT_REQUEST, status=404, body=ERROR), "the container answered 404"),
    "server errors": (Fault(CONTENT_REQUEST, status=500, body=ERROR, times=3), "the container answered 500"),
    "stalls": (Fault(CONTENT_REQUEST, stall=3, times=3), LOST),
    "no answer": (Fault(CONTENT_REQUEST, drop=True, times=3), LOST),
    "short bodies": (Fault(CONTENT_REQUEST, truncate=True, times=3), LOST),
    "wrong lengths": (
        Fault(CONTENT_REQUEST, status=200, body=CSV + b"x", times=3),
        f"sent {len(CSV) + 1} of {len(CSV)} bytes",
    ),
    "errors with status 200": (Fault(CONTENT_REQUEST, status=200, body=ERROR, times=3), f"of {len(CSV)} bytes"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_file_that_could_not_be_copied_is_downloaded_later(
    door: Door, upstream: StandIn, sqlite_settings: Settings, trouble: str
) -> None:
    """A file that could not be copied keeps its link and a reason, leaves no bytes here, and downloads later."""
    fault, reason = TROUBLES[trouble]
    client = door.client(upstream, sqlite_settings)
    upstream.script(TURN)
    upstream.fault(fault)
    run = start_run(door, client, assistant={"tools": CODE})
    poller = client.with_options(timeout=1.5) if fault.stall else client
    completed = door(poller.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    [annotation] = message.content[0].text.annotations
    file_id = annotation.file_path.file_id
    assert completed.status == "completed"
    assert reason in door(client.files.retrieve(file_id)).status_details
    assert directory_contents(Path(str(sqlite_settings.files))) == {}
    upstream.fault(Fault(CONTENT_REQUEST, status=404, body=ERROR))
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {file_id}"):
        door(client.files.content(file_id))
    assert door(client.files.content(file_id)).read() == CSV


@pytest.mark.parametrize("trouble", [name for name, (fault, _) in TROUBLES.items() if fault.times > 1])
def test_a_file_is_copied_at_the_last_retry(
    door: Door, upstream: StandIn, sqlite_settings: Settings, trouble: str
) -> None:
    """A file is copied although the container fails twice."""
    fault, _ = TROUBLES[trouble]
    client = door.client(upstream, sqlite_settings)
    upstream.script(TURN)
    upstream.fault(replace(fault, times=2))
    run = start_run(door, client, assistant={"tools": CODE})
    poller = client.with_options(timeout=1.5) if fault.stall else client
    door(poller.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    assert list(directory_contents(Path(str(sqlite_settings.files))).values()) == [CSV]
