"""An image that can no longer be read costs the thread one run with a second request, and no run its answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.container_runs import polled_or_streamed, run_to_end
from kit.doors import Door
from kit.files import PNG, refuse_missing_files
from kit.legacy_code import FUNCTION, finish_run, function_call_turn, run_again, submit_outputs, upstream_calls
from kit.streams import read_rest
from kit.upstream_requests import request_bodies

POST = "POST /responses"
LINKS = [f"https://images.test/{number}.png" for number in range(3)]
GONE = {"type": "input_text", "text": "[image no longer available]"}


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite, because the database plays no part."""
    return sqlite_settings


@pytest.fixture
def inline_client(door: Door, upstream: StandIn, settings: Settings) -> Any:
    """A client whose requests are refused at once, in words that name the image."""
    return door.client(upstream, replace(settings, mode="inline"))


def add_image(door: Door, client: Any, run: Any, **image: Any) -> None:
    """Add a message with an image to the thread of a run."""
    [kind] = image
    content = [{"type": kind, kind: image[kind]}]
    door(client.beta.threads.messages.create(run.thread_id, role="user", content=content))


def make_album(door: Door, client: Any, *links: str) -> Any:
    """Return a run on a thread that has these images, each seen by the model."""
    run = finish_run(door, client)
    for link in links:
        add_image(door, client, run, image_url={"url": link})
        assert run_again(door, client, run).status == "completed"
    return run


def last_parts(upstream: StandIn) -> list[Any]:
    """Return the parts of the user's messages in the last request, without the plain texts of the tests."""
    [items] = [call.json["input"] for call in upstream.requests if call.path == "/responses"][-1:]
    parts = [part for item in items if item.get("role") == "user" for part in item["content"]]
    return [part for part in parts if part["type"] == "input_image" or part == GONE]


def count_requests(upstream: StandIn) -> int:
    """Return the number of requests for a response since the last call."""
    count = len(upstream_calls(upstream, POST))
    upstream.requests.clear()
    return count


@pytest.mark.refusal("image_unavailable")
def test_a_dead_link_of_an_earlier_message_does_not_end_the_thread(
    door: Door, inline_client: Any, upstream: StandIn
) -> None:
    """The dead image is replaced by a text, the others are still sent, and later runs pay no second request."""
    client = inline_client
    run = make_album(door, client, *LINKS)
    upstream.configure(dead_links=[LINKS[1]])
    count_requests(upstream)
    assert run_again(door, client, run, "And now?").status == "completed"
    assert [part.get("image_url") for part in last_parts(upstream)] == [LINKS[0], None, LINKS[2]]
    assert count_requests(upstream) <= 3  # the download may fail once for no reason, so it is tried again
    assert run_again(door, client, run, "And now?").status == "completed"
    assert [part.get("image_url") for part in last_parts(upstream)] == [LINKS[0], None, LINKS[2]]
    assert count_requests(upstream) == 1
    shown = [part for message in door.all(client.beta.threads.messages.list(run.thread_id)) for part in message.content]
    assert sum(part.type == "image_url" for part in shown) == 3


@pytest.mark.refusal("image_unavailable")
def test_several_dead_links_are_replaced_at_once(door: Door, client: Any, upstream: StandIn) -> None:
    """If a second image is dead too, all images before the last message are replaced."""
    run = make_album(door, client, *LINKS)
    upstream.configure(dead_links=LINKS[:2])
    assert run_again(door, client, run, "And now?").status == "completed"
    assert last_parts(upstream) == [GONE] * 3
    count_requests(upstream)
    assert run_again(door, client, run, "And now?").status == "completed"
    assert count_requests(upstream) == 1


@pytest.mark.refusal("image_unavailable")
def test_a_dead_link_does_not_end_a_stream(door: Door, client: Any, upstream: StandIn) -> None:
    """A streamed run replaces the dead image of an earlier message too."""
    run = make_album(door, client, LINKS[0])
    upstream.configure(dead_links=LINKS[:1])
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="And now?"))
    stream = door(client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id, stream=True))
    assert "thread.run.completed" in [event.event for event in read_rest(door, stream)]
    count_requests(upstream)
    assert run_again(door, client, run, "And now?").status == "completed"
    assert count_requests(upstream) == 1


@pytest.mark.refusal("image_unavailable")
def test_a_dead_link_of_the_newest_message_is_told(door: Door, inline_client: Any, upstream: StandIn) -> None:
    """A link that the caller has just sent is the caller's to correct; the thread can be used afterwards."""
    client = inline_client
    run = make_album(door, client)
    upstream.configure(dead_links=LINKS[:1])
    add_image(door, client, run, image_url={"url": LINKS[0]})
    with pytest.raises(openai.BadRequestError, match=LINKS[0]):
        run_again(door, client, run)
    assert run_again(door, client, run, "Without it, then.").status == "completed"
    assert last_parts(upstream) == [GONE]


@pytest.mark.refusal("image_unavailable")
def test_a_dead_link_of_the_newest_message_fails_a_background_run(door: Door, client: Any, upstream: StandIn) -> None:
    """The run fails with the upstream's message, after one repetition, and the thread can be used afterwards."""
    run = make_album(door, client)
    upstream.configure(dead_links=LINKS[:1])
    add_image(door, client, run, image_url={"url": LINKS[0]})
    count_requests(upstream)
    failed = run_again(door, client, run)
    assert (failed.status, failed.last_error.message) == ("failed", "Failed to download image.")
    assert count_requests(upstream) == 2
    assert run_again(door, client, run, "Without it, then.").status == "completed"
    assert last_parts(upstream) == [GONE]


def failed_turn(code: str, message: str) -> Turn:
    """Return a response that is accepted and then fails."""
    return Turn(status="failed", error={"code": code, "message": message}, polls=0)


FAILURES = [
    ("failed_to_download_image", "Failed to download image.", [None] * 3),
    ("failed_to_download_image", f"Failed to download image from {LINKS[1]}.", [LINKS[0], None, LINKS[2]]),
    ("invalid_image_url", f"Timeout while downloading {LINKS[1]}.", [LINKS[0], None, LINKS[2]]),
    ("invalid_image_url", "The image URL is invalid.", [None] * 3),
]


@pytest.mark.refusal("image_unavailable")
@polled_or_streamed
@pytest.mark.parametrize(("code", "message", "expected"), FAILURES)
def test_an_image_that_fails_a_response_is_replaced(
    door: Door, client: Any, upstream: StandIn, code: str, message: str, expected: list[Any], *, stream: bool
) -> None:
    """The response is repeated, then the image that its error names is left out, or all; later runs pay nothing."""
    run = make_album(door, client, *LINKS)
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="And now?"))
    upstream.script(failed_turn(code, message), failed_turn(code, message))
    count_requests(upstream)
    for requests in (3, 1):
        assert run_to_end(door, client, run.thread_id, run.assistant_id, stream=stream).status == "completed"
        assert [part.get("image_url") for part in last_parts(upstream)] == expected
        assert count_requests(upstream) == requests


@pytest.mark.refusal("image_unavailable")
@polled_or_streamed
def test_a_download_that_fails_once_costs_no_image(door: Door, client: Any, upstream: StandIn, *, stream: bool) -> None:
    """The first failure may pass: the same input is sent again, and then nothing is left out."""
    run = make_album(door, client, *LINKS)
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="And now?"))
    upstream.script(failed_turn("failed_to_download_image", "Failed to download image."))
    assert run_to_end(door, client, run.thread_id, run.assistant_id, stream=stream).status == "completed"
    assert [part.get("image_url") for part in last_parts(upstream)] == LINKS


@pytest.mark.refusal("image_unavailable")
@polled_or_streamed
def test_a_second_dead_link_that_fails_a_response_costs_all_images(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """All images before the last message are left out then, and later runs know of each of them."""
    run = make_album(door, client, *LINKS)
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="And now?"))
    links = [LINKS[1], LINKS[1], LINKS[2]]
    upstream.script(*(failed_turn("failed_to_download_image", f"Failed to download {link}.") for link in links))
    count_requests(upstream)
    for requests in (4, 1):
        assert run_to_end(door, client, run.thread_id, run.assistant_id, stream=stream).status == "completed"
        assert last_parts(upstream) == [GONE] * 3
        assert count_requests(upstream) == requests


@pytest.mark.refusal("image_file_gone")
@polled_or_streamed
def test_a_deleted_image_file_that_fails_a_response_is_replaced(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """The image is left out in the second request, in later rounds too, and later runs pay nothing."""
    file_id = upstream.put_file("a.png", PNG, "vision")
    run = finish_run(door, client)
    add_image(door, client, run, image_file={"file_id": file_id})
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="And now?"))
    upstream.script(failed_turn("image_file_not_found", "The image file was not found."))
    count_requests(upstream)
    for requests in (2, 1):
        assert run_to_end(door, client, run.thread_id, run.assistant_id, stream=stream).status == "completed"
        assert last_parts(upstream) == [GONE]
        assert count_requests(upstream) == requests


@pytest.mark.refusal("image_unavailable")
def test_a_dead_link_that_a_later_round_meets_is_replaced(door: Door, client: Any, upstream: StandIn) -> None:
    """The run's own items are sent with a text in place of the image."""
    run = make_album(door, client, LINKS[0])
    tools = [FUNCTION]
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="And now?"))
    upstream.script(function_call_turn("call_1"))
    waiting = run_again(door, client, run, tools=tools)
    upstream.script(*[failed_turn("failed_to_download_image", "Failed to download image.")] * 2)
    submit_outputs(door, client, waiting)
    assert door(client.beta.threads.runs.poll(waiting.id, thread_id=run.thread_id)).status == "completed"
    assert last_parts(upstream) == [GONE]
    assert request_bodies(upstream)[-1]["input"][-1]["type"] == "function_call_output"


@pytest.mark.refusal("image_file_gone")
def test_a_deleted_image_file_does_not_end_the_thread(door: Door, client: Any, upstream: StandIn) -> None:
    """An image whose file was deleted is replaced in earlier messages, and remembered."""
    file_id = upstream.put_file("a.png", PNG, "vision")
    run = finish_run(door, client)
    add_image(door, client, run, image_file={"file_id": file_id})
    assert run_again(door, client, run).status == "completed"
    del upstream.files[file_id]
    assert run_again(door, client, run, "And now?").status == "completed"
    assert last_parts(upstream) == [GONE]
    count_requests(upstream)
    assert run_again(door, client, run, "And now?").status == "completed"
    assert count_requests(upstream) == 1


def test_a_thread_without_dead_images_costs_one_request_a_run(door: Door, client: Any, upstream: StandIn) -> None:
    """Images that can be read cost no further request."""
    make_album(door, client, *LINKS)
    assert count_requests(upstream) == 4


def make_file_album(door: Door, client: Any, upstream: StandIn) -> tuple[Any, list[str]]:
    """Return a run on a thread that has three uploaded images, each seen by the model, and the ids of their files."""
    ids = [upstream.put_file(f"{number}.png", PNG, "vision") for number in range(3)]
    run = finish_run(door, client)
    for file_id in ids:
        add_image(door, client, run, image_file={"file_id": file_id})
        assert run_again(door, client, run).status == "completed"
    return run, ids


@pytest.mark.parametrize("name_image", [True, False], ids=["named", "unnamed"])
def test_several_deleted_image_files_cost_no_other_image(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, *, name_image: bool
) -> None:
    """Each deleted image is replaced, in whatever words the upstream refuses it, and the others are still sent."""
    run, (first, kept, last) = make_file_album(door, client, upstream)
    del upstream.files[first], upstream.files[last]
    if not name_image:
        refuse_missing_files(upstream, monkeypatch, 400, "Could not read the file.", "input[1].content[0].file_id")
    for _ in range(2):
        assert run_again(door, client, run, "And now?").status == "completed"
        assert [part.get("file_id") for part in last_parts(upstream)] == [None, kept, None]
    count_requests(upstream)
    assert run_again(door, client, run, "And now?").status == "completed"
    assert count_requests(upstream) == 1


@polled_or_streamed
def test_an_image_file_that_its_caller_deletes_is_known_at_once(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """After `files.delete` no request names the image, so that none is refused."""
    run, (gone, *kept) = make_file_album(door, client, upstream)
    door(client.files.delete(gone))
    count_requests(upstream)
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="And now?"))
    assert run_to_end(door, client, run.thread_id, run.assistant_id, stream=stream).status == "completed"
    assert [part.get("file_id") for part in last_parts(upstream)] == [None, *kept]
    assert count_requests(upstream) == 1


@pytest.mark.parametrize("through_client", [True, False])
def test_an_answered_image_that_was_deleted_does_not_end_the_thread(
    door: Door, client: Any, upstream: StandIn, *, through_client: bool
) -> None:
    """A run without a new message does without the deleted image of the last one, which an earlier run has answered."""
    file_id = upstream.put_file("a.png", PNG, "vision")
    run = finish_run(door, client)
    add_image(door, client, run, image_file={"file_id": file_id})
    assert run_again(door, client, run).status == "completed"
    if through_client:
        door(client.files.delete(file_id))
    else:
        del upstream.files[file_id]
    assert run_again(door, client, run).status == "completed"
    assert last_parts(upstream) == [GONE]


def test_a_deleted_image_that_nobody_has_answered_is_told(door: Door, inline_client: Any, upstream: StandIn) -> None:
    """An image that was deleted before the model saw it is the caller's to correct."""
    file_id = upstream.put_file("a.png", PNG, "vision")
    run = finish_run(door, inline_client)
    add_image(door, inline_client, run, image_file={"file_id": file_id})
    door(inline_client.files.delete(file_id))
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        run_again(door, inline_client, run)
