"""Every request that the library sends upstream fits the spec and includes the outputs of Code Interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import code_recordings as recorded
import openai
import pytest
from code_recordings import Conversation
from sent_requests import OUTPUTS, check_requests

from assistants_compat import Settings
from assistants_compat.testing import Recorded, StandIn
from kit.doors import Door

CODE = {"type": "code_interpreter", "container": {"type": "auto"}}


def _recorded_request(**body: Any) -> Recorded:
    return Recorded("POST", "/responses", "/v1/responses", (), {}, body, b"")


@pytest.mark.parametrize("name", recorded.NAMES)
@pytest.mark.parametrize("mode", ["background", "inline"])
def test_one_allowed_request_asks_for_the_outputs(
    conversation: Conversation, upstream: StandIn, spec: Path, mode: str
) -> None:
    """A run is one valid POST with `include`, and each background poll is a GET that includes the outputs too."""
    assert check_requests(upstream, spec) == 1
    [created] = [request.json for request in upstream.requests if request.method == "POST"]
    assert created["include"] == [OUTPUTS]
    assert [tool["type"] for tool in created["tools"]] == ["code_interpreter"]
    assert created.get("background", False) == (mode == "background")
    polls = [request for request in upstream.requests if request.path.startswith("/responses/")]
    assert len(polls) == (2 if mode == "background" else 0)
    assert all(request.query == (("include[]", OUTPUTS),) for request in polls)


def test_the_stand_in_refuses_what_the_spec_does_not_allow(
    door: Door, upstream: StandIn, sqlite_settings: Settings, spec: Path
) -> None:
    """A body that the SDK's types allow and the spec forbids is answered with 400 over HTTP."""
    client = door.client(upstream, sqlite_settings)
    body = {"model": "gpt-4o", "input": "Hello.", "safety_identifier": "x" * 65}
    with pytest.raises(openai.BadRequestError, match="is too long"):
        door(client.post("/responses", cast_to=object, body=body))
    upstream.requests.clear()  # the check after every test is for requests of the library


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (_recorded_request(model="gpt-4o", input="Hello.", tools=[CODE]), "code_interpreter"),
        (
            _recorded_request(model="gpt-4o", input="Hello.", tools=[CODE], include=["file_search_call.results"]),
            "file_search",
        ),
        (_recorded_request(model="gpt-4o", input=[{"role": "nobody", "content": "Hello."}]), "CreateResponse"),
        (_recorded_request(model="gpt-4o", input="Hello.", temperature=3), "CreateResponse"),
    ],
    ids=["no include", "another include", "a role that is none", "too warm"],
)
def test_the_check_of_requests_fails_for_faulty_ones(
    upstream: StandIn, spec: Path, request_: Recorded, complaint: str
) -> None:
    """A request without `include`, or one that the spec forbids, fails the check."""
    upstream.requests.append(request_)
    with pytest.raises(AssertionError, match=complaint):
        check_requests(upstream, spec)
    upstream.requests.clear()


def test_a_stand_in_without_the_spec_is_noticed(spec: Path) -> None:
    """The check of requests fails if the stand-in was started without the spec."""
    with StandIn() as blind, pytest.raises(AssertionError, match="without the spec"):
        check_requests(blind, spec)
