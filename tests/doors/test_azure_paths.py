"""Azure's dated Assistants routes go to `/openai/v1`, and no other routes do."""

from __future__ import annotations

import re
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.azure_forms import BASES, PROJECT, SDK_FORMS
from kit.doors import KEY, Door
from kit.legacy_code import (
    CODE,
    CSV,
    LINK,
    finish_run,
    make_assistant,
    make_file,
    make_thread,
    start_run,
    upstream_calls,
)

VERSION = tuple(int(part) for part in openai.__version__.split(".")[:2])


def test_upstream_requests_go_to_the_v1_routes(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Upstream requests of an Azure client go to `/openai/v1`, without `api-version` and with the same key."""
    client = door.client(upstream, settings, azure=True)
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    assert door(client.files.content(file_id)).read() == CSV
    files = "GET /containers/*/files"
    assert upstream_calls(upstream) == ["POST /responses", "GET /responses/*", files, f"{files}/*/content"]
    for request in upstream.requests:
        assert request.full_path.startswith("/openai/v1/")
        assert "api-version" not in request.full_path
        assert request.headers["api-key"] == KEY


def test_upstream_requests_carry_the_same_credentials(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Upstream requests carry the credentials that an unwrapped client sends (with openai 1.40 both key and Bearer)."""
    with pytest.raises(openai.NotFoundError):
        door(door.raw_client(upstream, azure=True).get("/threads/thread_1", cast_to=object))
    start_run(door, door.client(upstream, settings, azure=True))
    names = ("api-key", "authorization")
    [plain, wrapped] = [[request.headers.get(name) for name in names] for request in upstream.requests]
    assert wrapped == plain
    assert plain == [KEY, f"Bearer {KEY}" if VERSION < (1, 41) else plain[1]]


def test_a_token_provider_is_called_for_every_call(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A token provider is called for each call, and the upstream request carries its token."""
    issued: list[str] = []

    def provider() -> str:
        issued.append(f"token-{len(issued)}")
        return issued[-1]

    client = door.client(upstream, settings, azure=True, api_key=None, azure_ad_token_provider=provider)
    upstream.script(Turn(text="Done.", polls=0))
    run = start_run(door, client)
    token_of_creation = issued[-1]
    door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    sent = [request.headers["authorization"] for request in upstream.requests]
    assert sent == [f"Bearer {token_of_creation}", f"Bearer {issued[-1]}"]
    assert token_of_creation != issued[-1]


def test_a_deployment_in_the_path_is_left_out(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Upstream requests leave out the deployment that SDKs up to 1.64 put into the path."""
    client = door.client(upstream, settings, azure=True, azure_deployment="gpt-4o")
    assert finish_run(door, client).status == "completed"
    paths = {request.full_path.partition("/responses")[0] for request in upstream.requests}
    assert paths == {"/openai/v1"}


def test_a_deployment_in_the_base_url_is_left_out(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Upstream requests leave out a deployment in a plain client's `base_url`."""
    base_url = f"{upstream.azure_endpoint}/openai/deployments/gpt-4o"
    client = door.client(upstream, settings, base_url=base_url, default_query={"api-version": "2024-05-01-preview"})
    assert finish_run(door, client).status == "completed"
    assert {request.full_path.partition("/responses")[0] for request in upstream.requests} == {"/openai/v1"}
    assert {request.query for request in upstream.requests} == {()}


def test_a_v1_base_url_is_unchanged(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A `base_url` of `.../openai/v1/`, which Azure now documents, is used unchanged."""
    client = door.client(upstream, settings, base_url=f"{upstream.azure_endpoint}/openai/v1/")
    assert finish_run(door, client).status == "completed"
    assert {request.full_path.partition("/responses")[0] for request in upstream.requests} == {"/openai/v1"}
    client = door.client(
        upstream, settings, base_url=f"{upstream.azure_endpoint}/openai/v1", default_query={"api-version": "preview"}
    )
    upstream.requests.clear()
    start_run(door, client)
    assert upstream.requests[0].full_path.startswith("/openai/v1/responses")


def test_a_base_url_that_merely_ends_in_openai_is_not_azure(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A plain client's `base_url` that ends in `/openai` is not taken for Azure."""
    client = door.client(upstream, settings, base_url=f"{upstream.azure_endpoint}/openai")
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    with pytest.raises(openai.NotFoundError):  # the stand-in serves no such base
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert [request.full_path for request in upstream.requests] == ["/openai/responses"]


@pytest.mark.parametrize("form", SDK_FORMS)
def test_every_form_of_the_endpoint_leads_to_the_v1_routes(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """An endpoint that ends in routes (`.../openai/v1/`) works, though the SDK appends `/openai` to it again."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{upstream.azure_endpoint}{form}")
    client = door.client(upstream, sqlite_settings, azure=True, azure_endpoint=None)
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    assert door(client.files.content(file_id)).read() == CSV
    assert {request.full_path.partition(request.path)[0] for request in upstream.requests} == {BASES[form]}
    assert [name for request in upstream.requests for name, _ in request.query if name == "api-version"] == []


@pytest.mark.parametrize("form", SDK_FORMS)
def test_every_form_of_the_endpoint_serves_what_goes_upstream(
    door: Door, upstream: StandIn, sqlite_settings: Settings, form: str
) -> None:
    """What the upstream answers itself goes to its dated routes, and below a project to the v1 routes."""
    client = door.client(
        upstream,
        sqlite_settings,
        azure=True,
        azure_endpoint=f"{upstream.azure_endpoint}{form}",
        default_query={"a": "b"},
    )
    uploaded = door(client.files.create(file=("a.csv", CSV), purpose="assistants"))
    assert door(client.files.retrieve(uploaded.id)).id == uploaded.id
    assert [file.id for file in door.all(client.files.list())] == [uploaded.id]
    is_project = "/api/projects/" in form
    base = BASES[form] if is_project else "/openai"
    query = (("a", "b"),) if is_project else (("a", "b"), ("api-version", "2024-05-01-preview"))
    for request in upstream.requests:
        assert request.full_path.startswith(f"{base}/files")
        assert set(request.query) == set(query)


@pytest.mark.parametrize("form", [form for form in SDK_FORMS if re.search("/openai/v1/?$", form)])
def test_every_v1_form_is_a_base_url(door: Door, upstream: StandIn, sqlite_settings: Settings, form: str) -> None:
    """A plain client whose `base_url` is a form with the v1 routes requests these."""
    client = door.client(upstream, sqlite_settings, base_url=f"{upstream.azure_endpoint}{form}")
    assert finish_run(door, client).status == "completed"
    assert {request.full_path.partition("/responses")[0].rstrip("/") for request in upstream.requests} == {BASES[form]}


@pytest.mark.parametrize("form", [PROJECT, f"{PROJECT}/openai"])
def test_a_project_is_known_from_the_path_of_a_plain_client(
    door: Door, upstream: StandIn, sqlite_settings: Settings, form: str
) -> None:
    """A plain client with a project's endpoint requests the project's v1 routes."""
    client = door.client(upstream, sqlite_settings, base_url=f"{upstream.azure_endpoint}{form}")
    assert finish_run(door, client).status == "completed"
    assert {request.full_path.partition("/responses")[0] for request in upstream.requests} == {BASES[form]}


def test_other_query_parameters_are_kept(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Other query parameters than `api-version` are sent upstream."""
    client = door.client(
        upstream, settings, azure=True, default_query={"api-version": "2024-05-01-preview", "tenant": "blue"}
    )
    start_run(door, client)
    assert upstream.requests[0].query == (("tenant", "blue"),)


def test_a_copy_with_another_key_sends_that_key(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A copy of an Azure client with another key sends only that key."""
    client = door.client(upstream, settings, azure=True)
    run = start_run(door, client)
    other: Any = client.with_options(api_key="other-key")
    door(other.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert [request.headers["api-key"] for request in upstream.requests] == [KEY, "other-key"]


def test_an_unknown_file_keeps_its_dated_route(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A file that the library does not know is requested on the dated route, `api-version` included."""
    client = door.client(upstream, settings, azure=True)
    make_assistant(door, client, tools=CODE)
    with pytest.raises(openai.NotFoundError):
        door(client.files.retrieve("assistant-abc"))
    [request] = upstream.requests
    assert request.full_path == "/openai/files/assistant-abc?api-version=2024-05-01-preview"
