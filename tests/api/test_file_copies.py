"""The copies of generated files that the library has uploaded as input stay out of its callers' sight and way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.container_runs import run_to_end
from kit.doors import Door
from kit.legacy_code import CODE, LINK, finish_run, make_assistant, make_file, make_thread, upstream_calls
from kit.upstream_requests import request_bodies

UPLOAD = "POST /files"


def run_with_message(door: Door, client: Any, message: Any, **assistant: Any) -> None:
    """Run an assistant on a thread that has this message."""
    thread = door(client.beta.threads.create(messages=[message])).id
    assistant_id = make_assistant(door, client, **assistant).id
    assert run_to_end(door, client, thread, assistant_id).status == "completed"


@pytest.fixture
def file_id(door: Door, client: Any, upstream: StandIn) -> str:
    """Generate a text, upload it as input of code and as an image, and return its id."""
    turn = Turn(text="[it](sandbox:/mnt/data/report.txt)", files={"report.txt": b"Sales rose."})
    id_ = make_file(door, client, upstream, turn)
    part = {"type": "image_file", "image_file": {"file_id": id_}}
    message = {"role": "user", "content": [part], "attachments": [{"file_id": id_, "tools": CODE}]}
    run_with_message(door, client, message, tools=CODE)
    assert sorted(file.wire["purpose"] for file in upstream.files.values()) == ["assistants", "vision"]
    upstream.requests.clear()
    return id_


def copy_of(upstream: StandIn) -> str:
    """Return the upstream's id of the copy for code and search."""
    [id_] = [id_ for id_, file in upstream.files.items() if file.wire["purpose"] == "assistants"]
    return id_


@pytest.mark.parametrize("query", [{}, {"purpose": "assistants"}, {"purpose": "vision"}, {"limit": 1}])
def test_copies_are_not_listed(door: Door, client: Any, upstream: StandIn, file_id: str, query: dict[str, Any]) -> None:
    """`files.list` shows a generated file and the caller's own files, not the copies, and its pages are still full."""
    uploads = {purpose: upstream.put_file("a.txt", b"x", purpose) for purpose in ("assistants", "vision")}
    for upload in uploads.values():
        upstream.files[upload].wire["created_at"] -= 60
    listed = [file.id for file in door.all(client.files.list(extra_query=query))]
    expected = [file_id, *list(uploads.values())[::-1]] if "purpose" not in query else [uploads[query["purpose"]]]
    first_page = openai.__version__.startswith("1.") and "after" not in openai.resources.Files.list.__annotations__
    assert listed == (expected[:1] if first_page and "limit" in query else expected)


def test_all_listed_files_can_be_deleted(door: Door, client: Any, upstream: StandIn, file_id: str) -> None:
    """Deleting all files that are listed deletes each once, its copies included, and nothing is left."""
    upstream.put_file("a.txt", b"x", "assistants")
    listed = door.all(client.files.list())
    assert len(listed) == 2
    assert file_id in [file.id for file in listed]
    for file in listed:
        assert door(client.files.delete(file.id)).deleted
    assert (upstream.files, door.all(client.files.list())) == ({}, [])


def test_a_copy_that_went_with_its_file_counts_as_deleted(
    door: Door, client: Any, upstream: StandIn, settings: Settings, file_id: str
) -> None:
    """Deleting a copy after its file answers `deleted: true`, by any client; an unknown file is still a 404."""
    copies = list(upstream.files)
    door(client.files.delete(file_id))
    for any_client in (client, door.client(upstream, settings)):
        for copy in copies:
            answer = door(any_client.files.delete(copy))
            assert (answer.id, answer.object, answer.deleted) == (copy, "file", True)
    with pytest.raises(openai.NotFoundError):
        door(client.files.delete("file-unknown"))


def test_a_copy_is_deleted_with_its_thread_too(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With `thread_files="delete"` a thread's files take their copies with them, which then count as deleted too."""
    client = door.client(upstream, replace(settings, thread_files="delete"))
    upstream.script(Turn(text=LINK, files={"sales.csv": b"1"}))
    thread = make_thread(door, client).id
    run = run_to_end(door, client, thread, make_assistant(door, client, tools=CODE).id)
    [message] = door.all(client.beta.threads.messages.list(thread, run_id=run.id))
    resources = {"code_interpreter": {"file_ids": [message.attachments[0].file_id]}}
    finish_run(door, client, assistant={"tools": CODE, "tool_resources": resources})
    copy = copy_of(upstream)
    door(client.beta.threads.delete(thread))
    assert upstream.files == {}
    assert door(client.files.delete(copy)).deleted


def test_a_copy_that_its_caller_deletes_is_uploaded_again(
    door: Door, client: Any, upstream: StandIn, file_id: str
) -> None:
    """A caller may delete a copy: the file stays, and its next use uploads it again."""
    copy = copy_of(upstream)
    assert door(client.files.delete(copy)).deleted
    assert door(client.files.content(file_id)).read() == b"Sales rose."
    resources = {"code_interpreter": {"file_ids": [file_id]}}
    assert finish_run(door, client, assistant={"tools": CODE, "tool_resources": resources}).status == "completed"
    assert upstream_calls(upstream, UPLOAD) == [UPLOAD]
    assert copy_of(upstream) != copy


def test_a_file_and_its_copy_are_one_file(door: Door, client: Any, upstream: StandIn, file_id: str) -> None:
    """A caller who names a file and its copy, wherever files can be named, sends the id of the copy once."""
    copy = copy_of(upstream)
    both = [file_id, copy]
    stores = client.beta.vector_stores
    store = door(stores.create(file_ids=both)).id
    door(stores.file_batches.create(store, file_ids=both))
    door(
        client.post(
            f"/vector_stores/{store}/file_batches", body={"files": [{"file_id": id_} for id_ in both]}, cast_to=object
        )
    )
    resources = {
        "code_interpreter": {"file_ids": both},
        "file_search": {"vector_stores": [{"file_ids": both}]},
    }
    search = [{"type": "file_search"}]
    attachments = [{"file_id": id_, "tools": [*CODE, *search]} for id_ in both]
    message = {"role": "user", "content": "?", "attachments": attachments}
    run_with_message(door, client, message, tools=[*CODE, *search], tool_resources=resources)
    posts = [request for request in upstream.requests if request.method == "POST"]
    sent = [json.loads(request.body) for request in posts if request.path.startswith("/vector_stores")]
    named = [body["file_ids"] for body in sent if "file_ids" in body]
    assert named == [[copy]] * len(named)
    assert len(named) == 4
    assert [body["files"] for body in sent if "files" in body] == [[{"file_id": copy}]]
    assert request_bodies(upstream)[-1]["tools"][0]["container"]["file_ids"] == [copy]


def test_a_copy_that_is_gone_is_uploaded_again_for_a_search(
    door: Door, client: Any, upstream: StandIn, file_id: str
) -> None:
    """A vector store request that names a file gets a new copy if the last one was deleted without the library."""
    stores = client.beta.vector_stores
    store = door(stores.create(file_ids=[file_id])).id
    copies = []
    resources = {"file_search": {"vector_stores": [{"file_ids": [file_id]}]}}
    message = {
        "role": "user",
        "content": "?",
        "attachments": [{"file_id": file_id, "tools": [{"type": "file_search"}]}],
    }
    for use in (
        lambda: stores.create(file_ids=[file_id]),
        lambda: stores.files.create(vector_store_id=store, file_id=file_id),
        lambda: stores.file_batches.create(store, file_ids=[file_id]),
        lambda: client.beta.assistants.create(model="gpt-4o", tool_resources=resources),
        lambda: client.beta.threads.create(messages=[message]),
        lambda: client.beta.threads.create(
            messages=[message], tool_resources={"file_search": {"vector_store_ids": [store]}}
        ),
    ):
        del upstream.files[copy_of(upstream)]
        door(use())
        copies.append(copy_of(upstream))
    assert len(set(copies)) == 6
    assert set(copies[1:3]) < set(upstream.vector_stores[store].files)
    assert copies[5] in upstream.vector_stores[store].files


def test_a_copy_that_is_gone_is_uploaded_again_for_the_next_run(
    door: Door, client: Any, upstream: StandIn, file_id: str
) -> None:
    """A run does without a copy that was deleted without the library, and the next one has a new copy."""
    thread = make_thread(door, client).id
    resources = {"code_interpreter": {"file_ids": [file_id]}}
    assistant = make_assistant(door, client, tools=CODE, tool_resources=resources).id
    old = copy_of(upstream)
    del upstream.files[old]
    sent = []
    for _ in range(2):
        assert run_to_end(door, client, thread, assistant).status == "completed"
        sent.append(request_bodies(upstream)[-1]["tools"][0]["container"].get("file_ids"))
    assert sent == [None, [copy_of(upstream)]]


def test_a_missing_file_of_the_caller_is_told(door: Door, client: Any, upstream: StandIn, file_id: str) -> None:
    """A store with a file of the caller that does not exist is refused, and nothing is uploaded."""
    with pytest.raises(openai.NotFoundError, match="file-unknown"):
        door(client.beta.vector_stores.create(file_ids=[file_id, "file-unknown"]))
    assert upstream_calls(upstream, UPLOAD) == []
