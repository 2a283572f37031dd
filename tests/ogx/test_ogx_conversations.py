"""Over OGX a thread becomes a conversation, which continues natively and becomes a thread again."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import from_conversation, to_conversation
from kit.doors import Door
from kit.legacy_code import make_assistant, make_thread

# The first test installs OGX.
pytestmark = [pytest.mark.ogx, pytest.mark.timeout(900)]

MODEL = "vllm/stub"


def test_a_thread_becomes_a_conversation_and_a_thread_again(door: Door, client: Any) -> None:
    """Thirty messages, sent in two requests, keep their order in the conversation and in the thread made from it."""
    texts = [f"Message {number}." for number in range(30)]
    thread = make_thread(door, client, *texts)
    conversation = door(to_conversation(client, thread.id))
    assert (conversation.items, conversation.left_out) == (30, {})
    back = door(from_conversation(client, conversation.id))
    messages = door.all(client.beta.threads.messages.list(back.id, order="asc"))
    assert [message.content[0].text.value for message in messages] == texts


def test_a_conversation_continues_natively_after_a_run(door: Door, client: Any) -> None:
    """A native response in the conversation reads the messages of the user and the assistant."""
    assistant = make_assistant(door, client, model=MODEL)
    thread = make_thread(door, client, "Hello.")
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    conversation = door(to_conversation(client, thread.id))
    body = {"model": MODEL, "conversation": conversation.id, "input": "And now?"}
    answer = door(client.post("/responses", body=body, cast_to=object))
    assert answer["status"] == "completed"
    assert len(door.all(client.beta.threads.messages.list(door(from_conversation(client, conversation.id)).id))) == 4


def test_an_unknown_conversation_is_the_sdks_error(door: Door, client: Any) -> None:
    """An unknown conversation raises the SDK's error, whatever message the server sends."""
    with pytest.raises(openai.APIStatusError):
        door(from_conversation(client, "conv_" + "0" * 48))
