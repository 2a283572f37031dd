"""Marks of runs whose containers could not be listed, and the place of files that are found later."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.translate.unlisted_files import (
    ListFailure,
    attach_found_files,
    body_after_failure,
    body_without_mark,
    is_of_earlier_run,
    marked_body,
    marks_of_container,
    may_be_looked_at,
    run_of_file,
)

FAILURE = ListFailure("the upstream answered 429")
times = st.integers(0, 20)


def message(text: str) -> Any:
    """Return a message with this text and no annotations."""
    return {"content": [{"type": "text", "text": {"value": text, "annotations": []}}], "attachments": []}


@given(st.lists(times, min_size=1, max_size=5), times)
def test_a_file_belongs_to_the_last_run_that_had_begun(starts: list[int], created_at: int) -> None:
    """A file goes to the last run that had begun when it was created, or to the first run."""
    body: dict[str, Any] = {"type": "auto"}
    for number, since in enumerate(sorted(starts)):
        body = marked_body(body, f"run_{number}", FAILURE, since, 0)
    marks = marks_of_container(body)
    index = max((number for number, since in enumerate(sorted(starts)) if since <= created_at), default=0)
    assert run_of_file({"created_at": created_at}, marks) == f"run_{index}"


@given(times, times)
def test_a_listing_run_leaves_older_files_to_the_run_with_a_mark(since: int, created_at: int) -> None:
    """A run leaves a file from before its response to an earlier run, and never to itself."""
    file, marks = {"created_at": created_at}, marks_of_container(marked_body({}, "run_1", FAILURE, 0, 0))
    assert is_of_earlier_run(file, marks, "run_2", since) == (created_at < since)
    assert not is_of_earlier_run(file, marks, "run_1", since)
    assert not is_of_earlier_run(file, [], "run_2", since)


def test_a_file_without_a_time_belongs_to_the_run_that_lists_it() -> None:
    """A file whose time is not known, or a response without one, leaves the file to the run that lists it."""
    marks = marks_of_container(marked_body({}, "run_1", FAILURE, None, 0))
    assert not is_of_earlier_run({}, marks, "run_2", 5)
    assert not is_of_earlier_run({"created_at": 1}, marks, "run_2", None)
    assert run_of_file({}, marks) == "run_1"


@given(st.lists(st.sampled_from(["run_1", "run_2", "run_3"]), max_size=8))
def test_marks_keep_the_order_of_their_runs(run_ids: list[str]) -> None:
    """A run has one mark, marks keep the order in which runs got them, and without marks the body is as it was."""
    body: dict[str, Any] = {"type": "auto", "file_ids": ["file-1"]}
    for run_id in run_ids:
        body = marked_body(body, run_id, FAILURE, 1, 2)
    assert [mark["run_id"] for mark in marks_of_container(body)] == list(dict.fromkeys(run_ids))
    for run_id in run_ids:
        body = body_without_mark(body, run_id)
    assert body == {"type": "auto", "file_ids": ["file-1"]}


def test_a_mark_waits_longer_after_each_failure_and_ends_after_an_hour() -> None:
    """The first looks come at once, later ones after growing pauses, and none after an hour or a final failure."""
    body, now, looks = marked_body({}, "run_1", FAILURE, 0, 0), 0, []
    while now < 7200:
        if may_be_looked_at(body, now):
            looks.append(now)
            body = body_after_failure(body, FAILURE, now)
        now += 0 if may_be_looked_at(body, now) else 1
    pauses = [later - earlier for earlier, later in pairwise(looks)]
    assert pauses[:6] == [0, 0, 5, 15, 30, 30]
    assert pauses == sorted(pauses)
    assert looks[-1] < 3600
    gone = body_after_failure(marked_body({}, "run_1", FAILURE, 0, 0), ListFailure("it is gone", is_final=True), 0)
    assert not may_be_looked_at(gone, 1)


def test_a_found_file_goes_to_the_message_that_links_it() -> None:
    """A linked file gets an annotation for each link; a file without a link is attached to the last message."""
    link = "sandbox:/mnt/data/a.csv"
    messages = [message(f"[a]({link}) and [a]({link})"), message("Done.")]
    files = [({"path": "/mnt/data/a.csv"}, "file-a"), ({"path": "/mnt/data/b.csv"}, "file-b")]
    attach_found_files(messages, files)
    text = messages[0]["content"][0]["text"]
    assert [note["file_path"]["file_id"] for note in text["annotations"]] == ["file-a", "file-a"]
    assert all(text["value"][note["start_index"] : note["end_index"]] == link for note in text["annotations"])
    attached = [[attachment["file_id"] for attachment in message["attachments"]] for message in messages]
    assert attached == [["file-a"], ["file-b"]]


def test_found_files_of_a_run_without_a_message_have_no_place() -> None:
    """Without a message there is nowhere to attach a file."""
    messages: list[Any] = []
    attach_found_files(messages, [({"path": "/mnt/data/b.csv"}, "file-b")])
    assert messages == []


def test_the_newest_version_that_is_found_late_has_the_link() -> None:
    """Of two files of one path that are found late, the newer has the link, and both are attached."""
    text: Any = {"value": "[d](sandbox:/mnt/data/d.csv)", "annotations": []}
    message: Any = {"content": [{"type": "text", "text": text}], "attachments": []}
    files = [({"path": "/mnt/data/d.csv", "created_at": time}, id_) for time, id_ in ((2, "file-new"), (1, "file-old"))]
    attach_found_files([message], files)
    assert [annotation["file_path"]["file_id"] for annotation in text["annotations"]] == ["file-new"]
    assert [attachment["file_id"] for attachment in message["attachments"]] == ["file-old", "file-new"]
