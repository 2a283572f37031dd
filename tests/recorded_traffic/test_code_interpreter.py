"""Every recorded Code Interpreter response, seen through the legacy API."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import code_recordings as recorded
import pytest
from code_recordings import Conversation

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.container_runs import new_thread, run
from kit.doors import Door
from kit.files import contents

Json = dict[str, Any]

every_recording = pytest.mark.parametrize("name", recorded.NAMES)
every_mode = pytest.mark.parametrize("mode", ["background", "inline"])


def test_no_recording_is_left_out(recordings: ModuleType) -> None:
    """The cases are all recorded responses that hold a Code Interpreter call, and they hold eight files."""
    found = recorded.find_all(recordings)
    assert sorted(found) == sorted(recorded.NAMES)
    assert sum(map(recorded.number_of_files, found.values())) == recorded.FILES_IN_ALL


@every_recording
@every_mode
def test_texts_and_files_arrive(talk: Conversation, body: Json, upstream: StandIn) -> None:
    """Each text is there, each link is a file_path, each shown image a block before the text, each file downloads."""
    messages = recorded.messages_of(body)
    assert talk.run.status == "completed"
    assert len(talk.messages) == len(messages)
    images = recorded.images_of(body)
    for message, item in zip(talk.messages, messages, strict=True):
        shown = recorded.shown_of(item)
        kinds = [block.type for block in message.content]
        assert kinds == ["image_file"] * len(shown) + ["text"] * len(item["content"])
        for block, citation in zip(message.content, shown, strict=False):
            described, content = talk.file(block.image_file.file_id)
            assert content == (images.pop(0) if images else _in_container(upstream, citation))
            assert described.bytes == len(content) > 0
        _check_links(talk, message, item, upstream)
    assert images == []
    assert len(talk.file_ids()) == recorded.number_of_files(body)


def _check_links(talk: Conversation, message: Any, item: Json, upstream: StandIn) -> None:
    [text] = [block.text for block in message.content if block.type == "text"]
    assert text.value == item["content"][0]["text"]
    linked = recorded.linked_of(item)
    assert len(text.annotations) == len(linked)
    for annotation, citation in zip(text.annotations, linked, strict=True):
        assert annotation.type == "file_path"
        assert annotation.text == f"sandbox:/mnt/data/{citation['filename']}"
        assert text.value[annotation.start_index : annotation.end_index] == annotation.text
        assert (annotation.start_index, annotation.end_index) == (citation["start_index"], citation["end_index"])
        described, content = talk.file(annotation.file_path.file_id)
        assert content == _in_container(upstream, citation)
        assert described.bytes == len(content) > 0
        assert described.filename == f"/mnt/data/{citation['filename']}"
        assert described.purpose == "assistants_output"
    attached = [(each.file_id, [tool.type for tool in each.tools]) for each in message.attachments]
    assert attached == [(each.file_path.file_id, ["code_interpreter"]) for each in text.annotations]


def _in_container(upstream: StandIn, citation: Json) -> bytes:
    return upstream.containers[citation["container_id"]].files[citation["file_id"]].content


@every_recording
@every_mode
def test_steps_tell_what_was_run_and_what_it_took(talk: Conversation, body: Json) -> None:
    """There is one step for each call and each message, in order, with code, logs and images; usage adds up."""
    items = [item for item in body["output"] if item["type"] in {"message", "code_interpreter_call"}]
    messages = iter(talk.messages)
    assert len(talk.steps) == len(items)
    for step, item in zip(talk.steps, items, strict=True):
        assert (step.run_id, step.status) == (talk.run.id, "completed")
        if item["type"] == "message":
            assert step.type == "message_creation"
            assert step.step_details.message_creation.message_id == next(messages).id
        else:
            assert step.type == "tool_calls"
            [call] = step.step_details.tool_calls
            assert call.code_interpreter.input == item["code"]
            _check_outputs(talk, call.code_interpreter.outputs, item["outputs"] or [])
    usage = talk.run.usage
    assert usage.prompt_tokens == body["usage"]["input_tokens"] > 0
    assert usage.completion_tokens == body["usage"]["output_tokens"] > 0
    assert sum(step.usage.total_tokens for step in talk.steps) == usage.total_tokens == body["usage"]["total_tokens"]


def _check_outputs(talk: Conversation, outputs: list[Any], expected: list[Json]) -> None:
    assert [output.type for output in outputs] == [each["type"] for each in expected]
    for output, each in zip(outputs, expected, strict=True):
        if output.type == "logs":
            assert output.logs == each["logs"]
        else:
            assert talk.file(output.image.file_id)[1] == recorded.image_bytes(each)


@every_recording
@every_mode
def test_every_answer_is_what_the_spec_says(
    talk: Conversation, mode: str, check: Callable[[str, object], None]
) -> None:
    """Assistant, thread, messages, run at every look, steps and files are valid (the strict SDK types are on, too)."""
    for file_id in talk.file_ids():
        talk.file(file_id)
    for schema, answer in talk.answers:
        check(schema, answer)
    statuses = [answer["status"] for schema, answer in talk.answers if schema == "RunObject"]
    assert statuses == (["queued", "in_progress", "completed"] if mode == "background" else ["completed"])


@pytest.mark.parametrize("stream", [False, True], ids=["polled", "streamed"])
def test_every_recorded_file_is_found_and_none_twice(
    door: Door, recordings: ModuleType, sqlite_settings: Settings, *, stream: bool
) -> None:
    """Over all recordings: as many files as are cited or shown, eight, each in the list once and nowhere else."""
    found: list[str] = []
    for name, body in sorted(recorded.find_all(recordings).items()):
        with StandIn() as upstream:
            upstream.script(Turn(response=body, polls=0))
            client = door.client(upstream, dataclasses.replace(sqlite_settings, namespace=name))
            done = run(door, client, *new_thread(door, client), stream=stream)
            listed = [file.id for file in door.all(client.files.list(purpose="assistants_output"))]
            talk = Conversation(door, client)
            talk.ask("", client.beta.threads.messages.with_raw_response.list(done.thread_id))
            talk.ask("", client.beta.threads.runs.steps.with_raw_response.list(done.id, thread_id=done.thread_id))
        assert len(listed) == len(set(listed)) == recorded.number_of_files(body), name
        assert set(listed) == talk.file_ids(), name
        found += listed
    assert len(set(found)) == len(found) == recorded.FILES_IN_ALL
    assert set(found) == set(contents(Path(str(sqlite_settings.files))))
