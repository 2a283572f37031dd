"""Azure: dated Assistants routes go to `/openai/v1`, and nobody else's do."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import KEY, Door
from kit.legacy_code import CODE, CSV, LINK, asked, finish_run, make_assistant, make_file, make_thread, start_run

VERSION = tuple(int(part) for part in openai.__version__.split(".")[:2])


def test_siblings_go_to_the_v1_routes(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Responses and container files are asked for below `/openai/v1`, without `api-version`, with the same key."""
    client = door.client(upstream, settings, azure=True)
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    assert door(client.files.content(file_id)).read() == CSV
    files = "GET /containers/*/files"
    assert asked(upstream) == ["POST /responses", "GET /responses/*", files, f"{files}/*/content"]
    for request in upstream.requests:
        assert request.full_path.startswith("/openai/v1/")
        assert "api-version" not in request.full_path
        assert request.headers["api-key"] == KEY


def test_the_same_credentials_go_along(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Whatever a client of this SDK sends to prove itself (1.40 sends key and Bearer both), the sibling carries."""
    with pytest.raises(openai.NotFoundError):
        door(door.raw_client(upstream, azure=True).get("/threads/thread_1", cast_to=object))
    start_run(door, door.client(upstream, settings, azure=True))
    names = ("api-key", "authorization")
    [plain, ours] = [[request.headers.get(name) for name in names] for request in upstream.requests]
    assert ours == plain
    assert plain == [KEY, f"Bearer {KEY}" if VERSION < (1, 41) else plain[1]]


def test_a_token_provider_is_asked_for_every_call(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Entra tokens go along as Bearer, fresh for each call."""
    given: list[str] = []

    def provider() -> str:
        given.append(f"token-{len(given)}")
        return given[-1]

    client = door.client(upstream, settings, azure=True, api_key=None, azure_ad_token_provider=provider)
    upstream.script(Turn(text="Done.", polls=0))
    run = start_run(door, client)
    created_with = given[-1]
    door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    sent = [request.headers["authorization"] for request in upstream.requests]
    assert sent == [f"Bearer {created_with}", f"Bearer {given[-1]}"]
    assert created_with != given[-1]


def test_a_deployment_in_the_path_is_left_out(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With `azure_deployment` SDKs up to 1.64 ask below `/openai/deployments/NAME`; the sibling does not."""
    client = door.client(upstream, settings, azure=True, azure_deployment="gpt-4o")
    assert finish_run(door, client).status == "completed"
    paths = {request.full_path.partition("/responses")[0] for request in upstream.requests}
    assert paths == {"/openai/v1"}


def test_a_deployment_in_the_base_url_is_left_out(door: Door, upstream: StandIn, settings: Settings) -> None:
    """The same where the deployment stands in the URL that a plain client was given."""
    base_url = f"{upstream.azure_endpoint}/openai/deployments/gpt-4o"
    client = door.client(upstream, settings, base_url=base_url, default_query={"api-version": "2024-05-01-preview"})
    assert finish_run(door, client).status == "completed"
    assert {request.full_path.partition("/responses")[0] for request in upstream.requests} == {"/openai/v1"}
    assert {request.query for request in upstream.requests} == {()}


def test_the_v1_base_stays(door: Door, upstream: StandIn, settings: Settings) -> None:
    """`OpenAI(base_url=".../openai/v1/")`, the way that Azure documents now, is left as it is."""
    client = door.client(upstream, settings, base_url=f"{upstream.azure_endpoint}/openai/v1/")
    assert finish_run(door, client).status == "completed"
    assert {request.full_path.partition("/responses")[0] for request in upstream.requests} == {"/openai/v1"}
    client = door.client(
        upstream, settings, base_url=f"{upstream.azure_endpoint}/openai/v1", default_query={"api-version": "preview"}
    )
    upstream.requests.clear()
    start_run(door, client)
    assert upstream.requests[0].full_path.startswith("/openai/v1/responses")


def test_a_base_that_merely_ends_in_openai_is_no_azure(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A gateway's `/openai` under a plain client is not re-routed."""
    client = door.client(upstream, settings, base_url=f"{upstream.azure_endpoint}/openai")
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    with pytest.raises(openai.NotFoundError):  # the stand-in serves no such base
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert [request.full_path for request in upstream.requests] == ["/openai/responses"]


def test_other_query_parameters_of_azure_stay(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Only `api-version` belongs to the old API."""
    client = door.client(
        upstream, settings, azure=True, default_query={"api-version": "2024-05-01-preview", "tenant": "blue"}
    )
    start_run(door, client)
    assert upstream.requests[0].query == (("tenant", "blue"),)


def test_an_azure_key_does_not_cross_tenants(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A copy of an Azure client with another key sends that key."""
    client = door.client(upstream, settings, azure=True)
    run = start_run(door, client)
    other: Any = client.with_options(api_key="other-key")
    door(other.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert [request.headers["api-key"] for request in upstream.requests] == [KEY, "other-key"]


def test_azure_serves_files_by_our_ids_only(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A file that is not ours keeps the dated route that it was asked for, `api-version` included."""
    client = door.client(upstream, settings, azure=True)
    make_assistant(door, client, tools=CODE)
    with pytest.raises(openai.NotFoundError):
        door(client.files.retrieve("assistant-abc"))
    [request] = upstream.requests
    assert request.full_path == "/openai/files/assistant-abc?api-version=2024-05-01-preview"
