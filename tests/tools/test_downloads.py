"""`download_files`: every file of a thing, once, in a directory, through every door."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from assistants_compat import DownloadError, Settings, download_files
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.files import CONTENT, PNG, TURN, contents, run_with
from kit.legacy_code import CODE, CSV, LINK, asked, finish_run, make_assistant, make_thread, run_again, start_run

LONG = b"".join(b"%08d\n" % number for number in range(300_000))
BOTH = Turn(text=LINK, files={"sales.csv": CSV, "forgotten.txt": b"forgotten"}, images=[PNG])


def names(paths: list[Path]) -> list[str]:
    """The names of paths, sorted."""
    return sorted(path.name for path in paths)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty directory for downloads."""
    (tmp_path / "saved").mkdir()
    return tmp_path / "saved"


def test_every_file_of_a_run_is_downloaded_once(door: Door, client: Any, upstream: StandIn, tmp_path: Path) -> None:
    """Linked, attached and shown files, under their own names; and the container is not asked once more."""
    run = run_with(door, client, upstream, BOTH)
    upstream.requests.clear()
    paths = door(download_files(client, run, tmp_path / "new" / "here"))
    assert {path.name: path.read_bytes() for path in paths} == contents(tmp_path / "new" / "here")
    assert sorted(contents(tmp_path / "new" / "here").values()) == sorted([CSV, b"forgotten", PNG])
    assert {"sales.csv", "forgotten.txt"} < set(names(paths))
    assert upstream.requests == []


def test_a_message_and_a_thread_give_theirs(door: Door, client: Any, upstream: StandIn, tmp_path: Path) -> None:
    """A message gives its own files, a thread (by id or object) those of all its runs, oldest first."""
    first = run_with(door, client, upstream)
    upstream.script(Turn(text="[b](sandbox:/mnt/data/b.csv)", files={"b.csv": b"b"}))
    run_again(door, client, first, "More.")
    [last, _, older, _] = door.all(client.beta.threads.messages.list(first.thread_id))
    assert names(door(download_files(client, last, tmp_path / "message"))) == ["b.csv"]
    assert names(door(download_files(client, older, tmp_path / "message"))) == ["sales.csv"]
    paths = door(download_files(client, first.thread_id, tmp_path / "thread"))
    assert [path.name for path in paths] == ["sales.csv", "b.csv"]
    thread = door(client.beta.threads.retrieve(first.thread_id))
    assert [path.name for path in door(download_files(client, thread, tmp_path / "thread"))] == [
        "sales (1).csv",
        "b (1).csv",
    ]


def test_long_lists_are_read_to_their_end(door: Door, client: Any, upstream: StandIn, directory: Path) -> None:
    """A thread with more messages than a page has its oldest file found."""
    run = run_with(door, client, upstream)
    for number in range(105):
        door(client.beta.threads.messages.create(run.thread_id, role="user", content=str(number)))
    assert names(door(download_files(client, run.thread_id, directory))) == ["sales.csv"]


def test_a_run_that_nobody_polled_ends_and_gives_its_files(
    door: Door, client: Any, upstream: StandIn, directory: Path
) -> None:
    """An active run is looked at first: what it has made by then is there."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    assert names(door(download_files(client, run, directory))) == ["sales.csv"]


def test_a_download_is_made_without_the_upstream(door: Door, client: Any, upstream: StandIn, tmp_path: Path) -> None:
    """A month later, and with no upstream at all."""
    run = run_with(door, client, upstream)
    upstream.advance(30 * 24 * 3600)
    upstream.close()
    assert contents(tmp_path / "later") == {}
    door(download_files(client, run, tmp_path / "later"))
    assert contents(tmp_path / "later") == {"sales.csv": CSV}


def test_the_directory_is_downloads_if_nothing_is_said(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a relative path, where the program runs; with the permissions that its umask leaves."""
    monkeypatch.chdir(tmp_path)
    [path] = door(download_files(client, run_with(door, client, upstream)))
    assert path == Path("downloads/sales.csv")
    umask = os.umask(0o022)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_nothing_in_the_directory_is_followed_or_overwritten(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path
) -> None:
    """A file, a directory, a link to a file and one to nowhere keep what they are: the download gets another name."""
    directory, outside = tmp_path / "here", tmp_path / "outside.csv"
    directory.mkdir()
    outside.write_bytes(b"theirs")
    (directory / "sales.csv").write_bytes(b"mine")
    (directory / "sales (1).csv").symlink_to(outside)
    (directory / "sales (2).csv").symlink_to(tmp_path / "nowhere.csv")
    (directory / "sales (3).csv").mkdir()
    [path] = door(download_files(client, run_with(door, client, upstream), directory))
    assert path == directory / "sales (4).csv"
    assert path.read_bytes() == CSV
    assert (directory / "sales.csv").read_bytes() == b"mine"
    assert outside.read_bytes() == b"theirs"
    assert not (tmp_path / "nowhere.csv").exists()


def test_a_name_with_a_path_in_it_stays_in_the_directory(
    door: Door, client: Any, upstream: StandIn, directory: Path
) -> None:
    """Files that the model named `../../x` and `/etc/x` are saved by their last part."""
    files = {"../../up.csv": b"up", "deep/er/down.csv": b"down", "..\\win.csv": b"win"}
    paths = door(download_files(client, run_with(door, client, upstream, Turn(text="Done.", files=files)), directory))
    assert contents(directory) == {"up.csv": b"up", "down.csv": b"down", "win.csv": b"win"}
    assert {path.parent for path in paths} == {directory}


def test_without_hard_links_a_download_is_copied(
    door: Door, client: Any, upstream: StandIn, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that knows none, still nothing is overwritten."""

    def refuse(*_: object) -> None:
        raise PermissionError

    run = run_with(door, client, upstream, Turn(text=LINK, files={"sales.csv": LONG}))
    monkeypatch.setattr(os, "link", refuse)
    (directory / "sales.csv").symlink_to(directory / "nowhere")
    [path] = door(download_files(client, run, directory))
    (directory / "sales.csv").unlink()
    assert contents(directory) == {"sales (1).csv": LONG}
    assert path.name == "sales (1).csv"


def test_a_file_that_cannot_be_had_does_not_stop_the_others(
    door: Door, client: Any, upstream: StandIn, directory: Path
) -> None:
    """The error says which and why, and holds the paths of the others; nothing half-written is left."""
    upstream.fault(Fault(match=CONTENT, status=404, body={}))
    run = run_with(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV, "b.csv": b"b"}))
    upstream.advance(3600)
    with pytest.raises(
        DownloadError, match=r"file-AC\w+ could not be downloaded: .*the container answered 404"
    ) as caught:
        door(download_files(client, run, directory))
    assert len(caught.value.failed) == 1
    assert len(caught.value.paths) == 1
    assert contents(directory) == {caught.value.paths[0].name: caught.value.paths[0].read_bytes()}


def test_that_there_are_no_files_is_said_with_what_to_check(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that goes on, one without the tool, one without code, one that saved nothing; no directory is made."""
    said = []
    for options, turn in [
        ({"tools": CODE}, Turn(text="Wait.", polls=9)),
        ({}, Turn(text="Hello.")),
        ({"tools": CODE}, Turn(text="Hello.")),
        ({"tools": CODE}, Turn(text="Hello.", code="print(1)")),
    ]:
        upstream.script(turn)
        run = (
            start_run(door, client, assistant=options)
            if turn.polls == 9
            else finish_run(door, client, assistant=options)
        )
        caplog.clear()
        with caplog.at_level(logging.WARNING, "assistants_compat"):
            assert door(download_files(client, run, tmp_path / "none")) == []
        [record] = caplog.records
        start, _, why = record.getMessage().partition(": ")
        assert start == f"No files were made in run {run.id}"
        said.append(why)
    assert said == [
        "it is still in_progress; wait until it has ended, and try again.",
        "it had no code_interpreter tool; check the tools of the assistant and of the run.",
        "it is completed, and the model ran no code; check that the prompt asks for a file.",
        "it is completed, and its code saved nothing under /mnt/data; check the code, and ask for a file there.",
    ]
    assert not (tmp_path / "none").exists()


def test_a_thread_and_a_message_without_files_say_so(
    door: Door, client: Any, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An image or attachment of a user's is no generated file, and not asked for."""
    thread = make_thread(door, client)
    image = [{"type": "image_file", "image_file": {"file_id": "file-theirs"}}]
    attached = [{"file_id": "file-mine", "tools": CODE}]
    message = door(client.beta.threads.messages.create(thread.id, role="user", content=image, attachments=attached))
    assert door(download_files(client, thread.id, directory)) == []
    assert door(download_files(client, message, directory)) == []
    assert "thread_" in caplog.text
    assert "it has no runs" in caplog.text
    assert f"message {message.id}; check the other messages" in caplog.text


def test_other_things_are_refused_at_once(door: Door, client: Any, upstream: StandIn) -> None:
    """An assistant, an id of a run, and a client that was not wrapped: before anything is asked."""
    assistant = make_assistant(door, client)
    with pytest.raises(TypeError, match="takes a run, a message, a thread or a response, not Assistant"):
        download_files(client, assistant)
    with pytest.raises(ValueError, match="give the object"):
        download_files(client, "run_abc")
    with pytest.raises(TypeError, match="An OpenAI client"):
        download_files(SimpleNamespace(), "thread_abc")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"went through wrap\(\)"):
        download_files(door.raw_client(upstream), "thread_abc")
    assert upstream.requests == []


def test_a_thing_that_is_not_there_is_the_sdks_error(door: Door, client: Any, directory: Path) -> None:
    """A thread that nobody knows is a NotFoundError."""
    with pytest.raises(openai.NotFoundError, match="No thread found"):
        door(download_files(client, "thread_unknown", directory))


def test_a_sync_client_downloads_inside_a_running_loop(
    upstream: StandIn, sqlite_settings: Settings, directory: Path
) -> None:
    """In a notebook a loop is running already."""
    door = Door("sync")
    client = door.client(upstream, sqlite_settings)

    async def cell() -> list[Path]:
        saved: list[Path] = download_files(client, run_with(door, client, upstream), directory)
        return saved

    assert names(asyncio.run(cell())) == ["sales.csv"]
    assert contents(directory) == {"sales.csv": CSV}
    door.close()


# --- native responses


def respond(door: Door, client: Any, upstream: StandIn, turn: Turn) -> Any:
    """A native response with this turn, as JSON: SDKs below 1.66 have no resource for it."""
    upstream.script(turn)
    body = {
        "model": "gpt-4.1",
        "input": "A table.",
        "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
    }
    response = door(client.post("/responses", cast_to=object, body=body))
    return response, SimpleNamespace(id=response["id"], object="response", to_dict=lambda **_: response)


@pytest.mark.parametrize("wrapped", [True, False])
def test_every_file_of_a_native_response_is_downloaded_once(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path, *, wrapped: bool
) -> None:
    """Cited, shown and forgotten ones, by a wrapped client or any other, by object or by id."""
    client = client if wrapped else door.raw_client(upstream)
    body, response = respond(door, client, upstream, BOTH)
    for number, thing in enumerate([response, body["id"]]):
        paths = door(download_files(client, thing, tmp_path / str(number)))
        assert sorted(path.read_bytes() for path in paths) == sorted([CSV, b"forgotten", PNG])
        assert {"sales.csv", "forgotten.txt"} < set(names(paths))
    assert asked(upstream, CONTENT).count(CONTENT) >= 4


def test_the_sdks_own_response_is_taken(door: Door, client: Any, upstream: StandIn, directory: Path) -> None:
    """What `client.responses.create` gives."""
    if not hasattr(client, "responses"):
        pytest.skip("this SDK has no responses")
    upstream.script(TURN)
    tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
    response = door(client.responses.create(model="gpt-4.1", input="A table.", tools=tools))
    assert names(door(download_files(client, response, directory))) == ["sales.csv"]


def test_a_container_that_cannot_be_listed_loses_nothing_that_is_cited(
    door: Door, client: Any, upstream: StandIn, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The cited file is there; that the list failed is logged."""
    _, response = respond(door, client, upstream, TURN)
    upstream.fault(Fault(match="GET /containers/*/files", status=404, body={"error": {"message": "Gone."}}))
    assert names(door(download_files(client, response, directory))) == ["sales.csv"]
    assert "could not be listed: Gone." in caplog.text


def test_a_download_that_breaks_off_is_made_again(
    door: Door, client: Any, upstream: StandIn, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the bytes are no file: they are asked for again, three times at most, and nothing of them is left."""
    monkeypatch.setattr("assistants_compat.tools.downloads._FIRST_PAUSE", 0)
    _, response = respond(door, client, upstream, Turn(text=LINK, files={"sales.csv": LONG}))
    upstream.fault(Fault(match=CONTENT, truncate=True, times=2))
    door(download_files(client, response, directory))
    assert contents(directory) == {"sales.csv": LONG}
    upstream.fault(Fault(match=CONTENT, truncate=True, times=3))
    with pytest.raises(DownloadError, match="the connection was lost"):
        door(download_files(client, response, directory))
    assert contents(directory) == {"sales.csv": LONG}


def test_an_error_body_with_status_200_is_no_file(
    door: Door, client: Any, upstream: StandIn, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not as long as the container says, although the answer's own length is right."""
    monkeypatch.setattr("assistants_compat.tools.downloads._FIRST_PAUSE", 0)
    _, response = respond(door, client, upstream, TURN)
    upstream.fault(Fault(match=CONTENT, status=200, body=json.dumps({"error": "no"}), times=3))
    with pytest.raises(DownloadError, match=rf"\d+ of {len(CSV)} bytes came"):
        door(download_files(client, response, directory))
    assert contents(directory) == {}


def test_a_native_response_on_azure_is_asked_for_below_v1(door: Door, upstream: StandIn, directory: Path) -> None:
    """Containers are asked for below /openai/v1 and without an api-version, with the caller's key."""
    client = door.raw_client(upstream, azure=True)
    _, response = respond(door, door.raw_client(upstream), upstream, TURN)
    assert names(door(download_files(client, response, directory))) == ["sales.csv"]
    seen = [each for each in upstream.requests if each.path.startswith("/containers/")]
    assert {each.full_path.partition("/containers")[0] for each in seen} == {"/openai/v1"}
    assert all(name != "api-version" for each in seen for name, _ in each.query)
    assert {each.headers["api-key"] for each in seen} == {"sk-test"}
