"""Files through LiteLLM's native road and through nginx: generated ones, uploaded ones, and vector stores."""

from __future__ import annotations

from typing import Any

import pytest

from assistants_compat.testing import StandIn, Turn
from kit.container_runs import (
    last_message,
    make_thread_and_assistant,
    polled_or_streamed,
    requested_containers,
    run_to_end,
    turn_with_file,
)
from kit.doors import Door
from kit.legacy_code import CODE, make_assistant, make_thread
from kit.upstream_requests import request_bodies

# The first test starts LiteLLM, which takes ten seconds, and a minute on a busy machine.
pytestmark = [pytest.mark.gateways, pytest.mark.timeout(300)]

SEARCH = [{"type": "file_search"}]
BYTES = bytes(range(256)) * 400


@polled_or_streamed
def test_every_generated_file_is_kept_once(door: Door, client: Any, upstream: StandIn, *, stream: bool) -> None:
    """The cited file and the one that nobody cited are each there once, also when their container has expired."""
    upstream.script(Turn(text="[it](sandbox:/mnt/data/a.bin)", files={"a.bin": BYTES, "log.txt": b"log"}, polls=0))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client), stream=stream)
    assert run.status == "completed"
    upstream.advance(3600)
    message = last_message(door, client, run)
    [annotation] = message.content[0].text.annotations
    content = client.files.content
    kept = [door(content(attachment.file_id)).read() for attachment in message.attachments]
    assert sorted(kept) == [BYTES, b"log"]
    assert door(content(annotation.file_path.file_id)).read() == BYTES


@pytest.mark.refusal("container_id_invalid")
@polled_or_streamed
def test_a_second_run_with_code_keeps_its_files(door: Door, client: Any, upstream: StandIn, *, stream: bool) -> None:
    """A thread runs code twice, whatever the gateway makes of the container's id, and both files are there."""
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    ids = make_thread_and_assistant(door, client)
    kept = []
    for _ in range(2):
        run = run_to_end(door, client, *ids, stream=stream)
        assert run.status == "completed"
        [attachment] = last_message(door, client, run).attachments
        kept.append(door(client.files.content(attachment.file_id)).read())
    assert kept == [b"1", b"2"]
    sent = [container for container in requested_containers(upstream) if isinstance(container, str)]
    assert [container for container in sent if len(container) > 64] == []


@polled_or_streamed
def test_an_uploaded_file_is_in_the_container(door: Door, client: Any, upstream: StandIn, *, stream: bool) -> None:
    """A file that is uploaded through the gateway is a file of the run's container."""
    file = door(client.files.create(file=("in.csv", b"1,2\n"), purpose="assistants"))
    upstream.script(turn_with_file("out.csv", b"3"))
    assistant = make_assistant(door, client, tools=CODE)
    message = {"role": "user", "content": "Sum.", "attachments": [{"file_id": file.id, "tools": CODE}]}
    thread = door(client.beta.threads.create(messages=[message]))
    assert run_to_end(door, client, thread.id, assistant.id, stream=stream).status == "completed"
    contents = [file.content for container in upstream.containers.values() for file in container.files.values()]
    assert b"1,2\n" in contents


def test_a_generated_file_is_input_of_a_search(door: Door, client: Any, upstream: StandIn) -> None:
    """A generated file is uploaded and joins a vector store through the gateway."""
    upstream.script(turn_with_file("a.txt", b"Cake."))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client))
    [attachment] = last_message(door, client, run).attachments
    upstream.requests.clear()
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    attached = [{"file_id": attachment.file_id, "tools": SEARCH}]
    door(client.beta.threads.messages.create(thread.id, role="user", content="What is it?", attachments=attached))
    assert run_to_end(door, client, thread.id, assistant.id).status == "completed"
    [body] = request_bodies(upstream)
    [store] = body["tools"][0]["vector_store_ids"]
    assert store in upstream.vector_stores
    door(client.beta.threads.delete(thread.id))
    assert store not in upstream.vector_stores
