"""A run has a step for each message and each Code Interpreter call."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest

from assistants_compat.engine.io import IO
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, finish_run, get_raw, waiting_run

KEYS = [
    "id",
    "object",
    "created_at",
    "run_id",
    "assistant_id",
    "thread_id",
    "type",
    "status",
    "cancelled_at",
    "completed_at",
    "expires_at",
    "failed_at",
    "last_error",
    "step_details",
    "usage",
    "expired_at",
    "metadata",
]
PNG = b"\x89PNG\r\n\x1a\n-a-picture"


@pytest.fixture
def run(door: Door, client: Any, upstream: StandIn) -> Any:
    """Make a finished run that drew a picture, printed a line and wrote a message."""
    upstream.script(Turn(text="A plot.", code="plot()", logs="42\n", images=[PNG]))
    return finish_run(door, client, assistant={"tools": CODE})


def test_steps_are_served_newest_first(door: Door, client: Any, run: Any) -> None:
    """Steps are listed newest first, each with every key of the spec."""
    path = f"/threads/{run.thread_id}/runs/{run.id}/steps"
    listed = get_raw(door, client, path)
    [message_step, call_step] = listed["data"]
    assert [list(step) for step in (message_step, call_step)] == [KEYS, KEYS]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (message_step["id"], call_step["id"], False)
    for step in (message_step, call_step):
        assert step["status"] == "completed"
        assert (step["run_id"], step["thread_id"], step["assistant_id"]) == (run.id, run.thread_id, run.assistant_id)
        assert step["object"] == "thread.run.step"
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    assert message_step["type"] == "message_creation"
    assert message_step["step_details"] == {"type": "message_creation", "message_creation": {"message_id": message.id}}
    assert [step["id"] for step in get_raw(door, client, f"{path}?order=asc")["data"]] == [
        call_step["id"],
        message_step["id"],
    ]


def test_a_call_shows_its_code_and_outputs(door: Door, client: Any, run: Any) -> None:
    """The step of a call has the code, the printed text, and the picture by an id that can be downloaded."""
    [_, step] = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    [call] = step.step_details.tool_calls
    assert (step.type, call.type, call.code_interpreter.input) == ("tool_calls", "code_interpreter", "plot()")
    [image, logs] = call.code_interpreter.outputs
    assert logs.logs == "42\n"
    assert door(client.files.content(image.image.file_id)).read() == PNG
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    assert [block.type for block in message.content] == ["image_file", "text"]
    assert message.content[0].image_file.file_id == image.image.file_id


def test_a_step_is_retrieved_by_its_id(door: Door, client: Any, run: Any) -> None:
    """A retrieved step equals the listed one, and an unknown step gets the recorded 404."""
    steps = client.beta.threads.runs.steps
    for step in door.all(steps.list(run.id, thread_id=run.thread_id, limit=1)):
        assert door(steps.retrieve(step.id, thread_id=run.thread_id, run_id=run.id)) == step
    with pytest.raises(openai.NotFoundError) as caught:
        door(steps.retrieve("step_123", thread_id=run.thread_id, run_id=run.id))
    assert caught.value.response.json() == {
        "error": {
            "message": "No run step found with id 'step_123'.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    }
    with pytest.raises(openai.NotFoundError, match=r"No run found with id 'run_x'\."):
        door(steps.retrieve("step_123", thread_id=run.thread_id, run_id="run_x"))


def test_an_unknown_include_is_refused(door: Door, client: Any, run: Any) -> None:
    """The steps of a run accept the one `include` value of the spec and refuse others with the usual 400."""
    steps = f"/threads/{run.thread_id}/runs/{run.id}/steps"
    [step, *_] = get_raw(door, client, steps)["data"]
    known = "step_details.tool_calls[*].file_search.results[*].content"
    for path in (steps, f"{steps}/{step['id']}"):
        get_raw(door, client, f"{path}?include[]={known}")
        with pytest.raises(openai.BadRequestError) as caught:
            get_raw(door, client, f"{path}?include[]={known}&include[]=foo")
        assert caught.value.body == {
            "message": f"Invalid value: 'foo'. Supported values are: '{known}'.",
            "type": "invalid_request_error",
            "param": "include[1]",
            "code": "invalid_value",
        }


def test_retrieving_a_step_polls_its_run(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retrieving a step polls its run, so the step of a run that waited too long is served as expired."""
    run = waiting_run(door, client, upstream)
    steps = client.beta.threads.runs.steps
    [step] = door.all(steps.list(run.id, thread_id=run.thread_id))
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 601)
    assert door(steps.retrieve(step.id, thread_id=run.thread_id, run_id=run.id)).status == "expired"
