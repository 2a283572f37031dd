"""`install` and `uninstall`: every client of a process, however and whenever it is made, and nothing left after."""

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
from kit.legacy_code import CODE, CSV, LINK, asked, finish_run, make_assistant, make_file, make_thread


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """No database has a part in this."""
    return sqlite_settings


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    """Every test ends with the SDK's classes as they were."""
    before = vars(openai.OpenAI).copy(), vars(openai.AsyncOpenAI).copy(), vars(vars(openai)["_ModuleClient"]).copy()
    yield
    assistants_compat.uninstall()
    after = vars(openai.OpenAI), vars(openai.AsyncOpenAI), vars(vars(openai)["_ModuleClient"])
    assert [dict(each) for each in after] == [dict(each) for each in before]


def is_answered_here(door: Door, client: Any) -> bool:
    """Whether an Assistants call of the client is answered by us; the stand-in, like the service, has no such route."""
    try:
        door(client.post("/threads", body={}, cast_to=object))  # the SDK's own method would warn of its age
    except openai.NotFoundError:
        return False
    return True


@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
def test_clients_made_afterwards_are_covered(door: Door, upstream: StandIn, settings: Settings, *, azure: bool) -> None:
    """A conversation with a file works on a client of each class that nobody wrapped."""
    assistants_compat.install(settings)
    client = door.raw_client(upstream, azure=azure)
    made = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    assert door(client.files.content(made)).read() == CSV


@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
def test_clients_made_before_are_covered_and_get_their_own_back(
    door: Door, upstream: StandIn, settings: Settings, *, azure: bool
) -> None:
    """What a client holds is never changed: it shows the very same HTTP client when it is over."""
    client = door.raw_client(upstream, azure=azure)
    inner = client._client
    assistants_compat.install(settings)
    assert is_answered_here(door, client)
    assert vars(client)["_client"] is inner
    assistants_compat.uninstall()
    assert client._client is inner
    assert not is_answered_here(door, client)


def test_copies_are_covered_whatever_http_client_they_have(door: Door, upstream: StandIn, settings: Settings) -> None:
    """`with_options` with another `http_client`, and a copy of that, which shares it."""
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


def test_subclasses_of_users_are_covered(upstream: StandIn, settings: Settings, sync: Door) -> None:
    """A class that was written before, with a constructor of its own."""

    class Ours(openai.OpenAI):
        def __init__(self) -> None:
            super().__init__(base_url=upstream.base_url, api_key=KEY, max_retries=0)
            self.own = 1

    assistants_compat.install(settings)
    with Ours() as client:
        assert is_answered_here(sync, client)
        assert client.own == 1


@pytest.fixture
def module_client(upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module-level client, set up as legacy scripts do, and forgotten afterwards."""
    forget: Callable[[], None] = vars(openai)["_reset_client"]
    forget()
    for name in ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(openai, "api_key", KEY)
    monkeypatch.setattr(openai, "base_url", f"{upstream.base_url}/")
    monkeypatch.setattr(openai, "http_client", None)
    monkeypatch.setattr(openai, "api_type", "openai")
    yield
    vars(openai)["http_client"].close()
    forget()


@pytest.mark.usefixtures("module_client")
@pytest.mark.filterwarnings("ignore:The Assistants API:DeprecationWarning")  # of newer SDKs, where it is not covered
def test_the_module_level_client_is_covered(settings: Settings) -> None:
    """`openai.beta` before and after, and `openai.http_client` stays the SDK's own."""
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
def test_the_module_stands_for_its_client(upstream: StandIn, settings: Settings, tmp_path: Path) -> None:
    """What takes a client takes `openai` too, under `install` and after `wrap(openai)`."""
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


def test_a_module_that_was_loaded_anew_is_covered_by_a_second_call(
    upstream: StandIn, settings: Settings, request: pytest.FixtureRequest
) -> None:
    """`importlib.reload(openai)`, as tests do to forget a key, makes another class for the module-level client."""
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


def test_a_wrapped_client_keeps_its_own(door: Door, upstream: StandIn, settings: Settings) -> None:
    """What `wrap` was given counts under `install` and after it; without settings it takes those of `install`."""
    own = replace(settings, namespace="own")
    before = door.client(upstream, own)
    assistants_compat.install(settings)
    after = assistants_compat.wrap(door.raw_client(upstream), own)
    plain = assistants_compat.wrap(door.raw_client(upstream))
    assert [wrap.settings_of(each) for each in (before, after, plain)] == [own, own, settings]
    assistants_compat.uninstall()
    assert [wrap.settings_of(each) for each in (before, after, plain)] == [own, own, settings]
    thread = make_thread(door, after)
    assert door(before.with_options(timeout=9).beta.threads.retrieve(thread.id)).id == thread.id
    with pytest.raises(openai.NotFoundError):
        door(plain.beta.threads.retrieve(thread.id))


def test_installing_twice_is_installing_once(sync: Door, upstream: StandIn, settings: Settings) -> None:
    """The same client has the same door; other settings count from then on, also for clients that are there."""
    client = sync.raw_client(upstream)
    assistants_compat.install(settings)
    first = client._client
    assistants_compat.install(settings)
    assistants_compat.install()
    assert client._client is first
    assistants_compat.install(replace(settings, namespace="other"))
    assert wrap.settings_of(client).namespace == "other"
    assistants_compat.uninstall()
    assistants_compat.uninstall()
    assert not wrap.is_wrapped(client)


def test_the_settings_are_read_when_the_first_client_is_made(
    sync: Door, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may load its variables after it was started."""
    assistants_compat.install()
    monkeypatch.setenv("ASSISTANTS_COMPAT_NAMESPACE", "late")
    assert wrap.settings_of(sync.raw_client(upstream)).namespace == "late"


def test_copies_know_that_background_was_refused(door: Door, settings: Settings) -> None:
    """Programs copy a client for each call; the upstream that refuses the mode is asked for it once."""
    assistants_compat.install(settings)
    with StandIn(background_refused=True) as refusing:
        client = door.raw_client(refusing)
        assert finish_run(door, client).status == "completed"
        assert finish_run(door, client.with_options(timeout=30)).status == "completed"
        assert len(asked(refusing, "POST /responses")) == 3


def test_threads_that_install_and_use_meet_no_half_way(upstream: StandIn, settings: Settings) -> None:
    """Eight threads install, make clients and call, while another takes it back and installs again; none fails."""
    door, failed = Door("sync"), []
    assistants_compat.install(settings)

    def work() -> None:
        try:
            for _ in range(10):
                assistants_compat.install(settings)
                with door.raw_client(upstream) as client:
                    client.files.list()
        except Exception as error:  # noqa: BLE001 - whatever it is
            failed.append(error)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for each in workers:
        each.start()
    for _ in range(50):
        assistants_compat.uninstall()
        assistants_compat.install(settings)
    for each in workers:
        each.join()
    assert failed == []


# --- off


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is switched off, which nobody has said yet."""
    monkeypatch.setenv("ASSISTANTS_COMPAT", "off")
    monkeypatch.setattr(switch, "_said", [])


@pytest.mark.usefixtures("off")
def test_off_leaves_clients_alone_and_says_so_once(
    door: Door, upstream: StandIn, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither `wrap` nor `install` does anything, and one line of the log says why."""
    client = door.raw_client(upstream)
    inner = client._client
    assert assistants_compat.wrap(client, settings) is client
    assistants_compat.install(settings)
    assert client._client is inner
    assert not is_answered_here(door, door.raw_client(upstream))
    assert [
        (record.levelno, record.getMessage()) for record in caplog.records if record.name == "assistants_compat"
    ] == [(logging.WARNING, "ASSISTANTS_COMPAT=off: clients are left as they are, and nothing is answered here.")]
    with pytest.raises(TypeError, match="ASSISTANTS_COMPAT=off leaves every client as it is"):
        assistants_compat.settle(client)


@pytest.mark.usefixtures("off")
def test_off_counts_where_it_is_set_after_install(
    sync: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that loads the variable itself after it was started has no door on its clients."""
    monkeypatch.setenv("ASSISTANTS_COMPAT", "on")
    assistants_compat.install(settings)
    monkeypatch.setenv("ASSISTANTS_COMPAT", "off")
    assert not is_answered_here(sync, sync.raw_client(upstream))


def test_another_word_than_on_and_off_is_refused(
    sync: Door, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt switch is not taken for one that is on."""
    monkeypatch.setenv("ASSISTANTS_COMPAT", "of")
    for call in (assistants_compat.install, lambda: assistants_compat.wrap(sync.raw_client(upstream))):
        with pytest.raises(SettingsError, match="ASSISTANTS_COMPAT is 'of': 'on' or 'off' is needed"):
            call()


# --- before the SDK

BEFORE = """
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


def test_it_may_come_before_the_sdk(upstream: StandIn, tmp_path: Any) -> None:
    """`install` imports neither the SDK nor the database, and covers clients once the program has imported the SDK."""
    environment = {**os.environ, "ASSISTANTS_COMPAT_STORE": str(tmp_path / "store.db")}
    command = [sys.executable, "-W", "error", "-c", BEFORE, upstream.base_url]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=100)
    assert (done.returncode, done.stdout) == (0, "thread\n"), done.stderr


# --- both APIs


def test_both_apis_stand_side_by_side_on_one_client(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Native calls go to the service untouched, between legacy ones on the same client, and each has its own ids."""
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
    sent = [each.json for each in upstream.requests if (each.method, each.path) == ("POST", "/responses")]
    assert sent[0] == {"model": "gpt-4o", "input": "Native?"}
    assert sent[2] == {"model": "gpt-4o", "input": "More?", "previous_response_id": native.id}
    assert [item["role"] for item in sent[1]["input"]] == ["user"]
