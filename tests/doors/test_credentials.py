"""An upstream request carries the key, headers, query and timeout of the legacy call that caused it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    CODE,
    CSV,
    LINK,
    dump_store,
    finish_run,
    make_assistant,
    make_thread,
    start_run,
    upstream_calls,
)

POST, GET = "POST /responses", "GET /responses/*"
FILES, CONTENT = "GET /containers/*/files", "GET /containers/*/files/*/content"
NOW = {"retry-after-ms": "1"}  # the SDK waits that long before its next attempt


def credentials_by_text(upstream: StandIn) -> dict[str, set[tuple[str | None, str | None]]]:
    """Return the keys and organisations with which each text was sent or its response polled."""
    seen: dict[str, set[tuple[str | None, str | None]]] = {}
    for request in upstream.requests:
        if request.method == "POST":
            text = request.json["input"][-1]["content"][0]["text"]
        else:
            text = upstream.responses[request.path.split("/")[2]].input_items[-1]["content"][0]["text"]
        credentials = (request.headers.get("authorization"), request.headers.get("openai-organization"))
        seen.setdefault(text, set()).add(credentials)
    return seen


def converse(client: Any, text: str, **extra: Any) -> None:
    """Have a conversation with a synchronous client."""
    assistant = client.beta.assistants.create(model="gpt-4o", **extra)
    thread = client.beta.threads.create(messages=[{"role": "user", "content": text}], **extra)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, **extra)
    assert run.status == "completed"


async def converse_async(client: Any, text: str, **extra: Any) -> None:
    """Have a conversation with an asynchronous client."""
    assistant = await client.beta.assistants.create(model="gpt-4o", **extra)
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": text}], **extra)
    run = await client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, **extra)
    assert run.status == "completed"


def converse_concurrently(door: Door, calls: list[tuple[Any, ...]]) -> None:
    """Have conversations at the same time, in threads or as tasks of one loop."""
    if door.kind == "async":

        async def gather() -> None:
            await asyncio.gather(*(converse_async(client, text, **extra) for client, text, extra in calls))

        door(gather())
        return
    start = threading.Barrier(len(calls))
    errors: list[BaseException] = []

    def work(client: Any, text: str, extra: dict[str, Any]) -> None:
        try:
            start.wait(30)
            converse(client, text, **extra)
        except BaseException as error:  # noqa: BLE001 - asserted in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_copies_of_a_client_keep_their_own_keys(door: Door, client: Any, upstream: StandIn) -> None:
    """Copies by `with_options`, used concurrently, send each text with their own key and organisation."""
    names = ["red", "blue"]
    copies = {name: client.with_options(api_key=f"sk-{name}", organization=f"org-{name}") for name in names}
    converse_concurrently(door, [(copies[name], f"{name} {number}", {}) for number in range(5) for name in names])
    expected = {f"{name} {number}": {(f"Bearer sk-{name}", f"org-{name}")} for number in range(5) for name in names}
    assert credentials_by_text(upstream) == expected


def test_calls_with_extra_headers_keep_their_own_keys(door: Door, client: Any, upstream: StandIn) -> None:
    """Concurrent calls with their own `extra_headers` send each text with their own key and organisation."""
    calls: list[tuple[Any, ...]] = []
    for number in range(6):
        headers = {"Authorization": f"Bearer sk-{number}", "OpenAI-Organization": f"org-{number}"}
        calls.append((client, str(number), {"extra_headers": headers}))
    converse_concurrently(door, calls)
    assert credentials_by_text(upstream) == {
        str(number): {(f"Bearer sk-{number}", f"org-{number}")} for number in range(6)
    }


def test_a_file_is_fetched_with_the_key_of_the_poll(door: Door, client: Any, upstream: StandIn) -> None:
    """A poll and the downloads that it causes carry the key of the poll, not that of the run's creation."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    rotated = client.with_options(api_key="sk-new", project="proj-1")
    assert door(rotated.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "completed"
    assert upstream_calls(upstream) == [POST, GET, FILES, CONTENT]
    keys = [request.headers["authorization"] for request in upstream.requests]
    assert keys == ["Bearer sk-test", *["Bearer sk-new"] * 3]
    assert [request.headers.get("openai-project") for request in upstream.requests] == [None, *["proj-1"] * 3]


def test_three_failures_are_three_upstream_requests(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With `max_retries=2` a failing run makes three upstream requests, by the SDK's own retries, and leaves no run."""
    client = door.client(upstream, settings, max_retries=2)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    before = dump_store(settings)
    upstream.fault(Fault(POST, status=500, times=9, headers=NOW))
    with pytest.raises(openai.InternalServerError):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert upstream_calls(upstream) == [POST] * 3
    assert dump_store(settings) == before


def test_a_success_after_two_failures_leaves_one_run(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A creation that succeeds at the third attempt leaves one run, with its additional messages once."""
    client = door.client(upstream, settings, max_retries=2)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    upstream.fault(Fault(POST, status=500, times=2, headers=NOW))
    more = [{"role": "user", "content": "And this."}]
    run = door(
        client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, additional_messages=more
        )
    )
    assert run.status == "completed"
    assert upstream_calls(upstream, POST) == [POST] * 3
    assert [listed.id for listed in door.all(client.beta.threads.runs.list(thread.id))] == [run.id]
    assert len(door.all(client.beta.threads.messages.list(thread.id))) == 3


def test_a_poll_is_retried_by_the_sdk_alone(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A poll that fails twice and then succeeds makes three upstream requests and writes its messages once."""
    client = door.client(upstream, settings, max_retries=2)
    upstream.script(Turn(text="Done.", polls=0))
    run = start_run(door, client)
    upstream.fault(Fault(GET, status=503, times=2, headers=NOW))
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "completed"
    assert upstream_calls(upstream) == [POST, GET, GET, GET]
    assert len(door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))) == 1


@pytest.mark.parametrize("jar", [False, True])
def test_headers_and_cookies_of_the_http_client_are_sent(
    door: Door, upstream: StandIn, sqlite_settings: Settings, *, jar: bool
) -> None:
    """A host header and a cookie set on the HTTP client are sent on every upstream request."""
    kind: Any = openai.DefaultHttpxClient if door.kind == "sync" else openai.DefaultAsyncHttpxClient
    options = {"cookies": {"session": "1"}} if jar else {"headers": {"Host": "inner.gateway", "Cookie": "session=1"}}
    finish_run(door, door.client(upstream, sqlite_settings, http_client=kind(**options)))
    assert set(upstream_calls(upstream)) == {POST, GET}
    for request in upstream.requests:
        assert request.headers["cookie"] == "session=1"
        assert (request.headers["host"] == "inner.gateway") is not jar


def test_extra_headers_are_sent_and_legacy_headers_are_not(door: Door, client: Any, upstream: StandIn) -> None:
    """Extra headers are sent on every upstream request, except those that belong to the legacy request alone."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    headers = {"x-gateway": "blue", "Idempotency-Key": "once", "Cookie": "a=b", "traceparent": "00-1-2-01"}
    runs = client.beta.threads.runs.with_raw_response
    created = door(runs.create(thread.id, assistant_id=assistant.id, extra_headers=headers)).parse()
    door(client.beta.threads.runs.poll(created.id, thread_id=thread.id, poll_interval_ms=1, extra_headers=headers))
    assert upstream_calls(upstream) == [POST, GET, FILES, CONTENT]
    dropped = {
        "openai-beta",
        "idempotency-key",
        "cookie",
        "x-stainless-raw-response",
        "x-stainless-poll-helper",
        "x-stainless-custom-poll-interval",
    }
    for request in upstream.requests:
        assert request.headers["x-gateway"] == "blue"
        assert request.headers["traceparent"] == "00-1-2-01"
        assert dropped.isdisjoint(request.headers)
        assert request.headers["user-agent"].startswith(("OpenAI/", "AsyncOpenAI/"))
    assert [request.headers["accept"] for request in upstream.requests] == ["application/json"] * 3 + ["*/*"]
    kinds = [request.headers.get("content-type") for request in upstream.requests]
    assert kinds == ["application/json", None, None, None]


def test_a_gateways_query_is_sent_and_list_parameters_are_not(
    door: Door, upstream: StandIn, settings: Settings
) -> None:
    """`default_query` and `extra_query` are sent upstream; `limit`, `order` and cursors are not."""
    client = door.client(upstream, settings, default_query={"tenant": "blue", "path": "/a?b=c&d"})
    upstream.script(Turn(text="Done.", polls=0))
    run = start_run(door, client, extra_query={"trace": "1 2"})
    door(client.beta.threads.messages.list(run.thread_id, limit=1, order="asc", after="m", before="n", run_id="r"))
    [creation, poll] = upstream.requests
    assert dict(creation.query) == {"tenant": "blue", "path": "/a?b=c&d", "trace": "1 2"}
    assert dict(poll.query) == {"tenant": "blue", "path": "/a?b=c&d"}


@pytest.mark.parametrize("where", ["client", "copy", "call"])
def test_the_timeout_of_a_call_holds_upstream(door: Door, upstream: StandIn, settings: Settings, where: str) -> None:
    """The timeout of a client, a copy or a call ends the upstream request with the SDK's timeout error."""
    client = door.client(upstream, settings, timeout=0.15 if where == "client" else 30)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    if where == "copy":
        client = client.with_options(timeout=0.15)
    extra = {"timeout": 0.15} if where == "call" else {}
    before = dump_store(settings)
    upstream.fault(Fault(POST, stall=3))
    with pytest.raises(openai.APITimeoutError):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **extra))
    assert dump_store(settings) == before
    assert len(upstream.requests) == 1


def test_a_copy_with_another_base_url_asks_only_there(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """A copy with another base URL and key sends its requests only there, with that key."""
    with StandIn() as other:
        copy = client.with_options(base_url=other.base_url, api_key="sk-other")
        assert finish_run(door, copy).status == "completed"
        assert upstream.requests == []
        assert {request.headers["authorization"] for request in other.requests} == {"Bearer sk-other"}


def test_a_refreshed_key_is_used_at_once(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A key that is replaced on the client is sent with the next request."""
    client = door.client(upstream, settings)
    start_run(door, client)
    client.api_key = "sk-rotated"
    start_run(door, client)
    keys = [request.headers["authorization"] for request in upstream.requests]
    assert keys == ["Bearer sk-test", "Bearer sk-rotated"]


def test_event_hooks_see_the_upstream_requests(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """Event hooks of the caller's HTTP client run for each upstream request, and for nothing else."""
    seen: list[str] = []
    inner = type(door.raw_client(upstream)._client)
    class_: Any = next(base for base in inner.__mro__ if base.__module__.startswith("httpx"))
    hooks: dict[str, list[Callable[..., Any]]] = {"request": [lambda request: seen.append(request.url.path)]}
    if door.kind == "async":

        async def hook(request: Any) -> None:
            seen.append(request.url.path)

        hooks = {"request": [hook]}
    client = door.client(upstream, sqlite_settings, http_client=class_(event_hooks=hooks))
    upstream.script(Turn(text="Done.", polls=0))
    run = finish_run(door, client)
    assert run.status == "completed"
    assert [path.rpartition("/")[0] or path for path in seen] == ["/v1", "/v1/responses"]
