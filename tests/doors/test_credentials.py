"""Whose key, headers, query and timeout an upstream request carries: those of the legacy call that caused it."""

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
from kit.legacy_code import CODE, CSV, LINK, asked, dump, finish_run, make_assistant, make_thread, start_run

POST, GET = "POST /responses", "GET /responses/*"
FILES, CONTENT = "GET /containers/*/files", "GET /containers/*/files/*/content"
NOW = {"retry-after-ms": "1"}  # the SDK sleeps that long before its next try


def told(upstream: StandIn) -> dict[str, set[tuple[str | None, str | None]]]:
    """Which text was sent or fetched with which key and organisation; a look counts for its response's text."""
    seen: dict[str, set[tuple[str | None, str | None]]] = {}
    for request in upstream.requests:
        if request.method == "POST":
            text = request.json["input"][-1]["content"][0]["text"]
        else:
            text = upstream.responses[request.path.split("/")[2]].input_items[-1]["content"][0]["text"]
        who = (request.headers.get("authorization"), request.headers.get("openai-organization"))
        seen.setdefault(text, set()).add(who)
    return seen


def talk(client: Any, text: str, **extra: Any) -> None:
    """A conversation of a blocking client."""
    assistant = client.beta.assistants.create(model="gpt-4o", **extra)
    thread = client.beta.threads.create(messages=[{"role": "user", "content": text}], **extra)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, **extra)
    assert run.status == "completed"


async def talk_async(client: Any, text: str, **extra: Any) -> None:
    """The same, of an asynchronous one."""
    assistant = await client.beta.assistants.create(model="gpt-4o", **extra)
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": text}], **extra)
    run = await client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, **extra)
    assert run.status == "completed"


def together(door: Door, calls: list[tuple[Any, ...]]) -> None:
    """Have conversations at the same time: in threads, or as tasks of one loop."""
    if door.kind == "async":

        async def gather() -> None:
            await asyncio.gather(*(talk_async(client, text, **extra) for client, text, extra in calls))

        door(gather())
        return
    start = threading.Barrier(len(calls))
    troubles: list[BaseException] = []

    def work(client: Any, text: str, extra: dict[str, Any]) -> None:
        try:
            start.wait(30)
            talk(client, text, **extra)
        except BaseException as trouble:  # noqa: BLE001 - raised again in the test's own thread
            troubles.append(trouble)

    threads = [threading.Thread(target=work, args=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []


def test_tenants_of_one_client_never_cross(door: Door, client: Any, upstream: StandIn) -> None:
    """Copies made by `with_options`, used at the same time, send each text with its own key and organisation."""
    names = ["red", "blue"]
    copies = {name: client.with_options(api_key=f"sk-{name}", organization=f"org-{name}") for name in names}
    together(door, [(copies[name], f"{name} {number}", {}) for number in range(5) for name in names])
    expected = {f"{name} {number}": {(f"Bearer sk-{name}", f"org-{name}")} for number in range(5) for name in names}
    assert told(upstream) == expected


def test_tenants_by_extra_headers_never_cross(door: Door, client: Any, upstream: StandIn) -> None:
    """The same with the key and the organisation of each single call."""
    calls: list[tuple[Any, ...]] = []
    for number in range(6):
        headers = {"Authorization": f"Bearer sk-{number}", "OpenAI-Organization": f"org-{number}"}
        calls.append((client, str(number), {"extra_headers": headers}))
    together(door, calls)
    assert told(upstream) == {str(number): {(f"Bearer sk-{number}", f"org-{number}")} for number in range(6)}


def test_a_file_is_fetched_with_the_key_of_the_poll(door: Door, client: Any, upstream: StandIn) -> None:
    """Looking and downloading carry the key of the caller who looks, who may have another one by then."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    rotated = client.with_options(api_key="sk-new", project="proj-1")
    assert door(rotated.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "completed"
    assert asked(upstream) == [POST, GET, FILES, CONTENT]
    keys = [request.headers["authorization"] for request in upstream.requests]
    assert keys == ["Bearer sk-test", *["Bearer sk-new"] * 3]
    assert [request.headers.get("openai-project") for request in upstream.requests] == [None, *["proj-1"] * 3]


def test_three_failures_are_three_upstream_requests(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With `max_retries=2` the SDK's loop alone tries again, and a run that never was is not there."""
    client = door.client(upstream, settings, max_retries=2)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    before = dump(settings)
    upstream.fault(Fault(POST, status=500, times=9, headers=NOW))
    with pytest.raises(openai.InternalServerError):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert asked(upstream) == [POST] * 3
    assert dump(settings) == before


def test_a_success_after_two_failures_leaves_one_run(door: Door, upstream: StandIn, settings: Settings) -> None:
    """The third try is the run; its additional messages are on the thread once."""
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
    assert asked(upstream, POST) == [POST] * 3
    assert [each.id for each in door.all(client.beta.threads.runs.list(thread.id))] == [run.id]
    assert len(door.all(client.beta.threads.messages.list(thread.id))) == 3


def test_a_poll_is_tried_again_by_the_sdk_alone(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Two failing looks and a good one are three upstream requests, and the messages are written once."""
    client = door.client(upstream, settings, max_retries=2)
    upstream.script(Turn(text="Done.", polls=0))
    run = start_run(door, client)
    upstream.fault(Fault(GET, status=503, times=2, headers=NOW))
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "completed"
    assert asked(upstream) == [POST, GET, GET, GET]
    assert len(door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))) == 1


@pytest.mark.parametrize("jar", [False, True])
def test_what_the_http_client_itself_says_to_a_gateway(
    door: Door, upstream: StandIn, sqlite_settings: Settings, *, jar: bool
) -> None:
    """A virtual host and a session's cookie that are set on the HTTP client hold for every upstream request."""
    kind: Any = openai.DefaultHttpxClient if door.kind == "sync" else openai.DefaultAsyncHttpxClient
    said = {"cookies": {"session": "1"}} if jar else {"headers": {"Host": "inner.gateway", "Cookie": "session=1"}}
    finish_run(door, door.client(upstream, sqlite_settings, http_client=kind(**said)))
    assert set(asked(upstream)) == {POST, GET}
    for request in upstream.requests:
        assert request.headers["cookie"] == "session=1"
        assert (request.headers["host"] == "inner.gateway") is not jar


def test_extra_headers_reach_the_upstream_and_the_old_apis_do_not(door: Door, client: Any, upstream: StandIn) -> None:
    """A gateway's header goes along on every request; what belongs to the legacy request stays behind."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    headers = {"x-gateway": "blue", "Idempotency-Key": "once", "Cookie": "a=b", "traceparent": "00-1-2-01"}
    runs = client.beta.threads.runs.with_raw_response
    created = door(runs.create(thread.id, assistant_id=assistant.id, extra_headers=headers)).parse()
    door(client.beta.threads.runs.poll(created.id, thread_id=thread.id, poll_interval_ms=1, extra_headers=headers))
    assert asked(upstream) == [POST, GET, FILES, CONTENT]
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


def test_a_gateways_query_goes_along_and_the_lists_does_not(door: Door, upstream: StandIn, settings: Settings) -> None:
    """`default_query` and `extra_query` are on the upstream requests; `limit`, `order` and cursors are not."""
    client = door.client(upstream, settings, default_query={"tenant": "blue", "path": "/a?b=c&d"})
    upstream.script(Turn(text="Done.", polls=0))
    run = start_run(door, client, extra_query={"trace": "1 2"})
    door(client.beta.threads.messages.list(run.thread_id, limit=1, order="asc", after="m", before="n", run_id="r"))
    [posted, looked] = upstream.requests
    assert dict(posted.query) == {"tenant": "blue", "path": "/a?b=c&d", "trace": "1 2"}
    assert dict(looked.query) == {"tenant": "blue", "path": "/a?b=c&d"}


@pytest.mark.parametrize("where", ["client", "copy", "call"])
def test_the_timeout_of_the_call_is_the_upstreams(
    door: Door, upstream: StandIn, settings: Settings, where: str
) -> None:
    """A timeout given to the client, to a copy or to one call ends the wait for the upstream with the SDK's error."""
    client = door.client(upstream, settings, timeout=0.15 if where == "client" else 30)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    if where == "copy":
        client = client.with_options(timeout=0.15)
    extra = {"timeout": 0.15} if where == "call" else {}
    before = dump(settings)
    upstream.fault(Fault(POST, stall=3))
    with pytest.raises(openai.APITimeoutError):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **extra))
    assert dump(settings) == before
    assert len(upstream.requests) == 1


def test_no_request_goes_to_another_host(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """A copy with another base URL asks there, with the key that was meant for it, and nobody else."""
    with StandIn() as other:
        moved = client.with_options(base_url=other.base_url, api_key="sk-other")
        assert finish_run(door, moved).status == "completed"
        assert upstream.requests == []
        assert {request.headers["authorization"] for request in other.requests} == {"Bearer sk-other"}


def test_a_refreshed_key_is_used_at_once(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A key that is changed on the client, as applications that rotate keys do, is the next request's."""
    client = door.client(upstream, settings)
    start_run(door, client)
    client.api_key = "sk-rotated"
    start_run(door, client)
    keys = [request.headers["authorization"] for request in upstream.requests]
    assert keys == ["Bearer sk-test", "Bearer sk-rotated"]


def test_instrumentation_below_sees_the_upstream_requests(
    door: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """Event hooks of the caller's own HTTP client run for what is sent upstream, and for nothing else."""
    seen: list[str] = []
    inner = type(door.raw_client(upstream)._client)
    class_: Any = next(each for each in inner.__mro__ if each.__module__.startswith("httpx"))
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
