"""The SDK's own resource classes understand what the stand-in serves."""

from __future__ import annotations

import importlib.util

import openai
import pytest

from assistants_compat.testing import Fault, StandIn, Turn

needs_responses = pytest.mark.skipif(
    importlib.util.find_spec("openai.resources.responses") is None, reason="this SDK has no Responses resources"
)
needs_containers = pytest.mark.skipif(
    importlib.util.find_spec("openai.resources.containers") is None, reason="this SDK has no Containers resources"
)
AUTO = {"type": "code_interpreter", "container": {"type": "auto"}}


@pytest.fixture
def client(upstream):
    """A client of the SDK that does not retry."""
    with openai.OpenAI(base_url=upstream.base_url, api_key="sk-test", max_retries=0) as opened:
        yield opened


@needs_responses
def test_the_default_turn_repeats_the_user(client) -> None:
    """Without a script the last user text is repeated, given as a string or in parts."""
    assert client.responses.create(model="m", input="one").output_text == "You said: one"
    parts = [{"role": "user", "content": [{"type": "input_text", "text": "two"}]}]
    assert client.responses.create(model="m", input=parts).output_text == "You said: two"


@needs_responses
def test_turns_are_played_in_order_and_then_the_default(client, upstream) -> None:
    """Scripted turns answer one request each, then the default turn answers."""
    upstream.script(Turn("first"), Turn("second"))
    texts = [client.responses.create(model="m", input="x").output_text for _ in range(3)]
    assert texts == ["first", "second", "You said: x"]


@needs_containers
def test_a_file_is_made_cited_and_downloaded(client, upstream) -> None:
    """A background turn generates files that the SDK can list, and download by their citations."""
    text = "Table: [t](sandbox:/mnt/data/sales.csv), again sandbox:/mnt/data/sales.csv, not sandbox:/mnt/data/other.csv"
    upstream.script(Turn(text, files={"sales.csv": b"a,b\n"}, images=[b"png"], polls=2))
    response = client.responses.create(model="gpt-4o", input="x", tools=[AUTO], background=True)
    statuses = [response.status]
    while response.status in {"queued", "in_progress"}:
        response = client.responses.retrieve(response.id)
        statuses.append(response.status)
    assert statuses == ["queued", "in_progress", "in_progress", "completed"]
    content = response.output[-1].content[0]
    shown, *linked = content.annotations
    assert [text[citation.start_index : citation.end_index] for citation in linked] == [
        "sandbox:/mnt/data/sales.csv"
    ] * 2
    assert (shown.start_index, shown.end_index) == (0, 0)
    download = client.containers.files.content.with_raw_response.retrieve  # in openai 1.82, `retrieve` returns None
    assert download(shown.file_id, container_id=shown.container_id).content == b"png"
    assert download(linked[0].file_id, container_id=linked[0].container_id).content == b"a,b\n"
    listed = client.containers.files.list(shown.container_id)
    assert ("assistant", "/mnt/data/sales.csv") in {(file.source, file.path) for file in listed}


@needs_responses
def test_the_sdk_accumulates_the_stream(client, upstream) -> None:
    """The SDK reads every event of a stream, which ends with the finished response."""
    upstream.script(Turn("some words here", function_calls=[{"name": "f", "arguments": '{"a": 1}'}]))
    with client.responses.create(model="m", input="x", stream=True) as stream:
        events = list(stream)
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == "some words here"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output[1].name == "f"


@needs_responses
@pytest.mark.parametrize(
    ("turn", "status", "last"),
    [
        (Turn(status="failed"), "failed", "response.failed"),
        (Turn("half", status="incomplete"), "incomplete", "response.incomplete"),
    ],
)
def test_a_turn_can_fail_or_stay_incomplete(turn, status, last, client, upstream) -> None:
    """Failed and incomplete turns give the reason, inline and in the stream."""
    upstream.script(turn, turn)
    response = client.responses.create(model="m", input="x")
    assert response.status == status
    assert (response.error is None) == (status != "failed")
    assert (response.incomplete_details is None) == (status != "incomplete")
    kinds = []
    with client.responses.create(model="m", input="x", stream=True) as stream:
        try:
            kinds += [event.type for event in stream]
        except openai.APIError:
            # The SDK raises at the `error` event that goes before a failed end.
            assert status == "failed"
    assert not kinds or kinds[-1] == last


@needs_responses
def test_azure_clients_reach_the_same_routes(upstream) -> None:
    """Azure's v1 base URL answers an OpenAI client with an Azure key."""
    with openai.OpenAI(base_url=f"{upstream.azure_endpoint}/openai/v1/", api_key="k", max_retries=0) as client:
        assert client.responses.create(model="deployment", input="x").output_text == "You said: x"
    assert upstream.requests[0].full_path == "/openai/v1/responses"
    assert upstream.requests[0].path == "/responses"


def test_the_azure_client_can_use_files(upstream) -> None:
    """The SDK's Azure client uploads and lists files under its dated routes, with its own key header."""
    azure_client = openai.AzureOpenAI(
        azure_endpoint=upstream.azure_endpoint, api_key="k", api_version="2024-05-01-preview"
    )
    with azure_client as client:
        file = client.files.create(file=("a.csv", b"1"), purpose="assistants")
        assert [listed.id for listed in client.files.list()] == [file.id]
    assert upstream.requests[0].headers["api-key"] == "k"


@needs_responses
def test_raw_items_are_completed(client, upstream) -> None:
    """Raw output items get the ids that their author could not know."""
    citation = {"type": "container_file_citation", "filename": "a.txt", "start_index": 0, "end_index": 22}
    text = {"type": "output_text", "text": "sandbox:/mnt/data/a.txt", "annotations": [citation], "logprobs": []}
    message = {"type": "message", "role": "assistant", "status": "completed", "content": [text]}
    code = {"type": "code_interpreter_call", "code": "x", "outputs": [], "status": "completed"}
    upstream.script(Turn(output=[code, message], files={"a.txt": b"A"}))
    code_call, reply = client.responses.create(model="m", input="x", tools=[AUTO]).output
    cited = reply.content[0].annotations[0]
    assert cited.container_id == code_call.container_id
    assert upstream.containers[code_call.container_id].files[cited.file_id].content == b"A"


def test_errors_and_retries_are_the_sdks_own(upstream) -> None:
    """The SDK raises its own exceptions and retries as with the service."""
    upstream.fault(Fault("GET /files", status=500, times=2))
    with openai.OpenAI(base_url=upstream.base_url, api_key="k", max_retries=2) as client:
        assert list(client.files.list()) == []
    assert len(upstream.requests) == 3
    upstream.fault(Fault("GET /files", drop=True))
    with openai.OpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:
        with pytest.raises(openai.APIConnectionError):
            client.files.list()
        with pytest.raises(openai.NotFoundError, match="No such File object: file-x"):
            client.files.retrieve("file-x")


def test_files_are_uploaded_listed_downloaded_and_deleted(client, upstream) -> None:
    """Files are uploaded byte for byte, listed by purpose, downloaded where that is allowed, and deleted."""
    content = b"\r\n--not-a-boundary\r\n\x00\xff\r\n"
    table = client.files.create(file=("T\u00e4belle 1.csv", content), purpose="assistants")
    picture = client.files.create(file=("p.png", b"png"), purpose="vision")
    assert table.filename == "T\u00e4belle 1.csv"
    assert upstream.files[table.id].content == content
    assert [file.id for file in client.files.list()] == [picture.id, table.id]
    assert [file.id for file in client.files.list(purpose="vision")] == [picture.id]
    assert client.files.content(picture.id).read() == b"png"
    with pytest.raises(openai.BadRequestError, match="Not allowed to download files of purpose: assistants"):
        client.files.content(table.id)
    old = upstream.put_file("/mnt/data/old.txt", b"old")
    assert client.files.content(old).read() == b"old"
    assert client.files.delete(old).deleted
    assert old not in upstream.files


def test_vector_stores_are_filled_searched_and_deleted(client) -> None:
    """A vector store accepts files and batches, counts them, finds words in them, and can be deleted."""
    stores = getattr(client, "vector_stores", None) or client.beta.vector_stores
    files = [client.files.create(file=(f"{n}.txt", f"Paris {n}".encode()), purpose="assistants").id for n in range(3)]
    store = stores.create(name="s", file_ids=files[:1])
    assert (store.status, store.file_counts.in_progress) == ("in_progress", 1)
    stores.files.create(vector_store_id=store.id, file_id=files[1])
    batch = stores.file_batches.create(vector_store_id=store.id, file_ids=files[2:])
    assert stores.file_batches.retrieve(batch.id, vector_store_id=store.id).status == "completed"
    assert [file.id for file in stores.files.list(vector_store_id=store.id)] == files[::-1]
    assert stores.update(store.id, name="t").name == "t"
    if hasattr(stores, "search"):
        hit = next(iter(stores.search(store.id, query="where is paris 2")))
        assert (hit.filename, hit.content[0].text) == ("2.txt", "Paris 2")
    assert stores.files.delete(files[0], vector_store_id=store.id).deleted
    assert stores.retrieve(store.id).file_counts.total == 2
    assert stores.delete(store.id).deleted
    with pytest.raises(openai.NotFoundError):
        stores.retrieve(store.id)


@needs_containers
def test_containers_get_files_by_upload_and_by_id(client, upstream) -> None:
    """A container gets files by upload, by file id and at its creation, and lists them."""
    file = client.files.create(file=("d.csv", b"1"), purpose="assistants")
    container = client.containers.create(name="c", file_ids=[file.id])
    client.containers.files.create(container.id, file=("e.csv", b"2"))
    client.containers.files.create(container.id, file_id=file.id)
    listed = list(client.containers.files.list(container.id, order="asc"))
    assert [entry.path for entry in listed][0::2] == [f"/mnt/data/{file.id}-d.csv"] * 2
    assert listed[1].path.endswith("-e.csv")
    client.containers.files.delete(listed[1].id, container_id=container.id)
    assert [listed_container.id for listed_container in client.containers.list(limit=1)] == [container.id]
    client.containers.delete(container.id)
    assert not upstream.containers


@needs_responses
def test_fifty_threads_are_served(upstream) -> None:
    """Fifty threads at once each get their own answer, and nothing is lost."""
    import concurrent.futures  # noqa: PLC0415 - only here

    with openai.OpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:

        def ask(number: int) -> str:
            return client.responses.create(model="m", input=str(number)).output_text

        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            texts = list(pool.map(ask, range(200)))
    assert texts == [f"You said: {number}" for number in range(200)]
    assert len(upstream.responses) == 200


def test_the_public_names_are_four() -> None:
    """The package exports the stand-in and three names that its users need."""
    import assistants_compat.testing as testing  # noqa: PLC0415, PLR0402 - the names are the point

    assert testing.__all__ == ["Fault", "Recorded", "StandIn", "Turn"]
    assert isinstance(StandIn(), testing.StandIn)
