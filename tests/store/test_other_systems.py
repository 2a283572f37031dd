"""What Windows and macOS lack or do otherwise, as far as Linux can play it.

Nothing of this ran on those systems; docs/installing.md says so.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import pytest
from platformdirs.macos import MacOS
from platformdirs.windows import Windows
from sqlalchemy import make_url

from assistants_compat import Settings, StoreError, download_files
from assistants_compat.store import content, database, download_directory, locations
from assistants_compat.store.content import LocalFiles
from assistants_compat.store.download_directory import DownloadDraft
from assistants_compat.testing import StandIn, Turn
from assistants_compat.wire.filenames import safe_names
from kit.doors import Door
from kit.legacy_code import CODE, finish_run

# --- a file system that does not tell cases apart, as on Windows and macOS


@pytest.fixture(params=["links", "copies"])
def _case_insensitive(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let names that differ only in case be the same name; with `copies` the file system has no hard links."""
    make_link, open_file = os.link, os.open

    def refuse_taken(path: Path) -> None:
        if path.name.casefold() in {other.name.casefold() for other in path.parent.iterdir()}:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))

    def link(source: Path, target: Path) -> None:
        if request.param == "copies":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        refuse_taken(target)
        make_link(source, target)

    def open_(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_EXCL:
            refuse_taken(path)
        return open_file(path, flags, mode)

    system = SimpleNamespace(**{**vars(os), "link": link, "open": open_})
    monkeypatch.setattr(download_directory, "os", system)


@pytest.mark.usefixtures("_case_insensitive")
def test_names_that_differ_only_in_case_stay_apart(tmp_path: Path) -> None:
    """Where `Sales.csv` and `sales.CSV` are one file, the second download gets a number and the first stays whole."""
    paths = []
    for name in ("Sales.csv", "sales.CSV", "SALES.csv"):
        draft = DownloadDraft(tmp_path, safe_names(name))
        draft.write([name.encode()])
        draft.commit()
        assert draft.path is not None
        paths.append(draft.path)
    assert [path.name for path in paths] == ["Sales.csv", "sales (1).CSV", "SALES (2).csv"]
    assert [path.read_bytes() for path in paths] == [b"Sales.csv", b"sales.CSV", b"SALES.csv"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


@pytest.mark.usefixtures("_case_insensitive")
def test_a_run_with_two_such_names_is_downloaded_whole(
    door: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """`download_files` saves both files of a run whose names differ only in case."""
    client = door.client(upstream, sqlite_settings)
    upstream.script(Turn(text="Done.", files={"Chart.png": b"1", "chart.PNG": b"2"}))
    run = finish_run(door, client, assistant={"tools": CODE})
    paths = door(download_files(client, run, tmp_path / "here"))
    assert len({path.name.casefold() for path in paths}) == 2
    assert sorted(path.read_bytes() for path in paths) == [b"1", b"2"]


# --- where the store is


def windows_directory(monkeypatch: pytest.MonkeyPatch) -> PureWindowsPath:
    """The user's data directory on Windows, as platformdirs finds it."""
    folders = {"CSIDL_LOCAL_APPDATA": "C:\\Users\\Zoë Müller\\AppData\\Local"}
    monkeypatch.setattr("platformdirs.windows.get_win_folder", folders.__getitem__)  # asks the system
    return PureWindowsPath(Windows("assistants_compat", appauthor=False).user_data_dir.replace("/", "\\"))


def macos_directory(monkeypatch: pytest.MonkeyPatch) -> PurePosixPath:
    """The user's data directory on macOS, as platformdirs finds it."""
    monkeypatch.setenv("HOME", "/Users/zoe")
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):  # which platformdirs prefers on macOS too
        monkeypatch.delenv(variable, raising=False)
    return PurePosixPath(MacOS("assistants_compat", appauthor=False).user_data_dir)


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        (windows_directory, "C:\\Users\\Zoë Müller\\AppData\\Local\\assistants_compat\\store.db"),
        (macos_directory, "/Users/zoe/Library/Application Support/assistants_compat/store.db"),
    ],
)
def test_the_default_store_is_where_the_system_keeps_data(
    directory: Callable[[pytest.MonkeyPatch], Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default store is in the user's data directory of Windows and macOS, and SQLAlchemy reads its URL as meant."""
    path = directory(monkeypatch)
    monkeypatch.setattr(locations, "user_data_path", lambda *_arguments, **_options: path)
    url = locations.database_url(None)
    assert make_url(url).database == expected
    assert str(locations._files_directory(None, url)) == f"{expected}-files"


@pytest.mark.parametrize("store", ["C:\\data\\store.db", "D:store.db", "C:/data/store.db", "..\\store.db"])
def test_a_windows_path_is_a_path_and_no_url(store: str) -> None:
    """A path with a drive letter is taken as a path, and the generated files are beside it."""
    url = locations.database_url(store)
    assert make_url(url).database == store
    assert str(locations._files_directory(None, url)) == f"{store}-files"


def test_a_store_on_a_windows_share_is_refused() -> None:
    """A path that names a server is refused before anything is created, because WAL is unsafe there."""
    with pytest.raises(StoreError, match="is on a network file system"):
        database._create_database_file(Path("\\\\server\\share\\store.db"))


# --- calls that a system lacks


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_file_hints_of_linux_are_given_on_linux_only(
    platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere than on Linux a large file is written without `posix_fadvise`, which other systems lack."""
    monkeypatch.setattr(content, "sys", SimpleNamespace(platform=platform))
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    chunk = bytes(content._WRITEBACK_SIZE)
    draft = LocalFiles(tmp_path).draft("file-a", "")
    draft.write([chunk, chunk])
    assert draft.commit()[0] == 2 * len(chunk)


def test_a_directory_that_cannot_be_synced_loses_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows opens no directory, so the rename is not synced there; the file is stored all the same."""
    open_file = os.open

    def open_(path: str | Path, *arguments: Any, **options: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(os, "open", open_)
    files = LocalFiles(tmp_path)
    draft = files.draft("file-a", "")
    draft.write([b"bytes"])
    draft.commit()
    assert b"".join(files.read_chunks("file-a", range(5))) == b"bytes"


# Modules and attributes that Python's documentation marks "Availability: Unix" or "not Windows". Python's own modules
# and the SDK are imported first: they are not what is tried here.
WITHOUT_UNIX = """
import asyncio, http.server, multiprocessing, os, signal, socketserver, subprocess, sys, tempfile
import anyio, openai, platformdirs, sqlalchemy.dialects.sqlite, sqlite3, wrapt
openai.OpenAI(api_key="sk").close()
for name in "chown fchmod fork forkpty getegid geteuid getgid getuid killpg mkfifo nice posix_fadvise " \\
    "register_at_fork sched_getaffinity setsid statvfs sysconf uname O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_SYNC".split():
    delattr(os, name)
for name in "SIGALRM SIGCHLD SIGHUP SIGKILL SIGQUIT SIGUSR1 SIGUSR2 alarm pthread_sigmask setitimer sigwait".split():
    delattr(signal, name)
for name in ("fcntl", "grp", "pwd", "resource", "syslog", "termios"):
    sys.modules[name] = None
"""
CONVERSATION = """
from pathlib import Path
import assistants_compat
from assistants_compat.testing import StandIn, Turn
assistants_compat.install(assistants_compat.Settings(store="store.db", poll_after_ms=1))
with StandIn() as upstream, openai.OpenAI(api_key="sk", base_url=upstream.base_url) as client:
    upstream.script(Turn(text="sandbox:/mnt/data/a.csv", files={"a.csv": b"a"}), Turn(text="Streamed."))
    assistant = client.beta.assistants.create(model="gpt-4o", tools=[{"type": "code_interpreter"}])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "x"}])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    [path] = assistants_compat.download_files(client, run, "downloads")
    assert path.read_bytes() == b"a"
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        stream.until_done()
    client.beta.threads.delete(thread.id)
print("all well")
"""
COMMANDS = """
import assistants_compat
from assistants_compat.__main__ import main
with openai.OpenAI(api_key="sk") as client:
    assistants_compat.wrap(client).beta.threads.create()
for arguments in (["demo"], ["doctor", "--help"], ["settle", "--help"], ["export", "--to", "saved"], ["--version"]):
    sys.argv = ["assistants-compat", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, arguments
print("all well")
"""


@pytest.mark.parametrize("program", [CONVERSATION, COMMANDS], ids=["conversation", "commands"])
def test_nothing_needs_what_windows_lacks(program: str, tmp_path: Path) -> None:
    """A conversation with a download and a stream, and the commands, work without `fork`, `fcntl` and `SIGKILL`."""
    pytest.importorskip("typer", reason="the extra `cli` is not installed")
    command = [sys.executable, "-c", WITHOUT_UNIX + program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["all well"]), done.stderr


OUTPUT = """
import sys
from assistants_compat.__main__ import main
for arguments in (["--help"], ["demo"], ["doctor", "--timeout", "1"], ["audit", "."], ["audit", ".", "--json"]):
    sys.argv = ["assistants-compat", *arguments]
    try:
        main()
    except SystemExit as end:
        assert end.code in {None, 0, 1}, arguments
"""


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_output_fits_a_terminal_without_utf8(encoding: str, tmp_path: Path) -> None:
    """Commands print to a file in a Windows code page or in ASCII, and raise no error for what that cannot show."""
    pytest.importorskip("typer", reason="the extra `cli` is not installed")
    program = "import openai\nopenai.OpenAI().beta.threads.create(metadata={'a': '→ 報告'})\n"
    (tmp_path / "報告.py").write_text(program, encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "OPENAI_API_KEY": "sk-none"}
    environment["OPENAI_BASE_URL"] = "http://127.0.0.1:9"
    command = [sys.executable, "-c", OUTPUT]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr.decode(encoding, "replace")
    assert b"saved" in done.stdout
