"""`files.list` lists the generated files first, then the upstream's pages unchanged."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.doors import sdk_internals
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import last_message, make_thread_and_assistant, run_to_end
from kit.doors import KEY, Door

PATHS = [f"/mnt/data/{number}.csv" for number in range(5)]


@pytest.fixture
def generated(door: Door, client: Any, upstream: StandIn) -> list[str]:
    """Make five generated files, oldest first; the upstream's request log starts empty afterwards."""
    names = [path.rpartition("/")[2] for path in PATHS]
    upstream.script(Turn(code="1", text="Made.", files={name: name.encode() for name in names}, polls=0))
    message = last_message(door, client, run_to_end(door, client, *make_thread_and_assistant(door, client)))
    ids = [attachment.file_id for attachment in message.attachments]
    upstream.requests.clear()
    return ids


@pytest.fixture(autouse=True)
def _paginating_sdk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assume an SDK that reads all pages, in every test but one and whichever SDK is installed."""
    if request.node.originalname != test_the_sdks_own_pages_show_all.__name__:
        monkeypatch.setattr(sdk_internals, "paginates_file_lists", lambda: True)


@pytest.fixture
def uploaded(upstream: StandIn) -> list[str]:
    """Put four files into the upstream, oldest first."""
    purposes = ["assistants", "assistants_output", "batch", "assistants_output"]
    return [upstream.put_file(f"{number}.txt", b"x", purpose) for number, purpose in enumerate(purposes)]


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


def test_generated_files_come_before_the_upstreams(
    door: Door, client: Any, upstream: StandIn, generated: list[str], uploaded: list[str]
) -> None:
    """The generated files come on a page of their own before the upstream's page, which takes one request."""
    assert read_pages(door, client) == [generated[::-1], uploaded[::-1]]
    assert [(request.method, request.path, request.query) for request in upstream.requests] == [("GET", "/files", ())]


def test_pages_have_the_requested_size_and_order(
    door: Door, client: Any, generated: list[str], uploaded: list[str]
) -> None:
    """`limit` and `order` hold for the generated files and for the upstream's pages, which keep their own cursors."""
    pages = read_pages(door, client, limit=3, order="asc")
    assert pages == [generated[:3], generated[3:], uploaded[:3], uploaded[3:]]
    pages = read_pages(door, client, limit=2)
    assert pages == [generated[:2:-1], generated[2:0:-1], generated[:1], uploaded[:1:-1], uploaded[1::-1]]


def test_a_listed_file_is_the_file_that_is_retrieved(door: Door, client: Any, generated: list[str]) -> None:
    """A listed file equals the retrieved one, and the list has the recorded envelope."""
    served = page(door, client)
    assert list(served) == ["object", "data", "first_id", "last_id", "has_more"]
    assert served["data"][0] == door(client.get(f"/files/{generated[-1]}", cast_to=object))
    assert (served["first_id"], served["last_id"], served["has_more"]) == (generated[-1], generated[0], True)
    assert [file["filename"] for file in served["data"]] == PATHS[::-1]


def test_only_the_purpose_assistants_output_lists_generated_files(
    door: Door, client: Any, upstream: StandIn, generated: list[str], uploaded: list[str]
) -> None:
    """`purpose=assistants_output` lists generated files too; any other purpose goes to the upstream unchanged."""
    assert read_pages(door, client, purpose="assistants_output") == [generated[::-1], [uploaded[3], uploaded[1]]]
    assert upstream.requests[-1].query == (("purpose", "assistants_output"),)
    assert read_pages(door, client, purpose="batch") == [[uploaded[2]]]
    assert upstream.requests[-1].query == (("purpose", "batch"),)


def test_the_sdks_own_pages_show_all(door: Door, client: Any, generated: list[str], uploaded: list[str]) -> None:
    """`for file in client.files.list()` yields all files with every version of the SDK, filtered by purpose too."""
    assert [file.id for file in door.all(client.files.list())] == [*generated[::-1], *uploaded[::-1]]
    outputs = door.all(client.files.list(purpose="assistants_output"))
    assert [file.id for file in outputs] == [*generated[::-1], uploaded[3], uploaded[1]]


def test_an_sdk_that_reads_one_page_gets_every_file_in_it(
    door: Door,
    client: Any,
    upstream: StandIn,
    generated: list[str],
    uploaded: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An SDK that reads only the first page (openai 1.40) gets every file in it, or the upstream's error."""
    monkeypatch.setattr(sdk_internals, "paginates_file_lists", lambda: False)
    served = page(door, client, purpose="assistants_output")
    assert ids_of(served) == [*generated[::-1], uploaded[3], uploaded[1]]
    assert (served["first_id"], served["last_id"], served["has_more"]) == (generated[-1], uploaded[1], False)
    upstream.fault(Fault("GET /files", status=401, body={"error": {"message": "No."}}))
    with pytest.raises(openai.AuthenticationError, match=r"No\."):
        page(door, client)


def test_the_upstreams_pages_are_passed_on_byte_for_byte(
    door: Door, client: Any, upstream: StandIn, generated: list[str], uploaded: list[str]
) -> None:
    """The upstream's pages reach the caller byte for byte, the first one and one after a cursor."""
    plain = door.raw_client(upstream)
    for query, plain_query in (({"after": generated[0]}, {}), ({"after": uploaded[2]}, {"after": uploaded[2]})):
        through = door(client.files.with_raw_response.list(extra_query=query))
        direct = door(plain.files.with_raw_response.list(extra_query=plain_query))
        assert through.content == direct.content
        assert through.headers["content-type"] == direct.headers["content-type"]


def test_a_deleted_file_is_not_listed_and_still_works_as_a_cursor(
    door: Door, client: Any, generated: list[str], uploaded: list[str]
) -> None:
    """A deleted file is not listed, but its id still works as a cursor."""
    first = page(door, client, limit=2)
    for id_ in ids_of(first):
        door(client.files.delete(id_))
    assert read_pages(door, client, limit=2, after=first["last_id"])[0] == generated[2:0:-1]
    assert read_pages(door, client)[0] == generated[2::-1]
    for id_ in generated[:3]:
        door(client.files.delete(id_))
    assert read_pages(door, client) == [uploaded[::-1]]
    assert ids_of(page(door, client, after=generated[1])) == uploaded[::-1]


def test_an_unknown_cursor_goes_to_the_upstream(
    door: Door, client: Any, upstream: StandIn, generated: list[str]
) -> None:
    """A cursor that is no known file is sent to the upstream unchanged, even one shaped like a generated id."""
    for cursor in ("file-ACnobody", "file-nobody"):
        page(door, client, after=cursor)
        assert upstream.requests[-1].query == (("after", cursor),)
    assert len(generated) == 5


def test_another_namespace_lists_the_upstreams_files_only(
    door: Door, upstream: StandIn, settings: Settings, generated: list[str], uploaded: list[str]
) -> None:
    """Generated files are listed in their own namespace only."""
    other = door.client(upstream, replace(settings, namespace=f"{settings.namespace}-other"))
    assert read_pages(door, other) == [uploaded[::-1]]
    assert len(generated) == 5


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
    door: Door, client: Any, upstream: StandIn, generated: list[str]
) -> None:
    """An error of the upstream reaches the caller who asks for the upstream's page."""
    upstream.fault(Fault("GET /files", status=401, body={"error": {"message": "No."}}))
    with pytest.raises(openai.AuthenticationError, match=r"No\."):
        page(door, client, after=generated[0])


@pytest.mark.parametrize("store", [None, "missing.db", "sqlite://"])
def test_a_list_creates_no_store(
    door: Door, upstream: StandIn, uploaded: list[str], tmp_path: Path, store: str | None
) -> None:
    """A list request of a program without a store goes to the upstream unchanged and creates no store."""
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
    [container] = upstream.containers
    assert len(ids_of(door(client.get(f"/containers/{container}/files", cast_to=object)))) == len(generated)
    assert [(request.method, request.path) for request in upstream.requests] == [
        ("POST", "/files"),
        ("GET", f"/containers/{container}/files"),
    ]


def test_azure_clients_list_generated_files_too(
    door: Door, upstream: StandIn, settings: Settings, generated: list[str]
) -> None:
    """An Azure client lists generated files first, then the upstream's first page from the v1 route."""
    azure = door.client(upstream, settings, azure=True)
    file_id = upstream.put_file("x.txt", b"x", "assistants")
    assert read_pages(door, azure) == [generated[::-1], [file_id]]
    assert upstream.requests[-1].full_path.partition("?")[0] == "/openai/v1/files"
