"""Generated files: downloaded by the id of their annotation, in every way that the SDK has."""

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
from kit.legacy_code import CODE, CSV, LINK, asked, dump, finish_run, make_file, raw, start_run

TURN = Turn(text=LINK, files={"sales.csv": CSV})
PNG = b"\x89PNG\r\n\x1a\n-a-picture"
# More than one piece of a stream, and no two pieces alike.
LONG = b"".join(b"%08d\n" % number for number in range(40_000))


@pytest.fixture
def file_id(door: Door, client: Any, upstream: StandIn) -> str:
    """A generated CSV file; the upstream's log starts empty after it."""
    made = make_file(door, client, upstream, TURN)
    upstream.requests.clear()
    return made


def test_content_reads_in_every_way_of_the_sdk(door: Door, client: Any, file_id: str, tmp_path: Path) -> None:
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
    """Octet-stream for every file, its base name, its length; and the upstream is not asked."""
    response = door(client.files.content(file_id)).response
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == 'attachment; filename="sales.csv"'
    assert response.headers["content-length"] == str(len(CSV))
    assert response.status_code == 200
    assert response.request.url.path.endswith(f"/files/{file_id}/content")
    assert upstream.requests == []


def test_a_raw_response_holds_the_content(door: Door, client: Any, file_id: str) -> None:
    """`with_raw_response.content(id).content` gives the bytes."""
    response = door(client.files.with_raw_response.content(file_id))
    assert response.content == CSV
    assert response.headers["content-length"] == str(len(CSV))
    assert response.parse().read() == CSV


def test_content_streams(door: Door, client: Any, upstream: StandIn, tmp_path: Path) -> None:
    """`with_streaming_response.content` gives a file of many pieces by `iter_bytes`, `read` and `stream_to_file`."""
    made = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": LONG}))
    target = tmp_path / "long.csv"

    def blocking() -> list[bytes]:
        with client.files.with_streaming_response.content(made) as response:
            pieces = list(response.iter_bytes())
        with client.files.with_streaming_response.content(made) as response:
            whole = response.read()
        with client.files.with_streaming_response.content(made) as response:
            response.stream_to_file(target)
        return [*pieces, whole]

    async def suspending() -> list[bytes]:
        async with client.files.with_streaming_response.content(made) as response:
            pieces = [piece async for piece in response.iter_bytes()]
        async with client.files.with_streaming_response.content(made) as response:
            whole = await response.read()
        async with client.files.with_streaming_response.content(made) as response:
            await response.stream_to_file(target)
        return [*pieces, whole]

    *pieces, whole = blocking() if door.kind == "sync" else door(suspending())
    assert len(pieces) > 1
    assert b"".join(pieces) == whole == target.read_bytes() == LONG


def test_leaving_a_stream_early_harms_nothing(door: Door, client: Any, upstream: StandIn) -> None:
    """A download that is left after its first piece can be made again at once."""
    made = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": LONG}))

    def blocking() -> bytes:
        with client.files.with_streaming_response.content(made) as response:
            return next(iter(response.iter_bytes(10)))  # type: ignore[no-any-return]

    async def suspending() -> bytes:
        async with client.files.with_streaming_response.content(made) as response:
            async for piece in response.iter_bytes(10):
                return piece  # type: ignore[no-any-return]
        raise AssertionError

    assert (blocking() if door.kind == "sync" else door(suspending())) == LONG[:10]
    assert door(client.files.content(made)).read() == LONG


def test_a_file_is_retrieved_as_an_output(door: Door, client: Any, upstream: StandIn, file_id: str) -> None:
    """`files.retrieve` serves the recorded keys, with the purpose and the full path that the service gave."""
    served = raw(door, client, f"/files/{file_id}")
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
    """After `files.delete` the upstream knows nothing of the id, and its 404 is the caller's."""
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
    assert asked(upstream, "POST /responses") == []


def test_a_file_that_was_uploaded_is_the_upstreams(door: Door, client: Any, upstream: StandIn) -> None:
    """Retrieve, content and delete of any other file reach the upstream."""
    file_id = upstream.put_file("theirs.bin", b"\x00theirs")
    assert door(client.files.retrieve(file_id)).filename == "theirs.bin"
    assert door(client.files.content(file_id)).read() == b"\x00theirs"
    door(client.files.delete(file_id))
    assert file_id not in upstream.files
    assert [request.method for request in upstream.requests] == ["GET", "GET", "DELETE"]


@pytest.mark.parametrize("name", ["Übersicht 売上.csv", "café'\"x.csv", "報告%20書.csv"])
def test_names_of_any_script_survive(door: Door, client: Any, upstream: StandIn, name: str) -> None:
    """A name that is not plain ASCII is served whole, and in a header that every HTTP library can read."""
    linked = {"type": "container_file_citation", "filename": name, "start_index": 6, "end_index": 6 + 18 + len(name)}
    text = f"File: sandbox:/mnt/data/{name}"
    content = [{"type": "output_text", "text": text, "annotations": [linked], "logprobs": []}]
    output = [{"type": "message", "role": "assistant", "status": "completed", "content": content}]
    made = make_file(door, client, upstream, Turn(output=output, files={name: CSV}))
    assert door(client.files.retrieve(made)).filename == f"/mnt/data/{name}"
    response = door(client.files.content(made))
    assert response.read() == CSV
    disposition = response.response.headers["content-disposition"]
    assert disposition.isascii()
    assert disposition.startswith('attachment; filename="')
    assert "filename*=UTF-8''" in disposition


def test_one_file_linked_twice_is_one_file(door: Door, client: Any, upstream: StandIn) -> None:
    """Two links to a file give two annotations with one id, and the bytes are fetched once."""
    text = "Here: sandbox:/mnt/data/sales.csv and sandbox:/mnt/data/sales.csv"
    upstream.script(Turn(text=text, files={"sales.csv": CSV}))
    run = finish_run(door, client, assistant={"tools": CODE})
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    one, two = message.content[0].text.annotations
    assert one.file_path.file_id == two.file_path.file_id
    assert one.start_index < two.start_index
    assert [text[each.start_index : each.end_index] for each in (one, two)] == [one.text, two.text]
    assert asked(upstream, "GET /containers/*/files/*/content") == ["GET /containers/*/files/*/content"]
    assert [each.file_id for each in message.attachments] == [one.file_path.file_id]


def test_a_shown_image_is_a_file_of_its_own(door: Door, client: Any, upstream: StandIn) -> None:
    """A plot that was shown and never linked is an `image_file` block before the text, and downloads."""
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
    """Long after the container's twenty idle minutes, and with no upstream at all, the file is served."""
    upstream.advance(24 * 3600)
    assert door(client.files.content(file_id)).read() == CSV
    upstream.close()
    assert door(client.files.content(file_id)).read() == CSV
    assert door(client.files.retrieve(file_id)).bytes == len(CSV)


def test_a_file_that_could_not_be_copied_is_tried_again(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that answers nonsense does not fail the run; while it lives, the download fetches the bytes."""
    upstream.script(TURN)
    content = upstream.answer

    def broken(request: Any) -> Any:
        answer = content(request)
        if request.path.endswith("/content"):
            return type(answer)(404, b"{}", {"content-type": "application/json"})
        return answer

    monkeypatch.setattr(upstream, "answer", broken)
    run = finish_run(door, client, assistant={"tools": CODE})
    assert run.status == "completed"
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    made = message.content[0].text.annotations[0].file_path.file_id
    described = door(client.files.retrieve(made))
    assert described.status == "error"
    assert described.status_details == "the container answered 404"
    with pytest.raises(openai.NotFoundError, match="the container answered 404"):
        door(client.files.content(made))
    monkeypatch.setattr(upstream, "answer", content)
    assert door(client.files.content(made)).read() == CSV
    assert door(client.files.retrieve(made)).status == "processed"


def test_a_file_whose_container_died_before_it_was_copied_says_so(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """Nobody looked at the run in time: the run is completed, the link is there, and the 404 says why."""
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
    assert "cntr_" not in str(dump(settings)["files"][0]["trouble"])


def test_state_is_there_after_a_restart(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """A new client over the same store knows the assistant, the thread, the run and the file."""
    upstream.script(TURN)
    run = finish_run(door, client, assistant={"tools": CODE})
    later = door.client(upstream, settings)
    assert door(later.beta.assistants.retrieve(run.assistant_id)).id == run.assistant_id
    assert door(later.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)) == run
    [answer, _] = door.all(later.beta.threads.messages.list(run.thread_id))
    made = answer.content[0].text.annotations[0].file_path.file_id
    assert door(later.files.content(made)).read() == CSV


ELSEWHERE = """
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


def test_state_is_there_in_another_process(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """Another process with the same store lists the messages, ends the run that nobody had looked at, and downloads."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    assistant = door(client.beta.assistants.create(model="gpt-4o", tools=CODE))
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "A table."}]))
    door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert settings.store is not None
    assert settings.files is not None
    arguments = [settings.store, settings.files, settings.namespace, upstream.base_url, KEY, thread.id]
    process = subprocess.run([sys.executable, "-c", ELSEWHERE, *arguments], capture_output=True, check=False)
    assert (process.returncode, process.stdout) == (0, CSV), process.stderr.decode()


def test_a_sync_client_downloads_inside_a_running_loop(upstream: StandIn, sqlite_settings: Settings) -> None:
    """In a notebook a loop is running already: run, download and stream work, and the loop's end closes nothing."""
    door = Door("sync")
    client = door.client(upstream, sqlite_settings)

    async def cell() -> tuple[bytes, tuple[Any, Any], bytes]:
        made = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": LONG}))
        whole = client.files.content(made).read()
        response = client.files.with_streaming_response.content(made).__enter__()
        pieces = response.iter_bytes()
        return whole, (response, pieces), next(pieces)

    whole, (response, pieces), first = asyncio.run(cell())
    assert whole == LONG
    assert len(first) < len(LONG)
    # The stream that was begun inside the loop goes on after the loop has ended.
    assert b"".join([first, *pieces]) == LONG
    response.close()
    door.close()
