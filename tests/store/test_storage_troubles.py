"""Object storage that is cut off, refuses, is not there, or is not installed; and links to what is in it."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

import assistants_compat
from assistants_compat import CompatError, Settings, SettingsError, StoreError
from assistants_compat.engine.io import run
from assistants_compat.store import object_storage
from assistants_compat.testing import StandIn, Turn
from kit.content_stores import ID, LONG, Place, io_over, loaded, pieces
from kit.doors import Door
from kit.legacy_code import CODE, CSV, LINK, finish_run, look_at, make_file, start_run

pytestmark = pytest.mark.timeout(600)  # the first test of azurite installs it
TURN = Turn(text=LINK, files={"sales.csv": CSV})


@contextlib.contextmanager
def cutting(port: int, after: int) -> Iterator[int]:
    """The port of a proxy that cuts the first connection whose answer is longer than `after` bytes."""
    cut = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket, *, answer: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                passed += len(data)
                if answer and passed > after and not cut.is_set():
                    cut.set()
                    break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
            while True:
                near = opened.enter_context(listening.accept()[0])
                far = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
                threading.Thread(target=copy, args=(near, far), kwargs={"answer": False}, daemon=True).start()
                threading.Thread(target=copy, args=(far, near), kwargs={"answer": True}, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    assert cut.is_set()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(10)


def lead_to(monkeypatch: pytest.MonkeyPatch, storage: Place, port: int) -> None:
    """Let obstore find the storage at another port."""
    assert storage.server is not None
    for name, value in storage.server.variables.items():
        if name.endswith("_ENDPOINT"):
            monkeypatch.setenv(name, value.replace(str(storage.server.port), str(port)))
    storage.restart()


def test_a_download_that_is_cut_off_goes_on_where_it_was(
    storage: Place, storage_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that breaks in the middle of a file costs nothing but another request."""
    io = io_over(storage_settings)
    run(io.save(ID, pieces(LONG), "attachment"))
    assert storage.server is not None
    for part in (range(len(LONG)), range(1_000_000, 9_000_000)):
        with cutting(storage.server.port, 3_000_000) as port:
            lead_to(monkeypatch, storage, port)
            assert loaded(io, part) == LONG[part.start : part.stop]


def test_storage_that_does_not_answer_loses_no_file(
    upstream: StandIn, storage: Place, storage_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is not reported as ended: 503, which the SDK tries again; once the storage is back the file is there."""
    monkeypatch.setitem(object_storage._RETRIES, "max_retries", 0)
    door = Door("sync")
    client = door.client(upstream, storage_settings)
    upstream.script(TURN)
    run_ = start_run(door, client, assistant={"tools": CODE})
    with socket.create_server(("127.0.0.1", 0)) as held:
        nowhere = held.getsockname()[1]
    assert storage.server is not None
    lead_to(monkeypatch, storage, nowhere)
    with pytest.raises(openai.InternalServerError, match="did not answer") as caught:
        client.beta.threads.runs.poll(run_.id, thread_id=run_.thread_id)
    assert (caught.value.status_code, caught.value.code) == (503, "store_busy")
    lead_to(monkeypatch, storage, storage.server.port)
    assert client.beta.threads.runs.poll(run_.id, thread_id=run_.thread_id).status == "completed"
    [message] = client.beta.threads.messages.list(run_.thread_id, run_id=run_.id)
    made = message.content[0].text.annotations[0].file_path.file_id
    assert client.files.content(made).read() == CSV
    lead_to(monkeypatch, storage, nowhere)
    with pytest.raises(openai.InternalServerError, match="did not answer"):
        client.files.delete(made)
    lead_to(monkeypatch, storage, storage.server.port)
    assert client.files.delete(made).deleted
    assert storage.names() == []
    assert look_at(door, client, run_).status == "completed"
    door.close()


def test_a_bucket_that_is_not_there_is_said(storage: Place, storage_settings: Settings) -> None:
    """One sentence that names the place."""
    other = storage.files.replace("://b-", "://not-there-")
    with pytest.raises(StoreError, match=f"The bucket or container of {other} .* is not there"):
        run(io_over(replace(storage_settings, files=other)).save(ID, pieces(CSV), "attachment"))


SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="


@pytest.mark.usefixtures("no_clouds")
def test_refused_credentials_are_said_and_never_shown(
    upstream: StandIn,
    azure: Any,
    monkeypatch: pytest.MonkeyPatch,
    sqlite_settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A wrong key is a 500 that is not tried again, and neither it nor a signature is in an error or a log."""
    for name, value in azure.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", SECRET)
    door = Door("sync")
    client = door.client(upstream, replace(sqlite_settings, files="az://refused/prefix"))
    upstream.script(TURN)
    with caplog.at_level(logging.DEBUG), pytest.raises(openai.InternalServerError, match="was refused") as caught:
        finish_run(door, client, assistant={"tools": CODE})
    assert caught.value.code == "store_error"
    told = caught.value.response.text + caplog.text
    assert SECRET not in told
    assert "SharedKey" not in told
    door.close()


@pytest.mark.usefixtures("no_clouds")
@pytest.mark.parametrize(
    "variables",
    [
        {"AZURE_STORAGE_ACCOUNT_NAME": ""},
        {"AZURE_STORAGE_ACCOUNT_KEY": f"no base64 {SECRET}"},
        {"GOOGLE_SERVICE_ACCOUNT_KEY": f'{{"private_key": "{SECRET}"}}'},
    ],
)
def test_settings_of_a_cloud_that_cannot_be_used_are_said(
    variables: dict[str, str], sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cloud's variables lack is one sentence, without their values."""
    for name, value in {"AZURE_STORAGE_ACCOUNT_NAME": "me", **variables}.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    scheme = "gs" if "GOOGLE_SERVICE_ACCOUNT_KEY" in variables else "az"
    with pytest.raises(StoreError, match=f"The object storage {scheme}://some/where cannot be used: .*") as caught:
        run(io_over(replace(sqlite_settings, files=f"{scheme}://some/where")).size(ID))
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the extra


def test_a_missing_extra_is_said_at_once(monkeypatch: pytest.MonkeyPatch, sqlite_settings: Settings) -> None:
    """Settings that need obstore say how to get it; so does a store whose obstore went away."""
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda _name: None)
        with pytest.raises(SettingsError, match=r"pip install 'assistants-compat\[objects\]'"):
            Settings(files="s3://bucket/prefix")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StoreError, match=r"pip install 'assistants-compat\[objects\]'"):
        object_storage.ObjectFiles("s3://bucket/prefix").size(ID)
    assert run(io_over(sqlite_settings).size(ID)) is None


WITHOUT = """
import sys
sys.modules["obstore"] = None  # an import of it raises ImportError
import openai
import assistants_compat
from assistants_compat.testing import StandIn
with StandIn() as upstream:
    client = openai.OpenAI(base_url=upstream.base_url, api_key="any")
    assistants_compat.wrap(client, assistants_compat.Settings(store="sqlite://"))
    client.beta.threads.create()
    try:
        assistants_compat.file_url(client, "file-none")
    except assistants_compat.CompatError as error:
        print(error)
    client.close()
"""


def test_the_package_works_without_the_extra() -> None:
    """Where obstore cannot be imported everything but object storage works."""
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No such File object: file-none")


# --- links


def fetched(url: str) -> tuple[int, dict[str, str], bytes]:
    """What a browser gets: status, headers and body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_a_link_downloads_under_the_name_of_the_file(door: Door, upstream: StandIn, storage_settings: Settings) -> None:
    """Anybody who has the link gets the bytes, for as long as was said, and the name that the model chose."""
    client = door.client(upstream, storage_settings)
    made = make_file(door, client, upstream, TURN)
    url = door(assistants_compat.file_url(client, made, expires=600))
    status, headers, body = fetched(url)
    assert (status, body) == (200, CSV)
    assert headers["content-disposition"] == 'attachment; filename="sales.csv"'
    assert headers["content-type"] == "application/octet-stream"
    assert "X-Amz-Expires=600" in url or "se=" in url  # S3 counts seconds, Azure names the end


@pytest.mark.parametrize("storage", ["azure"], indirect=True)  # moto looks at no signature
def test_a_link_that_was_changed_is_refused(upstream: StandIn, storage_settings: Settings) -> None:
    """Azure's server sees that a signature is of another file."""
    door = Door("sync")
    client = door.client(upstream, storage_settings)
    one, two = (make_file(door, client, upstream, TURN) for _ in range(2))
    url = assistants_compat.file_url(client, one)
    assert fetched(url)[0] == 200
    assert fetched(url.replace(one, two))[0] == 403
    door.close()


def test_what_has_no_link_is_said(door: Door, upstream: StandIn, client: Any, settings: Settings) -> None:
    """A local directory, an unknown file, an unwrapped client and an odd time each have their own error."""
    made = make_file(door, client, upstream, TURN)
    with pytest.raises(CompatError, match=r"a local directory serves none.*HTTP server will sign them later"):
        door(assistants_compat.file_url(client, made))
    with pytest.raises(CompatError, match="No such File object: file-unknown"):
        door(assistants_compat.file_url(client, "file-unknown"))
    other = door.client(upstream, replace(settings, namespace="another"))
    with pytest.raises(CompatError, match=f"No such File object: {made}"):
        door(assistants_compat.file_url(other, made))
    with pytest.raises(TypeError, match=r"went through wrap\(\)"):
        assistants_compat.file_url(door.raw_client(upstream), made)
    odd: Any
    for odd in (0, -1, 7 * 24 * 3600 + 1, 1.5, True, "60"):
        with pytest.raises(ValueError, match="a whole number of seconds"):
            assistants_compat.file_url(client, made, expires=odd)


def test_a_file_that_could_not_be_copied_has_no_link(upstream: StandIn, storage_settings: Settings) -> None:
    """The link's error says why the bytes are not here."""
    door = Door("sync")
    client = door.client(upstream, storage_settings)
    answer = upstream.answer
    broken: Any = lambda request: (  # noqa: E731 - read where it is used
        answer(replace(request, path="/nowhere")) if request.path.endswith("/content") else answer(request)
    )
    upstream.answer = broken  # type: ignore[method-assign]
    made = make_file(door, client, upstream, TURN)
    with pytest.raises(CompatError, match="the container answered 404"):
        assistants_compat.file_url(client, made)
    door.close()


@pytest.mark.usefixtures("no_clouds")
def test_google_signs_by_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `gs://` URL opens Google's client, which signs a link with a service account's key.

    No server of Google's can be had for tests from PyPI or npm, so no byte goes through this road here.
    """
    pytest.importorskip("obstore", reason="obstore is not installed")
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa", reason="no key can be made")
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - only where it is there

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"client_email": "a@b.c", "private_key": key.decode(), "private_key_id": "1", "type": "service_account"}
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
    url = object_storage.ObjectFiles("gs://bucket/some/prefix").link(ID, 600)
    assert url.startswith(f"https://storage.googleapis.com/bucket/some/prefix/{ID}?")
    assert "X-Goog-Expires=600" in url
