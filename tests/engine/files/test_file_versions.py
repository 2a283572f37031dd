"""Of several versions of a file, and of files that share a name, each link and download has the right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.store import queries
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import (
    MINUTE,
    advance_clocks,
    container_contents,
    last_message,
    make_thread_and_assistant,
    polled_or_streamed,
    requested_containers,
    run_to_end,
)
from kit.doors import Door

LINK = "sandbox:/mnt/data/d.csv"
CALL = {"type": "code_interpreter_call", "code": "make()", "outputs": []}


def message(text: str, *citations: dict[str, Any]) -> dict[str, Any]:
    """Return a message as an output item."""
    part = {"type": "output_text", "text": text, "annotations": list(citations)}
    return {"type": "message", "role": "assistant", "content": [part]}


def read(door: Door, client: Any, file_id: str) -> bytes:
    """Download a generated file."""
    return door(client.files.content(file_id)).read()  # type: ignore[no-any-return]


def linked_contents(door: Door, client: Any, run: Any) -> dict[str, bytes]:
    """Return what the annotations of a run's last message link, by their text."""
    text = last_message(door, client, run).content[0].text
    return {note.text: read(door, client, note.file_path.file_id) for note in text.annotations}


def attached_contents(door: Door, client: Any, run: Any) -> list[bytes]:
    """Return what is attached to a run's last message."""
    return [read(door, client, attachment.file_id) for attachment in last_message(door, client, run).attachments]


def write_again(upstream: StandIn, content: bytes, *, seconds: int) -> None:
    """Overwrite the one file of the one container under its id, so many seconds later."""
    [container] = upstream.containers.values()
    [file] = container.files.values()
    file.content = content
    file.wire.update(bytes=len(content), created_at=file.wire["created_at"] + seconds)


@polled_or_streamed
@pytest.mark.parametrize("seconds", [0, 5], ids=["same_second", "later"])
def test_the_newest_version_of_a_path_has_the_link(
    door: Door, client: Any, upstream: StandIn, *, stream: bool, seconds: int
) -> None:
    """A link without a citation means the newest of two files of one path, and the older one is attached."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(Turn(output=[CALL, message("Made.")], files={"d.csv": b"old"}, polls=0))
    upstream.fault(Fault("GET /containers/*/files", status=404))
    run_to_end(door, client, *ids, stream=stream)
    [container] = upstream.containers
    upstream.advance(seconds)
    again = {**CALL, "container_id": container}
    upstream.script(Turn(output=[again, message(f"[d]({LINK})")], files={"d.csv": b"new"}, polls=0))
    run = run_to_end(door, client, *ids, stream=stream)
    assert linked_contents(door, client, run) == {LINK: b"new"}
    assert sorted(attached_contents(door, client, run)) == [b"new", b"old"]


@polled_or_streamed
@pytest.mark.parametrize(("content", "seconds"), [(b"2222", 0), (b"2", 5), (b"2222", 5)])
def test_a_file_that_was_overwritten_is_a_new_file(
    door: Door, client: Any, upstream: StandIn, content: bytes, seconds: int, *, stream: bool
) -> None:
    """A file that a later run overwrites under the same id has a new id and its new bytes; the old ones stay."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(Turn(output=[CALL, message(f"[d]({LINK})")], files={"d.csv": b"1"}, polls=0))
    first = run_to_end(door, client, *ids, stream=stream)
    write_again(upstream, content, seconds=seconds)
    [container] = upstream.containers
    again = {**CALL, "container_id": container}
    upstream.script(Turn(output=[again, message(f"Again [d]({LINK})")], polls=0))
    second = run_to_end(door, client, *ids, stream=stream)
    assert linked_contents(door, client, first) == {LINK: b"1"}
    assert linked_contents(door, client, second) == {LINK: content}
    upstream.script(Turn(output=[again, message(f"As before: [d]({LINK})")], polls=0))
    third = run_to_end(door, client, *ids, stream=stream)
    assert linked_contents(door, client, third) == {LINK: content}
    assert len(door.all(client.files.list(purpose="assistants_output"))) == 2


def test_a_file_that_was_overwritten_and_not_linked_is_attached(door: Door, client: Any, upstream: StandIn) -> None:
    """A file that a later run overwrites and does not mention is attached to that run's message."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(Turn(output=[CALL, message("Made.")], files={"d.csv": b"1"}, polls=0))
    run_to_end(door, client, *ids)
    write_again(upstream, b"22", seconds=0)
    [container] = upstream.containers
    upstream.script(*(Turn(output=[{**CALL, "container_id": container}, message("Done.")], polls=0) for _ in "23"))
    assert attached_contents(door, client, run_to_end(door, client, *ids)) == [b"22"]
    assert attached_contents(door, client, run_to_end(door, client, *ids)) == []


def test_an_earlier_version_is_not_replaced_by_a_later_one(
    door: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """A file whose copy is lost is copied again, but not if its container has another version by now."""
    client = door.client(upstream, sqlite_settings)
    upstream.script(Turn(output=[CALL, message(f"[d]({LINK})")], files={"d.csv": b"1"}, polls=0))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client))
    [note] = last_message(door, client, run).content[0].text.annotations

    def lose_copy() -> None:
        [copy] = [path for path in Path(str(sqlite_settings.files)).rglob(note.file_path.file_id) if path.is_file()]
        copy.unlink()

    lose_copy()
    assert read(door, client, note.file_path.file_id) == b"1"
    write_again(upstream, b"2", seconds=5)
    assert read(door, client, note.file_path.file_id) == b"1"
    lose_copy()
    for _ in range(2):
        with pytest.raises(openai.NotFoundError, match="no longer kept here"):
            read(door, client, note.file_path.file_id)


def test_a_file_that_an_older_version_stored_is_known_by_its_size(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stored before versions were recorded is new if its size changed, and is not attached again if not."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(Turn(output=[CALL, message("Made.")], files={"d.csv": b"1"}, polls=0))
    run_to_end(door, client, *ids)
    known = queries.generated_files

    def without_versions(*arguments: Any) -> Any:
        rows = known(*arguments)
        for row in rows.values():
            row["body"].pop("listed", None)
        return rows

    monkeypatch.setattr(queries, "generated_files", without_versions)
    [container] = upstream.containers
    upstream.script(*(Turn(output=[{**CALL, "container_id": container}, message("Done.")], polls=0) for _ in "23"))
    assert attached_contents(door, client, run_to_end(door, client, *ids)) == []
    write_again(upstream, b"22", seconds=0)
    assert attached_contents(door, client, run_to_end(door, client, *ids)) == [b"22"]


@polled_or_streamed
@pytest.mark.parametrize("is_listed", [True, False], ids=["listed", "unlisted"])
def test_files_of_one_name_in_two_folders_keep_their_paths(
    door: Door,
    client: Any,
    upstream: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_listed: bool,
    stream: bool,
) -> None:
    """Two cited files of one base name have their own paths and bytes, and the next container gets both."""
    ids = make_thread_and_assistant(door, client)
    links = {"sandbox:/mnt/data/a/d.csv": b"1", "sandbox:/mnt/data/b/d.csv": b"22"}
    text = " and ".join(f"[d]({link})" for link in links)
    upstream.script(Turn(text=text, files={"a/d.csv": b"1", "b/d.csv": b"22"}, polls=0))
    if not is_listed:
        upstream.fault(Fault("GET /containers/*/files", status=404))
    run = run_to_end(door, client, *ids, stream=stream)
    assert linked_contents(door, client, run) == links
    notes = last_message(door, client, run).content[0].text.annotations
    names = [door(client.files.retrieve(note.file_path.file_id)).filename for note in notes]
    assert names == ["/mnt/data/a/d.csv", "/mnt/data/b/d.csv"]
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    upstream.script(Turn(text="Done.", polls=0))
    run_to_end(door, client, *ids, stream=stream)
    restored = container_contents(upstream, requested_containers(upstream)[-1])
    assert restored == {"a_d.csv": b"1", "b_d.csv": b"22"}


def test_a_stream_links_the_version_that_its_message_had(door: Door, client: Any, upstream: StandIn) -> None:
    """A file that a response writes again after a streamed message is another file for the next message."""
    ids = make_thread_and_assistant(door, client)
    output = [CALL, message(f"First [d]({LINK})"), CALL, message(f"Then [d]({LINK})")]
    upstream.script(Turn(output=output, files={"d.csv": b"1"}, polls=0))
    answer = upstream.answer

    def answer_and_write_again(request: Any) -> Any:
        result = answer(request)
        if request.path.endswith("/content") and result.body == b"1":
            write_again(upstream, b"22", seconds=1)
        return result

    upstream.answer = answer_and_write_again  # type: ignore[method-assign]
    run = run_to_end(door, client, *ids, stream=True)
    messages = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id, order="asc"))
    notes = [note for served in messages for note in served.content[0].text.annotations]
    assert [read(door, client, note.file_path.file_id) for note in notes] == [b"1", b"22"]
