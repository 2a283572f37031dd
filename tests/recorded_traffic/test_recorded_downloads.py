"""`download_files` over every recorded Code Interpreter response, as a legacy run and as the native response."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import code_recordings as recorded
import pytest
from code_recordings import Conversation

from assistants_compat import download_files
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door

CODE = [{"type": "code_interpreter", "container": {"type": "auto"}}]


@pytest.mark.parametrize("name", recorded.NAMES)
@pytest.mark.parametrize("mode", ["background"])
def test_every_file_of_a_recorded_run_is_saved_once(talk: Conversation, body: Any, tmp_path: Path) -> None:
    """As many files as are cited or shown, none of them empty."""
    paths = talk.door(download_files(talk.client, talk.run, tmp_path / "saved"))
    assert len(set(paths)) == len(paths) == recorded.number_of_files(body)
    assert all(path.stat().st_size > 0 for path in paths)


@pytest.mark.parametrize("name", recorded.NAMES)
def test_every_file_of_a_recorded_response_is_saved_once(
    door: Door, upstream: StandIn, body: Any, tmp_path: Path
) -> None:
    """The same of the response itself, by a client that is not wrapped; pictures in it have the recorded bytes."""
    client = door.raw_client(upstream)
    upstream.script(Turn(response=body))
    asked = {"model": "gpt-4.1", "input": "Please.", "tools": CODE, "include": ["code_interpreter_call.outputs"]}
    response = door(client.post("/responses", cast_to=object, body=asked))
    thing = SimpleNamespace(id=response["id"], object="response", to_dict=lambda **_: response)
    paths = door(download_files(client, thing, tmp_path / "saved"))
    assert len(set(paths)) == len(paths) == recorded.number_of_files(body)
    saved = [path.read_bytes() for path in paths]
    assert all(image in saved for image in recorded.images_of(body))
