"""Where the store lies, who may read it, and what is said when it cannot be used."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import text

from assistants_compat import Settings, SettingsError
from assistants_compat.store import database, locations, tables
from assistants_compat.store.content import LocalFiles
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, CSV, LINK, finish_run, make_assistant, make_file, make_thread


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_the_default_store_is_private(door: Door, upstream: StandIn, tmp_path: Path) -> None:
    """In the user's data directory: directories 0700, the database, its log and every file 0600, whatever the umask."""
    before = os.umask(0)
    try:
        client = door.client(upstream, Settings(poll_after_ms=1))
        make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    finally:
        os.umask(before)
    directory = tmp_path / "data" / "assistants_compat"
    found = {path.relative_to(directory).parts[0]: path for path in directory.rglob("*")}
    assert {"store.db", "store.db-files"} <= set(found)
    paths = [directory, *directory.rglob("*")]
    assert {mode(path) for path in paths if path.is_dir()} == {0o700}
    assert {mode(path) for path in paths if path.is_file()} == {0o600}
    assert sum(path.read_bytes() == CSV for path in paths if path.is_file()) == 1


def test_an_existing_directory_keeps_its_mode(sync: Door, upstream: StandIn, tmp_path: Path) -> None:
    """Only what is made is made private: a directory of the user's own is left as it is."""
    (tmp_path / "mine").mkdir(mode=0o755)
    (tmp_path / "mine").chmod(0o755)
    make_assistant(sync, sync.client(upstream, Settings(store=str(tmp_path / "mine" / "store.db"))))
    assert mode(tmp_path / "mine") == 0o755
    assert mode(tmp_path / "mine" / "store.db") == 0o600


def test_the_database_is_set_up_for_many_processes(sync: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """WAL in the file, and on each connection a busy timeout and foreign keys."""
    make_assistant(sync, sync.client(upstream, sqlite_settings))
    with sqlite3.connect(str(sqlite_settings.store)) as plain:
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert plain.execute("SELECT version FROM schema_version").fetchall() == [(1,)]
    plain.close()
    url = locations.database_url(sqlite_settings.store)

    def pragmas(db: database.Connection) -> list[int]:
        return [db.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("foreign_keys", "busy_timeout")]

    assert database.transact(url, pragmas, write=False) == [1, database.BUSY_SECONDS * 1000]


def test_three_hundred_writers_all_write(sync: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """Transactions that read before they write queue up: none is told that the database is locked."""
    client = sync.client(upstream, sqlite_settings)
    thread = client.beta.threads.create()
    troubles: list[Exception] = []

    def write() -> None:
        try:
            for _ in range(10):
                client.beta.threads.messages.create(thread.id, role="user", content="x")
        except openai.OpenAIError as error:
            troubles.append(error)

    threads = [threading.Thread(target=write) for _ in range(30)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert troubles == []
    assert len(list(client.beta.threads.messages.list(thread.id, limit=100))) == 300


def test_a_locked_database_is_a_503_that_the_sdk_may_try_again(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who holds the database for too long is `store_busy`; when he lets go, the SDK's next try succeeds."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    client = sync.client(upstream, sqlite_settings)
    thread = client.beta.threads.create()
    holder = sqlite3.connect(str(sqlite_settings.store), isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(openai.InternalServerError, match="The store did not answer: database is locked") as caught:
        client.beta.threads.messages.create(thread.id, role="user", content="x")
    assert (caught.value.status_code, caught.value.code) == (503, "store_busy")
    assert "x-should-retry" not in caught.value.response.headers
    # A reader is never in the way of a writer.
    assert client.beta.threads.retrieve(thread.id).id == thread.id
    releasing = threading.Timer(0.2, holder.execute, ["ROLLBACK"])
    releasing.start()
    patient = client.with_options(max_retries=5)
    assert patient.beta.threads.messages.create(thread.id, role="user", content="x").role == "user"
    releasing.join()
    holder.close()


def test_the_memory_store_is_one_for_all_threads(door: Door, upstream: StandIn) -> None:
    """`sqlite://` keeps everything in memory, for every thread and task of the process, with its files."""
    client = door.client(upstream, Settings(store="sqlite://", namespace=f"memory-{door.kind}", poll_after_ms=1))
    made = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    assert door(client.files.content(made)).read() == CSV
    thread = make_thread(door, client)
    if door.kind == "sync":
        threads = [
            threading.Thread(target=client.beta.threads.messages.create, args=(thread.id,), kwargs=message)
            for message in [{"role": "user", "content": "x"}] * 40
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    else:

        async def write() -> None:
            import asyncio  # noqa: PLC0415 - here only

            await asyncio.gather(
                *(client.beta.threads.messages.create(thread.id, role="user", content="x") for _ in range(40))
            )

        door(write())
    assert len(door.all(client.beta.threads.messages.list(thread.id))) == 41
    assert finish_run(door, client).status == "completed"


# Tests may run as root, whom no mode stops: a file where a directory should be stops everybody.
@pytest.mark.parametrize("store", ["file/store.db", "file/deeper/store.db", "directory"])
def test_a_store_that_cannot_be_written_is_said_in_one_sentence(
    door: Door, upstream: StandIn, tmp_path: Path, store: str
) -> None:
    """The SDK's error names the path, the reason and the way out; it is not tried again, and nothing is made."""
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    (tmp_path / "directory").mkdir()
    path = tmp_path / store
    client = door.client(upstream, Settings(store=str(path)), max_retries=2)
    with pytest.raises(openai.InternalServerError) as caught:
        make_assistant(door, client)
    error: Any = caught.value.body
    assert error["code"] == "store_error"
    assert error["message"].startswith(f"The store {path} cannot be written (")
    assert error["message"].endswith(
        "): set ASSISTANTS_COMPAT_STORE to a path that can, or to a postgresql+psycopg:// URL."
    )
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert (tmp_path / "file").read_text(encoding="utf-8") == "in the way"
    assert upstream.requests == []


def test_files_that_cannot_be_written_are_said_in_one_sentence(
    door: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """A directory of files that is none ends no run: the error says so, and the run can be looked at again."""
    (tmp_path / "files").write_text("in the way", encoding="utf-8")
    client = door.client(upstream, sqlite_settings)
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    run = door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    with pytest.raises(
        openai.InternalServerError, match=r"Generated files cannot be written to .*ASSISTANTS_COMPAT_FILES"
    ):
        door(client.beta.threads.runs.retrieve(run.id, thread_id=thread.id))
    (tmp_path / "files").unlink()
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)).status == "completed"


def test_a_full_disk_ends_no_run(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that cannot be written leave no half file, and the look can be made again when there is room."""
    client = door.client(upstream, sqlite_settings)
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    run = door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(openai.InternalServerError, match=r"cannot be written to .* \(No space left on device\)"):
            door(client.beta.threads.runs.retrieve(run.id, thread_id=thread.id))
    assert list(Path(str(sqlite_settings.files)).iterdir()) == []
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)).status == "completed"


@pytest.mark.parametrize("url", ["mysql://localhost/x", "postgresql+nodriver://localhost/x", "a://"])
def test_a_url_that_cannot_be_used_is_said_in_one_sentence(sync: Door, upstream: StandIn, url: str) -> None:
    """An unknown database or driver is an error of the store, not a traceback."""
    client = sync.client(upstream, Settings(store=url, files="unused"), max_retries=2)
    with pytest.raises(openai.InternalServerError) as caught:
        make_assistant(sync, client)
    assert caught.value.code == "store_error"
    assert "\n" not in str(caught.value.body["message"])  # type: ignore[index]


def test_a_password_is_not_in_the_message(sync: Door, upstream: StandIn) -> None:
    """A database that does not answer is named without its password."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    url = "postgresql+psycopg://user:hunter2@127.0.0.1:1/x?connect_timeout=1"
    client = sync.client(upstream, Settings(store=url, files="unused"))
    with pytest.raises(openai.InternalServerError) as caught:
        make_assistant(sync, client)
    assert caught.value.code == "store_error"
    assert "hunter2" not in caught.value.response.text
    assert "127.0.0.1" in caught.value.response.text


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
//server/share /mnt/with\\040space cifs rw 0 0
tmpfs /home/local tmpfs rw 0 0
host:/ /mnt/ssh fuse.sshfs rw 0 0
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/store.db", "nfs4"),
        ("/home/local/store.db", None),
        ("/mnt/with space/store.db", "cifs"),
        ("/mnt/ssh/a/b/store.db", "fuse.sshfs"),
        ("/var/store.db", None),
        ("/homes/store.db", None),
        ("\\\\server\\share\\store.db", "a Windows share"),
    ],
)
def test_network_file_systems_are_recognised(tmp_path: Path, path: str, kind: str | None) -> None:
    """The innermost mount point of a path decides; a table that is not there says nothing."""
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS, encoding="utf-8")
    assert database.network_filesystem(Path(path), mounts) == kind
    if not path.startswith("\\"):
        assert database.network_filesystem(Path(path), tmp_path / "none") is None


def test_a_store_on_a_network_file_system_is_refused(
    sync: Door, upstream: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WAL is unsafe there: refused in one sentence, before any file is made."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/ {tmp_path.resolve()} nfs4 rw 0 0\n", encoding="utf-8")
    real = database.network_filesystem
    monkeypatch.setattr(database, "network_filesystem", lambda path: real(path, mounts))
    path = tmp_path / "store.db"
    with pytest.raises(openai.InternalServerError, match=r"lies on a network file system \(nfs4\)"):
        make_assistant(sync, sync.client(upstream, Settings(store=str(path))))
    assert not path.exists()


def test_a_newer_schema_is_refused(sync: Door, upstream: StandIn, settings: Settings) -> None:
    """A store that a later version has changed is left alone, with the advice to install that version."""
    client = sync.client(upstream, settings)
    make_assistant(sync, client)
    url = locations.database_url(settings.store)

    def set_version(number: int) -> None:
        statement = tables.schema_version.update().values(version=number)
        database.transact(url, lambda db: db.execute(statement), write=True)

    set_version(99)
    opened = dict(database._engines)
    database._engines.clear()  # as in another process
    try:
        with pytest.raises(openai.InternalServerError, match=r"schema version 99.*install a newer assistants_compat"):
            make_assistant(sync, client)
    finally:
        database._engines.clear()
        database._engines.update(opened)
        set_version(1)
    make_assistant(sync, client)


def test_the_variable_says_where(
    sync: Door, upstream: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ASSISTANTS_COMPAT_STORE` is used where no argument is given, and an argument wins over it."""
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(tmp_path / "by-variable.db"))
    import assistants_compat  # noqa: PLC0415 - to read well here

    sync_client = assistants_compat.wrap(sync.raw_client(upstream))
    made = make_assistant(sync, sync_client)
    assert (tmp_path / "by-variable.db").is_file()
    other = sync.client(upstream, Settings(store=str(tmp_path / "by-argument.db")))
    with pytest.raises(openai.NotFoundError):
        other.beta.assistants.retrieve(made.id)
    assert (tmp_path / "by-argument.db").is_file()


def test_a_setting_that_cannot_be_used_is_said_at_once(sync: Door, upstream: StandIn, monkeypatch: Any) -> None:
    """A wrong variable is a `SettingsError` from `wrap`, which names it, and the client stays as it was."""
    monkeypatch.setenv("ASSISTANTS_COMPAT_MODE", "sideways")
    import assistants_compat  # noqa: PLC0415 - to read well here

    client = sync.raw_client(upstream)
    inner = client._client
    with pytest.raises(SettingsError, match="ASSISTANTS_COMPAT_MODE is 'sideways'"):
        assistants_compat.wrap(client)
    assert client._client is inner


def test_namespaces_are_tenants(door: Door, upstream: StandIn, settings: Settings) -> None:
    """In one store an id of another namespace gets the very 404 of an unknown one, and no list shows it."""
    from dataclasses import replace  # noqa: PLC0415 - here only

    mine = door.client(upstream, settings)
    theirs = door.client(upstream, replace(settings, namespace=settings.namespace + "-other"))
    file_id = make_file(door, mine, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    [assistant] = door.all(mine.beta.assistants.list())
    run = finish_run(door, mine)
    [answer, _] = door.all(mine.beta.threads.messages.list(run.thread_id))
    [step] = door.all(mine.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    own = finish_run(door, theirs)
    threads, unknown = theirs.beta.threads, "thing_0"
    calls: list[tuple[str, Any]] = [
        (assistant.id, theirs.beta.assistants.retrieve),
        (assistant.id, lambda id_: theirs.beta.assistants.update(id_, name="x")),
        (assistant.id, theirs.beta.assistants.delete),
        (assistant.id, lambda id_: threads.runs.create(own.thread_id, assistant_id=id_)),
        (run.thread_id, threads.retrieve),
        (run.thread_id, lambda id_: threads.update(id_, metadata={})),
        (run.thread_id, threads.delete),
        (run.thread_id, lambda id_: threads.messages.create(id_, role="user", content="x")),
        (run.thread_id, lambda id_: threads.runs.create(id_, assistant_id=own.assistant_id)),
        (answer.id, lambda id_: threads.messages.retrieve(id_, thread_id=own.thread_id)),
        (run.id, lambda id_: threads.runs.retrieve(id_, thread_id=own.thread_id)),
        (step.id, lambda id_: threads.runs.steps.retrieve(id_, thread_id=own.thread_id, run_id=own.id)),
        (file_id, theirs.files.retrieve),
        (file_id, theirs.files.content),
        (file_id, theirs.files.delete),
    ]
    for id_, call in calls:
        answers = []
        for asked_for in (id_, unknown):
            with pytest.raises(openai.NotFoundError) as caught:
                door(call(asked_for))
            answers.append(caught.value.response.text.replace(asked_for, "ID"))
        assert answers[0] == answers[1]
    assert [each.id for each in door.all(theirs.beta.assistants.list())] == [own.assistant_id]
    assert door(threads.messages.list(own.thread_id, after=answer.id)).data == []
    assert door(mine.files.content(file_id)).read() == CSV


@pytest.mark.parametrize("key", ["../x", "file-../x", "/etc/passwd", "file-a/b", "file-", "", "file-a\n", "file-ä"])
def test_a_name_is_never_a_path(tmp_path: Path, key: str) -> None:
    """The directory of files takes ids of ours and nothing else, whoever asks."""
    files = LocalFiles(tmp_path / "files")
    calls = (lambda: files.draft(key, ""), lambda: next(files.pieces(key, range(1))), lambda: files.delete(key))
    for call in calls:
        with pytest.raises(ValueError, match="id of ours"):
            call()
    assert not (tmp_path / "files").exists()
