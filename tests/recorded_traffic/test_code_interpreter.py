"""Every recorded Code Interpreter response arrives complete through the legacy API."""

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
from kit.container_runs import make_thread_and_assistant, run_to_end
from kit.doors import Door
from kit.files import directory_contents

Json = dict[str, Any]

every_recording = pytest.mark.parametrize("name", recorded.NAMES)
every_mode = pytest.mark.parametrize("mode", ["background", "inline"])


def test_no_recording_is_left_out(recordings: ModuleType) -> None:
    """The cases are all recorded responses with a Code Interpreter call, and they hold eight files."""
    responses = recorded.find_all(recordings)
    assert sorted(responses) == sorted(recorded.NAMES)
    assert sum(map(recorded.number_of_files, responses.values())) == recorded.FILE_COUNT


@every_recording
@every_mode
def test_texts_and_files_arrive(conversation: Conversation, body: Json, upstream: StandIn) -> None:
    """Each text arrives, each link is a file_path, each shown image is a block before the text, each file downloads."""
    messages = recorded.messages_of(body)
    assert conversation.run.status == "completed"
    assert len(conversation.messages) == len(messages)
    images = recorded.output_images(body)
    for message, item in zip(conversation.messages, messages, strict=True):
        image_citations = recorded.shown_images(item)
        kinds = [block.type for block in message.content]
        assert kinds == ["image_file"] * len(image_citations) + ["text"] * len(item["content"])
        for block, citation in zip(message.content, image_citations, strict=False):
            file_object, content = conversation.file(block.image_file.file_id)
            assert content == (images.pop(0) if images else _in_container(upstream, citation))
            assert file_object.bytes == len(content) > 0
        _check_links(conversation, message, item, upstream)
    assert images == []
    assert len(conversation.file_ids()) == recorded.number_of_files(body)


def _check_links(conversation: Conversation, message: Any, item: Json, upstream: StandIn) -> None:
    [text] = [block.text for block in message.content if block.type == "text"]
    assert text.value == item["content"][0]["text"]
    link_citations = recorded.linked_files(item)
    assert len(text.annotations) == len(link_citations)
    for annotation, citation in zip(text.annotations, link_citations, strict=True):
        assert annotation.type == "file_path"
        assert annotation.text == f"sandbox:/mnt/data/{citation['filename']}"
        assert text.value[annotation.start_index : annotation.end_index] == annotation.text
        assert (annotation.start_index, annotation.end_index) == (citation["start_index"], citation["end_index"])
        file_object, content = conversation.file(annotation.file_path.file_id)
        assert content == _in_container(upstream, citation)
        assert file_object.bytes == len(content) > 0
        assert file_object.filename == f"/mnt/data/{citation['filename']}"
        assert file_object.purpose == "assistants_output"
    attached = [(attachment.file_id, [tool.type for tool in attachment.tools]) for attachment in message.attachments]
    assert attached == [(note.file_path.file_id, ["code_interpreter"]) for note in text.annotations]


def _in_container(upstream: StandIn, citation: Json) -> bytes:
    return upstream.containers[citation["container_id"]].files[citation["file_id"]].content


@every_recording
@every_mode
def test_steps_show_code_outputs_and_usage(conversation: Conversation, body: Json) -> None:
    """Each call and each message is one step, in order, with code, logs and images, and their usage adds up."""
    items = [item for item in body["output"] if item["type"] in {"message", "code_interpreter_call"}]
    messages = iter(conversation.messages)
    assert len(conversation.steps) == len(items)
    for step, item in zip(conversation.steps, items, strict=True):
        assert (step.run_id, step.status) == (conversation.run.id, "completed")
        if item["type"] == "message":
            assert step.type == "message_creation"
            assert step.step_details.message_creation.message_id == next(messages).id
        else:
            assert step.type == "tool_calls"
            [call] = step.step_details.tool_calls
            assert call.code_interpreter.input == item["code"]
            _check_outputs(conversation, call.code_interpreter.outputs, item["outputs"] or [])
    usage = conversation.run.usage
    assert usage.prompt_tokens == body["usage"]["input_tokens"] > 0
    assert usage.completion_tokens == body["usage"]["output_tokens"] > 0
    assert (
        sum(step.usage.total_tokens for step in conversation.steps)
        == usage.total_tokens
        == body["usage"]["total_tokens"]
    )


def _check_outputs(conversation: Conversation, outputs: list[Any], recorded_outputs: list[Json]) -> None:
    assert [output.type for output in outputs] == [recorded_output["type"] for recorded_output in recorded_outputs]
    for output, recorded_output in zip(outputs, recorded_outputs, strict=True):
        if output.type == "logs":
            assert output.logs == recorded_output["logs"]
        else:
            assert conversation.file(output.image.file_id)[1] == recorded.image_bytes(recorded_output)


@every_recording
@every_mode
def test_every_answer_fits_the_spec(
    conversation: Conversation, mode: str, check: Callable[[str, object], None]
) -> None:
    """Assistant, thread, messages, every polled run, steps and files fit the spec and the SDK's strict types."""
    for file_id in conversation.file_ids():
        conversation.file(file_id)
    for schema, answer in conversation.answers:
        check(schema, answer)
    statuses = [answer["status"] for schema, answer in conversation.answers if schema == "RunObject"]
    assert statuses == (["queued", "in_progress", "completed"] if mode == "background" else ["completed"])


@pytest.mark.parametrize("stream", [False, True], ids=["polled", "streamed"])
def test_every_recorded_file_is_found_and_none_twice(
    door: Door, recordings: ModuleType, sqlite_settings: Settings, *, stream: bool
) -> None:
    """Over all recordings, every cited or shown file is listed once and named nowhere else: eight in all."""
    all_ids: list[str] = []
    for name, body in sorted(recorded.find_all(recordings).items()):
        with StandIn() as upstream:
            upstream.script(Turn(response=body, polls=0))
            client = door.client(upstream, dataclasses.replace(sqlite_settings, namespace=name))
            run = run_to_end(door, client, *make_thread_and_assistant(door, client), stream=stream)
            listed_ids = [file.id for file in door.all(client.files.list(purpose="assistants_output"))]
            conversation = Conversation(door, client)
            conversation.call("", client.beta.threads.messages.with_raw_response.list(run.thread_id))
            conversation.call(
                "", client.beta.threads.runs.steps.with_raw_response.list(run.id, thread_id=run.thread_id)
            )
        assert len(listed_ids) == len(set(listed_ids)) == recorded.number_of_files(body), name
        assert set(listed_ids) == conversation.file_ids(), name
        all_ids += listed_ids
    assert len(set(all_ids)) == len(all_ids) == recorded.FILE_COUNT
    assert set(all_ids) == set(directory_contents(Path(str(sqlite_settings.files))))
