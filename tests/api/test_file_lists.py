"""`files.list` lists generated files and the upstream's in one list, by time, in pages of the requested size."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import advance_library_clock, last_message, make_thread_and_assistant, run_to_end
from kit.doors import KEY, Door

NAMES = [f"{number}.csv" for number in range(5)]
PURPOSES = ["assistants", "assistants_output", "batch", "assistants_output"]
# When the upstream's files are made, in seconds after the first three generated ones; the other two follow at 100.
TIMES = [-50, 0, 50, 150]


def make_files(door: Door, client: Any, upstream: StandIn, names: list[str]) -> list[str]:
    """Generate files in one run and return their ids."""
    upstream.script(Turn(code="1", text="Made.", files={name: name.encode() for name in names}, polls=0))
    message = last_message(door, client, run_to_end(door, client, *make_thread_and_assistant(door, client)))
    return [attachment.file_id for attachment in message.attachments]


@pytest.fixture
def generated(door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Generate five files, oldest first, two of them later; the upstream's request log starts empty afterwards."""
    ids = make_files(door, client, upstream, NAMES[:3])
    advance_library_clock(monkeypatch, 100)
    ids += make_files(door, client, upstream, NAMES[3:])
    upstream.requests.clear()
    return ids


@pytest.fixture
def uploaded(door: Door, client: Any, upstream: StandIn, generated: list[str]) -> list[str]:
    """Put four files into the upstream, oldest first, made before, with and after the generated ones."""
    began = door(client.files.retrieve(generated[0])).created_at
    ids = [upstream.put_file(f"{number}.txt", b"x", purpose) for number, purpose in enumerate(PURPOSES)]
    for file_id, seconds in zip(ids, TIMES, strict=True):
        upstream.files[file_id].wire["created_at"] = began + seconds
    return ids


@pytest.fixture
def all_files(generated: list[str], uploaded: list[str]) -> list[str]:
    """Return all files, oldest first."""
    return [*uploaded[:2], *generated[:3], uploaded[2], *generated[3:], uploaded[3]]


def page(door: Door, client: Any, **query: Any) -> Any:
    """Return one page as served."""
    return door(client.get("/files", cast_to=object, options={"params": query}))


def ids_of(served: Any) -> list[str]:
    """Return the ids in a page."""
    return [entry["id"] for entry in served["data"]]


def read_pages(door: Door, client: Any, **query: Any) -> list[list[str]]:
    """Follow the cursors and return the ids of each page."""
    pages = [page(door, client, **query)]
    while pages[-1]["has_more"]:
        pages.append(page(door, client, **{**query, "after": pages[-1]["last_id"]}))
    return [ids_of(served) for served in pages]


def test_one_page_has_every_file_by_time(door: Door, client: Any, upstream: StandIn, all_files: list[str]) -> None:
    """A page has the files of both, newest first, and nothing follows; it takes one request."""
    served = page(door, client)
    assert ids_of(served) == all_files[::-1]
    assert (served["first_id"], served["last_id"], served["has_more"]) == (all_files[-1], all_files[0], False)
    assert [(request.method, request.path, request.query) for request in upstream.requests] == [("GET", "/files", ())]
    assert [file.id for file in door(client.files.list()).data] == all_files[::-1]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", range(1, 11))
def test_pages_have_the_requested_size_and_order(
    door: Door, client: Any, all_files: list[str], order: str, limit: int
) -> None:
    """`limit` and `order` hold for the merged list: all pages but the last are full, and no file is left out."""
    ordered = all_files if order == "asc" else all_files[::-1]
    pages = [ordered[start : start + limit] for start in range(0, len(ordered), limit)]
    assert read_pages(door, client, limit=limit, order=order) == pages


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_pages_of_an_upstream_with_smaller_ones_end_with_its_last_file(
    door: Door,
    client: Any,
    upstream: StandIn,
    all_files: list[str],
    monkeypatch: pytest.MonkeyPatch,
    order: str,
    limit: int,
) -> None:
    """If the upstream gives fewer files than it was asked for, a page ends there, and all files are listed in order."""
    answer_normally = upstream.answer

    def answer_with_small_pages(request: Any) -> Any:
        others = tuple(item for item in request.query if item[0] != "limit")
        is_list = (request.method, request.path) == ("GET", "/files")
        return answer_normally(replace(request, query=(*others, ("limit", str(limit)))) if is_list else request)

    monkeypatch.setattr(upstream, "answer", answer_with_small_pages)
    assert list(chain(*read_pages(door, client, order=order))) == (all_files if order == "asc" else all_files[::-1])


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 3, 20])
def test_a_server_that_ignores_cursors_and_limits_does_not_repeat_files(
    door: Door,
    client: Any,
    upstream: StandIn,
    all_files: list[str],
    monkeypatch: pytest.MonkeyPatch,
    order: str,
    limit: int,
) -> None:
    """Pages are as requested even if the upstream always lists all of its files."""
    answer_normally = upstream.answer

    def answer_with_all(request: Any) -> Any:
        is_list = (request.method, request.path) == ("GET", "/files")
        kept = tuple(item for item in request.query if item[0] not in ("limit", "after"))
        return answer_normally(replace(request, query=kept) if is_list else request)

    monkeypatch.setattr(upstream, "answer", answer_with_all)
    ordered = all_files if order == "asc" else all_files[::-1]
    assert list(chain(*read_pages(door, client, limit=limit, order=order))) == ordered


def test_a_generated_file_that_the_upstream_lists_too_is_listed_once(
    door: Door, client: Any, upstream: StandIn, all_files: list[str], generated: list[str]
) -> None:
    """A replayed recording of the old service lists its generated files, which the library has under the same ids."""
    upstream.files[all_files[0]].wire["id"] = generated[0]
    assert sorted(ids_of(page(door, client))) == sorted(all_files[1:])


def test_a_listed_file_is_the_file_that_is_retrieved(door: Door, client: Any, all_files: list[str]) -> None:
    """A listed file equals the retrieved one, and the list has the recorded envelope."""
    served = page(door, client)
    assert list(served) == ["object", "data", "first_id", "last_id", "has_more"]
    assert served["data"] == [door(client.get(f"/files/{id_}", cast_to=object)) for id_ in reversed(all_files)]


def test_only_the_purpose_assistants_output_lists_generated_files(
    door: Door, client: Any, upstream: StandIn, generated: list[str], uploaded: list[str]
) -> None:
    """`purpose=assistants_output` lists generated files too; any other purpose lists the upstream's only."""
    outputs = [uploaded[3], *generated[:2:-1], *generated[2::-1], uploaded[1]]
    assert read_pages(door, client, purpose="assistants_output") == [outputs]
    assert upstream.requests[-1].query == (("purpose", "assistants_output"),)
    assert read_pages(door, client, purpose="assistants_output", limit=2) == [
        outputs[:2],
        outputs[2:4],
        outputs[4:6],
        outputs[6:],
    ]
    assert read_pages(door, client, purpose="batch") == [[uploaded[2]]]
    assert upstream.requests[-1].query == (("purpose", "batch"),)


def test_the_sdks_own_pages_show_all(door: Door, client: Any, all_files: list[str]) -> None:
    """`for file in client.files.list()` yields all files with every version of the SDK, in pages too."""
    assert [file.id for file in door.all(client.files.list())] == all_files[::-1]
    if "after" in openai.resources.Files.list.__annotations__:  # openai 1.40 reads only one page
        assert [file.id for file in door.all(client.files.list(limit=2))] == all_files[::-1]


def test_a_page_without_generated_files_is_passed_on_byte_for_byte(
    door: Door, client: Any, upstream: StandIn, all_files: list[str]
) -> None:
    """A page that has only the upstream's files reaches the caller byte for byte, and so does any other purpose."""
    plain = door.raw_client(upstream)
    for query in ({"after": all_files[1]}, {"limit": 1}, {"purpose": "batch"}):
        through = door(client.files.with_raw_response.list(extra_query=query))
        direct = door(plain.files.with_raw_response.list(extra_query=query))
        assert through.content == direct.content
        assert through.headers["content-type"] == direct.headers["content-type"]


def test_a_deleted_file_is_not_listed_and_still_works_as_a_cursor(
    door: Door, client: Any, generated: list[str], all_files: list[str]
) -> None:
    """A deleted file is not listed, but its id still works as a cursor."""
    assert ids_of(page(door, client, limit=3))[2] == generated[3]
    for id_ in generated[3:]:
        door(client.files.delete(id_))
    assert read_pages(door, client, limit=4, after=generated[3]) == [all_files[5:1:-1], all_files[1::-1]]
    kept = [id_ for id_ in all_files if id_ not in generated[3:]]
    assert read_pages(door, client) == [kept[::-1]]
    for id_ in generated[:3]:
        door(client.files.delete(id_))
    assert ids_of(page(door, client, after=generated[1])) == all_files[1::-1]


@pytest.mark.parametrize("limit", [2, 4])
def test_every_file_can_be_deleted_page_by_page(
    door: Door, client: Any, upstream: StandIn, all_files: list[str], limit: int
) -> None:
    """A program that deletes all files of each page and goes on after the last of them deletes every file once."""
    deleted, query = [], {"limit": limit}
    while True:
        served = page(door, client, **query)
        for id_ in ids_of(served):
            assert door(client.files.delete(id_)).deleted
            deleted.append(id_)
        if not served["has_more"]:
            break
        query = {"limit": limit, "after": served["last_id"]}
    assert deleted == all_files[::-1]
    assert not upstream.files


def test_an_unknown_cursor_goes_to_the_upstream(
    door: Door, client: Any, upstream: StandIn, generated: list[str]
) -> None:
    """A cursor that is no known file is sent to the upstream unchanged, even one shaped like a generated id."""
    for cursor in ("file-ACnobody", "file-nobody"):
        page(door, client, after=cursor)
        assert upstream.requests[-1].query == (("after", cursor),)
    assert len(generated) == 5


def test_another_namespace_lists_the_upstreams_files_only(
    door: Door, client: Any, upstream: StandIn, settings: Settings, generated: list[str], uploaded: list[str]
) -> None:
    """Generated files are listed in their own namespace only."""
    other = door.client(upstream, replace(settings, namespace=f"{settings.namespace}-other"))
    assert read_pages(door, other) == [uploaded[::-1]]
    assert len(ids_of(page(door, client))) == len(generated) + len(uploaded)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": "many"}, "Invalid type for 'limit': expected an integer, but got a string instead."),
        ({"limit": 10_001}, "Invalid 'limit'"),
        ({"limit": -1}, "Invalid 'limit'"),
        ({"order": "sideways"}, "Invalid value: 'sideways'"),
    ],
)
def test_an_invalid_page_is_refused(
    door: Door, client: Any, generated: list[str], query: dict[str, Any], message: str
) -> None:
    """An invalid limit or order is refused with the usual texts; the largest limit is 10,000."""
    with pytest.raises(openai.BadRequestError, match=message):
        page(door, client, **query)
    assert len(ids_of(page(door, client, limit=10_000))) == len(generated)


def test_an_error_of_the_upstreams_page_reaches_the_caller(
    door: Door, client: Any, upstream: StandIn, all_files: list[str]
) -> None:
    """An error of the upstream reaches the caller, whether there is a cursor or not: a list never has only a part."""
    for query in ({}, {"after": all_files[3]}, {"after": all_files[0]}):
        upstream.fault(Fault("GET /files", status=401, body={"error": {"message": "No."}}))
        with pytest.raises(openai.AuthenticationError, match=r"No\."):
            page(door, client, **query)


@pytest.mark.parametrize("store", [None, "missing.db", "sqlite://"])
def test_a_list_creates_no_store(door: Door, upstream: StandIn, tmp_path: Path, store: str | None) -> None:
    """A list request of a program without a store goes to the upstream unchanged and creates no store."""
    uploaded = [upstream.put_file(f"{number}.txt", b"x", "assistants") for number in range(3)]
    location = store if store is None or "://" in store else str(tmp_path / store)
    client = door.client(upstream, Settings(store=location))
    assert ids_of(page(door, client)) == uploaded[::-1]
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_store_in_memory_are_listed(door: Door, upstream: StandIn) -> None:
    """Generated files of an in-memory store are listed once the process has used the store."""
    client = door.client(upstream, Settings(store="sqlite://", poll_after_ms=1))
    assert page(door, client)["data"] == []
    upstream.script(Turn(text="[a](sandbox:/mnt/data/a.csv)", files={"a.csv": b"1"}, polls=0))
    message = last_message(door, client, run_to_end(door, client, *make_thread_and_assistant(door, client)))
    assert ids_of(page(door, client)) == [message.attachments[0].file_id]


PROGRAM = """
import sys
import openai
import assistants_compat
client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2])
assistants_compat.wrap(client, assistants_compat.Settings(store=sys.argv[3]))
client.files.list()
print("sqlalchemy" in sys.modules)
"""


def test_a_list_without_a_store_loads_no_database(upstream: StandIn, tmp_path: Path) -> None:
    """`files.list` does not import SQLAlchemy in a program that has no store."""
    arguments = [upstream.base_url, KEY, str(tmp_path / "none.db")]
    process = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, check=False)
    assert (process.returncode, process.stdout.strip()) == (0, b"False"), process.stderr.decode()


def test_uploads_and_container_lists_go_to_the_upstream(
    door: Door, client: Any, upstream: StandIn, generated: list[str]
) -> None:
    """Uploads and lists of a container's files go to the upstream unchanged."""
    door(client.files.create(file=("a.txt", b"x"), purpose="assistants"))
    container, _ = upstream.containers
    assert len(ids_of(door(client.get(f"/containers/{container}/files", cast_to=object)))) == len(generated[:3])
    assert [(request.method, request.path) for request in upstream.requests] == [
        ("POST", "/files"),
        ("GET", f"/containers/{container}/files"),
    ]


def test_azure_clients_list_generated_files_too(
    door: Door, upstream: StandIn, settings: Settings, all_files: list[str]
) -> None:
    """An Azure client lists the files of both too, and reads the upstream's from the v1 route."""
    azure = door.client(upstream, settings, azure=True)
    assert list(chain(*read_pages(door, azure, limit=4))) == all_files[::-1]
    paths = {request.full_path.partition("?")[0] for request in upstream.requests}
    assert all(path.startswith("/openai/v1/files") for path in paths)
