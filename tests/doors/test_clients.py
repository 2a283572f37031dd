"""Clients of every shape: copies, subclasses, raw and streaming responses, context managers, the module itself."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import openai
import pytest

import assistants_compat
from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import KEY, Door
from kit.legacy_code import asked, finish_run, make_assistant, make_thread

VERSION = tuple(int(part) for part in openai.__version__.split(".")[:2])


def works(door: Door, client: Any) -> bool:
    """Whether a client has a whole conversation."""
    return bool(finish_run(door, client).status == "completed")


def test_wrap_returns_the_client_that_it_was_given(door: Door, upstream: StandIn, settings: Settings) -> None:
    """The same object comes back, of the same type, with an inner client that passes for what it was."""
    plain = door.raw_client(upstream)
    type_, inner = type(plain), type(plain._client)
    client = assistants_compat.wrap(plain, settings)
    assert client is plain
    assert type(client) is type_
    assert isinstance(client._client, inner)
    assert works(door, client)


@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
def test_subclasses_keep_their_type(door: Door, upstream: StandIn, settings: Settings, *, azure: bool) -> None:
    """A user's own subclass, of the Azure client too, is wrapped and keeps its type and its overrides."""
    base = type(door.raw_client(upstream, azure=azure))

    class Mine(base):  # type: ignore[misc,valid-type]  # the door decides which
        @property
        def default_headers(self) -> Any:
            return {**super().default_headers, "x-mine": "yes"}

    where = (
        {"azure_endpoint": upstream.azure_endpoint, "api_version": "2024-05-01-preview"}
        if azure
        else {"base_url": upstream.base_url}
    )
    client: Any = assistants_compat.wrap(Mine(api_key=KEY, max_retries=0, **where), settings)
    door.clients.append(client)
    assert type(client) is Mine
    assert works(door, client)
    assert {request.headers.get("x-mine") for request in upstream.requests} == {"yes"}
    assert type(client.with_options(timeout=5)) is Mine


def test_wrapping_twice_is_wrapping_once(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A second wrap changes nothing; with other settings it is those that count, still through one proxy."""
    client = door.client(upstream, settings)
    proxy = client._client
    assert assistants_compat.wrap(client) is client
    assert client._client is proxy
    assert assistants_compat.wrap(client, settings) is client
    assert client._client is proxy
    assistant = make_assistant(door, client)
    elsewhere = Settings(store=settings.store, files=settings.files, namespace=settings.namespace + "-2")
    assistants_compat.wrap(client, elsewhere)
    with pytest.raises(openai.NotFoundError):
        door(client.beta.assistants.retrieve(assistant.id))
    assert type(client._client.__wrapped__) is type(proxy.__wrapped__)
    assistants_compat.wrap(client, settings)
    assert door(client.beta.assistants.retrieve(assistant.id)).id == assistant.id


@pytest.mark.parametrize("other", [None, "sk-key", object(), openai.OpenAI, 1])
def test_other_things_are_a_type_error(other: Any) -> None:
    """What is no client is refused with its type's name."""
    with pytest.raises(TypeError, match=f"not {type(other).__name__}"):
        assistants_compat.wrap(other)


def test_the_inner_client_of_httpx_is_a_type_error(door: Door, upstream: StandIn) -> None:
    """The HTTP client inside is not the client."""
    with pytest.raises(TypeError, match="OpenAI client"):
        assistants_compat.wrap(door.raw_client(upstream)._client)


def test_copies_keep_the_effect(door: Door, client: Any) -> None:
    """`with_options`, `copy` and `copy.copy` give clients that know the same assistants."""
    assistant = make_assistant(door, client)
    for other in (client.with_options(timeout=5), client.copy(max_retries=1), copy.copy(client)):
        assert door(other.beta.assistants.retrieve(assistant.id)) == assistant
        assert works(door, other)


def test_the_proxy_can_be_copied(door: Door, client: Any) -> None:
    """A shallow copy of the inner client answers as it does."""
    other = copy.copy(client)
    other._client = copy.copy(client._client)
    assert door(other.beta.assistants.retrieve(make_assistant(door, client).id)).object == "assistant"


def test_raw_responses(door: Door, client: Any) -> None:
    """`with_raw_response` gives status, headers, text, the request and the parsed object."""
    response = door(client.beta.assistants.with_raw_response.create(model="gpt-4o"))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["openai-version"] == "2020-10-01"
    assert int(response.headers["openai-processing-ms"]) >= 0
    assert response.http_request.method == "POST"
    assert response.elapsed.total_seconds() >= 0
    assistant = response.parse()
    # REST JSON was written with two spaces (recorded).
    assert response.text.startswith('{\n  "id": "' + assistant.id)
    assert door(client.beta.assistants.retrieve(assistant.id)) == assistant


def test_streaming_responses(door: Door, client: Any) -> None:
    """`with_streaming_response` gives an answer of ours by `read`, `text`, `json`, `parse`, `iter_bytes` and lines."""
    assistant = make_assistant(door, client)
    resource = client.beta.assistants.with_streaming_response

    def blocking() -> list[Any]:
        seen: list[Any] = []
        for read in ("read", "text", "json", "parse"):
            with resource.retrieve(assistant.id) as response:
                seen.append(getattr(response, read)())
        for pieces in ("iter_bytes", "iter_text", "iter_lines"):
            with resource.retrieve(assistant.id) as response:
                seen.append(list(getattr(response, pieces)()))
        return seen

    async def suspending() -> list[Any]:
        seen: list[Any] = []
        for read in ("read", "text", "json", "parse"):
            async with resource.retrieve(assistant.id) as response:
                seen.append(await getattr(response, read)())
        for pieces in ("iter_bytes", "iter_text", "iter_lines"):
            async with resource.retrieve(assistant.id) as response:
                seen.append([piece async for piece in getattr(response, pieces)()])
        return seen

    whole, text, data, parsed, pieces, texts, lines = blocking() if door.kind == "sync" else door(suspending())
    assert parsed == assistant
    assert data["id"] == assistant.id
    assert whole.decode() == text == b"".join(pieces).decode() == "".join(texts) == "\n".join(lines)


def test_context_managers_close_the_client(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Inside `with` the client works, and after it the connection pool below is closed."""
    client = door.client(upstream, settings)

    async def suspending() -> Any:
        async with client as entered:
            return await entered.beta.assistants.create(model="gpt-4o")

    if door.kind == "sync":
        with client as entered:
            made = entered.beta.assistants.create(model="gpt-4o")
    else:
        made = door(suspending())
    assert made.object == "assistant"
    assert client.is_closed()
    assert client._client.__wrapped__.is_closed


def test_the_module_level_client(upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wrap(openai)` wraps the client behind `openai.beta` and `openai.files`, and gives the module back."""
    monkeypatch.setattr(openai, "_client", None)
    monkeypatch.setattr(openai, "http_client", None)  # where the module-level client keeps its HTTP client
    monkeypatch.setattr(openai, "api_key", KEY)
    monkeypatch.setattr(openai, "base_url", f"{upstream.base_url}/")  # the module appends paths as they are
    assert assistants_compat.wrap(openai, settings) is openai  # type: ignore[type-var]
    module: Any = openai
    thread = module.beta.threads.create(messages=[{"role": "user", "content": "Hi"}])
    assistant = module.beta.assistants.create(model="gpt-4o")
    run = module.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed"
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        module.files.content("file-theirs")
    module._client.close()


def test_vector_stores_are_where_legacy_code_looks(door: Door, client: Any, upstream: StandIn) -> None:
    """`client.beta.vector_stores` creates and retrieves upstream, in SDKs that dropped the name as well."""
    store = door(client.beta.vector_stores.create(name="notes"))
    assert door(client.beta.vector_stores.retrieve(store.id)).name == "notes"
    assert asked(upstream) == ["POST /vector_stores", "GET /vector_stores/*"]
    if VERSION >= (1, 66):
        plain = door.raw_client(upstream)
        assert not hasattr(plain.beta, "vector_stores")
        with pytest.raises(AttributeError, match="vector_stores"):
            _ = plain.beta.vector_stores


def test_a_wrapped_client_raises_no_deprecation_warning(door: Door, client: Any) -> None:
    """Suites that run with `-W error` go through every resource of a wrapped client."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = finish_run(door, client)
        threads = client.beta.threads
        door.all(threads.messages.list(run.thread_id))
        door.all(threads.runs.list(run.thread_id))
        door.all(threads.runs.steps.list(run.id, thread_id=run.thread_id))
        door(threads.update(run.thread_id, metadata={}))
        door(client.beta.assistants.update(run.assistant_id, name="x"))
        door(threads.runs.with_raw_response.retrieve(run.id, thread_id=run.thread_id))
        door(client.with_options(timeout=9).beta.threads.retrieve(run.thread_id))
        door(threads.delete(run.thread_id))
        door(client.beta.assistants.delete(run.assistant_id))


@pytest.mark.skipif(VERSION < (1, 109), reason="this SDK deprecates nothing of it yet")
def test_an_unwrapped_client_still_warns(door: Door, client: Any, upstream: StandIn) -> None:
    """Other clients of the same process get the SDK's warning, pointed at their own line."""
    plain = door.raw_client(upstream)
    with pytest.warns(DeprecationWarning, match="deprecated") as caught, pytest.raises(openai.NotFoundError):
        door(plain.beta.threads.create())
    assert [warning.filename for warning in caught] == [__file__]
    assert make_thread(door, client).object == "thread"


def test_an_unwrapped_client_still_reaches_the_service(door: Door, client: Any, upstream: StandIn) -> None:
    """Wrapping one client changes no other one: its Assistants calls go to the upstream, as they did."""
    plain = door.raw_client(upstream)
    with pytest.raises(openai.NotFoundError):
        door(plain.get("/assistants/asst_1", cast_to=object))
    assert [request.path for request in upstream.requests] == ["/assistants/asst_1"]
    make_assistant(door, client)
    assert len(upstream.requests) == 1


def test_missing_arguments_are_still_the_sdks_error(door: Door, client: Any) -> None:
    """What the SDK itself refuses it still refuses, with a TypeError or a ValueError before any request."""
    with pytest.raises(TypeError):
        door(client.beta.assistants.create())
    with pytest.raises(ValueError, match="thread_id"):
        door(client.beta.threads.retrieve(""))
