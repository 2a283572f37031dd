"""Generated files are downloaded by the id in their annotation, in every way that the SDK offers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import KEY, Door
from kit.legacy_code import CODE, CSV, LINK, dump_store, finish_run, get_raw, make_file, start_run, upstream_calls

TURN = Turn(text=LINK, files={"sales.csv": CSV})
PNG = b"\x89PNG\r\n\x1a\n-a-picture"
# More than one chunk of a stream, with every line different.
LONG = b"".join(b"%08d\n" % number for number in range(40_000))


@pytest.fixture
def file_id(door: Door, client: Any, upstream: StandIn) -> str:
    """Generate a CSV file; the upstream's request log starts empty afterwards."""
    file_id = make_file(door, client, upstream, TURN)
    upstream.requests.clear()
    return file_id


def test_every_sdk_method_reads_the_content(door: Door, client: Any, file_id: str, tmp_path: Path) -> None:
    """`read`, `content`, `text`, `iter_bytes`, `write_to_file` and `stream_to_file` all give the file."""

    def content() -> Any:
        return door(client.files.content(file_id))

    assert content().read() == CSV
    assert content().content == CSV
    assert content().text == CSV.decode()
    assert b"".join(content().iter_bytes()) == CSV
    content().write_to_file(tmp_path / "written.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK advises against this one, wrapped or not
        content().stream_to_file(tmp_path / "streamed.csv")
    assert [(tmp_path / name).read_bytes() for name in ("written.csv", "streamed.csv")] == [CSV, CSV]


def test_content_has_the_recorded_headers(door: Door, client: Any, upstream: StandIn, file_id: str) -> None:
    """A download is an octet-stream with the file's base name and length, and makes no upstream request."""
    response = door(client.files.content(file_id)).response
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == 'attachment; filename="sales.csv"'
    assert response.headers["content-length"] == str(len(CSV))
    assert response.status_code == 200
    assert response.request.url.path.endswith(f"/files/{file_id}/content")
    assert upstream.requests == []


def test_a_raw_response_holds_the_content(door: Door, client: Any, file_id: str) -> None:
    """`with_raw_response.content(id).content` is the file."""
    response = door(client.files.with_raw_response.content(file_id))
    assert response.content == CSV
    assert response.headers["content-length"] == str(len(CSV))
    assert response.parse().read() == CSV


def test_content_can_be_streamed(door: Door, client: Any, upstream: StandIn, tmp_path: Path) -> None:
    """`with_streaming_response.content` gives a large file by `iter_bytes`, `read` and `stream_to_file`."""
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": LONG}))
    target = tmp_path / "long.csv"

    def blocking() -> list[bytes]:
        with client.files.with_streaming_response.content(file_id) as response:
            pieces = list(response.iter_bytes())
        with client.files.with_streaming_response.content(file_id) as response:
            content = response.read()
        with client.files.with_streaming_response.content(file_id) as response:
            response.stream_to_file(target)
        return [*pieces, content]

    async def suspending() -> list[bytes]:
        async with client.files.with_streaming_response.content(file_id) as response:
            pieces = [piece async for piece in response.iter_bytes()]
        async with client.files.with_streaming_response.content(file_id) as response:
            content = await response.read()
        async with client.files.with_streaming_response.content(file_id) as response:
            await response.stream_to_file(target)
        return [*pieces, content]

    *pieces, content = blocking() if door.kind == "sync" else door(suspending())
    assert len(pieces) > 1
    assert b"".join(pieces) == content == target.read_bytes() == LONG


def test_an_abandoned_download_can_be_repeated(door: Door, client: Any, upstream: StandIn) -> None:
    """A download that is abandoned after its first piece can be repeated at once."""
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": LONG}))

    def blocking() -> bytes:
        with client.files.with_streaming_response.content(file_id) as response:
            return next(iter(response.iter_bytes(10)))  # type: ignore[no-any-return]

    async def suspending() -> bytes:
        async with client.files.with_streaming_response.content(file_id) as response:
            async for piece in response.iter_bytes(10):
                return piece  # type: ignore[no-any-return]
        raise AssertionError

    assert (blocking() if door.kind == "sync" else door(suspending())) == LONG[:10]
    assert door(client.files.content(file_id)).read() == LONG


def test_a_file_is_retrieved_as_an_output(door: Door, client: Any, upstream: StandIn, file_id: str) -> None:
    """`files.retrieve` serves the recorded keys, with the purpose `assistants_output` and the full path as the name."""
    served = get_raw(door, client, f"/files/{file_id}")
    assert list(served.items()) == [
        ("object", "file"),
        ("id", file_id),
        ("purpose", "assistants_output"),
        ("filename", "/mnt/data/sales.csv"),
        ("bytes", len(CSV)),
        ("created_at", served["created_at"]),
        ("expires_at", None),
        ("status", "processed"),
        ("status_details", None),
    ]
    assert door(client.files.retrieve(file_id)).bytes == len(CSV)
    assert upstream.requests == []


def test_a_deleted_file_is_not_found(door: Door, client: Any, upstream: StandIn, file_id: str) -> None:
    """A deleted file is unknown to the upstream too, whose 404 the caller gets."""
    deleted = door(client.files.delete(file_id))
    assert deleted.to_dict() == {"object": "file", "id": file_id, "deleted": True}
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            door(call(file_id))
        assert caught.value.response.json()["error"] == {
            "message": f"No such File object: {file_id}",
            "type": "invalid_request_error",
            "param": "id",
            "code": None,
        }
    assert upstream_calls(upstream, "POST /responses") == []


def test_an_uploaded_file_is_the_upstreams(door: Door, client: Any, upstream: StandIn) -> None:
    """Retrieve, content and delete of an uploaded file go to the upstream."""
    file_id = upstream.put_file("theirs.bin", b"\x00theirs")
    assert door(client.files.retrieve(file_id)).filename == "theirs.bin"
    assert door(client.files.content(file_id)).read() == b"\x00theirs"
    door(client.files.delete(file_id))
    assert file_id not in upstream.files
    assert [request.method for request in upstream.requests] == ["GET", "GET", "DELETE"]


@pytest.mark.parametrize("name", ["Übersicht 売上.csv", "café'\"x.csv", "報告%20書.csv"])
def test_file_names_of_any_script_are_kept(door: Door, client: Any, upstream: StandIn, name: str) -> None:
    """A file name that is not ASCII is served complete, and in a header that every HTTP library can read."""
    citation = {"type": "container_file_citation", "filename": name, "start_index": 6, "end_index": 6 + 18 + len(name)}
    text = f"File: sandbox:/mnt/data/{name}"
    content = [{"type": "output_text", "text": text, "annotations": [citation], "logprobs": []}]
    output = [{"type": "message", "role": "assistant", "status": "completed", "content": content}]
    file_id = make_file(door, client, upstream, Turn(output=output, files={name: CSV}))
    assert door(client.files.retrieve(file_id)).filename == f"/mnt/data/{name}"
    response = door(client.files.content(file_id))
    assert response.read() == CSV
    disposition = response.response.headers["content-disposition"]
    assert disposition.isascii()
    assert disposition.startswith('attachment; filename="')
    assert "filename*=UTF-8''" in disposition


def test_one_file_linked_twice_is_one_file(door: Door, client: Any, upstream: StandIn) -> None:
    """Two links to a file get two annotations with the same id, and the file is downloaded once."""
    text = "Here: sandbox:/mnt/data/sales.csv and sandbox:/mnt/data/sales.csv"
    upstream.script(Turn(text=text, files={"sales.csv": CSV}))
    run = finish_run(door, client, assistant={"tools": CODE})
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    first, second = message.content[0].text.annotations
    assert first.file_path.file_id == second.file_path.file_id
    assert first.start_index < second.start_index
    assert [text[note.start_index : note.end_index] for note in (first, second)] == [first.text, second.text]
    assert upstream_calls(upstream, "GET /containers/*/files/*/content") == ["GET /containers/*/files/*/content"]
    assert [attachment.file_id for attachment in message.attachments] == [first.file_path.file_id]


def test_a_shown_image_is_a_separate_file(door: Door, client: Any, upstream: StandIn) -> None:
    """A plot that is shown but not linked becomes an `image_file` block before the text and can be downloaded."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, images=[PNG]))
    run = finish_run(door, client, assistant={"tools": CODE})
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    image, text = message.content
    assert door(client.files.content(image.image_file.file_id)).read() == PNG
    [annotation] = text.text.annotations
    assert door(client.files.content(annotation.file_path.file_id)).read() == CSV
    assert image.image_file.file_id != annotation.file_path.file_id


def test_a_file_outlives_its_container_and_the_upstream(
    door: Door, client: Any, upstream: StandIn, file_id: str
) -> None:
    """A file is served long after its container expired, and even when the upstream is gone."""
    upstream.advance(24 * 3600)
    assert door(client.files.content(file_id)).read() == CSV
    upstream.close()
    assert door(client.files.content(file_id)).read() == CSV
    assert door(client.files.retrieve(file_id)).bytes == len(CSV)


def test_a_file_that_could_not_be_copied_is_copied_at_its_download(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that could not be copied does not fail its run, and a later download fetches it from the container."""
    upstream.script(TURN)
    answer_normally = upstream.answer

    def broken(request: Any) -> Any:
        answer = answer_normally(request)
        if request.path.endswith("/content"):
            return type(answer)(404, b"{}", {"content-type": "application/json"})
        return answer

    monkeypatch.setattr(upstream, "answer", broken)
    run = finish_run(door, client, assistant={"tools": CODE})
    assert run.status == "completed"
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    file_id = message.content[0].text.annotations[0].file_path.file_id
    file = door(client.files.retrieve(file_id))
    assert file.status == "error"
    assert file.status_details == "the container answered 404"
    with pytest.raises(openai.NotFoundError, match="the container answered 404"):
        door(client.files.content(file_id))
    monkeypatch.setattr(upstream, "answer", answer_normally)
    assert door(client.files.content(file_id)).read() == CSV
    assert door(client.files.retrieve(file_id)).status == "processed"


def test_the_404_of_a_file_names_its_expired_container(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """A run polled after its container expired completes with its link, and the download's 404 gives the reason."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=1))
    run = start_run(door, client, assistant={"tools": CODE})
    upstream.advance(21 * 60)
    done = door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    [annotation] = message.content[0].text.annotations
    assert done.status == "completed"
    upstream.requests.clear()
    with pytest.raises(openai.NotFoundError, match=r"\(its container has expired or was deleted\)"):
        door(client.files.content(annotation.file_path.file_id))
    assert len(upstream.requests) == 1, "what has expired is asked for once"
    assert "cntr_" not in str(dump_store(settings)["files"][0]["trouble"])


def test_a_new_client_finds_the_stored_state(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """A new client of the same store finds the assistant, the thread, the run and the file."""
    upstream.script(TURN)
    run = finish_run(door, client, assistant={"tools": CODE})
    new_client = door.client(upstream, settings)
    assert door(new_client.beta.assistants.retrieve(run.assistant_id)).id == run.assistant_id
    assert door(new_client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)) == run
    [answer, _] = door.all(new_client.beta.threads.messages.list(run.thread_id))
    file_id = answer.content[0].text.annotations[0].file_path.file_id
    assert door(new_client.files.content(file_id)).read() == CSV


OTHER_PROCESS = """
import sys
import openai
import assistants_compat
store, files, namespace, base_url, key, thread_id = sys.argv[1:]
settings = assistants_compat.Settings(store=store, files=files, namespace=namespace)
client = assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key), settings)
[answer, _] = client.beta.threads.messages.list(thread_id)
content = client.files.content(answer.content[0].text.annotations[0].file_path.file_id)
sys.stdout.buffer.write(content.read())
"""


def test_another_process_finds_the_stored_state(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """Another process with the same store finishes an unpolled run, lists its messages and downloads its file."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    assistant = door(client.beta.assistants.create(model="gpt-4o", tools=CODE))
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "A table."}]))
    door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert settings.store is not None
    assert settings.files is not None
    arguments = [settings.store, settings.files, settings.namespace, upstream.base_url, KEY, thread.id]
    process = subprocess.run([sys.executable, "-c", OTHER_PROCESS, *arguments], capture_output=True, check=False)
    assert (process.returncode, process.stdout) == (0, CSV), process.stderr.decode()


def test_a_sync_client_downloads_inside_a_running_loop(upstream: StandIn, sqlite_settings: Settings) -> None:
    """A synchronous client works inside a running event loop, and its stream outlives the loop, as in a notebook."""
    door = Door("sync")
    client = door.client(upstream, sqlite_settings)

    async def cell() -> tuple[bytes, tuple[Any, Any], bytes]:
        file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": LONG}))
        content = client.files.content(file_id).read()
        response = client.files.with_streaming_response.content(file_id).__enter__()
        pieces = response.iter_bytes()
        return content, (response, pieces), next(pieces)

    content, (response, pieces), first = asyncio.run(cell())
    assert content == LONG
    assert len(first) < len(LONG)
    # The stream was opened inside the loop, which has ended.
    assert b"".join([first, *pieces]) == LONG
    response.close()
    door.close()
