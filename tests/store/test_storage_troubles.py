"""Failing, refusing or missing object storage loses no file and shows no secret; links work where they can."""

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
from kit.content_stores import ID, LONG, ContentLocation, byte_pieces, load_content, make_io
from kit.doors import Door
from kit.legacy_code import CODE, CSV, LINK, finish_run, make_file, retrieve_run, start_run

pytestmark = pytest.mark.timeout(600)  # the first test of azurite installs it
TURN = Turn(text=LINK, files={"sales.csv": CSV})


@contextlib.contextmanager
def cutting_proxy(port: int, after: int) -> Iterator[int]:
    """Run a proxy that cuts the first connection whose answer exceeds `after` bytes, and yield its port."""
    cut = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket, *, answer: bool) -> None:
        forwarded = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                forwarded += len(data)
                if answer and forwarded > after and not cut.is_set():
                    cut.set()
                    break
                target.sendall(data)
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as sockets:
            while True:
                client_side = sockets.enter_context(listening.accept()[0])
                server_side = sockets.enter_context(socket.create_connection(("127.0.0.1", port)))
                threading.Thread(
                    target=copy, args=(client_side, server_side), kwargs={"answer": False}, daemon=True
                ).start()
                threading.Thread(
                    target=copy, args=(server_side, client_side), kwargs={"answer": True}, daemon=True
                ).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    assert cut.is_set()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(10)


def redirect_storage(monkeypatch: pytest.MonkeyPatch, storage: ContentLocation, port: int) -> None:
    """Let obstore use the storage at another port."""
    assert storage.server is not None
    for name, value in storage.server.variables.items():
        if name.endswith("_ENDPOINT"):
            monkeypatch.setenv(name, value.replace(str(storage.server.port), str(port)))
    storage.restart()


def test_a_download_that_is_cut_off_is_resumed(
    storage: ContentLocation, storage_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download whose connection is cut is resumed with another request."""
    io = make_io(storage_settings)
    run(io.save_content(ID, byte_pieces(LONG), "attachment"))
    assert storage.server is not None
    for part in (range(len(LONG)), range(1_000_000, 9_000_000)):
        with cutting_proxy(storage.server.port, 3_000_000) as port:
            redirect_storage(monkeypatch, storage, port)
            assert load_content(io, part) == LONG[part.start : part.stop]


def test_storage_that_does_not_answer_loses_no_file(
    upstream: StandIn, storage: ContentLocation, storage_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unreachable storage is a 503 that the SDK retries, and once it is back the run completes with its file."""
    monkeypatch.setitem(object_storage._RETRIES, "max_retries", 0)
    door = Door("sync")
    client = door.client(upstream, storage_settings)
    upstream.script(TURN)
    run_ = start_run(door, client, assistant={"tools": CODE})
    with socket.create_server(("127.0.0.1", 0)) as server:
        unused_port = server.getsockname()[1]
    assert storage.server is not None
    redirect_storage(monkeypatch, storage, unused_port)
    with pytest.raises(openai.InternalServerError, match="did not answer") as caught:
        client.beta.threads.runs.poll(run_.id, thread_id=run_.thread_id)
    assert (caught.value.status_code, caught.value.code) == (503, "store_busy")
    redirect_storage(monkeypatch, storage, storage.server.port)
    assert client.beta.threads.runs.poll(run_.id, thread_id=run_.thread_id).status == "completed"
    [message] = client.beta.threads.messages.list(run_.thread_id, run_id=run_.id)
    file_id = message.content[0].text.annotations[0].file_path.file_id
    assert client.files.content(file_id).read() == CSV
    redirect_storage(monkeypatch, storage, unused_port)
    with pytest.raises(openai.InternalServerError, match="did not answer"):
        client.files.delete(file_id)
    redirect_storage(monkeypatch, storage, storage.server.port)
    assert client.files.delete(file_id).deleted
    assert storage.names() == []
    assert retrieve_run(door, client, run_).status == "completed"
    door.close()


def test_a_missing_bucket_is_an_error_that_names_it(storage: ContentLocation, storage_settings: Settings) -> None:
    """A missing bucket is an error that names the location."""
    other = storage.files.replace("://b-", "://not-there-")
    with pytest.raises(StoreError, match=f"The bucket or container of {other} .* does not exist"):
        run(make_io(replace(storage_settings, files=other)).save_content(ID, byte_pieces(CSV), "attachment"))


SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="


@pytest.mark.usefixtures("no_cloud_credentials")
def test_refused_credentials_are_an_error_and_never_shown(
    upstream: StandIn,
    azure: Any,
    monkeypatch: pytest.MonkeyPatch,
    sqlite_settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A wrong key is a 500 that is not retried, and no error or log contains the key or a signature."""
    for name, value in azure.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", SECRET)
    door = Door("sync")
    client = door.client(upstream, replace(sqlite_settings, files="az://refused/prefix"))
    upstream.script(TURN)
    with caplog.at_level(logging.DEBUG), pytest.raises(openai.InternalServerError, match="was refused") as caught:
        finish_run(door, client, assistant={"tools": CODE})
    assert caught.value.code == "store_error"
    output = caught.value.response.text + caplog.text
    assert SECRET not in output
    assert "SharedKey" not in output
    door.close()


@pytest.mark.usefixtures("no_cloud_credentials")
@pytest.mark.parametrize(
    "variables",
    [
        {"AZURE_STORAGE_ACCOUNT_NAME": ""},
        {"AZURE_STORAGE_ACCOUNT_KEY": f"no base64 {SECRET}"},
        {"GOOGLE_SERVICE_ACCOUNT_KEY": f'{{"private_key": "{SECRET}"}}'},
    ],
)
def test_invalid_cloud_variables_are_an_error_without_their_values(
    variables: dict[str, str], sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invalid variables of a cloud are an error of one line that does not contain their values."""
    for name, value in {"AZURE_STORAGE_ACCOUNT_NAME": "me", **variables}.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    scheme = "gs" if "GOOGLE_SERVICE_ACCOUNT_KEY" in variables else "az"
    with pytest.raises(StoreError, match=f"The object storage {scheme}://some/where cannot be used: .*") as caught:
        run(make_io(replace(sqlite_settings, files=f"{scheme}://some/where")).content_size(ID))
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the extra


def test_a_missing_extra_is_an_error_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch, sqlite_settings: Settings
) -> None:
    """Settings and stores that need obstore raise an error with the install command if it is missing."""
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda _name: None)
        with pytest.raises(SettingsError, match=r"needs the package obstore: pip install obstore\."):
            Settings(files="s3://bucket/prefix")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StoreError, match=r"needs the package obstore: pip install obstore\."):
        object_storage.ObjectFiles("s3://bucket/prefix").size(ID)
    assert run(make_io(sqlite_settings).content_size(ID)) is None


PROGRAM_WITHOUT_OBSTORE = """
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
    """If obstore cannot be imported, everything except object storage works."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM_WITHOUT_OBSTORE]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("No such File object: file-none")


# --- links


def fetch(url: str) -> tuple[int, dict[str, str], bytes]:
    """Request a URL as a browser does; return status, headers and body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_a_link_downloads_under_the_name_of_the_file(door: Door, upstream: StandIn, storage_settings: Settings) -> None:
    """A link downloads the bytes under the name that the model chose, for the requested time."""
    client = door.client(upstream, storage_settings)
    file_id = make_file(door, client, upstream, TURN)
    url = door(assistants_compat.file_url(client, file_id, expires=600))
    status, headers, body = fetch(url)
    assert (status, body) == (200, CSV)
    assert headers["content-disposition"] == 'attachment; filename="sales.csv"'
    assert headers["content-type"] == "application/octet-stream"
    assert "X-Amz-Expires=600" in url or "se=" in url  # S3 gives seconds, Azure an end time


@pytest.mark.parametrize("storage", ["azure"], indirect=True)  # moto does not check signatures
def test_a_link_that_was_changed_is_refused(upstream: StandIn, storage_settings: Settings) -> None:
    """Azure's server refuses a link whose signature belongs to another file."""
    door = Door("sync")
    client = door.client(upstream, storage_settings)
    first, second = (make_file(door, client, upstream, TURN) for _ in range(2))
    url = assistants_compat.file_url(client, first)
    assert fetch(url)[0] == 200
    assert fetch(url.replace(first, second))[0] == 403
    door.close()


def test_a_link_that_cannot_be_made_raises_an_error(
    door: Door, upstream: StandIn, client: Any, settings: Settings
) -> None:
    """A local directory, an unknown file, an unwrapped client and an invalid time each raise their own error."""
    file_id = make_file(door, client, upstream, TURN)
    with pytest.raises(
        CompatError, match=r"a local directory cannot serve links.*HTTP server will sign them in a later version"
    ):
        door(assistants_compat.file_url(client, file_id))
    with pytest.raises(CompatError, match="No such File object: file-unknown"):
        door(assistants_compat.file_url(client, "file-unknown"))
    other = door.client(upstream, replace(settings, namespace="another"))
    with pytest.raises(CompatError, match=f"No such File object: {file_id}"):
        door(assistants_compat.file_url(other, file_id))
    with pytest.raises(TypeError, match=r"went through wrap\(\)"):
        assistants_compat.file_url(door.raw_client(upstream), file_id)
    expires: Any
    for expires in (0, -1, 7 * 24 * 3600 + 1, 1.5, True, "60"):
        with pytest.raises(ValueError, match="a whole number of seconds"):
            assistants_compat.file_url(client, file_id, expires=expires)


def test_a_file_that_could_not_be_copied_has_no_link(upstream: StandIn, storage_settings: Settings) -> None:
    """A link to a file that could not be copied raises an error with the reason."""
    door = Door("sync")
    client = door.client(upstream, storage_settings)
    answer = upstream.answer
    answer_404_for_content: Any = lambda request: (  # noqa: E731 - short, and used once
        answer(replace(request, path="/nowhere")) if request.path.endswith("/content") else answer(request)
    )
    upstream.answer = answer_404_for_content  # type: ignore[method-assign]
    file_id = make_file(door, client, upstream, TURN)
    with pytest.raises(CompatError, match="the container answered 404"):
        assistants_compat.file_url(client, file_id)
    door.close()


@pytest.mark.usefixtures("no_cloud_credentials")
def test_google_links_are_signed_with_the_service_accounts_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `gs://` URL opens Google's client, which signs a link with a service account's key.

    No server of Google's for tests is on PyPI or npm, so no byte goes this way here.
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
