"""Finds the files that messages, run steps and responses refer to, and explains why there are none.

The bytes of the files are not read here: `tools/downloads.py` does that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..wire.ids import IdFactory, looks_like_generated_file_id
from ..wire.objects import Json, Run, as_object, as_object_list
from .outcome import GeneratedFile
from .output import ZERO_USAGE, outcome_from_response
from .run import TERMINAL
from .uncited_files import container_ids_from_output

_CODE_INTERPRETER = "code_interpreter"


def files_of_message(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids of the files that a message links, shows or has attached; for a user's message only generated ones.

    Other files of a user's message were uploaded, and the Files API often refuses to download those.
    """
    is_assistant_message = message.get("role") == "assistant"
    for file_id in _shown_or_linked_files(message):
        if is_assistant_message or looks_like_generated_file_id(file_id):
            yield file_id
    for attachment in as_object_list(message.get("attachments")):
        file_id = str(attachment.get("file_id"))
        if looks_like_generated_file_id(file_id) and any(
            tool.get("type") == _CODE_INTERPRETER for tool in as_object_list(attachment.get("tools"))
        ):
            yield file_id


def _shown_or_linked_files(message: Mapping[str, Any]) -> Iterator[str]:
    for block in as_object_list(message.get("content")):
        if block.get("type") == "image_file":
            yield str(as_object(block.get("image_file")).get("file_id"))
        for annotation in as_object_list(as_object(block.get("text")).get("annotations")):
            if annotation.get("type") == "file_path":
                yield str(as_object(annotation.get("file_path")).get("file_id"))


def files_of_step(step: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids of the images that the code of a run step showed."""
    for call in _code_interpreter_calls(step):
        for output in as_object_list(as_object(call.get(_CODE_INTERPRETER)).get("outputs")):
            if output.get("type") == "image":
                yield str(as_object(output.get("image")).get("file_id"))


def _code_interpreter_calls(step: Mapping[str, Any]) -> list[Json]:
    calls = as_object_list(as_object(step.get("step_details")).get("tool_calls"))
    return [call for call in calls if call.get("type") == _CODE_INTERPRETER]


def files_of_response(
    response: Mapping[str, Any], container_files: Iterable[Json], new_id: IdFactory
) -> list[GeneratedFile]:
    """Return the files of a Responses API response, each once: those it cites or shows, and `container_files`.

    `container_files` are those that the model made in its containers (`files_made_by_model`).
    """
    # The response is read like that of a run, so that the same rules recognise a file that appears twice.
    run: Run = {"id": "", "thread_id": "", "assistant_id": "", "expires_at": 0, "tools": []}  # type: ignore[typeddict-item]
    outcome = outcome_from_response(run, response, ZERO_USAGE, new_id, 0, container_files=list(container_files))
    return list(outcome.files.values())


def explain_no_files_in_run(run: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]) -> str:
    """Return why a run, or its thread, has no files, and what to check."""
    return _explain_no_files(str(run.get("status")), run, ran_code=any(_code_interpreter_calls(step) for step in steps))


def explain_no_files_in_response(response: Mapping[str, Any]) -> str:
    """Return why a Responses API response has no files, and what to check."""
    status = str(response.get("status") or "completed")
    return _explain_no_files(
        status, response, ran_code=bool(container_ids_from_output(as_object_list(response.get("output"))))
    )


def _explain_no_files(status: str, source: Mapping[str, Any], *, ran_code: bool) -> str:
    if status not in TERMINAL:
        return f"it is still {status}; wait until it ends, then try again"
    if not any(tool.get("type") == _CODE_INTERPRETER for tool in as_object_list(source.get("tools"))):
        return "it had no code_interpreter tool; check the tools of the assistant and of the run"
    if not ran_code:
        return f"it is {status}, and the model ran no code; check that the prompt asks for a file"
    return f"it is {status}, and its code saved no file under /mnt/data; check the code, and ask for a file there"
