"""Clients of `assistants_compat.azure` sign in with the real azure-identity, from a token endpoint on loopback."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

import assistants_compat
from assistants_compat import CompatError, Settings, SettingsError, SignInError
from assistants_compat.testing import Fault, StandIn, Turn
from kit.azure_forms import BASES, PROJECT
from kit.doors import Door
from kit.files import TURN
from kit.identity_endpoints import TokenEndpoint, token_endpoint
from kit.legacy_code import CODE, CSV, finish_run, make_file, start_run

pytest.importorskip("azure.identity", reason="azure-identity is not installed")

from assistants_compat import azure

SCOPE = "https://cognitiveservices.azure.com/.default"
OTHER_SCOPE = "https://ai.azure.com/.default"


def make_client(door: Door, upstream: StandIn, settings: Settings, *arguments: Any, **options: Any) -> Any:
    """Make a client of the door's kind, which is closed at the end of the test."""
    function: Any = azure.client if door.kind == "sync" else azure.async_client
    client = function(upstream.azure_endpoint, *arguments, settings=settings, **{"max_retries": 0, **options})
    door.clients.append(client)
    return client


@pytest.mark.parametrize("form", BASES)
def test_every_form_of_the_endpoint_is_understood(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A client is made from any form of the endpoint, passed or in the variable, and asks for the scope it takes."""
    endpoint = f"{upstream.azure_endpoint}{form}"
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint)
    function: Any = azure.client if door.kind == "sync" else azure.async_client
    for arguments in ((endpoint,), ()):
        credential: Any = static(door)
        client = function(*arguments, credential=credential, settings=sqlite_settings, max_retries=0)
        door.clients.append(client)
        start_run(door, client)
        assert upstream.requests[-1].full_path == f"{BASES[form]}/responses"
        assert set(credential.scopes) == {OTHER_SCOPE if PROJECT in form else SCOPE}


class Static:
    """A credential that makes its own tokens, valid for `lifetime` seconds."""

    def __init__(self, lifetime: int = 3600) -> None:
        self.lifetime, self.scopes, self.closed = lifetime, [], False  # type: ignore[var-annotated]

    def next_token(self, *scopes: str) -> Any:
        """Return the next token."""
        self.scopes += scopes
        return SimpleNamespace(token=f"token-{len(self.scopes)}", expires_on=int(time.time()) + self.lifetime)

    def get_token(self, *scopes: str, **_options: Any) -> Any:
        """Return a token, as azure-core's protocol demands."""
        return self.next_token(*scopes)

    def close(self) -> None:
        """Close, as azure-identity's credentials do."""
        self.closed = True


class AsyncStatic(Static):
    async def get_token(self, *scopes: str, **_options: Any) -> Any:
        """Return a token, as azure-core's asynchronous protocol demands."""
        return self.next_token(*scopes)

    async def close(self) -> None:  # type: ignore[override]
        """Close, as azure-identity's asynchronous credentials do."""
        self.closed = True


def static(door: Door, lifetime: int = 3600) -> Static:
    """Return a static credential of the door's kind."""
    return Static(lifetime) if door.kind == "sync" else AsyncStatic(lifetime)


@pytest.fixture(autouse=True)
def _not_signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide every variable with which azure-identity would sign in on the developer's machine."""
    for name in list(os.environ):
        if name.startswith(("AZURE_", "IDENTITY_", "MSI_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    """A token endpoint without TLS."""
    with token_endpoint() as running:
        yield running


def tokens(upstream: StandIn) -> list[str]:
    """Return the credentials of each upstream request, none of which may be a key."""
    assert {request.headers.get("api-key") for request in upstream.requests} == {None}
    return [request.headers["authorization"] for request in upstream.requests]


# --- credentials


def test_a_static_credential_serves_for_a_whole_conversation(
    door: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """A conversation with a download uses one token while that is valid."""
    credential = static(door)
    client = make_client(door, upstream, sqlite_settings, credential)
    upstream.keys = ["token-1"]
    file_id = make_file(door, client, upstream, TURN)
    assert door(client.files.content(file_id)).read() == CSV
    assert set(tokens(upstream)) == {"Bearer token-1"}
    assert credential.scopes == [SCOPE]


def test_a_key_in_the_environment_is_not_sent(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client with a credential never sends the key of AZURE_OPENAI_API_KEY, and neither do its copies."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key-of-somebody")
    client = make_client(door, upstream, sqlite_settings, static(door))
    start_run(door, client)
    start_run(door, client.with_options(timeout=5))
    assert tokens(upstream) == ["Bearer token-1"] * 2


def test_a_token_in_the_environment_is_not_used(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client with a credential does not use the token of AZURE_OPENAI_AD_TOKEN, as SDKs before 3 would."""
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "a-token-of-yesterday")
    client = make_client(door, upstream, sqlite_settings, static(door))
    start_run(door, client)
    start_run(door, client.with_options(timeout=5))
    assert tokens(upstream) == ["Bearer token-1"] * 2


def test_the_scope_can_be_set(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A client asks for tokens of the given scope."""
    credential = static(door)
    start_run(door, make_client(door, upstream, sqlite_settings, credential, OTHER_SCOPE))
    assert credential.scopes == [OTHER_SCOPE]


@pytest.mark.parametrize("kind", ["app_service", "machine"])
def test_a_managed_identity_is_found(
    door: Door,
    upstream: StandIn,
    sqlite_settings: Settings,
    endpoint: TokenEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """A client without a credential finds the managed identity of an App Service or a virtual machine."""
    for name, value in getattr(endpoint, kind).items():
        monkeypatch.setenv(name, value)
    upstream.keys = ["token-1"]
    client = make_client(door, upstream, sqlite_settings)
    assert finish_run(door, client).status == "completed"
    assert set(tokens(upstream)) == {"Bearer token-1"}
    assert endpoint.requested_scopes == [SCOPE.removesuffix("/.default")]


@pytest.mark.parametrize("way", ["found", "given"])
def test_a_workload_identity_is_a_credential(
    door: Door,
    upstream: StandIn,
    sqlite_settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """A client in a pod exchanges the pod's proof for a token, with a given credential or by its variables alone."""
    module: Any = pytest.importorskip("azure.identity" if door.kind == "sync" else "azure.identity.aio")
    (tmp_path / "proof").write_text("a-proof", encoding="utf-8")
    certificate = tmp_path / "authority.pem"
    with token_endpoint(certificate) as authority:
        for name, value in authority.pod(tmp_path / "proof").items():
            monkeypatch.setenv(name, value)
        trust = {"connection_verify": str(certificate)}
        monkeypatch.setattr(module, "DefaultAzureCredential", partial(module.DefaultAzureCredential, **trust))
        credentials = () if way == "found" else (module.WorkloadIdentityCredential(**trust),)
        upstream.keys = ["token-1"]
        client = make_client(door, upstream, sqlite_settings, *credentials)
        assert finish_run(door, client).status == "completed"
        for credential in credentials:
            door(credential.close())
        assert authority.requested_scopes == [SCOPE]
    assert set(tokens(upstream)) == {"Bearer token-1"}


def test_a_token_that_expires_during_a_poll_is_renewed(
    door: Door, upstream: StandIn, sqlite_settings: Settings, endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that takes longer than a token's life completes, because the token is renewed."""
    for name, value in endpoint.app_service.items():
        monkeypatch.setenv(name, value)
    endpoint.lifetime = 1
    answer = upstream.answer

    def accept_newest_token(request: Any) -> Any:
        upstream.keys = [f"token-{len(endpoint.requested_scopes)}"]
        return answer(request)

    monkeypatch.setattr(upstream, "answer", accept_newest_token)
    upstream.script(Turn(text="Done.", polls=2))
    upstream.fault(Fault("GET /responses/*", stall=1.2, times=2))
    client = make_client(door, upstream, sqlite_settings)
    assert finish_run(door, client).status == "completed"
    used = tokens(upstream)
    assert len(used) == 4
    assert len(set(used)) >= 3


# --- sign-in fails


def calls_with_token(door: Door, client: Any) -> Iterator[Any]:
    """Yield calls of several kinds that need a token."""
    yield lambda: door(client.beta.assistants.create(model="gpt-4o"))
    yield lambda: door(client.with_options(timeout=5).beta.threads.create())
    yield lambda: door(client.files.retrieve("file-x"))


def test_a_missing_sign_in_is_a_sign_in_error(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """Every call without a sign-in raises a `SignInError` that says what to do, and makes no upstream request."""
    client = make_client(door, upstream, sqlite_settings)
    for call in calls_with_token(door, client):
        with pytest.raises(SignInError, match=r"az login.*azure-identity says: .*EnvironmentCredential") as caught:
            call()
        assert isinstance(caught.value, CompatError)
        assert not isinstance(caught.value, openai.OpenAIError)
        assert caught.value.__suppress_context__
        assert "\n" not in str(caught.value)
    assert upstream.requests == []


def test_a_refused_identity_is_a_sign_in_error(
    door: Door, upstream: StandIn, sqlite_settings: Settings, endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token endpoint that refuses or is unreachable raises a `SignInError`, not a connection error."""
    for name, value in endpoint.app_service.items():
        monkeypatch.setenv(name, value)
    endpoint.refused = True
    with pytest.raises(SignInError):
        door(make_client(door, upstream, sqlite_settings).beta.threads.create())
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:9/msi/token")
    module: Any = pytest.importorskip("azure.identity" if door.kind == "sync" else "azure.identity.aio")
    credential = module.ManagedIdentityCredential(retry_total=0)
    with pytest.raises(SignInError):
        door(make_client(door, upstream, sqlite_settings, credential).beta.threads.create())
    door(credential.close())


def test_another_error_of_a_credential_is_unchanged(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """An error in a caller's own credential is raised unchanged."""
    credential = static(door)
    credential.next_token = lambda *_scopes: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        door(make_client(door, upstream, sqlite_settings, credential).beta.threads.create())


# --- making and closing


def test_the_client_is_an_azure_client_with_the_given_options(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is an Azure client with the given options; its endpoint may come from the environment."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", upstream.azure_endpoint)
    function: Any = azure.client if door.kind == "sync" else azure.async_client
    client = function(credential=static(door), settings=sqlite_settings, timeout=7, azure_deployment="gpt-4o")
    door.clients.append(client)
    assert isinstance(client, openai.AzureOpenAI if door.kind == "sync" else openai.AsyncAzureOpenAI)
    assert client.timeout == 7
    assert finish_run(door, client, assistant={"tools": CODE}).status == "completed"
    assert upstream.requests[0].full_path == "/openai/v1/responses"
    with pytest.raises(SettingsError):
        function(upstream.azure_endpoint, static(door), settings=Settings(store="sqlite://", mode="x"))  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["close", "with"])
def test_closing_closes_only_the_clients_own_credential(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A closed client closes the credential that it made, and not a given one."""
    created, given = static(door), static(door)
    module = sys.modules["azure.identity"] if door.kind == "sync" else pytest.importorskip("azure.identity.aio")
    monkeypatch.setattr(module, "DefaultAzureCredential", lambda: created)
    for credential in (None, given):
        client = make_client(door, upstream, sqlite_settings, credential)
        door(client.beta.threads.create())
        if way == "close":
            door(client.close())
        else:
            leave(door, client)
    assert (created.closed, given.closed) == (True, False)


def leave(door: Door, client: Any) -> None:
    """Enter and leave the client's context."""
    if door.kind == "sync":
        with client:
            return

    async def within() -> None:
        async with client:
            pass

    door(within())


def test_a_blocking_credential_is_refused_by_the_asynchronous_client(upstream: StandIn) -> None:
    """The asynchronous client refuses a blocking credential with a `TypeError`."""
    with pytest.raises(TypeError, match="not a blocking Static"):
        azure.async_client(upstream.azure_endpoint, Static())


@pytest.mark.parametrize("name", ["client", "async_client"])
def test_without_azure_identity_the_error_names_it(
    upstream: StandIn, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Making a client without azure-identity raises an error that names the packages to install."""
    for module in ("azure.identity", "azure.identity.aio"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CompatError, match="pip install azure-identity aiohttp"):
        getattr(azure, name)(upstream.azure_endpoint)
    assert assistants_compat.SignInError is SignInError
