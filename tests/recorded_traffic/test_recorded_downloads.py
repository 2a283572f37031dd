"""`download_files` saves every file of every recorded Code Interpreter response, legacy or native."""

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
def test_every_file_of_a_recorded_run_is_saved_once(conversation: Conversation, body: Any, tmp_path: Path) -> None:
    """Every cited or shown file of a run is saved once and is not empty."""
    paths = conversation.door(download_files(conversation.client, conversation.run, tmp_path / "saved"))
    assert len(set(paths)) == len(paths) == recorded.number_of_files(body)
    assert all(path.stat().st_size > 0 for path in paths)


@pytest.mark.parametrize("name", recorded.NAMES)
def test_every_file_of_a_recorded_response_is_saved_once(
    door: Door, upstream: StandIn, body: Any, tmp_path: Path
) -> None:
    """An unwrapped client saves every file of the native response once, images with the recorded bytes."""
    client = door.raw_client(upstream)
    upstream.script(Turn(response=body))
    request = {"model": "gpt-4.1", "input": "Please.", "tools": CODE, "include": ["code_interpreter_call.outputs"]}
    response = door(client.post("/responses", cast_to=object, body=request))
    response_object = SimpleNamespace(id=response["id"], object="response", to_dict=lambda **_: response)
    paths = door(download_files(client, response_object, tmp_path / "saved"))
    assert len(set(paths)) == len(paths) == recorded.number_of_files(body)
    saved = [path.read_bytes() for path in paths]
    assert all(image in saved for image in recorded.output_images(body))
