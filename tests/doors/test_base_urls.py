"""Clients work with base URLs whose path looks like a route of the Assistants API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, CSV, LINK, finish_run, make_assistant, make_file, make_thread, upstream_calls

BASES = ["/assistants/v1", "/threads", "/assistants", "/v1/threads/", "/threads/v1/assistants"]
OTHER_CALLS: dict[str, Callable[[Any], Any]] = {
    "models": lambda client: client.models.list(),
    "a model": lambda client: client.models.retrieve("runs"),
    "files": lambda client: client.files.list(),
    "a file": lambda client: client.files.retrieve("file-theirs"),
    "chat": lambda client: client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}]),
    "a foreign path": lambda client: client.get("/messages", cast_to=object),
}


@pytest.fixture
def gateway(upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in behind a gateway, which serves its routes below every base of `BASES`."""
    answer = upstream.answer

    def without_base(request: Any) -> Any:
        for base in sorted((base.rstrip("/") for base in BASES), key=len, reverse=True):
            if request.full_path.startswith(f"{base}/"):
                rest = request.full_path[len(base) :]
                return answer(replace(request, path=rest.partition("?")[0], full_path=f"/v1{rest}"))
        return answer(request)

    monkeypatch.setattr(upstream, "answer", without_base)
    return upstream


def prefixes(upstream: StandIn) -> set[str]:
    """Return the paths before the route in the upstream's requests."""
    return {request.full_path.partition("/responses")[0].partition("/containers")[0] for request in upstream.requests}


@pytest.mark.parametrize("base", BASES)
def test_assistants_calls_work_below_an_odd_base(door: Door, gateway: StandIn, settings: Settings, base: str) -> None:
    """A conversation with a file works below an odd base URL, and its upstream requests go below the same base."""
    client = door.client(gateway, settings, base_url=f"{gateway.azure_endpoint}{base}")
    file_id = make_file(door, client, gateway, Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    assert door(client.files.content(file_id)).read() == CSV
    [assistant] = door.all(client.beta.assistants.list())
    assert door(client.beta.assistants.retrieve(assistant.id)) == assistant
    assert door(client.beta.assistants.delete(assistant.id)).deleted is True
    assert upstream_calls(gateway)[0].startswith("POST ")
    assert prefixes(gateway) == {base.rstrip("/")}


@pytest.mark.parametrize("name", OTHER_CALLS)
@pytest.mark.parametrize("base", BASES)
def test_other_calls_pass_through_below_an_odd_base(
    door: Door, upstream: StandIn, settings: Settings, base: str, name: str
) -> None:
    """Other calls below an odd base URL reach the upstream as an unwrapped client sends them."""
    options: dict[str, Any] = {"base_url": f"{upstream.azure_endpoint}{base}"}
    for client in (door.raw_client(upstream, **options), door.client(upstream, settings, **options)):
        with pytest.raises(openai.NotFoundError):  # the stand-in serves no such base
            door(OTHER_CALLS[name](client))
    [plain, wrapped] = upstream.requests
    assert wrapped == plain


@pytest.mark.parametrize(("first", "then"), [("/assistants/v1", "/v1"), ("/v1", "/assistants/v1"), ("/v1", "/threads")])
def test_a_copy_with_another_base_works(
    door: Door, gateway: StandIn, settings: Settings, first: str, then: str
) -> None:
    """`with_options(base_url=...)` moves only the copy to another base, and both clients share the store."""
    client = door.client(gateway, settings, base_url=f"{gateway.azure_endpoint}{first}")
    copy = client.with_options(base_url=f"{gateway.azure_endpoint}{then}")
    for used, base in ((copy, then), (client, first)):
        gateway.requests.clear()
        assert finish_run(door, used, assistant={"tools": CODE}).status == "completed"
        assert prefixes(gateway) == {base}
    gateway.requests.clear()
    door(client.beta.threads.create())
    assert len(door.all(copy.beta.assistants.list())) == 2
    assert upstream_calls(gateway) == []


@pytest.mark.parametrize("deployment", ["assistants", "threads"])
@pytest.mark.parametrize("way", ["azure_deployment", "base_url"])
def test_a_deployment_with_the_name_of_a_route(
    door: Door, upstream: StandIn, settings: Settings, way: str, deployment: str
) -> None:
    """An Azure deployment with the name of a route is left out of the upstream's path as any other."""
    version = "2024-05-01-preview"
    if way == "azure_deployment":
        client = door.client(upstream, settings, azure=True, azure_deployment=deployment)
    else:
        base_url = f"{upstream.azure_endpoint}/openai/deployments/{deployment}"
        client = door.client(upstream, settings, base_url=base_url, default_query={"api-version": version})
    assert finish_run(door, client).status == "completed"
    assert prefixes(upstream) == {"/openai/v1"}
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    assert door(client.beta.assistants.retrieve(assistant.id)) == assistant
    assert door(client.beta.threads.retrieve(thread.id)).id == thread.id
