"""`download_files` saves every file of a run, message, thread or native response once into a directory."""

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
from kit.files import CONTENT_REQUEST, PNG, TURN, directory_contents, finish_run_with_turn
from kit.legacy_code import (
    CODE,
    CSV,
    LINK,
    finish_run,
    make_assistant,
    make_thread,
    run_again,
    start_run,
    upstream_calls,
)

LONG = b"".join(b"%08d\n" % number for number in range(300_000))
TURN_WITH_EVERY_FILE = Turn(text=LINK, files={"sales.csv": CSV, "forgotten.txt": b"forgotten"}, images=[PNG])


def sorted_names(paths: list[Path]) -> list[str]:
    """Return the names of paths, sorted."""
    return sorted(path.name for path in paths)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty directory for downloads."""
    (tmp_path / "saved").mkdir()
    return tmp_path / "saved"


def test_every_file_of_a_run_is_downloaded_once(door: Door, client: Any, upstream: StandIn, tmp_path: Path) -> None:
    """Linked, attached and shown files of a run are saved under their own names, without upstream requests."""
    run = finish_run_with_turn(door, client, upstream, TURN_WITH_EVERY_FILE)
    upstream.requests.clear()
    paths = door(download_files(client, run, tmp_path / "new" / "here"))
    assert {path.name: path.read_bytes() for path in paths} == directory_contents(tmp_path / "new" / "here")
    assert sorted(directory_contents(tmp_path / "new" / "here").values()) == sorted([CSV, b"forgotten", PNG])
    assert {"sales.csv", "forgotten.txt"} < set(sorted_names(paths))
    assert upstream.requests == []


def test_files_of_a_message_or_a_thread_are_downloaded(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path
) -> None:
    """A message gives its own files, and a thread, by id or object, those of all its runs, oldest first."""
    first = finish_run_with_turn(door, client, upstream)
    upstream.script(Turn(text="[b](sandbox:/mnt/data/b.csv)", files={"b.csv": b"b"}))
    run_again(door, client, first, "More.")
    [last, _, older, _] = door.all(client.beta.threads.messages.list(first.thread_id))
    assert sorted_names(door(download_files(client, last, tmp_path / "message"))) == ["b.csv"]
    assert sorted_names(door(download_files(client, older, tmp_path / "message"))) == ["sales.csv"]
    paths = door(download_files(client, first.thread_id, tmp_path / "thread"))
    assert [path.name for path in paths] == ["sales.csv", "b.csv"]
    thread = door(client.beta.threads.retrieve(first.thread_id))
    assert [path.name for path in door(download_files(client, thread, tmp_path / "thread"))] == [
        "sales (1).csv",
        "b (1).csv",
    ]


def test_long_lists_are_read_to_their_end(door: Door, client: Any, upstream: StandIn, directory: Path) -> None:
    """A file of the oldest message is found although the thread has more messages than a page."""
    run = finish_run_with_turn(door, client, upstream)
    for number in range(105):
        door(client.beta.threads.messages.create(run.thread_id, role="user", content=str(number)))
    assert sorted_names(door(download_files(client, run.thread_id, directory))) == ["sales.csv"]


def test_a_run_that_nobody_polled_ends_and_gives_its_files(
    door: Door, client: Any, upstream: StandIn, directory: Path
) -> None:
    """An active run is polled first, so its files are downloaded if it has ended upstream."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    assert sorted_names(door(download_files(client, run, directory))) == ["sales.csv"]


def test_a_download_is_made_without_the_upstream(door: Door, client: Any, upstream: StandIn, tmp_path: Path) -> None:
    """Files can be downloaded a month later, without any upstream."""
    run = finish_run_with_turn(door, client, upstream)
    upstream.advance(30 * 24 * 3600)
    upstream.close()
    assert directory_contents(tmp_path / "later") == {}
    door(download_files(client, run, tmp_path / "later"))
    assert directory_contents(tmp_path / "later") == {"sales.csv": CSV}


def test_the_default_directory_is_downloads(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default files are saved in `downloads` in the working directory, with the permissions of the umask."""
    monkeypatch.chdir(tmp_path)
    [path] = door(download_files(client, finish_run_with_turn(door, client, upstream)))
    assert path == Path("downloads/sales.csv")
    umask = os.umask(0o022)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_nothing_in_the_directory_is_followed_or_overwritten(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path
) -> None:
    """Existing files, directories and links stay unchanged, and the download gets another name."""
    directory, outside = tmp_path / "here", tmp_path / "outside.csv"
    directory.mkdir()
    outside.write_bytes(b"theirs")
    (directory / "sales.csv").write_bytes(b"mine")
    (directory / "sales (1).csv").symlink_to(outside)
    (directory / "sales (2).csv").symlink_to(tmp_path / "nowhere.csv")
    (directory / "sales (3).csv").mkdir()
    [path] = door(download_files(client, finish_run_with_turn(door, client, upstream), directory))
    assert path == directory / "sales (4).csv"
    assert path.read_bytes() == CSV
    assert (directory / "sales.csv").read_bytes() == b"mine"
    assert outside.read_bytes() == b"theirs"
    assert not (tmp_path / "nowhere.csv").exists()


def test_a_name_with_a_path_in_it_stays_in_the_directory(
    door: Door, client: Any, upstream: StandIn, directory: Path
) -> None:
    """A file whose name has a path in it is saved in the directory under its base name."""
    files = {"../../up.csv": b"up", "deep/er/down.csv": b"down", "..\\win.csv": b"win"}
    paths = door(
        download_files(client, finish_run_with_turn(door, client, upstream, Turn(text="Done.", files=files)), directory)
    )
    assert directory_contents(directory) == {"up.csv": b"up", "down.csv": b"down", "win.csv": b"win"}
    assert {path.parent for path in paths} == {directory}


def test_without_hard_links_a_download_is_copied(
    door: Door, client: Any, upstream: StandIn, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without hard links the file is copied, and nothing is overwritten."""

    def refuse(*_: object) -> None:
        raise PermissionError

    run = finish_run_with_turn(door, client, upstream, Turn(text=LINK, files={"sales.csv": LONG}))
    monkeypatch.setattr(os, "link", refuse)
    (directory / "sales.csv").symlink_to(directory / "nowhere")
    [path] = door(download_files(client, run, directory))
    (directory / "sales.csv").unlink()
    assert directory_contents(directory) == {"sales (1).csv": LONG}
    assert path.name == "sales (1).csv"


def test_a_file_that_cannot_be_downloaded_does_not_stop_the_others(
    door: Door, client: Any, upstream: StandIn, directory: Path
) -> None:
    """If a file fails, the error names it, its reason and the other paths, and no partial file is left."""
    upstream.fault(Fault(match=CONTENT_REQUEST, status=404, body={}))
    run = finish_run_with_turn(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV, "b.csv": b"b"}))
    upstream.advance(3600)
    with pytest.raises(
        DownloadError, match=r"file-AC\w+ could not be downloaded: .*the container answered 404"
    ) as caught:
        door(download_files(client, run, directory))
    assert len(caught.value.failed) == 1
    assert len(caught.value.paths) == 1
    assert directory_contents(directory) == {caught.value.paths[0].name: caught.value.paths[0].read_bytes()}


def test_a_run_without_files_logs_what_to_check(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """For a run without files the log explains what to check, and no directory is made."""
    reasons = []
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
        start, _, reason = record.getMessage().partition(": ")
        assert start == f"No files were generated in run {run.id}"
        reasons.append(reason)
    assert reasons == [
        "it is still in_progress; wait until it ends, then try again.",
        "it had no code_interpreter tool; check the tools of the assistant and of the run.",
        "it is completed, and the model ran no code; check that the prompt asks for a file.",
        "it is completed, and its code saved no file under /mnt/data; check the code, and ask for a file there.",
    ]
    assert not (tmp_path / "none").exists()


def test_a_thread_and_a_message_without_files_log_a_warning(
    door: Door, client: Any, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Files of a user are not downloaded, and a warning says that there are no generated ones."""
    thread = make_thread(door, client)
    image = [{"type": "image_file", "image_file": {"file_id": "file-theirs"}}]
    attachments = [{"file_id": "file-mine", "tools": CODE}]
    message = door(client.beta.threads.messages.create(thread.id, role="user", content=image, attachments=attachments))
    assert door(download_files(client, thread.id, directory)) == []
    assert door(download_files(client, message, directory)) == []
    assert "thread_" in caplog.text
    assert "it has no runs" in caplog.text
    assert f"message {message.id}; check the other messages" in caplog.text


def test_other_arguments_are_refused_at_once(door: Door, client: Any, upstream: StandIn) -> None:
    """An assistant, a run id or an unwrapped client raises an error before any request."""
    assistant = make_assistant(door, client)
    with pytest.raises(TypeError, match="takes a run, a message, a thread or a response, not Assistant"):
        download_files(client, assistant)
    with pytest.raises(ValueError, match="for a run or a message, pass the object"):
        download_files(client, "run_abc")
    with pytest.raises(TypeError, match="Expected an OpenAI or AsyncOpenAI client, not SimpleNamespace"):
        download_files(SimpleNamespace(), "thread_abc")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"went through wrap\(\)"):
        download_files(door.raw_client(upstream), "thread_abc")
    assert upstream.requests == []


def test_an_unknown_thread_is_a_not_found_error(door: Door, client: Any, directory: Path) -> None:
    """An unknown thread raises the SDK's `NotFoundError`."""
    with pytest.raises(openai.NotFoundError, match="No thread found"):
        door(download_files(client, "thread_unknown", directory))


def test_a_sync_client_downloads_inside_a_running_loop(
    upstream: StandIn, sqlite_settings: Settings, directory: Path
) -> None:
    """A synchronous client downloads inside a running event loop, as in a notebook."""
    door = Door("sync")
    client = door.client(upstream, sqlite_settings)

    async def cell() -> list[Path]:
        saved: list[Path] = download_files(client, finish_run_with_turn(door, client, upstream), directory)
        return saved

    assert sorted_names(asyncio.run(cell())) == ["sales.csv"]
    assert directory_contents(directory) == {"sales.csv": CSV}
    door.close()


# --- native responses


def create_native_response(door: Door, client: Any, upstream: StandIn, turn: Turn) -> Any:
    """Create a native response with this turn, as JSON because SDKs below 1.66 have no resource for it."""
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
    """Cited, shown and uncited files of a native response are downloaded, by object or id and by any client."""
    client = client if wrapped else door.raw_client(upstream)
    body, response = create_native_response(door, client, upstream, TURN_WITH_EVERY_FILE)
    for number, target in enumerate([response, body["id"]]):
        paths = door(download_files(client, target, tmp_path / str(number)))
        assert sorted(path.read_bytes() for path in paths) == sorted([CSV, b"forgotten", PNG])
        assert {"sales.csv", "forgotten.txt"} < set(sorted_names(paths))
    assert upstream_calls(upstream, CONTENT_REQUEST).count(CONTENT_REQUEST) >= 4


def test_the_sdks_own_response_is_accepted(door: Door, client: Any, upstream: StandIn, directory: Path) -> None:
    """The object that `client.responses.create` returns is accepted."""
    if not hasattr(client, "responses"):
        pytest.skip("this SDK has no responses")
    upstream.script(TURN)
    tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
    response = door(client.responses.create(model="gpt-4.1", input="A table.", tools=tools))
    assert sorted_names(door(download_files(client, response, directory))) == ["sales.csv"]


def test_cited_files_are_downloaded_if_the_container_cannot_be_listed(
    door: Door, client: Any, upstream: StandIn, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A cited file is downloaded although the container cannot be listed, and the failure is logged."""
    _, response = create_native_response(door, client, upstream, TURN)
    upstream.fault(Fault(match="GET /containers/*/files", status=404, body={"error": {"message": "Gone."}}))
    assert sorted_names(door(download_files(client, response, directory))) == ["sales.csv"]
    assert "could not be listed: Gone." in caplog.text


def test_a_download_that_is_cut_off_is_retried(
    door: Door, client: Any, upstream: StandIn, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A truncated download is tried three times at most, and no partial file is left."""
    monkeypatch.setattr("assistants_compat.tools.downloads._FIRST_RETRY_DELAY", 0)
    _, response = create_native_response(door, client, upstream, Turn(text=LINK, files={"sales.csv": LONG}))
    upstream.fault(Fault(match=CONTENT_REQUEST, truncate=True, times=2))
    door(download_files(client, response, directory))
    assert directory_contents(directory) == {"sales.csv": LONG}
    upstream.fault(Fault(match=CONTENT_REQUEST, truncate=True, times=3))
    with pytest.raises(DownloadError, match="the connection was lost"):
        door(download_files(client, response, directory))
    assert directory_contents(directory) == {"sales.csv": LONG}


def test_an_error_body_with_status_200_is_not_saved(
    door: Door, client: Any, upstream: StandIn, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 200 with an error body is not saved, because its size differs from the container's."""
    monkeypatch.setattr("assistants_compat.tools.downloads._FIRST_RETRY_DELAY", 0)
    _, response = create_native_response(door, client, upstream, TURN)
    upstream.fault(Fault(match=CONTENT_REQUEST, status=200, body=json.dumps({"error": "no"}), times=3))
    with pytest.raises(DownloadError, match=rf"received \d+ of {len(CSV)} bytes"):
        door(download_files(client, response, directory))
    assert directory_contents(directory) == {}


def test_containers_on_azure_are_requested_below_v1(door: Door, upstream: StandIn, directory: Path) -> None:
    """On Azure, containers are requested below /openai/v1, without an api-version and with the caller's key."""
    client = door.raw_client(upstream, azure=True)
    _, response = create_native_response(door, door.raw_client(upstream), upstream, TURN)
    assert sorted_names(door(download_files(client, response, directory))) == ["sales.csv"]
    requests = [request for request in upstream.requests if request.path.startswith("/containers/")]
    assert {request.full_path.partition("/containers")[0] for request in requests} == {"/openai/v1"}
    assert all(name != "api-version" for request in requests for name, _ in request.query)
    assert {request.headers["api-key"] for request in requests} == {"sk-test"}
