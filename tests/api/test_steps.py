"""Run steps: one for each message and each call of the code interpreter."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest

from assistants_compat.engine.io import IO
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, finish_run, raw, waiting_run

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
    """A finished run that drew a picture, printed, and spoke."""
    upstream.script(Turn(text="A plot.", code="plot()", logs="42\n", images=[PNG]))
    return finish_run(door, client, assistant={"tools": CODE})


def test_steps_are_served_newest_first(door: Door, client: Any, run: Any) -> None:
    """The message's step comes before the call's that led to it, each with every key of the spec."""
    path = f"/threads/{run.thread_id}/runs/{run.id}/steps"
    listed = raw(door, client, path)
    [spoke, called] = listed["data"]
    assert [list(step) for step in (spoke, called)] == [KEYS, KEYS]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (spoke["id"], called["id"], False)
    for step in (spoke, called):
        assert step["status"] == "completed"
        assert (step["run_id"], step["thread_id"], step["assistant_id"]) == (run.id, run.thread_id, run.assistant_id)
        assert step["object"] == "thread.run.step"
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    assert spoke["type"] == "message_creation"
    assert spoke["step_details"] == {"type": "message_creation", "message_creation": {"message_id": message.id}}
    assert [step["id"] for step in raw(door, client, f"{path}?order=asc")["data"]] == [called["id"], spoke["id"]]


def test_a_call_shows_its_code_and_what_came_of_it(door: Door, client: Any, run: Any) -> None:
    """The step of a call holds the input, the printed text, and the picture by the id under which it is downloaded."""
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
    """Retrieving answers the listed object; an unknown step is the recorded 404."""
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


def test_an_include_that_nobody_knows_is_refused(door: Door, client: Any, run: Any) -> None:
    """The one value of the spec is taken for a run and its steps; any other is a 400 in the usual words."""
    steps = f"/threads/{run.thread_id}/runs/{run.id}/steps"
    [step, *_] = raw(door, client, steps)["data"]
    known = "step_details.tool_calls[*].file_search.results[*].content"
    for path in (steps, f"{steps}/{step['id']}"):
        raw(door, client, f"{path}?include[]={known}")
        with pytest.raises(openai.BadRequestError) as caught:
            raw(door, client, f"{path}?include[]={known}&include[]=foo")
        assert caught.value.body == {
            "message": f"Invalid value: 'foo'. Supported values are: '{known}'.",
            "type": "invalid_request_error",
            "param": "include[1]",
            "code": "invalid_value",
        }


def test_a_step_is_looked_at_with_its_run(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step of a run that waited too long is expired, whoever asks for it first."""
    run = waiting_run(door, client, upstream)
    steps = client.beta.threads.runs.steps
    [step] = door.all(steps.list(run.id, thread_id=run.thread_id))
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 601)
    assert door(steps.retrieve(step.id, thread_id=run.thread_id, run_id=run.id)).status == "expired"
