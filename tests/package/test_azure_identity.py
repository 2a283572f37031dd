"""`assistants_compat.azure`: clients with the real azure-identity, whose tokens come from an endpoint on loopback."""

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
from kit.doors import Door
from kit.files import TURN
from kit.identity_endpoints import Identities, identities
from kit.legacy_code import CODE, CSV, finish_run, make_file, start_run

pytest.importorskip("azure.identity", reason="azure-identity is not installed")

from assistants_compat import azure

SCOPE = "https://cognitiveservices.azure.com/.default"
OTHER_SCOPE = "https://ai.azure.com/.default"


def made(door: Door, upstream: StandIn, settings: Settings, *given: Any, **options: Any) -> Any:
    """A client of the door's kind, closed at the end of the test."""
    function: Any = azure.client if door.kind == "sync" else azure.async_client
    client = function(upstream.azure_endpoint, *given, settings=settings, **{"max_retries": 0, **options})
    door.clients.append(client)
    return client


class Static:
    """A credential with tokens of its own, good for `lifetime` seconds."""

    def __init__(self, lifetime: int = 3600) -> None:
        self.lifetime, self.scopes, self.closed = lifetime, [], False  # type: ignore[var-annotated]

    def given(self, *scopes: str) -> Any:
        """The next token."""
        self.scopes += scopes
        return SimpleNamespace(token=f"token-{len(self.scopes)}", expires_on=int(time.time()) + self.lifetime)

    def get_token(self, *scopes: str, **_options: Any) -> Any:
        """As azure-core's protocol has it."""
        return self.given(*scopes)

    def close(self) -> None:
        """As azure-identity's credentials have it."""
        self.closed = True


class AsyncStatic(Static):
    async def get_token(self, *scopes: str, **_options: Any) -> Any:
        """The same, asynchronous."""
        return self.given(*scopes)

    async def close(self) -> None:  # type: ignore[override]
        """The same, asynchronous."""
        self.closed = True


def static(door: Door, lifetime: int = 3600) -> Static:
    """A static credential of the door's kind."""
    return Static(lifetime) if door.kind == "sync" else AsyncStatic(lifetime)


@pytest.fixture(autouse=True)
def _nobody_is_signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the developer's own machine says who he is."""
    for name in list(os.environ):
        if name.startswith(("AZURE_", "IDENTITY_", "MSI_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")


@pytest.fixture
def endpoint() -> Iterator[Identities]:
    """A token endpoint without TLS."""
    with identities() as given:
        yield given


def tokens(upstream: StandIn) -> list[str]:
    """What each upstream request proved itself with."""
    assert {request.headers.get("api-key") for request in upstream.requests} == {None}
    return [request.headers["authorization"] for request in upstream.requests]


# --- credentials


def test_a_static_credential_serves_for_a_whole_conversation(
    door: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """One token serves every call while it is fresh, and the file arrives."""
    credential = static(door)
    client = made(door, upstream, sqlite_settings, credential)
    upstream.keys = ["token-1"]
    file_id = make_file(door, client, upstream, TURN)
    assert door(client.files.content(file_id)).read() == CSV
    assert set(tokens(upstream)) == {"Bearer token-1"}
    assert credential.scopes == [SCOPE]


def test_a_key_in_the_environment_does_not_go_along(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks by a token asks by nothing else: some SDKs would send the variable's key beside it, copies as well."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key-of-somebody")
    client = made(door, upstream, sqlite_settings, static(door))
    start_run(door, client)
    start_run(door, client.with_options(timeout=5))
    assert tokens(upstream) == ["Bearer token-1"] * 2


def test_a_token_in_the_environment_does_not_take_its_place(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credential is asked, although SDKs before 3 prefer the variable's token, which nobody renews."""
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "a-token-of-yesterday")
    client = made(door, upstream, sqlite_settings, static(door))
    start_run(door, client)
    start_run(door, client.with_options(timeout=5))
    assert tokens(upstream) == ["Bearer token-1"] * 2


def test_the_scope_can_be_another_one(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """Microsoft's pages disagree about it, so it can be given."""
    credential = static(door)
    start_run(door, made(door, upstream, sqlite_settings, credential, OTHER_SCOPE))
    assert credential.scopes == [OTHER_SCOPE]


@pytest.mark.parametrize("kind", ["app_service", "machine"])
def test_a_managed_identity_is_found(
    door: Door,
    upstream: StandIn,
    sqlite_settings: Settings,
    endpoint: Identities,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """Without a credential, `DefaultAzureCredential` finds the identity of an App Service and of a virtual machine."""
    for name, value in getattr(endpoint, kind).items():
        monkeypatch.setenv(name, value)
    upstream.keys = ["token-1"]
    client = made(door, upstream, sqlite_settings)
    assert finish_run(door, client).status == "completed"
    assert set(tokens(upstream)) == {"Bearer token-1"}
    assert endpoint.asked == [SCOPE.removesuffix("/.default")]


@pytest.mark.parametrize("way", ["found", "given"])
def test_a_workload_identity_is_a_credential(
    door: Door,
    upstream: StandIn,
    sqlite_settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """A pod's proof is exchanged for a token at the authority, by TLS; its variables alone are enough."""
    module: Any = pytest.importorskip("azure.identity" if door.kind == "sync" else "azure.identity.aio")
    (tmp_path / "proof").write_text("a-proof", encoding="utf-8")
    certificate = tmp_path / "authority.pem"
    with identities(certificate) as authority:
        for name, value in authority.pod(tmp_path / "proof").items():
            monkeypatch.setenv(name, value)
        trusting = {"connection_verify": str(certificate)}
        monkeypatch.setattr(module, "DefaultAzureCredential", partial(module.DefaultAzureCredential, **trusting))
        given = () if way == "found" else (module.WorkloadIdentityCredential(**trusting),)
        upstream.keys = ["token-1"]
        client = made(door, upstream, sqlite_settings, *given)
        assert finish_run(door, client).status == "completed"
        for credential in given:
            door(credential.close())
        assert authority.asked == [SCOPE]
    assert set(tokens(upstream)) == {"Bearer token-1"}


def test_a_token_that_ends_within_a_poll_is_renewed(
    door: Door, upstream: StandIn, sqlite_settings: Settings, endpoint: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that is longer than a token's life completes, although the service takes the newest token only."""
    for name, value in endpoint.app_service.items():
        monkeypatch.setenv(name, value)
    endpoint.lifetime = 1
    answer = upstream.answer

    def only_the_newest(request: Any) -> Any:
        upstream.keys = [f"token-{len(endpoint.asked)}"]
        return answer(request)

    monkeypatch.setattr(upstream, "answer", only_the_newest)
    upstream.script(Turn(text="Done.", polls=2))
    upstream.fault(Fault("GET /responses/*", stall=1.2, times=2))
    client = made(door, upstream, sqlite_settings)
    assert finish_run(door, client).status == "completed"
    used = tokens(upstream)
    assert len(used) == 4
    assert len(set(used)) >= 3


# --- nobody is signed in


def refusals(door: Door, client: Any) -> Iterator[Any]:
    """Calls of several kinds, each as a coroutine or as what raises."""
    yield lambda: door(client.beta.assistants.create(model="gpt-4o"))
    yield lambda: door(client.with_options(timeout=5).beta.threads.create())
    yield lambda: door(client.files.retrieve("file-x"))


def test_nobody_signed_in_is_our_error(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """Every call raises `SignInError` without Azure's traceback, which says what to do, and asks nothing upstream."""
    client = made(door, upstream, sqlite_settings)
    for call in refusals(door, client):
        with pytest.raises(SignInError, match=r"az login.*azure-identity says: .*EnvironmentCredential") as caught:
            call()
        assert isinstance(caught.value, CompatError)
        assert not isinstance(caught.value, openai.OpenAIError)
        assert caught.value.__suppress_context__
        assert "\n" not in str(caught.value)
    assert upstream.requests == []


def test_an_identity_that_is_refused_is_our_error(
    door: Door, upstream: StandIn, sqlite_settings: Settings, endpoint: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token endpoint that gives no token, or is not there, is the same error and never a lost connection."""
    for name, value in endpoint.app_service.items():
        monkeypatch.setenv(name, value)
    endpoint.refused = True
    with pytest.raises(SignInError):
        door(made(door, upstream, sqlite_settings).beta.threads.create())
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:9/msi/token")
    module: Any = pytest.importorskip("azure.identity" if door.kind == "sync" else "azure.identity.aio")
    credential = module.ManagedIdentityCredential(retry_total=0)
    with pytest.raises(SignInError):
        door(made(door, upstream, sqlite_settings, credential).beta.threads.create())
    door(credential.close())


def test_an_error_that_is_not_of_signing_in_stays(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A defect of a caller's own credential is his to see."""
    credential = static(door)
    credential.given = lambda *_scopes: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        door(made(door, upstream, sqlite_settings, credential).beta.threads.create())


# --- making and closing


def test_the_client_is_an_azure_client_with_the_given_options(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its class, settings and options are those of legacy code; the endpoint may stand in its variable."""
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
def test_closing_closes_the_credential_that_was_made(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The client's own credential is closed with it; a given one is not."""
    mine, given = static(door), static(door)
    module = sys.modules["azure.identity"] if door.kind == "sync" else pytest.importorskip("azure.identity.aio")
    monkeypatch.setattr(module, "DefaultAzureCredential", lambda: mine)
    for credential in (None, given):
        client = made(door, upstream, sqlite_settings, credential)
        door(client.beta.threads.create())
        if way == "close":
            door(client.close())
        else:
            leave(door, client)
    assert (mine.closed, given.closed) == (True, False)


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
    """It would stop the event loop, or fail far from its cause."""
    with pytest.raises(TypeError, match="not a blocking Static"):
        azure.async_client(upstream.azure_endpoint, Static())


@pytest.mark.parametrize("name", ["client", "async_client"])
def test_without_the_extra_the_error_says_what_to_install(
    upstream: StandIn, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The module can be imported without azure-identity; making a client cannot go on without it."""
    for module in ("azure.identity", "azure.identity.aio"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CompatError, match=r"pip install 'assistants-compat\[azure\]'"):
        getattr(azure, name)(upstream.azure_endpoint)
    assert assistants_compat.SignInError is SignInError
