"""More files than one request takes join a vector store by batches (refusals.md, row 23 and F8)."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat.testing import Fault, StandIn
from kit.doors import Door

BATCH = "POST /vector_stores/*/file_batches"
REFUSAL = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": None}}
CHUNKING = {"type": "static", "static": {"max_chunk_size_tokens": 400, "chunk_overlap_tokens": 100}}
SEARCH = [{"type": "file_search"}]


def put_files(upstream: StandIn, count: int) -> list[str]:
    """Upload files as the user and return their ids."""
    return [upstream.put_file(f"{number}.txt", b"Cake.", "assistants") for number in range(count)]


def posted_counts(upstream: StandIn) -> list[int]:
    """Return how many files each POST names that creates or extends a vector store."""
    return [
        len(request.json["file_ids"])
        for request in upstream.requests
        if request.method == "POST" and request.path.startswith("/vector_stores")
    ]


@pytest.mark.refusal("file_ids_too_many")
@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [1]), (100, [100]), (101, [100, 1]), (600, [100, 500]), (1084, [100, 500, 484])],
)
@pytest.mark.parametrize("noun", ["assistants", "threads"])
def test_a_requested_store_gets_all_of_its_files(
    door: Door, client: Any, upstream: StandIn, noun: str, count: int, expected: list[int]
) -> None:
    """The first 100 files come with the store, the others in batches of 500, all with the same chunking."""
    ids = put_files(upstream, count)
    resources = {"file_search": {"vector_stores": [{"file_ids": ids, "chunking_strategy": CHUNKING}]}}
    if noun == "assistants":
        door(client.beta.assistants.create(model="gpt-4o", tools=SEARCH, tool_resources=resources))
    else:
        door(client.beta.threads.create(tool_resources=resources))
    [store] = upstream.vector_stores.values()
    assert list(store.files) == ids
    assert posted_counts(upstream) == expected
    posts = [request.json for request in upstream.requests if request.method == "POST"]
    assert all(body["chunking_strategy"] == CHUNKING for body in posts)


def test_a_refused_batch_deletes_the_store(door: Door, client: Any, upstream: StandIn) -> None:
    """If a batch is refused the caller gets the refusal, and the store of the first files is deleted."""
    upstream.fault(Fault(BATCH, status=400, body=REFUSAL))
    resources = {"file_search": {"vector_stores": [{"file_ids": put_files(upstream, 150)}]}}
    with pytest.raises(openai.BadRequestError, match=r"No\."):
        door(client.beta.threads.create(tool_resources=resources))
    assert upstream.vector_stores == {}
    assert posted_counts(upstream) == [100, 50]


def attaching_messages(ids: list[str]) -> list[Any]:
    """Return messages that attach these files for search, as many as a message may have to each."""
    groups = [ids[start : start + 10] for start in range(0, len(ids), 10)]
    return [
        {
            "role": "user",
            "content": "?",
            "attachments": [{"file_id": file_id, "tools": SEARCH} for file_id in group],
        }
        for group in groups
    ]


@pytest.mark.refusal("file_ids_too_many")
def test_attached_files_make_a_store_by_batches(door: Door, client: Any, upstream: StandIn) -> None:
    """The messages of a new thread may attach more files than one request takes."""
    ids = put_files(upstream, 110)
    door(client.beta.threads.create(messages=attaching_messages(ids)))
    [store] = upstream.vector_stores.values()
    assert (list(store.files), posted_counts(upstream)) == (ids, [100, 10])


@pytest.mark.refusal("file_ids_too_many")
@pytest.mark.parametrize("is_refused", [False, True])
def test_attached_files_join_a_store_by_batches(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, *, is_refused: bool
) -> None:
    """A store of the thread's own gets attached files by batches; if one is refused the earlier ones are taken out."""
    monkeypatch.setattr("assistants_compat.engine.vector_stores._MAX_FILES_OF_BATCH", 4)
    [first, *ids] = put_files(upstream, 10)
    store_id = door(client.post("/vector_stores", body={"file_ids": [first]}, cast_to=object))["id"]
    upstream.requests.clear()
    resources = {"file_search": {"vector_store_ids": [store_id]}}
    if is_refused:
        upstream.fault(Fault(f"POST /vector_stores/{store_id}/file_batches", stall=0))
        upstream.fault(Fault(BATCH, status=400, body=REFUSAL))
        with pytest.raises(openai.BadRequestError, match=r"No\."):
            door(client.beta.threads.create(messages=attaching_messages(ids), tool_resources=resources))
    else:
        door(client.beta.threads.create(messages=attaching_messages(ids), tool_resources=resources))
        assert posted_counts(upstream) == [4, 4, 1]
    assert list(upstream.vector_stores[store_id].files) == ([first] if is_refused else [first, *ids])
