"""Conversations over a Responses server that nobody here wrote: a thread goes out, goes on natively, and comes back."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import from_conversation, to_conversation
from kit.doors import Door
from kit.legacy_code import make_assistant, make_thread

# The first test waits for the installation.
pytestmark = [pytest.mark.ogx, pytest.mark.timeout(900)]

MODEL = "vllm/stub"


def test_a_thread_goes_out_and_comes_back(door: Door, client: Any) -> None:
    """Thirty messages, two requests: all of them are there, in their order, and a thread of them says the same."""
    said = [f"Message {number}." for number in range(30)]
    thread = make_thread(door, client, *said)
    moved = door(to_conversation(client, thread.id))
    assert (moved.items, moved.left_out) == (30, {})
    back = door(from_conversation(client, moved.id))
    messages = door.all(client.beta.threads.messages.list(back.id, order="asc"))
    assert [message.content[0].text.value for message in messages] == said


def test_a_run_goes_on_natively(door: Door, client: Any) -> None:
    """What user and assistant said is read by a native response in the conversation."""
    assistant = make_assistant(door, client, model=MODEL)
    thread = make_thread(door, client, "Hello.")
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    moved = door(to_conversation(client, thread.id))
    body = {"model": MODEL, "conversation": moved.id, "input": "And now?"}
    answer = door(client.post("/responses", body=body, cast_to=object))
    assert answer["status"] == "completed"
    assert len(door.all(client.beta.threads.messages.list(door(from_conversation(client, moved.id)).id))) == 4


def test_an_unknown_conversation_is_the_sdks_error(door: Door, client: Any) -> None:
    """Whatever words the server has."""
    with pytest.raises(openai.APIStatusError):
        door(from_conversation(client, "conv_" + "0" * 48))
