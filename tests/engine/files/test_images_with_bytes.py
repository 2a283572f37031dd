"""A generated image reaches the model of an upstream without the purpose `vision` (refusals.md, F10)."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from assistants_compat import Settings, responses_request
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import polled_or_streamed, run_to_end
from kit.doors import Door
from kit.files import PNG
from kit.legacy_code import (
    FUNCTION,
    dump_store,
    function_call_turn,
    get_raw,
    make_assistant,
    make_file,
    submit_outputs,
    upstream_calls,
)
from kit.upstream_requests import request_bodies

UPLOAD = "POST /files"
LINK_TO_IMAGE = Turn(text="See [it](sandbox:/mnt/data/plot.png).", files={"plot.png": PNG})
DATA_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
# The two texts of refusals.md, row 30.
REFUSALS = [
    {"message": "Invalid value for purpose.", "type": "invalid_request_error", "param": None, "code": "invalidPayload"},
    {"message": "purpose contains an invalid purpose.", "type": "invalid_request_error", "param": None, "code": None},
]


def thread_with_image(door: Door, client: Any, upstream: StandIn, **options: Any) -> tuple[str, str, Any]:
    """Return a thread that shows a generated image, an assistant and the image's part; requests are cleared."""
    file_id = make_file(door, client, upstream, LINK_TO_IMAGE)
    part = {"type": "image_file", "image_file": {"file_id": file_id, "detail": "low"}}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": [part]}]))
    assistant = make_assistant(door, client, **options)
    upstream.requests.clear()
    return thread.id, assistant.id, part


def sent_images(upstream: StandIn) -> list[list[Any]]:
    """Return the images in the input of each `POST /responses`."""
    return [
        [
            part
            for item in body["input"]
            if isinstance(item.get("content"), list)
            for part in item["content"]
            if part["type"] == "input_image"
        ]
        for body in request_bodies(upstream)
    ]


EXPECTED = [{"type": "input_image", "image_url": DATA_URL, "detail": "low"}]


@pytest.mark.refusal("vision_purpose")
@polled_or_streamed
def test_azure_gets_the_bytes(door: Door, upstream: StandIn, settings: Settings, *, stream: bool) -> None:
    """On Azure each run sends the image as a data URL and uploads nothing; thread and store keep the file's id."""
    client = door.client(upstream, settings, azure=True)
    thread, assistant, part = thread_with_image(door, client, upstream)
    for _ in range(2):
        assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    assert sent_images(upstream) == [EXPECTED] * 2
    assert upstream_calls(upstream, UPLOAD) == []
    assert get_raw(door, client, f"/threads/{thread}/messages?order=asc")["data"][0]["content"] == [part]
    assert "base64" not in json.dumps(dump_store(settings), default=str)


@pytest.mark.refusal("vision_purpose")
@polled_or_streamed
@pytest.mark.parametrize("refusal", REFUSALS, ids=["invalid value", "invalid purpose"])
def test_a_refused_purpose_is_asked_once(
    door: Door, upstream: StandIn, settings: Settings, caplog: pytest.LogCaptureFixture, refusal: Any, *, stream: bool
) -> None:
    """Where the purpose is refused the image goes as a data URL, and later threads of the process do not ask again."""
    caplog.set_level(logging.INFO, "assistants_compat")
    client = door.client(upstream, settings)
    upstream.fault(Fault(UPLOAD, status=400, body={"error": refusal}))
    for uploads in ([UPLOAD], []):
        thread, assistant, _ = thread_with_image(door, client, upstream)
        for _ in range(2):
            assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
        assert (sent_images(upstream), upstream_calls(upstream, UPLOAD)) == ([EXPECTED] * 2, uploads)
    assert sum("vision" in record.getMessage() for record in caplog.records) == 1
    assert "base64" not in caplog.text


@polled_or_streamed
def test_without_stored_responses_every_round_sends_the_bytes(
    door: Door, upstream: StandIn, settings: Settings, *, stream: bool
) -> None:
    """With `store_responses=False` a later round sends the image again, and the run's row holds only its id."""
    settings = replace(settings, store_responses=False)
    client = door.client(upstream, settings, azure=True)
    thread, assistant, part = thread_with_image(door, client, upstream, tools=[FUNCTION])
    upstream.script(function_call_turn("call_1"), Turn(text="Seen.", polls=0))
    run = run_to_end(door, client, thread, assistant)
    if stream:
        runs = client.beta.threads.runs
        outputs = [{"tool_call_id": "call_1", "output": "1"}]
        door.all(door(runs.submit_tool_outputs(run.id, thread_id=thread, tool_outputs=outputs, stream=True)))
    else:
        submit_outputs(door, client, run)
    assert sent_images(upstream) == [EXPECTED] * 2
    dumped = json.dumps(dump_store(settings), default=str)
    assert "base64" not in dumped
    assert part["image_file"]["file_id"] in dumped


def test_the_transcript_of_a_retry_has_the_bytes(door: Door, upstream: StandIn, settings: Settings) -> None:
    """If outputs are sent with the transcript because the response is gone, the image is in it."""
    client = door.client(upstream, settings, azure=True)
    thread, assistant, _ = thread_with_image(door, client, upstream, tools=[FUNCTION])
    upstream.script(function_call_turn("call_1"), Turn(text="Seen.", polls=0))
    run = run_to_end(door, client, thread, assistant)
    gone = {"message": "Previous response with id 'resp_1' not found.", "code": "previous_response_not_found"}
    upstream.fault(Fault("POST /responses", status=400, body={"error": {**gone, "param": "previous_response_id"}}))
    submit_outputs(door, client, run)
    assert sent_images(upstream)[-1] == EXPECTED


def test_a_preview_has_the_bytes(door: Door, upstream: StandIn, settings: Settings) -> None:
    """`responses_request` returns a body that can be sent as it is."""
    client = door.client(upstream, settings, azure=True)
    thread, assistant, _ = thread_with_image(door, client, upstream)
    request = door(responses_request(client, assistant, thread))
    assert request["input"][0]["content"] == EXPECTED
    assert upstream_calls(upstream, UPLOAD) == []


def test_an_image_that_was_uploaded_keeps_its_upload(door: Door, client: Any, upstream: StandIn) -> None:
    """Where the purpose is taken the image is uploaded once and sent by its id."""
    thread, assistant, _ = thread_with_image(door, client, upstream)
    for _ in range(2):
        run_to_end(door, client, thread, assistant)
    [copy] = [id_ for id_, file in upstream.files.items() if file.wire["purpose"] == "vision"]
    assert sent_images(upstream) == [[{"type": "input_image", "file_id": copy, "detail": "low"}]] * 2
    assert upstream_calls(upstream, UPLOAD) == [UPLOAD]


@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
def test_a_deleted_image_does_not_stop_the_thread(
    door: Door, upstream: StandIn, settings: Settings, *, azure: bool
) -> None:
    """A generated image that its caller deleted is a line of text to later runs."""
    client = door.client(upstream, settings, azure=azure)
    thread, assistant, part = thread_with_image(door, client, upstream)
    run_to_end(door, client, thread, assistant)
    door(client.files.delete(part["image_file"]["file_id"]))
    assert run_to_end(door, client, thread, assistant).status == "completed"
    assert sent_images(upstream)[-1] == []
    assert request_bodies(upstream)[-1]["input"][0]["content"] == [
        {"type": "input_text", "text": "[image no longer available]"}
    ]
