"""`client.beta.vector_stores` works with every SDK, with every resource and helper below it."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat.testing import StandIn
from kit.doors import Door
from kit.legacy_code import upstream_calls


def test_vector_stores(door: Door, client: Any, upstream: StandIn) -> None:
    """A vector store is created, updated, listed and deleted upstream."""
    stores = client.beta.vector_stores
    store = door(stores.create(name="notes", expires_after={"anchor": "last_active_at", "days": 1}))
    assert door(stores.update(store.id, name="more")).name == "more"
    assert door(stores.retrieve(store.id)).name == "more"
    assert [listed.id for listed in door.all(stores.list())] == [store.id]
    assert door(stores.delete(store.id)).deleted
    assert upstream.vector_stores == {}


def test_files_of_a_vector_store(door: Door, client: Any, upstream: StandIn) -> None:
    """Files are added to a vector store with every helper, polled, listed and deleted."""
    stores = client.beta.vector_stores
    store = door(stores.create()).id
    known = upstream.put_file("a.txt", b"Cake.", "assistants")
    assert door(stores.files.create(vector_store_id=store, file_id=known)).status == "in_progress"
    assert door(stores.files.poll(known, vector_store_id=store)).status == "completed"
    assert door(stores.files.create_and_poll(known, vector_store_id=store)).status == "completed"
    uploaded = door(stores.files.upload(vector_store_id=store, file=("b.txt", b"Tea.")))
    polled = door(stores.files.upload_and_poll(vector_store_id=store, file=("c.txt", b"Milk.")))
    assert polled.status == "completed"
    ids = {known, uploaded.id, polled.id}
    assert {file.id for file in door.all(stores.files.list(store))} == ids
    assert door(stores.files.retrieve(polled.id, vector_store_id=store)).vector_store_id == store
    assert door(stores.files.delete(polled.id, vector_store_id=store)).deleted
    assert set(upstream.vector_stores[store].files) == ids - {polled.id}


def test_file_batches(door: Door, client: Any, upstream: StandIn) -> None:
    """File batches are created, polled, listed, cancelled and uploaded."""
    batches = client.beta.vector_stores.file_batches
    store = door(client.beta.vector_stores.create()).id
    known = upstream.put_file("a.txt", b"Cake.", "assistants")
    batch = door(batches.create(store, file_ids=[known]))
    assert door(batches.poll(batch.id, vector_store_id=store)).status == "completed"
    assert door(batches.retrieve(batch.id, vector_store_id=store)).file_counts.completed == 1
    assert [file.id for file in door.all(batches.list_files(batch.id, vector_store_id=store))] == [known]
    assert door(batches.create_and_poll(store, file_ids=[known])).status == "completed"
    files = [("b.txt", b"Tea."), ("c.txt", b"Milk.")]
    finished = door(batches.upload_and_poll(store, files=files))
    assert (finished.status, finished.file_counts.completed) == ("completed", 2)
    assert len(upstream.vector_stores[store].files) == 3
    cancelled = door(batches.create(store, file_ids=[known]))
    assert door(batches.cancel(cancelled.id, vector_store_id=store)).status == "cancelled"


@pytest.mark.parametrize("way", ["with_raw_response", "of beta"])
def test_the_http_response_of_a_vector_store(door: Door, client: Any, way: str) -> None:
    """`with_raw_response` before or after `vector_stores` gives the HTTP response."""
    beta = client.beta
    stores = beta.with_raw_response.vector_stores if way == "of beta" else beta.vector_stores.with_raw_response
    response = door(stores.create(name="notes"))
    assert (response.http_response.status_code, response.parse().name) == (200, "notes")


@pytest.mark.skipif(
    hasattr(openai.resources.beta, "VectorStores"), reason="this SDK has the resource below beta itself"
)
def test_an_unwrapped_client_has_no_beta_vector_stores(door: Door, client: Any, upstream: StandIn) -> None:
    """An unwrapped client of a newer SDK gets no `beta.vector_stores`."""
    assert client.beta.vector_stores is client.vector_stores
    plain = door.raw_client(upstream)
    for beta in (plain.beta, plain.beta.with_raw_response, plain.beta.with_streaming_response):
        with pytest.raises(AttributeError, match="vector_stores"):
            _ = beta.vector_stores
    assert upstream_calls(upstream) == []
