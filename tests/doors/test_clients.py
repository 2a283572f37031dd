"""Every kind of client can be wrapped: copies, subclasses, the module itself, with raw and streaming responses."""

from __future__ import annotations

import copy
import pickle
import re
import types
import warnings
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.resources.beta.threads.threads import Threads

import assistants_compat
from assistants_compat import Settings
from assistants_compat.doors.sdk_internals import http_library
from assistants_compat.testing import StandIn
from kit.doors import KEY, Door
from kit.legacy_code import finish_run, make_assistant, make_thread, upstream_calls

IS_DEPRECATED = hasattr(Threads.create, "__deprecated__")


def works(door: Door, client: Any) -> bool:
    """Return whether a client completes a conversation."""
    return bool(finish_run(door, client).status == "completed")


def test_wrap_returns_the_same_client(door: Door, upstream: StandIn, settings: Settings) -> None:
    """`wrap` returns the same client, with the same type and an inner client that passes for the original."""
    plain = door.raw_client(upstream)
    type_, inner = type(plain), type(plain._client)
    client = assistants_compat.wrap(plain, settings)
    assert client is plain
    assert type(client) is type_
    assert isinstance(client._client, inner)
    assert works(door, client)


@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
def test_subclasses_keep_their_type(door: Door, upstream: StandIn, settings: Settings, *, azure: bool) -> None:
    """A wrapped subclass of an OpenAI or Azure client keeps its type and overrides, and so do its copies."""
    base = type(door.raw_client(upstream, azure=azure))

    class Subclass(base):  # type: ignore[misc,valid-type]  # the door decides which
        @property
        def default_headers(self) -> Any:
            return {**super().default_headers, "x-mine": "yes"}

    endpoint = (
        {"azure_endpoint": upstream.azure_endpoint, "api_version": "2024-05-01-preview"}
        if azure
        else {"base_url": upstream.base_url}
    )
    client: Any = assistants_compat.wrap(Subclass(api_key=KEY, max_retries=0, **endpoint), settings)
    door.clients.append(client)
    assert type(client) is Subclass
    assert works(door, client)
    assert {request.headers.get("x-mine") for request in upstream.requests} == {"yes"}
    assert type(client.with_options(timeout=5)) is Subclass


def test_wrapping_twice_keeps_one_proxy(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Wrapping a client again keeps its proxy, and new settings replace the old ones."""
    client = door.client(upstream, settings)
    proxy = client._client
    assert assistants_compat.wrap(client) is client
    assert client._client is proxy
    assert assistants_compat.wrap(client, settings) is client
    assert client._client is proxy
    assistant = make_assistant(door, client)
    other_settings = Settings(store=settings.store, files=settings.files, namespace=settings.namespace + "-2")
    assistants_compat.wrap(client, other_settings)
    with pytest.raises(openai.NotFoundError):
        door(client.beta.assistants.retrieve(assistant.id))
    assert type(client._client.__wrapped__) is type(proxy.__wrapped__)
    assistants_compat.wrap(client, settings)
    assert door(client.beta.assistants.retrieve(assistant.id)).id == assistant.id


@pytest.mark.parametrize("other", [None, "sk-key", object(), openai.OpenAI, 1])
def test_wrapping_anything_else_is_a_type_error(other: Any) -> None:
    """Wrapping anything but a client raises a `TypeError` that names its type."""
    with pytest.raises(TypeError, match=f"not {type(other).__name__}"):
        assistants_compat.wrap(other)


def test_wrapping_the_inner_client_is_a_type_error(door: Door, upstream: StandIn) -> None:
    """Wrapping a client's inner HTTP client raises a `TypeError`."""
    with pytest.raises(TypeError, match="OpenAI client"):
        assistants_compat.wrap(door.raw_client(upstream)._client)


def test_copies_are_wrapped(door: Door, client: Any) -> None:
    """Copies by `with_options`, `copy` and `copy.copy` are wrapped and find the same assistants."""
    assistant = make_assistant(door, client)
    for other in (client.with_options(timeout=5), client.copy(max_retries=1), copy.copy(client)):
        assert door(other.beta.assistants.retrieve(assistant.id)) == assistant
        assert works(door, other)


def test_the_proxy_can_be_copied(door: Door, client: Any) -> None:
    """A shallow copy of the proxy works as the original does."""
    other = copy.copy(client)
    other._client = copy.copy(client._client)
    assert door(other.beta.assistants.retrieve(make_assistant(door, client).id)).object == "assistant"


@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickle.dumps], ids=["deepcopy", "pickle"])
def test_a_wrapped_client_is_duplicated_as_a_bare_one(
    door: Door, upstream: StandIn, settings: Settings, duplicate: Callable[[Any], Any], *, azure: bool
) -> None:
    """Deep copies and pickles of a client raise what they raise without this package, so that callers can catch it."""
    # Not the SDK's own class of HTTP client, whose half-made copies complain when they are collected.
    http = http_library()
    http_client = http.Client() if door.kind == "sync" else http.AsyncClient()
    client = door.raw_client(upstream, azure=azure, http_client=http_client)
    with pytest.raises(TypeError) as bare:
        duplicate(client)
    with pytest.raises(TypeError) as bare_inside:
        duplicate(client._client)
    assistants_compat.wrap(client, settings)
    with pytest.raises(TypeError, match=re.escape(str(bare.value))):
        duplicate(client)
    with pytest.raises(TypeError, match=re.escape(str(bare_inside.value))):
        duplicate(client._client)


def pickled_and_loaded(value: Any) -> Any:
    """Return what `pickle` makes of a value."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - the test's own bytes


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled_and_loaded])
def test_a_proxy_is_duplicated_with_its_http_client(client: Any, duplicate: Callable[[Any], Any]) -> None:
    """If an HTTP client can be copied or pickled, the duplicate answers legacy calls with the same settings."""
    proxy = type(client._client)(types.SimpleNamespace(timeout=5), client._client.request_router())
    other = duplicate(proxy)
    assert type(other) is type(proxy)
    assert (other.timeout, other.client_settings()) == (5, proxy.client_settings())
    assert other.__wrapped__ is not proxy.__wrapped__


def test_raw_responses(door: Door, client: Any) -> None:
    """`with_raw_response` gives status, headers, text, request and the parsed object."""
    response = door(client.beta.assistants.with_raw_response.create(model="gpt-4o"))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["openai-version"] == "2020-10-01"
    assert int(response.headers["openai-processing-ms"]) >= 0
    assert response.http_request.method == "POST"
    assert response.elapsed.total_seconds() >= 0
    assistant = response.parse()
    # The service indents JSON by two spaces (recorded).
    assert response.text.startswith('{\n  "id": "' + assistant.id)
    assert door(client.beta.assistants.retrieve(assistant.id)) == assistant


def test_streaming_responses(door: Door, client: Any) -> None:
    """`with_streaming_response` gives the answer by every method that reads it: whole, parsed, or in pieces."""
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

    content, text, data, parsed, pieces, texts, lines = blocking() if door.kind == "sync" else door(suspending())
    assert parsed == assistant
    assert data["id"] == assistant.id
    assert content.decode() == text == b"".join(pieces).decode() == "".join(texts) == "\n".join(lines)


def test_context_managers_close_the_client(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A wrapped client works as a context manager, which closes its connection pool at the end."""
    client = door.client(upstream, settings)

    async def suspending() -> Any:
        async with client as entered:
            return await entered.beta.assistants.create(model="gpt-4o")

    if door.kind == "sync":
        with client as entered:
            assistant = entered.beta.assistants.create(model="gpt-4o")
    else:
        assistant = door(suspending())
    assert assistant.object == "assistant"
    assert client.is_closed()
    assert client._client.__wrapped__.is_closed


def test_the_module_level_client(upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wrap(openai)` wraps the module-level client and returns the module."""
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


def test_vector_stores_are_below_beta(door: Door, client: Any, upstream: StandIn) -> None:
    """`client.beta.vector_stores` works on a wrapped client with every SDK, and unwrapped clients stay as they were."""
    store = door(client.beta.vector_stores.create(name="notes"))
    assert door(client.beta.vector_stores.retrieve(store.id)).name == "notes"
    assert upstream_calls(upstream) == ["POST /vector_stores", "GET /vector_stores/*"]
    if hasattr(client, "vector_stores"):
        plain = door.raw_client(upstream)
        assert not hasattr(plain.beta, "vector_stores")
        with pytest.raises(AttributeError, match="vector_stores"):
            _ = plain.beta.vector_stores


def test_a_wrapped_client_raises_no_deprecation_warning(door: Door, client: Any) -> None:
    """No call of a wrapped client raises a deprecation warning."""
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


@pytest.mark.skipif(not IS_DEPRECATED, reason="this SDK does not deprecate the Assistants API yet")
def test_an_unwrapped_client_still_warns(door: Door, client: Any, upstream: StandIn) -> None:
    """An unwrapped client of the same process still gets the SDK's deprecation warning, at the line of its call."""
    plain = door.raw_client(upstream)
    with pytest.warns(DeprecationWarning, match="deprecated") as caught, pytest.raises(openai.NotFoundError):
        door(plain.beta.threads.create())
    assert [warning.filename for warning in caught] == [__file__]
    assert make_thread(door, client).object == "thread"


def test_an_unwrapped_client_still_reaches_the_service(door: Door, client: Any, upstream: StandIn) -> None:
    """The Assistants calls of an unwrapped client still go to the upstream after another client was wrapped."""
    plain = door.raw_client(upstream)
    with pytest.raises(openai.NotFoundError):
        door(plain.get("/assistants/asst_1", cast_to=object))
    assert [request.path for request in upstream.requests] == ["/assistants/asst_1"]
    make_assistant(door, client)
    assert len(upstream.requests) == 1


def test_missing_arguments_are_still_the_sdks_error(door: Door, client: Any) -> None:
    """Missing arguments of a wrapped client still raise the SDK's `TypeError` or `ValueError`."""
    with pytest.raises(TypeError):
        door(client.beta.assistants.create())
    with pytest.raises(ValueError, match="thread_id"):
        door(client.beta.threads.retrieve(""))
