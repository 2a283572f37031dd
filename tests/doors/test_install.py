"""`install` covers every client of a process, however and whenever it is made, and `uninstall` undoes it."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

import assistants_compat
from assistants_compat import CompatError, Settings, SettingsError
from assistants_compat.doors import wrap
from assistants_compat.runtime import switch
from assistants_compat.testing import StandIn, Turn
from kit.doors import KEY, Door
from kit.legacy_code import CODE, CSV, LINK, finish_run, make_assistant, make_file, make_thread, upstream_calls


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """Use one database, which plays no part here."""
    return sqlite_settings


@pytest.fixture(autouse=True)
def _sdk_is_restored() -> Iterator[None]:
    """Check that every test leaves the SDK's classes as they were."""
    before = vars(openai.OpenAI).copy(), vars(openai.AsyncOpenAI).copy(), vars(vars(openai)["_ModuleClient"]).copy()
    yield
    assistants_compat.uninstall()
    after = vars(openai.OpenAI), vars(openai.AsyncOpenAI), vars(vars(openai)["_ModuleClient"])
    assert [dict(attributes) for attributes in after] == [dict(attributes) for attributes in before]


def is_answered_here(door: Door, client: Any) -> bool:
    """Return whether the library answers a client's Assistants call; the stand-in upstream has no such route."""
    try:
        door(client.post("/threads", body={}, cast_to=object))  # the SDK's own method would raise a deprecation warning
    except openai.NotFoundError:
        return False
    return True


@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
def test_clients_made_afterwards_are_covered(door: Door, upstream: StandIn, settings: Settings, *, azure: bool) -> None:
    """A client made after `install` has a conversation with a file without being wrapped."""
    assistants_compat.install(settings)
    client = door.raw_client(upstream, azure=azure)
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    assert door(client.files.content(file_id)).read() == CSV


@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
def test_clients_made_before_are_covered_and_restored(
    door: Door, upstream: StandIn, settings: Settings, *, azure: bool
) -> None:
    """A client made before `install` is covered, and has its own HTTP client again after `uninstall`."""
    client = door.raw_client(upstream, azure=azure)
    inner = client._client
    assistants_compat.install(settings)
    assert is_answered_here(door, client)
    assert vars(client)["_client"] is inner
    assistants_compat.uninstall()
    assert client._client is inner
    assert not is_answered_here(door, client)


def test_copies_with_another_http_client_are_covered(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A copy with another HTTP client is covered, and so is a copy of that copy."""
    assistants_compat.install(settings)
    client = door.raw_client(upstream)
    other = openai.DefaultHttpxClient() if door.kind == "sync" else openai.DefaultAsyncHttpxClient()
    copy = client.with_options(http_client=other)
    door.clients.append(copy)
    again = copy.with_options(timeout=5)
    assert is_answered_here(door, copy)
    assert is_answered_here(door, again)
    assistants_compat.uninstall()
    assert (copy._client, again._client) == (other, other)


def test_subclasses_are_covered(upstream: StandIn, settings: Settings, sync: Door) -> None:
    """A user's subclass with its own constructor is covered."""

    class Subclass(openai.OpenAI):
        def __init__(self) -> None:
            super().__init__(base_url=upstream.base_url, api_key=KEY, max_retries=0)
            self.own = 1

    assistants_compat.install(settings)
    with Subclass() as client:
        assert is_answered_here(sync, client)
        assert client.own == 1


@pytest.fixture
def module_client(upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set up the module-level client as legacy scripts do, and reset it afterwards."""
    reset: Callable[[], None] = vars(openai)["_reset_client"]
    reset()
    for name in ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(openai, "api_key", KEY)
    monkeypatch.setattr(openai, "base_url", f"{upstream.base_url}/")
    monkeypatch.setattr(openai, "http_client", None)
    monkeypatch.setattr(openai, "api_type", "openai")
    yield
    vars(openai)["http_client"].close()
    reset()


@pytest.mark.usefixtures("module_client")
@pytest.mark.filterwarnings("ignore:The Assistants API:DeprecationWarning")  # by newer SDKs while not installed
def test_the_module_level_client_is_covered(settings: Settings) -> None:
    """The module-level client is covered until `uninstall`, and `openai.http_client` stays the SDK's own."""
    module: Any = openai
    with pytest.raises(openai.NotFoundError):
        module.beta.threads.create()
    assistants_compat.install(settings)
    assert module.beta.threads.create().object == "thread"
    assert type(module.http_client).__module__.startswith("openai")
    module._reset_client()
    assert module.beta.threads.create().object == "thread"
    assistants_compat.uninstall()
    with pytest.raises(openai.NotFoundError):
        module.beta.threads.create()


@pytest.mark.usefixtures("module_client")
def test_functions_accept_the_module_as_a_client(upstream: StandIn, settings: Settings, tmp_path: Path) -> None:
    """Functions that take a client accept the module `openai` too, under `install` and after `wrap(openai)`."""
    module: Any = openai
    with pytest.raises(TypeError, match="wrap"):
        assistants_compat.settle(module)
    for cover in (lambda: assistants_compat.install(settings), lambda: assistants_compat.wrap(module, settings)):
        cover()
        upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=1))
        assistant = module.beta.assistants.create(model="gpt-4.1", tools=CODE)
        thread = module.beta.threads.create(messages=[{"role": "user", "content": "Sales?"}])
        run = module.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
        assert assistants_compat.settle(module).active == (run.id,)
        assert assistants_compat.settle(module).finished == (run.id,)
        [path] = assistants_compat.download_files(module, thread.id, tmp_path)
        assert path.read_bytes() == CSV
        assert assistants_compat.to_conversation(module, thread.id).id.startswith("conv_")
        with pytest.raises(CompatError, match="No such File"):
            assistants_compat.file_url(module, "file-none")
        assistants_compat.uninstall()


def test_a_reloaded_module_is_covered_by_a_second_install(
    upstream: StandIn, settings: Settings, request: pytest.FixtureRequest
) -> None:
    """A second `install` covers the new module-level client after `importlib.reload(openai)`."""
    module: Any = openai
    before = vars(module).copy()
    request.addfinalizer(lambda: vars(module).update(before))
    assistants_compat.install(settings)
    importlib.reload(module)
    module.api_type, module.api_key, module.base_url = "openai", KEY, f"{upstream.base_url}/"
    assistants_compat.install()
    with module._load_client():
        assert module.beta.threads.create().object == "thread"
        assistants_compat.uninstall()
        assert not wrap.is_wrapped(module._load_client())


def test_a_wrapped_client_keeps_its_settings(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A wrapped client keeps its settings under `install` and after it; without its own it takes those of `install`."""
    own = replace(settings, namespace="own")
    before = door.client(upstream, own)
    assistants_compat.install(settings)
    after = assistants_compat.wrap(door.raw_client(upstream), own)
    plain = assistants_compat.wrap(door.raw_client(upstream))
    assert [wrap.settings_of(client) for client in (before, after, plain)] == [own, own, settings]
    assistants_compat.uninstall()
    assert [wrap.settings_of(client) for client in (before, after, plain)] == [own, own, settings]
    thread = make_thread(door, after)
    assert door(before.with_options(timeout=9).beta.threads.retrieve(thread.id)).id == thread.id
    with pytest.raises(openai.NotFoundError):
        door(plain.beta.threads.retrieve(thread.id))


def test_installing_twice_keeps_the_proxies(sync: Door, upstream: StandIn, settings: Settings) -> None:
    """A second `install` keeps the proxies of existing clients, and new settings hold for them too."""
    client = sync.raw_client(upstream)
    assistants_compat.install(settings)
    proxy = client._client
    assistants_compat.install(settings)
    assistants_compat.install()
    assert client._client is proxy
    assistants_compat.install(replace(settings, namespace="other"))
    assert wrap.settings_of(client).namespace == "other"
    assistants_compat.uninstall()
    assistants_compat.uninstall()
    assert not wrap.is_wrapped(client)


def test_the_settings_are_read_when_the_first_client_is_made(
    sync: Door, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`install` without arguments reads the environment when the first client is made."""
    assistants_compat.install()
    monkeypatch.setenv("ASSISTANTS_COMPAT_NAMESPACE", "late")
    assert wrap.settings_of(sync.raw_client(upstream)).namespace == "late"


def test_copies_know_that_background_was_refused(door: Door, settings: Settings) -> None:
    """Copies share that the upstream refused background mode, so it is asked for that mode once."""
    assistants_compat.install(settings)
    with StandIn(background_refused=True) as refusing:
        client = door.raw_client(refusing)
        assert finish_run(door, client).status == "completed"
        assert finish_run(door, client.with_options(timeout=30)).status == "completed"
        assert len(upstream_calls(refusing, "POST /responses")) == 3


def test_installing_is_safe_between_threads(upstream: StandIn, settings: Settings) -> None:
    """No call fails while threads install, make clients and call, and another uninstalls and installs again."""
    door, errors = Door("sync"), []
    assistants_compat.install(settings)

    def work() -> None:
        try:
            for _ in range(10):
                assistants_compat.install(settings)
                with door.raw_client(upstream) as client:
                    client.files.list()
        except Exception as error:  # noqa: BLE001 - no error is expected
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for _ in range(50):
        assistants_compat.uninstall()
        assistants_compat.install(settings)
    for worker in workers:
        worker.join()
    assert errors == []


# --- off


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch the library off, before that has been logged."""
    monkeypatch.setenv("ASSISTANTS_COMPAT", "off")
    monkeypatch.setattr(switch, "_logged", [])


@pytest.mark.usefixtures("off")
def test_off_leaves_clients_alone_and_logs_it_once(
    door: Door, upstream: StandIn, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """`ASSISTANTS_COMPAT=off` makes `wrap` and `install` do nothing, and one log line gives the reason."""
    client = door.raw_client(upstream)
    inner = client._client
    assert assistants_compat.wrap(client, settings) is client
    assistants_compat.install(settings)
    assert client._client is inner
    assert not is_answered_here(door, door.raw_client(upstream))
    assert [
        (record.levelno, record.getMessage()) for record in caplog.records if record.name == "assistants_compat"
    ] == [
        (
            logging.WARNING,
            "ASSISTANTS_COMPAT=off: clients are not wrapped, and their Assistants calls go to the service.",
        )
    ]
    with pytest.raises(TypeError, match="ASSISTANTS_COMPAT=off leaves every client as it is"):
        assistants_compat.settle(client)


@pytest.mark.usefixtures("off")
def test_off_holds_even_after_install(
    sync: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ASSISTANTS_COMPAT=off` also holds for clients made after it is set, even if `install` was called before."""
    monkeypatch.setenv("ASSISTANTS_COMPAT", "on")
    assistants_compat.install(settings)
    monkeypatch.setenv("ASSISTANTS_COMPAT", "off")
    assert not is_answered_here(sync, sync.raw_client(upstream))


def test_a_value_other_than_on_and_off_is_refused(
    sync: Door, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any value of ASSISTANTS_COMPAT but on and off is refused."""
    monkeypatch.setenv("ASSISTANTS_COMPAT", "of")
    for call in (assistants_compat.install, lambda: assistants_compat.wrap(sync.raw_client(upstream))):
        with pytest.raises(SettingsError, match="ASSISTANTS_COMPAT='of' is not valid; expected on or off"):
            call()


# --- before the SDK is imported

INSTALL_FIRST = """
import sys, threading
import assistants_compat
assert "wrapt" not in sys.modules
assistants_compat.install()
assert not {"openai", "sqlalchemy", "assistants_compat.doors.wrap"} & set(sys.modules)
first = threading.Thread(target=__import__, args=["openai"])  # two threads import it, and one more installs
first.start()
assistants_compat.install()  # which must not wait for that with a lock that the other one wants
import openai
first.join()
assert "sqlalchemy" not in sys.modules
client = openai.OpenAI(api_key="sk", base_url=sys.argv[1])
print(client.beta.threads.create().object)
"""


def test_install_may_come_before_the_sdk(upstream: StandIn, tmp_path: Any) -> None:
    """`install` before the SDK's import imports neither SDK nor database and covers the clients made later."""
    environment = {**os.environ, "ASSISTANTS_COMPAT_STORE": str(tmp_path / "store.db")}
    command = [sys.executable, "-W", "error", "-c", INSTALL_FIRST, upstream.base_url]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=100)
    assert (done.returncode, done.stdout) == (0, "thread\n"), done.stderr


# --- both APIs


def test_both_apis_work_on_one_client(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Native Responses calls go upstream unchanged, between legacy calls on the same client."""
    assistants_compat.install(settings)
    client = door.raw_client(upstream)
    if not hasattr(client, "responses"):
        pytest.skip("this SDK has no Responses API")
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client, "Legacy?")
    upstream.script(Turn(text="Native."), Turn(text="Legacy."), Turn(text="Native again."))
    native = door(client.responses.create(model="gpt-4o", input="Native?"))
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    again = door(client.responses.create(model="gpt-4o", input="More?", previous_response_id=native.id))
    [answer, _] = door.all(client.beta.threads.messages.list(thread.id))
    assert (native.output_text, again.output_text) == ("Native.", "Native again.")
    assert (run.status, answer.content[0].text.value) == ("completed", "Legacy.")
    sent = [request.json for request in upstream.requests if (request.method, request.path) == ("POST", "/responses")]
    assert sent[0] == {"model": "gpt-4o", "input": "Native?"}
    assert sent[2] == {"model": "gpt-4o", "input": "More?", "previous_response_id": native.id}
    assert [item["role"] for item in sent[1]["input"]] == ["user"]
