"""`python -m assistants_compat`: what it writes where, its exit codes, and that a mistake is a line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from assistants_compat import Settings
from assistants_compat.cli import app
from assistants_compat.settings import variables
from assistants_compat.store import tables
from assistants_compat.store.database import Connection, transact
from assistants_compat.store.locations import database_url
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import KEY, Door
from kit.files import MISSING, contents, run_with, run_without_its_file
from kit.identity_endpoints import identities
from kit.legacy_code import CODE, CSV, LINK, dump, look_at, start_run

DAY = 86_400


@pytest.fixture
def door() -> Iterator[Door]:
    """The synchronous door: the command line has no other."""
    opened = Door("sync")
    yield opened
    opened.close()


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """One SQLite store is enough here."""
    return sqlite_settings


@pytest.fixture
def environment(
    upstream: StandIn, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """The variables with which the command line finds the stand-in and the store; its directory is empty."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    azure = ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_VERSION")
    for name in (*azure, "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    known = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": upstream.base_url}
    for name in ("store", "files", "namespace"):
        known[variables()[name]] = getattr(settings, name)
    for name, value in known.items():
        monkeypatch.setenv(name, value)

    def add(**more: str) -> None:
        for name, value in more.items():
            monkeypatch.setenv(name, value)

    return add


@pytest.fixture
def command(environment: object) -> Callable[..., Any]:
    """Runs a command as a shell does, without a terminal."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-W", "error", "-m", "assistants_compat", *arguments]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=100)
        assert "Traceback" not in done.stderr, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        return done

    return call


@pytest.fixture
def invoke(environment: object) -> Callable[..., Any]:
    """Runs a command in this process."""
    return lambda *arguments: CliRunner().invoke(app, list(arguments), catch_exceptions=False)


# --- download


def test_download_writes_the_paths_and_nothing_else(
    door: Door, client: Any, upstream: StandIn, command: Callable[..., Any]
) -> None:
    """A line a file on stdout; no bar, no colour where there is no terminal."""
    run = run_with(door, client, upstream)
    done = command("download", run.thread_id)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"downloads{os.sep}sales.csv\n", "")
    assert contents(Path("downloads")) == {"sales.csv": CSV}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals")
def test_a_terminal_shows_a_bar_that_no_name_can_command(
    door: Door, client: Any, upstream: StandIn, environment: object
) -> None:
    """On stderr, with the size; escape sequences and markup of a name are plain characters there."""
    import pty  # noqa: PLC0415 - not on Windows

    name = "\x1b]0;owned\x07[red]b.csv"
    run = run_with(door, client, upstream, Turn(text="Done.", files={name: b"x" * 2_000_000}))
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "assistants_compat", "download", run.thread_id]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=theirs, text=True, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how the end of a terminal reads
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    [saved], _ = process.communicate(timeout=60)[0].splitlines(), process.wait()
    assert process.returncode == 0
    assert saved.endswith("[red]b.csv")
    assert b"2.0/2.0 MB" in shown
    assert b"[red]b.csv" in shown
    assert b"\x1b]" not in shown
    assert "\x1b" not in saved


def test_download_takes_a_run_a_message_and_a_response(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any]
) -> None:
    """Each with its options, and as JSON."""
    run = run_with(door, client, upstream)
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    [response_id] = upstream.responses
    for number, arguments in enumerate(
        [
            ("--run", run.id, "--thread", run.thread_id),
            (run.thread_id, "--message", message.id),
            (response_id,),
        ]
    ):
        done = invoke("download", *arguments, "--to", str(number), "--json")
        assert (done.exit_code, done.stderr) == (0, "")
        assert json.loads(done.stdout) == {"files": [f"{number}{os.sep}sales.csv"], "failed": {}}


def test_download_says_that_there_are_no_files(
    door: Door, client: Any, upstream: StandIn, command: Callable[..., Any]
) -> None:
    """On stderr, with what to check; that is no failure."""
    run = run_with(door, client, upstream, Turn(text="Hello."))
    done = command("download", run.thread_id, "--run", run.id)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        f"No files were made in run {run.id}: it is completed, and the model ran no code; "
        "check that the prompt asks for a file.\n"
    )


def test_download_goes_on_after_a_file_that_cannot_be_had(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any]
) -> None:
    """The others are there, the reason is a line, and the exit code is 1."""
    upstream.fault(MISSING)
    run = run_with(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV, "b.csv": b"b"}))
    upstream.advance(DAY)
    done = invoke("download", run.thread_id)
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == len(contents(Path("downloads"))) == 1
    assert done.stderr.count("\n") == 1
    assert "the container answered 404" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["download"], "one thread or response is needed"),
        (["download", "thread_a", "--thread", "thread_b"], "one thread or response is needed"),
        (["download", "run_abc"], "run_abc is no thread"),
        (["download", "resp_abc", "--run", "run_abc"], "resp_abc is no thread"),
        (["download", "thread_a", "--run", "run_a", "--message", "msg_a"], "exclude each other"),
        (["download", "--nonsense"], "No such option"),
        (["nonsense"], "No such command"),
        (["settle", "--watch", "--every", "0"], "Invalid value"),
        (["store", "gc"], "Missing option"),
        (["store", "gc", "--older-than", "soon"], "'soon' is no age; 12h, 30d or 8w are"),
    ],
)
def test_wrong_use_is_2_and_said(invoke: Callable[..., Any], arguments: list[str], said: str) -> None:
    """On stderr, with nothing on stdout."""
    done = invoke(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_what_cannot_be_done_is_1_and_a_line(
    invoke: Callable[..., Any], environment: Callable[..., None], tmp_path: Path, upstream: StandIn
) -> None:
    """An unknown thread, an upstream that is not there, a store that cannot be opened."""
    done = invoke("download", "thread_unknown")
    assert (done.exit_code, done.stderr) == (1, "assistants_compat: No thread found with id 'thread_unknown'.\n")
    upstream.fault(Fault(match="GET /responses/*", status=401, body={"error": {"message": "No.", "type": "x"}}))
    assert invoke("download", "resp_abc").stderr == "assistants_compat: No.\n"
    (tmp_path / "file").touch()
    environment(ASSISTANTS_COMPAT_STORE=str(tmp_path / "file" / "store.db"))
    for arguments in (["settle"], ["store", "gc", "--older-than", "1d"]):
        done = invoke(*arguments)
        assert done.exit_code == 1
        assert "cannot be written" in done.stderr
        assert done.stderr.count("\n") == 1


def test_wrong_settings_and_no_key_are_wrong_use(invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the shell has to set is said, without a traceback."""
    monkeypatch.delenv("OPENAI_API_KEY")
    done = invoke("settle")
    assert done.exit_code == 2
    assert "OPENAI_API_KEY" in done.stderr
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ASSISTANTS_COMPAT_MODE", "sideways")
    done = invoke("settle")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "assistants_compat: ASSISTANTS_COMPAT_MODE is 'sideways', which cannot be used there.\n"


@pytest.mark.parametrize("arguments", [["settle"], ["settle", "--watch"], ["download", "thread_a"]])
def test_a_switch_that_is_off_is_wrong_use(
    invoke: Callable[..., Any], environment: Callable[..., None], arguments: list[str]
) -> None:
    """A command that needs a wrapped client says so in a line."""
    environment(ASSISTANTS_COMPAT="off")
    done = invoke(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    words = "ASSISTANTS_COMPAT=off leaves every client as it is: unset it for this command."
    assert done.stderr == f"assistants_compat: {words}\n"


def test_azure_is_taken_where_its_endpoint_is_set(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any], environment: Callable[..., None]
) -> None:
    """With its key, and no version to be set."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    environment(AZURE_OPENAI_ENDPOINT=upstream.azure_endpoint, AZURE_OPENAI_API_KEY="sk-azure")
    os.environ.pop("OPENAI_BASE_URL")
    upstream.requests.clear()
    done = invoke("download", run.thread_id)
    assert (done.exit_code, done.stdout) == (0, f"downloads{os.sep}sales.csv\n")
    assert {request.headers["api-key"] for request in upstream.requests} == {"sk-azure"}


def asked_on_azure(door: Door, client: Any, upstream: StandIn, add: Callable[..., None], **more: str) -> str:
    """A thread whose run has yet to be looked at, and the variables of an Azure resource without a key; its id."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    add(AZURE_OPENAI_ENDPOINT=upstream.azure_endpoint, **more)
    os.environ.pop("OPENAI_BASE_URL")
    upstream.requests.clear()
    return str(run.thread_id)


def test_azure_without_a_key_is_asked_by_who_is_signed_in(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any], environment: Callable[..., None]
) -> None:
    """The tokens are those of azure-identity; the key of OpenAI, which is set too, does not go there."""
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    with identities() as given:
        thread_id = asked_on_azure(door, client, upstream, environment, **given.app_service)
        done = invoke("download", thread_id)
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"downloads{os.sep}sales.csv\n", "")
    assert {request.headers["authorization"] for request in upstream.requests} == {"Bearer token-1"}


def test_azure_takes_a_token_from_its_variable(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any], environment: Callable[..., None]
) -> None:
    """The SDK's own variable needs no extra."""
    thread_id = asked_on_azure(door, client, upstream, environment, AZURE_OPENAI_AD_TOKEN="a-token")
    assert invoke("download", thread_id).exit_code == 0
    assert {request.headers["authorization"] for request in upstream.requests} == {"Bearer a-token"}


def test_azure_where_nobody_is_signed_in_is_a_line(
    door: Door, client: Any, upstream: StandIn, command: Callable[..., Any], environment: Callable[..., None]
) -> None:
    """It says what to do, once, and nothing is asked."""
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    variables = {"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}
    done = command("download", asked_on_azure(door, client, upstream, environment, **variables))
    assert (done.returncode, done.stdout) == (1, "")
    assert "az login" in done.stderr
    assert done.stderr.count("\n") == 1
    assert upstream.requests == []


def test_azure_without_a_key_and_the_extra_is_wrong_use(
    invoke: Callable[..., Any],
    environment: Callable[..., None],
    upstream: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line says both ways out."""
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    environment(AZURE_OPENAI_ENDPOINT=upstream.azure_endpoint)
    done = invoke("settle")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "pip install 'assistants-compat[azure]'" in done.stderr
    assert "AZURE_OPENAI_API_KEY" in done.stderr


# --- settle


def test_settle_finishes_what_nobody_polls(
    door: Door,
    client: Any,
    upstream: StandIn,
    command: Callable[..., Any],
    invoke: Callable[..., Any],
    settings: Settings,
) -> None:
    """Said in numbers, or as JSON with every id."""
    _, file_id = run_without_its_file(door, client, upstream)
    upstream.script(Turn(text="Hello.", polls=0))
    run = start_run(door, client)
    done = invoke("settle")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "1 runs finished, 0 still active, 1 files recovered, 0 failed\n"
    assert look_at(door, client, run).status == "completed"
    assert {row["stored"] for row in dump(settings)["files"] if row["id"] == file_id} == {True}
    assert json.loads(invoke("settle", "--json").stdout) == {
        "finished": [],
        "active": [],
        "recovered": [],
        "failed": {},
    }


def test_settle_fails_with_the_reason(door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any]) -> None:
    """One that could not be looked at is exit code 1."""
    run = start_run(door, client)
    upstream.fault(Fault(match="GET /responses/*", status=400, body={"error": {"message": "No.", "type": "x"}}))
    done = invoke("settle")
    assert (done.exit_code, done.stderr) == (1, f"{run.id}: No.\n")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGTERM to answer")
def test_settle_watches_until_it_is_told_to_stop(
    door: Door, client: Any, upstream: StandIn, environment: object, settings: Settings
) -> None:
    """A bad hour is said and is not its end; a run that begins later is finished; SIGTERM ends it with 0."""
    first = start_run(door, client)
    upstream.fault(Fault(match="GET /responses/*", status=400, body={"error": {"message": "No.", "type": "x"}}))
    line = [sys.executable, "-m", "assistants_compat", "settle", "--watch", "--every", "1", "--json"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["finished"] == [first.id]
        upstream.script(Turn(text="Later.", polls=0))
        second = start_run(door, client)
        assert json.loads(process.stdout.readline())["finished"] == [second.id]
        time.sleep(0.2)
        process.terminate()
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (0, "", f"{first.id}: No.\n")


# --- store gc


def make_old(settings: Settings, days: int) -> None:
    """Let every file be so old."""

    def work(db: Connection) -> None:
        db.execute(update(tables.files).values(created_at=int(time.time()) - days * DAY - 60))

    transact(database_url(settings.store), work, write=True)


def test_gc_removes_old_files_with_their_bytes(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any], settings: Settings
) -> None:
    """Nothing younger; a dry run says what would go; the message keeps its text, and a download is a 404."""
    old = run_with(door, client, upstream)
    make_old(settings, 30)
    run_with(door, client, upstream, Turn(text=LINK, files={"sales.csv": b"new"}))
    old_id, new_id = (row["id"] for row in dump(settings)["files"])
    directory = Path(str(settings.files))
    assert invoke("store", "gc", "--older-than", "31d").stdout == "0 files, 0 bytes removed\n"
    dry = invoke("store", "gc", "--older-than", "30d", "--dry-run")
    assert dry.stdout == f"{old_id}\n1 files, {len(CSV)} bytes would be removed\n"
    assert contents(directory) == {old_id: CSV, new_id: b"new"}
    done = invoke("store", "gc", "--older-than", "30d", "--json")
    assert json.loads(done.stdout) == {"removed": [old_id], "bytes": len(CSV), "failed": {}, "dry_run": False}
    assert contents(directory) == {new_id: b"new"}
    with pytest.raises(openai.NotFoundError):
        client.files.content(old_id)
    assert client.files.content(new_id).read() == b"new"
    [message] = door.all(client.beta.threads.messages.list(old.thread_id, run_id=old.id))
    assert message.content[0].text.annotations[0].file_path.file_id == old_id
    assert invoke("store", "gc", "--older-than", "30d").stdout == "0 files, 0 bytes removed\n"


def test_gc_does_not_let_a_living_container_bring_a_file_back(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any], settings: Settings
) -> None:
    """A file that was removed is not found again by the thread's next run, and is not copied by settle."""
    run = run_with(door, client, upstream)
    make_old(settings, 1)
    assert invoke("store", "gc", "--older-than", "1d").exit_code == 0
    upstream.script(Turn(text="More.", code="print(1)"))
    client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id)
    assert invoke("settle").exit_code == 0
    assert [row["deleted"] for row in dump(settings)["files"]] == [True]
    assert contents(Path(str(settings.files))) == {}


def test_gc_goes_on_after_one_that_fails(
    door: Door,
    client: Any,
    upstream: StandIn,
    invoke: Callable[..., Any],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reason is a line, the exit code 1, and the file is still known."""
    from assistants_compat.errors import StoreError  # noqa: PLC0415 - here only
    from assistants_compat.store.content import LocalFiles  # noqa: PLC0415 - here only

    run_with(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV, "b.csv": b"b"}))
    make_old(settings, 2)
    stuck, gone = (row["id"] for row in dump(settings)["files"])
    delete = LocalFiles.delete

    def failing(self: LocalFiles, key: str) -> None:
        if key == stuck:
            message = "The place did not answer."
            raise StoreError(message)
        delete(self, key)

    monkeypatch.setattr(LocalFiles, "delete", failing)
    done = invoke("store", "gc", "--older-than", "2d")
    assert (done.exit_code, done.stderr) == (1, f"{stuck}: The place did not answer.\n")
    assert done.stdout.splitlines()[0] == gone
    assert client.files.retrieve(stuck).id == stuck


# --- the whole


def test_help_has_examples_for_every_command(invoke: Callable[..., Any]) -> None:
    """A line each, that can be copied."""
    for arguments in (["download"], ["export"], ["import"], ["settle"], ["store", "gc"]):
        done = invoke(*arguments, "--help")
        assert done.exit_code == 0
        assert f"\n    python -m assistants_compat {' '.join(arguments)}" in done.stdout
