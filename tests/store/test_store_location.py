"""The store is created privately at its location, and errors about it name the location, the reason and the way out."""

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
    """Return the permission bits of a path."""
    return stat.S_IMODE(path.stat().st_mode)


def test_the_default_store_is_private(door: Door, upstream: StandIn, tmp_path: Path) -> None:
    """In the default location directories have mode 0700 and files 0600, whatever the umask."""
    before = os.umask(0)
    try:
        client = door.client(upstream, Settings(poll_after_ms=1))
        make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    finally:
        os.umask(before)
    directory = tmp_path / "data" / "assistants_compat"
    names = {path.relative_to(directory).parts[0]: path for path in directory.rglob("*")}
    assert {"store.db", "store.db-files"} <= set(names)
    paths = [directory, *directory.rglob("*")]
    assert {mode(path) for path in paths if path.is_dir()} == {0o700}
    assert {mode(path) for path in paths if path.is_file()} == {0o600}
    assert sum(path.read_bytes() == CSV for path in paths if path.is_file()) == 1


def test_an_existing_directory_keeps_its_mode(sync: Door, upstream: StandIn, tmp_path: Path) -> None:
    """The store file in the user's own directory is private, and the directory keeps its mode."""
    (tmp_path / "mine").mkdir(mode=0o755)
    (tmp_path / "mine").chmod(0o755)
    make_assistant(sync, sync.client(upstream, Settings(store=str(tmp_path / "mine" / "store.db"))))
    assert mode(tmp_path / "mine") == 0o755
    assert mode(tmp_path / "mine" / "store.db") == 0o600


def test_the_database_is_set_up_for_many_processes(sync: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """The database uses WAL, and each connection a busy timeout and foreign keys."""
    make_assistant(sync, sync.client(upstream, sqlite_settings))
    with sqlite3.connect(str(sqlite_settings.store)) as plain:
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert plain.execute("SELECT version FROM schema_version").fetchall() == [(1,)]
    plain.close()
    url = locations.database_url(sqlite_settings.store)

    def pragmas(db: database.Connection) -> list[int]:
        return [db.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("foreign_keys", "busy_timeout")]

    assert database.transact(url, pragmas, write=False) == [1, database.BUSY_SECONDS * 1000]


def test_thirty_writers_wait_for_each_other(sync: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """Thirty threads write ten messages each, and none gets an error about a locked database."""
    client = sync.client(upstream, sqlite_settings)
    thread = client.beta.threads.create()
    errors: list[Exception] = []

    def write() -> None:
        try:
            for _ in range(10):
                client.beta.threads.messages.create(thread.id, role="user", content="x")
        except openai.OpenAIError as error:
            errors.append(error)

    writers = [threading.Thread(target=write) for _ in range(30)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert errors == []
    assert len(list(client.beta.threads.messages.list(thread.id, limit=100))) == 300


def test_a_locked_database_is_a_503_that_the_sdk_retries(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that stays locked is a 503 `store_busy`, and the SDK's retry succeeds once it is free."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    client = sync.client(upstream, sqlite_settings)
    thread = client.beta.threads.create()
    holder = sqlite3.connect(str(sqlite_settings.store), isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(openai.InternalServerError, match="The store did not answer: database is locked") as caught:
        client.beta.threads.messages.create(thread.id, role="user", content="x")
    assert (caught.value.status_code, caught.value.code) == (503, "store_busy")
    assert "x-should-retry" not in caught.value.response.headers
    # Reads work while another connection holds the write lock.
    assert client.beta.threads.retrieve(thread.id).id == thread.id
    releasing = threading.Timer(0.2, holder.execute, ["ROLLBACK"])
    releasing.start()
    retrying_client = client.with_options(max_retries=5)
    assert retrying_client.beta.threads.messages.create(thread.id, role="user", content="x").role == "user"
    releasing.join()
    holder.close()


def test_the_memory_store_is_one_for_all_threads(door: Door, upstream: StandIn) -> None:
    """`sqlite://` is one store in memory, files included, for all threads and tasks of the process."""
    client = door.client(upstream, Settings(store="sqlite://", namespace=f"memory-{door.kind}", poll_after_ms=1))
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    assert door(client.files.content(file_id)).read() == CSV
    thread = make_thread(door, client)
    if door.kind == "sync":
        threads = [
            threading.Thread(target=client.beta.threads.messages.create, args=(thread.id,), kwargs=message)
            for message in [{"role": "user", "content": "x"}] * 40
        ]
        for writer in threads:
            writer.start()
        for writer in threads:
            writer.join()
    else:

        async def write() -> None:
            import asyncio  # noqa: PLC0415 - here only

            await asyncio.gather(
                *(client.beta.threads.messages.create(thread.id, role="user", content="x") for _ in range(40))
            )

        door(write())
    assert len(door.all(client.beta.threads.messages.list(thread.id))) == 41
    assert finish_run(door, client).status == "completed"


# Tests may run as root, for whom modes do not count, so a file stands where a directory should be.
@pytest.mark.parametrize("store", ["file/store.db", "file/deeper/store.db", "directory"])
def test_an_unwritable_store_is_an_error_that_is_not_retried(
    door: Door, upstream: StandIn, tmp_path: Path, store: str
) -> None:
    """An unwritable store is an error with path, reason and way out, which the SDK does not retry."""
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
        "): set ASSISTANTS_COMPAT_STORE to a writable path or to a postgresql+psycopg:// URL."
    )
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert (tmp_path / "file").read_text(encoding="utf-8") == "in the way"
    assert upstream.requests == []


def test_an_unwritable_file_directory_ends_no_run(
    door: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """If generated files cannot be written, a poll raises an error, and a later poll completes the run."""
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
    """If the disk is full, a poll leaves no partial file, and a later poll completes the run."""
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
def test_an_unsupported_url_is_a_store_error(sync: Door, upstream: StandIn, url: str) -> None:
    """An unknown database or driver in the store URL is a `store_error` of one line."""
    client = sync.client(upstream, Settings(store=url, files="unused"), max_retries=2)
    with pytest.raises(openai.InternalServerError) as caught:
        make_assistant(sync, client)
    assert caught.value.code == "store_error"
    assert "\n" not in str(caught.value.body["message"])  # type: ignore[index]


def test_a_password_is_not_in_the_message(sync: Door, upstream: StandIn) -> None:
    """The error about a database that does not answer has its host and not its password."""
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
    """The file system of the innermost mount point counts, and without a table of mounts no path counts as remote."""
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS, encoding="utf-8")
    assert database.network_filesystem(Path(path), mounts) == kind
    if not path.startswith("\\"):
        assert database.network_filesystem(Path(path), tmp_path / "none") is None


def test_a_store_on_a_network_file_system_is_refused(
    sync: Door, upstream: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store on a network file system is refused before any file is made, because WAL is unsafe there."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/ {tmp_path.resolve()} nfs4 rw 0 0\n", encoding="utf-8")
    network_filesystem = database.network_filesystem
    monkeypatch.setattr(database, "network_filesystem", lambda path: network_filesystem(path, mounts))
    path = tmp_path / "store.db"
    with pytest.raises(openai.InternalServerError, match=r"is on a network file system \(nfs4\)"):
        make_assistant(sync, sync.client(upstream, Settings(store=str(path))))
    assert not path.exists()


def test_a_newer_schema_is_refused(sync: Door, upstream: StandIn, settings: Settings) -> None:
    """A store with a newer schema is refused with the advice to install a newer version."""
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
        with pytest.raises(
            openai.InternalServerError,
            match=r"schema version 99.*supports versions up to.*install a newer assistants_compat",
        ):
            make_assistant(sync, client)
    finally:
        database._engines.clear()
        database._engines.update(opened)
        set_version(1)
    make_assistant(sync, client)


def test_the_variable_sets_the_location(
    sync: Door, upstream: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ASSISTANTS_COMPAT_STORE` sets the location, and an argument overrides it."""
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(tmp_path / "by-variable.db"))
    import assistants_compat  # noqa: PLC0415 - to read well here

    sync_client = assistants_compat.wrap(sync.raw_client(upstream))
    assistant = make_assistant(sync, sync_client)
    assert (tmp_path / "by-variable.db").is_file()
    other = sync.client(upstream, Settings(store=str(tmp_path / "by-argument.db")))
    with pytest.raises(openai.NotFoundError):
        other.beta.assistants.retrieve(assistant.id)
    assert (tmp_path / "by-argument.db").is_file()


def test_an_invalid_variable_raises_in_wrap(sync: Door, upstream: StandIn, monkeypatch: Any) -> None:
    """An invalid variable raises a `SettingsError` in `wrap` that names it, and the client stays unwrapped."""
    monkeypatch.setenv("ASSISTANTS_COMPAT_MODE", "sideways")
    import assistants_compat  # noqa: PLC0415 - to read well here

    client = sync.raw_client(upstream)
    inner = client._client
    with pytest.raises(SettingsError, match="ASSISTANTS_COMPAT_MODE='sideways' is not valid"):
        assistants_compat.wrap(client)
    assert client._client is inner


def test_ids_of_another_namespace_are_unknown(door: Door, upstream: StandIn, settings: Settings) -> None:
    """An id of another namespace gets the same 404 as an unknown id, and no list shows it."""
    from dataclasses import replace  # noqa: PLC0415 - here only

    client = door.client(upstream, settings)
    other_client = door.client(upstream, replace(settings, namespace=settings.namespace + "-other"))
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    [assistant] = door.all(client.beta.assistants.list())
    run = finish_run(door, client)
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    [step] = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    own_run = finish_run(door, other_client)
    threads, unknown = other_client.beta.threads, "thing_0"
    calls: list[tuple[str, Any]] = [
        (assistant.id, other_client.beta.assistants.retrieve),
        (assistant.id, lambda id_: other_client.beta.assistants.update(id_, name="x")),
        (assistant.id, other_client.beta.assistants.delete),
        (assistant.id, lambda id_: threads.runs.create(own_run.thread_id, assistant_id=id_)),
        (run.thread_id, threads.retrieve),
        (run.thread_id, lambda id_: threads.update(id_, metadata={})),
        (run.thread_id, threads.delete),
        (run.thread_id, lambda id_: threads.messages.create(id_, role="user", content="x")),
        (run.thread_id, lambda id_: threads.runs.create(id_, assistant_id=own_run.assistant_id)),
        (answer.id, lambda id_: threads.messages.retrieve(id_, thread_id=own_run.thread_id)),
        (run.id, lambda id_: threads.runs.retrieve(id_, thread_id=own_run.thread_id)),
        (step.id, lambda id_: threads.runs.steps.retrieve(id_, thread_id=own_run.thread_id, run_id=own_run.id)),
        (file_id, other_client.files.retrieve),
        (file_id, other_client.files.content),
        (file_id, other_client.files.delete),
    ]
    for id_, call in calls:
        answers = []
        for requested_id in (id_, unknown):
            with pytest.raises(openai.NotFoundError) as caught:
                door(call(requested_id))
            answers.append(caught.value.response.text.replace(requested_id, "ID"))
        assert answers[0] == answers[1]
    assert [listed.id for listed in door.all(other_client.beta.assistants.list())] == [own_run.assistant_id]
    assert door(threads.messages.list(own_run.thread_id, after=answer.id)).data == []
    assert door(client.files.content(file_id)).read() == CSV


@pytest.mark.parametrize("key", ["../x", "file-../x", "/etc/passwd", "file-a/b", "file-", "", "file-a\n", "file-ä"])
def test_the_file_directory_accepts_only_file_ids(tmp_path: Path, key: str) -> None:
    """The directory of generated files refuses every key that is not the id of a generated file."""
    files = LocalFiles(tmp_path / "files")
    calls = (lambda: files.draft(key, ""), lambda: next(files.read_chunks(key, range(1))), lambda: files.delete(key))
    for call in calls:
        with pytest.raises(ValueError, match="is not the id of a generated file"):
            call()
    assert not (tmp_path / "files").exists()


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process without HOME whose user is in no user database, as a container with an arbitrary user id is."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "XDG_DATA_HOME", "ASSISTANTS_COMPAT_STORE", "ASSISTANTS_COMPAT_FILES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such user database")
def test_without_a_home_directory_the_error_says_what_to_set(
    door: Door, upstream: StandIn, homeless: None, tmp_path: Path
) -> None:
    """Without a home directory a call ends with one line that names the variables, and no folder `~` is made."""
    client = door.client(upstream, Settings())
    with pytest.raises(
        openai.APIStatusError, match="There is no home directory for the store: HOME is not set"
    ) as caught:
        make_thread(door, client)
    assert "ASSISTANTS_COMPAT_STORE" in str(caught.value)
    assert door.all(client.files.list()) == []
    assert list(tmp_path.glob("~*")) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such user database")
def test_a_path_below_a_missing_home_directory_is_a_wrong_setting(homeless: None) -> None:
    """A setting that begins with `~` is refused where there is no home directory."""
    with pytest.raises(SettingsError, match=r"'~/store\.db' of a setting cannot be used: there is no home directory"):
        Settings(store="~/store.db")
