"""The commands print their results on stdout, errors as one line on stderr, and exit as documented."""

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
from types import SimpleNamespace
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
from kit.files import CONTENT_NOT_FOUND, directory_contents, finish_run_with_turn, run_with_uncopied_file
from kit.identity_endpoints import token_endpoint
from kit.legacy_code import CODE, CSV, LINK, dump_store, retrieve_run, start_run

DAY = 86_400


@pytest.fixture
def door() -> Iterator[Door]:
    """The synchronous client, the only one that the command line uses."""
    opened = Door("sync")
    yield opened
    opened.close()


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """Settings for one SQLite store, which is enough here."""
    return sqlite_settings


@pytest.fixture
def environment(
    upstream: StandIn, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Set the variables that lead the command line to the stand-in and the store, and use an empty directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    azure = ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_VERSION")
    for name in (*azure, "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    values = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": upstream.base_url}
    for name in ("store", "files", "namespace"):
        values[variables()[name]] = getattr(settings, name)
    for name, value in values.items():
        monkeypatch.setenv(name, value)

    def add(**extra: str) -> None:
        for name, value in extra.items():
            monkeypatch.setenv(name, value)

    return add


@pytest.fixture
def command(environment: object) -> Callable[..., Any]:
    """Run a command in a process of its own, as a shell does, without a terminal."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-W", "error", "-m", "assistants_compat", *arguments]
        result = subprocess.run(line, capture_output=True, text=True, check=False, timeout=100)
        assert "Traceback" not in result.stderr, result.stderr
        assert "\x1b" not in result.stdout + result.stderr
        return result

    return call


@pytest.fixture
def invoke(environment: object) -> Callable[..., Any]:
    """Run a command in this process."""
    return lambda *arguments: CliRunner().invoke(app, list(arguments), catch_exceptions=False)


# --- download


def test_download_prints_the_paths_and_nothing_else(
    door: Door, client: Any, upstream: StandIn, command: Callable[..., Any]
) -> None:
    """`download` prints one path a line on stdout, without a bar or colour where there is no terminal."""
    run = finish_run_with_turn(door, client, upstream)
    result = command("download", run.thread_id)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"downloads{os.sep}sales.csv\n", "")
    assert directory_contents(Path("downloads")) == {"sales.csv": CSV}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals")
def test_a_terminal_shows_a_bar_with_harmless_names(
    door: Door, client: Any, upstream: StandIn, environment: object
) -> None:
    """On a terminal stderr shows a bar with the size, and escape sequences and markup in a file name have no effect."""
    import pty  # noqa: PLC0415 - not on Windows

    name = "\x1b]0;owned\x07[red]b.csv"
    run = finish_run_with_turn(door, client, upstream, Turn(text="Done.", files={name: b"x" * 2_000_000}))
    reader, terminal = pty.openpty()
    line = [sys.executable, "-m", "assistants_compat", "download", run.thread_id]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=terminal, text=True, env={**os.environ, "TERM": "xterm"}
    )
    os.close(terminal)
    output = b""
    with contextlib.suppress(OSError):  # a closed terminal reads as an error
        while piece := os.read(reader, 65536):
            output += piece
    os.close(reader)
    [saved], _ = process.communicate(timeout=60)[0].splitlines(), process.wait()
    assert process.returncode == 0
    assert saved.endswith("[red]b.csv")
    assert b"2.0/2.0 MB" in output
    assert b"[red]b.csv" in output
    assert b"\x1b]" not in output
    assert "\x1b" not in saved


def test_download_takes_a_run_a_message_and_a_response(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any]
) -> None:
    """`download` accepts a run, a message and a response with their options, and prints JSON."""
    run = finish_run_with_turn(door, client, upstream)
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    [response_id] = upstream.responses
    for number, arguments in enumerate(
        [
            ("--run", run.id, "--thread", run.thread_id),
            (run.thread_id, "--message", message.id),
            (response_id,),
        ]
    ):
        result = invoke("download", *arguments, "--to", str(number), "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        assert json.loads(result.stdout) == {"files": [f"{number}{os.sep}sales.csv"], "failed": {}}


def test_download_says_that_there_are_no_files(
    door: Door, client: Any, upstream: StandIn, command: Callable[..., Any]
) -> None:
    """A run without files exits with 0, and stderr says what to check."""
    run = finish_run_with_turn(door, client, upstream, Turn(text="Hello."))
    result = command("download", run.thread_id, "--run", run.id)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == (
        f"No files were generated in run {run.id}: it is completed, and the model ran no code; "
        "check that the prompt asks for a file.\n"
    )


def test_download_continues_after_a_file_that_fails(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any]
) -> None:
    """After a file that fails the others are downloaded, the reason is one line, and the exit code is 1."""
    upstream.fault(CONTENT_NOT_FOUND)
    run = finish_run_with_turn(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV, "b.csv": b"b"}))
    upstream.advance(DAY)
    result = invoke("download", run.thread_id)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == len(directory_contents(Path("downloads"))) == 1
    assert result.stderr.count("\n") == 1
    assert "the container answered 404" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["download"], "give exactly one thread or response"),
        (["download", "thread_a", "--thread", "thread_b"], "give exactly one thread or response"),
        (["download", "run_abc"], "run_abc is not a thread id"),
        (["download", "resp_abc", "--run", "run_abc"], "resp_abc is not a thread id"),
        (["download", "thread_a", "--run", "run_a", "--message", "msg_a"], "give --run or --message, not both"),
        (["download", "--nonsense"], "No such option"),
        (["nonsense"], "No such command"),
        (["settle", "--watch", "--every", "0"], "Invalid value"),
        (["store", "gc"], "Missing option"),
        (["store", "gc", "--older-than", "soon"], "'soon' is not a valid age; use for example 12h, 30d or 8w."),
    ],
)
def test_wrong_use_is_a_message_and_exit_code_2(invoke: Callable[..., Any], arguments: list[str], message: str) -> None:
    """Wrong use exits with 2, with a message on stderr and nothing on stdout."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_failure_is_one_line_and_exit_code_1(
    invoke: Callable[..., Any], environment: Callable[..., None], tmp_path: Path, upstream: StandIn
) -> None:
    """An unknown thread, a refused key and a store that cannot be opened are one line and exit code 1."""
    result = invoke("download", "thread_unknown")
    assert (result.exit_code, result.stderr) == (1, "assistants_compat: No thread found with id 'thread_unknown'.\n")
    upstream.fault(Fault(match="GET /responses/*", status=401, body={"error": {"message": "No.", "type": "x"}}))
    assert invoke("download", "resp_abc").stderr == "assistants_compat: No.\n"
    (tmp_path / "file").touch()
    environment(ASSISTANTS_COMPAT_STORE=str(tmp_path / "file" / "store.db"))
    for arguments in (["settle"], ["store", "gc", "--older-than", "1d"]):
        result = invoke(*arguments)
        assert result.exit_code == 1
        assert "cannot be written" in result.stderr
        assert result.stderr.count("\n") == 1


def test_wrong_settings_and_no_key_are_wrong_use(invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key and a wrong setting are wrong use, named without a traceback."""
    monkeypatch.delenv("OPENAI_API_KEY")
    result = invoke("settle")
    assert result.exit_code == 2
    assert "OPENAI_API_KEY" in result.stderr
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ASSISTANTS_COMPAT_MODE", "sideways")
    result = invoke("settle")
    assert (result.exit_code, result.stdout) == (2, "")
    message = "ASSISTANTS_COMPAT_MODE='sideways' is not valid; expected auto, background or inline."
    assert result.stderr == f"assistants_compat: {message}\n"


@pytest.mark.parametrize("arguments", [["settle"], ["settle", "--watch"], ["download", "thread_a"]])
def test_a_switch_that_is_off_is_wrong_use(
    invoke: Callable[..., Any], environment: Callable[..., None], arguments: list[str]
) -> None:
    """A command that needs a wrapped client refuses to run where the switch is off."""
    environment(ASSISTANTS_COMPAT="off")
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    words = "ASSISTANTS_COMPAT=off switches the library off, but this command needs it: unset the variable."
    assert result.stderr == f"assistants_compat: {words}\n"


def test_azure_is_used_where_its_endpoint_is_set(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any], environment: Callable[..., None]
) -> None:
    """Where an Azure endpoint is set its key is used, and no API version is needed."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    environment(AZURE_OPENAI_ENDPOINT=upstream.azure_endpoint, AZURE_OPENAI_API_KEY="sk-azure")
    os.environ.pop("OPENAI_BASE_URL")
    upstream.requests.clear()
    result = invoke("download", run.thread_id)
    assert (result.exit_code, result.stdout) == (0, f"downloads{os.sep}sales.csv\n")
    assert {request.headers["api-key"] for request in upstream.requests} == {"sk-azure"}


def start_run_for_azure(door: Door, client: Any, upstream: StandIn, add: Callable[..., None], **extra: str) -> str:
    """Start an unpolled run, set the variables of an Azure resource without a key, and return the thread id."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    add(AZURE_OPENAI_ENDPOINT=upstream.azure_endpoint, **extra)
    os.environ.pop("OPENAI_BASE_URL")
    upstream.requests.clear()
    return str(run.thread_id)


def test_azure_without_a_key_uses_the_signed_in_identity(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any], environment: Callable[..., None]
) -> None:
    """Without an Azure key the tokens come from azure-identity, and the OpenAI key is not sent there."""
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    with token_endpoint() as tokens:
        thread_id = start_run_for_azure(door, client, upstream, environment, **tokens.app_service)
        result = invoke("download", thread_id)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"downloads{os.sep}sales.csv\n", "")
    assert {request.headers["authorization"] for request in upstream.requests} == {"Bearer token-1"}


def test_azure_takes_a_token_from_its_variable(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any], environment: Callable[..., None]
) -> None:
    """A token in the SDK's own variable is used and needs no extra."""
    thread_id = start_run_for_azure(door, client, upstream, environment, AZURE_OPENAI_AD_TOKEN="a-token")
    assert invoke("download", thread_id).exit_code == 0
    assert {request.headers["authorization"] for request in upstream.requests} == {"Bearer a-token"}


def test_azure_without_an_identity_is_one_line(
    door: Door, client: Any, upstream: StandIn, command: Callable[..., Any], environment: Callable[..., None]
) -> None:
    """Without a key and an identity, one line says how to sign in, and no request is sent."""
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    variables = {"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}
    result = command("download", start_run_for_azure(door, client, upstream, environment, **variables))
    assert (result.returncode, result.stdout) == (1, "")
    assert "az login" in result.stderr
    assert result.stderr.count("\n") == 1
    assert upstream.requests == []


def test_azure_without_a_key_and_the_extra_is_wrong_use(
    invoke: Callable[..., Any],
    environment: Callable[..., None],
    upstream: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a key and azure-identity, one line names both solutions."""
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    environment(AZURE_OPENAI_ENDPOINT=upstream.azure_endpoint)
    result = invoke("settle")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "pip install azure-identity" in result.stderr
    assert "AZURE_OPENAI_API_KEY" in result.stderr


# --- settle


def test_settle_finishes_unpolled_runs_and_files(
    door: Door,
    client: Any,
    upstream: StandIn,
    command: Callable[..., Any],
    invoke: Callable[..., Any],
    settings: Settings,
) -> None:
    """`settle` finishes runs that nothing polls and recovers files, and prints counts or, as JSON, every id."""
    _, file_id = run_with_uncopied_file(door, client, upstream)
    upstream.script(Turn(text="Hello.", polls=0))
    run = start_run(door, client)
    result = invoke("settle")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "1 run finished, 0 still active, 1 file recovered, 0 failed\n"
    assert retrieve_run(door, client, run).status == "completed"
    assert {row["stored"] for row in dump_store(settings)["files"] if row["id"] == file_id} == {True}
    assert json.loads(invoke("settle", "--json").stdout) == {
        "finished": [],
        "active": [],
        "recovered": [],
        "failed": {},
    }


def test_settle_fails_with_the_reason(door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any]) -> None:
    """A run that cannot be polled is one line with the reason and exit code 1."""
    run = start_run(door, client)
    upstream.fault(Fault(match="GET /responses/*", status=400, body={"error": {"message": "No.", "type": "x"}}))
    result = invoke("settle")
    assert (result.exit_code, result.stderr) == (1, f"{run.id}: No.\n")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGTERM to answer")
def test_settle_watches_until_sigterm(
    door: Door, client: Any, upstream: StandIn, environment: object, settings: Settings
) -> None:
    """`settle --watch` survives an error, finishes a run that starts later, and exits with 0 on SIGTERM."""
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


def test_a_watch_says_once_a_minute_that_it_is_alive(
    invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`settle --watch` logs once a minute that it is alive (INFO), however long it waits between two passes."""
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        if clock[0] > 310:
            raise KeyboardInterrupt

    monkeypatch.setattr("assistants_compat.cli.settle.time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    for every in ("25", "150"):
        clock[0] = 0.0
        caplog.clear()
        with caplog.at_level("INFO", "assistants_compat"):
            assert invoke("settle", "--watch", "--every", every).exit_code == 0
        lines = [record.getMessage() for record in caplog.records if "alive" in record.getMessage()]
        assert len(lines) in {4, 5}, every
    assert lines[-1] == "settle --watch is alive: passes so far: 2."


# --- store gc


def age_files(settings: Settings, days: int) -> None:
    """Make every file this many days old."""

    def work(db: Connection) -> None:
        db.execute(update(tables.files).values(created_at=int(time.time()) - days * DAY - 60))

    transact(database_url(settings.store), work, write=True)


def test_gc_removes_old_files_with_their_bytes(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any], settings: Settings
) -> None:
    """`store gc` removes old files with their bytes, keeps younger ones, and then a download is a 404."""
    old = finish_run_with_turn(door, client, upstream)
    age_files(settings, 30)
    finish_run_with_turn(door, client, upstream, Turn(text=LINK, files={"sales.csv": b"new"}))
    old_id, new_id = (row["id"] for row in dump_store(settings)["files"])
    directory = Path(str(settings.files))
    assert invoke("store", "gc", "--older-than", "31d").stdout == "0 files, 0 bytes removed\n"
    dry_run = invoke("store", "gc", "--older-than", "30d", "--dry-run")
    assert dry_run.stdout == f"{old_id}\n1 file, {len(CSV)} bytes would be removed\n"
    assert directory_contents(directory) == {old_id: CSV, new_id: b"new"}
    result = invoke("store", "gc", "--older-than", "30d", "--json")
    assert json.loads(result.stdout) == {"removed": [old_id], "bytes": len(CSV), "failed": {}, "dry_run": False}
    assert directory_contents(directory) == {new_id: b"new"}
    with pytest.raises(openai.NotFoundError):
        client.files.content(old_id)
    assert client.files.content(new_id).read() == b"new"
    [message] = door.all(client.beta.threads.messages.list(old.thread_id, run_id=old.id))
    assert message.content[0].text.annotations[0].file_path.file_id == old_id
    assert invoke("store", "gc", "--older-than", "30d").stdout == "0 files, 0 bytes removed\n"


def test_a_collected_file_does_not_return_from_its_container(
    door: Door, client: Any, upstream: StandIn, invoke: Callable[..., Any], settings: Settings
) -> None:
    """A removed file is not found again by the thread's next run, nor copied by settle."""
    run = finish_run_with_turn(door, client, upstream)
    age_files(settings, 1)
    assert invoke("store", "gc", "--older-than", "1d").exit_code == 0
    upstream.script(Turn(text="More.", code="print(1)"))
    client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id)
    assert invoke("settle").exit_code == 0
    assert [row["deleted"] for row in dump_store(settings)["files"]] == [True]
    assert directory_contents(Path(str(settings.files))) == {}


def test_gc_continues_after_a_file_that_fails(
    door: Door,
    client: Any,
    upstream: StandIn,
    invoke: Callable[..., Any],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that cannot be removed is one line and exit code 1, stays known, and the others are removed."""
    from assistants_compat.errors import StoreError  # noqa: PLC0415 - here only
    from assistants_compat.store.content import LocalFiles  # noqa: PLC0415 - here only

    finish_run_with_turn(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV, "b.csv": b"b"}))
    age_files(settings, 2)
    failing_id, removed_id = (row["id"] for row in dump_store(settings)["files"])
    delete = LocalFiles.delete

    def failing(self: LocalFiles, key: str) -> None:
        if key == failing_id:
            message = "The place did not answer."
            raise StoreError(message)
        delete(self, key)

    monkeypatch.setattr(LocalFiles, "delete", failing)
    result = invoke("store", "gc", "--older-than", "2d")
    assert (result.exit_code, result.stderr) == (1, f"{failing_id}: The place did not answer.\n")
    assert result.stdout.splitlines()[0] == removed_id
    assert client.files.retrieve(failing_id).id == failing_id


# --- help


def test_help_has_examples_for_every_command(invoke: Callable[..., Any]) -> None:
    """The help of every command has an example on a line of its own, which can be copied."""
    for arguments in (["download"], ["export"], ["import"], ["settle"], ["store", "gc"]):
        result = invoke(*arguments, "--help")
        assert result.exit_code == 0
        assert f"\n    python -m assistants_compat {' '.join(arguments)}" in result.stdout
