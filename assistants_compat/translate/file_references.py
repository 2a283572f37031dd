"""Which files the objects of either API speak of, and why there may be none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..wire.ids import Mint, may_be_ours
from ..wire.objects import Json, Run, as_object, objects
from .output import NOTHING, Generated, outcome_from_response
from .run import TERMINAL
from .uncited_files import containers_of

_CODE = "code_interpreter"


def files_of_message(message: Mapping[str, Any]) -> Iterator[str]:
    """The ids of the files that a message links, shows or has attached; of a user's message only generated ones.

    What a user attached or showed was uploaded, and often may not be downloaded.
    """
    every = message.get("role") == "assistant"
    for file_id in _spoken_of(message):
        if every or may_be_ours(file_id):
            yield file_id
    for attachment in objects(message.get("attachments")):
        file_id = str(attachment.get("file_id"))
        if may_be_ours(file_id) and any(tool.get("type") == _CODE for tool in objects(attachment.get("tools"))):
            yield file_id


def _spoken_of(message: Mapping[str, Any]) -> Iterator[str]:
    for block in objects(message.get("content")):
        if block.get("type") == "image_file":
            yield str(as_object(block.get("image_file")).get("file_id"))
        for annotation in objects(as_object(block.get("text")).get("annotations")):
            if annotation.get("type") == "file_path":
                yield str(as_object(annotation.get("file_path")).get("file_id"))


def files_of_step(step: Mapping[str, Any]) -> Iterator[str]:
    """The ids of the images that the code of a run step showed."""
    for call in _code_calls(step):
        for output in objects(as_object(call.get(_CODE)).get("outputs")):
            if output.get("type") == "image":
                yield str(as_object(output.get("image")).get("file_id"))


def _code_calls(step: Mapping[str, Any]) -> list[Json]:
    calls = objects(as_object(step.get("step_details")).get("tool_calls"))
    return [call for call in calls if call.get("type") == _CODE]


def files_of_response(response: Mapping[str, Any], listed: Iterable[Json], mint: Mint) -> list[Generated]:
    """The files of a native response, each once: cited, shown, or in the list of its containers (`made_files`)."""
    # Read as the response of a run is, so that the same rules say which two are one.
    run: Run = {"id": "", "thread_id": "", "assistant_id": "", "expires_at": 0, "tools": []}  # type: ignore[typeddict-item]
    outcome = outcome_from_response(run, response, NOTHING, mint, 0, found=list(listed))
    return list(outcome.files.values())


def why_no_files_in_run(run: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]) -> str:
    """What to check when a run, or its thread, has no files."""
    return _why(str(run.get("status")), run, ran_code=any(_code_calls(step) for step in steps))


def why_no_files_in_response(response: Mapping[str, Any]) -> str:
    """What to check when a native response has no files."""
    status = str(response.get("status") or "completed")
    return _why(status, response, ran_code=bool(containers_of(objects(response.get("output")))))


def _why(status: str, whole: Mapping[str, Any], *, ran_code: bool) -> str:
    if status not in TERMINAL:
        return f"it is still {status}; wait until it has ended, and try again"
    if not any(tool.get("type") == _CODE for tool in objects(whole.get("tools"))):
        return "it had no code_interpreter tool; check the tools of the assistant and of the run"
    if not ran_code:
        return f"it is {status}, and the model ran no code; check that the prompt asks for a file"
    return f"it is {status}, and its code saved nothing under /mnt/data; check the code, and ask for a file there"
