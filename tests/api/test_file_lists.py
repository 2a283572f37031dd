"""`files.list`: the generated files first, then the upstream's pages as they are."""

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
from kit.container_runs import new_thread, run, said
from kit.doors import KEY, Door

PATHS = [f"/mnt/data/{number}.csv" for number in range(5)]


@pytest.fixture
def made(door: Door, client: Any, upstream: StandIn) -> list[str]:
    """Five generated files, oldest first; the upstream's log starts empty after them."""
    names = [path.rpartition("/")[2] for path in PATHS]
    upstream.script(Turn(code="1", text="Made.", files={name: name.encode() for name in names}, polls=0))
    ids = [each.file_id for each in said(door, client, run(door, client, *new_thread(door, client))).attachments]
    upstream.requests.clear()
    return ids


@pytest.fixture(autouse=True)
def _pages_are_read(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tests but one are of SDKs that read page after page, whichever is installed."""
    if request.node.originalname != test_the_sdks_own_pages_show_all.__name__:
        monkeypatch.setattr(sdk_internals, "reads_pages_of_files", lambda: True)


@pytest.fixture
def theirs(upstream: StandIn) -> list[str]:
    """Four files of the upstream's, oldest first."""
    purposes = ["assistants", "assistants_output", "batch", "assistants_output"]
    return [upstream.put_file(f"{number}.txt", b"x", purpose) for number, purpose in enumerate(purposes)]


def page(door: Door, client: Any, **query: Any) -> Any:
    """One page as it was served."""
    return door(client.get("/files", cast_to=object, options={"params": query}))


def ids_of(served: Any) -> list[str]:
    """The ids in a page."""
    return [each["id"] for each in served["data"]]


def walked(door: Door, client: Any, **query: Any) -> list[list[str]]:
    """The ids of each page, by the cursors that the pages give."""
    pages = [page(door, client, **query)]
    while pages[-1]["has_more"]:
        pages.append(page(door, client, **{**query, "after": pages[-1]["last_id"]}))
    return [ids_of(each) for each in pages]


def test_ours_come_first_and_then_the_upstreams(
    door: Door, client: Any, upstream: StandIn, made: list[str], theirs: list[str]
) -> None:
    """A page of each, newest first, and one request for the upstream's."""
    assert walked(door, client) == [made[::-1], theirs[::-1]]
    assert [(each.method, each.path, each.query) for each in upstream.requests] == [("GET", "/files", ())]


def test_pages_have_the_size_and_order_that_were_asked_for(
    door: Door, client: Any, made: list[str], theirs: list[str]
) -> None:
    """Also the upstream's: its first page has the same limit, and its later ones its own cursors."""
    pages = walked(door, client, limit=3, order="asc")
    assert pages == [made[:3], made[3:], theirs[:3], theirs[3:]]
    pages = walked(door, client, limit=2)
    assert pages == [made[:2:-1], made[2:0:-1], made[:1], theirs[:1:-1], theirs[1::-1]]


def test_a_listed_file_is_the_file_that_is_retrieved(door: Door, client: Any, made: list[str]) -> None:
    """The same object, in the envelope that was recorded for every list."""
    served = page(door, client)
    assert list(served) == ["object", "data", "first_id", "last_id", "has_more"]
    assert served["data"][0] == door(client.get(f"/files/{made[-1]}", cast_to=object))
    assert (served["first_id"], served["last_id"], served["has_more"]) == (made[-1], made[0], True)
    assert [each["filename"] for each in served["data"]] == PATHS[::-1]


def test_only_their_purpose_shows_ours(
    door: Door, client: Any, upstream: StandIn, made: list[str], theirs: list[str]
) -> None:
    """`assistants_output` gives both; any other is the upstream's alone, and the request is untouched."""
    assert walked(door, client, purpose="assistants_output") == [made[::-1], [theirs[3], theirs[1]]]
    assert upstream.requests[-1].query == (("purpose", "assistants_output"),)
    assert walked(door, client, purpose="batch") == [[theirs[2]]]
    assert upstream.requests[-1].query == (("purpose", "batch"),)


def test_the_sdks_own_pages_show_all(door: Door, client: Any, made: list[str], theirs: list[str]) -> None:
    """`for file in client.files.list()`, in every version of the SDK and by purpose too."""
    assert [each.id for each in door.all(client.files.list())] == [*made[::-1], *theirs[::-1]]
    outputs = door.all(client.files.list(purpose="assistants_output"))
    assert [each.id for each in outputs] == [*made[::-1], theirs[3], theirs[1]]


def test_an_sdk_that_reads_one_page_gets_all_in_it(
    door: Door, client: Any, upstream: StandIn, made: list[str], theirs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of openai 1.40 takes the first page for the whole list, as it was then; the upstream's trouble is heard."""
    monkeypatch.setattr(sdk_internals, "reads_pages_of_files", lambda: False)
    served = page(door, client, purpose="assistants_output")
    assert ids_of(served) == [*made[::-1], theirs[3], theirs[1]]
    assert (served["first_id"], served["last_id"], served["has_more"]) == (made[-1], theirs[1], False)
    upstream.fault(Fault("GET /files", status=401, body={"error": {"message": "No."}}))
    with pytest.raises(openai.AuthenticationError, match=r"No\."):
        page(door, client)


def test_the_upstreams_page_is_the_upstreams_byte_for_byte(
    door: Door, client: Any, upstream: StandIn, made: list[str], theirs: list[str]
) -> None:
    """The first behind ours, and one behind a cursor of its own."""
    plain = door.raw_client(upstream)
    for ours, same in (({"after": made[0]}, {}), ({"after": theirs[2]}, {"after": theirs[2]})):
        one = door(client.files.with_raw_response.list(extra_query=ours))
        other = door(plain.files.with_raw_response.list(extra_query=same))
        assert one.content == other.content
        assert one.headers["content-type"] == other.headers["content-type"]


def test_a_deleted_file_is_not_listed_and_keeps_its_place(
    door: Door, client: Any, made: list[str], theirs: list[str]
) -> None:
    """A program may delete what it lists, page by page."""
    first = page(door, client, limit=2)
    for id_ in ids_of(first):
        door(client.files.delete(id_))
    assert walked(door, client, limit=2, after=first["last_id"])[0] == made[2:0:-1]
    assert walked(door, client)[0] == made[2::-1]
    for id_ in made[:3]:
        door(client.files.delete(id_))
    assert walked(door, client) == [theirs[::-1]]
    assert ids_of(page(door, client, after=made[1])) == theirs[::-1]


def test_a_cursor_that_nobody_knows_is_the_upstreams(
    door: Door, client: Any, upstream: StandIn, made: list[str]
) -> None:
    """Also one of our shape, or of another tenant's file: it is sent on as it came."""
    for cursor in ("file-ACnobody", "file-nobody"):
        page(door, client, after=cursor)
        assert upstream.requests[-1].query == (("after", cursor),)
    assert len(made) == 5


def test_another_tenant_sees_the_upstreams_files_only(
    door: Door, upstream: StandIn, settings: Settings, made: list[str], theirs: list[str]
) -> None:
    """Generated files are those of their namespace."""
    other = door.client(upstream, replace(settings, namespace=f"{settings.namespace}-other"))
    assert walked(door, other) == [theirs[::-1]]
    assert len(made) == 5


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": "many"}, "Invalid type for 'limit': expected an integer, but got a string instead."),
        ({"limit": 10_001}, "Invalid 'limit'"),
        ({"limit": -1}, "Invalid 'limit'"),
        ({"order": "sideways"}, "Invalid value: 'sideways'"),
    ],
)
def test_a_page_that_cannot_be_is_refused(
    door: Door, client: Any, made: list[str], query: dict[str, Any], message: str
) -> None:
    """With the words that every list has for that; 10,000 is the most."""
    with pytest.raises(openai.BadRequestError, match=message):
        page(door, client, **query)
    assert len(ids_of(page(door, client, limit=10_000))) == len(made)


def test_an_upstream_that_refuses_its_page_is_heard(
    door: Door, client: Any, upstream: StandIn, made: list[str]
) -> None:
    """Its error is the answer to the page that is its own."""
    upstream.fault(Fault("GET /files", status=401, body={"error": {"message": "No."}}))
    with pytest.raises(openai.AuthenticationError, match=r"No\."):
        page(door, client, after=made[0])


@pytest.mark.parametrize("store", [None, "missing.db", "sqlite://"])
def test_a_program_without_a_store_gets_none(
    door: Door, upstream: StandIn, theirs: list[str], tmp_path: Path, store: str | None
) -> None:
    """Its request goes on untouched, and no file is made for it."""
    place = store if store is None or "://" in store else str(tmp_path / store)
    client = door.client(upstream, Settings(store=place))
    assert ids_of(page(door, client)) == theirs[::-1]
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_store_in_memory_are_listed(door: Door, upstream: StandIn) -> None:
    """It is there once this process has used it."""
    client = door.client(upstream, Settings(store="sqlite://", poll_after_ms=1))
    assert page(door, client)["data"] == []
    upstream.script(Turn(text="[a](sandbox:/mnt/data/a.csv)", files={"a.csv": b"1"}, polls=0))
    file_id = said(door, client, run(door, client, *new_thread(door, client))).attachments[0].file_id
    assert ids_of(page(door, client)) == [file_id]


LIGHT = """
import sys
import openai
import assistants_compat
client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2])
assistants_compat.wrap(client, assistants_compat.Settings(store=sys.argv[3]))
client.files.list()
print("sqlalchemy" in sys.modules)
"""


def test_a_list_without_a_store_loads_no_database(upstream: StandIn, tmp_path: Path) -> None:
    """SQLAlchemy is for programs that use assistants."""
    arguments = [upstream.base_url, KEY, str(tmp_path / "none.db")]
    process = subprocess.run([sys.executable, "-c", LIGHT, *arguments], capture_output=True, check=False)
    assert (process.returncode, process.stdout.strip()) == (0, b"False"), process.stderr.decode()


def test_an_upload_and_the_lists_of_others_are_the_upstreams(
    door: Door, client: Any, upstream: StandIn, made: list[str]
) -> None:
    """`POST /files` and the files of a container or a vector store are no lists of ours."""
    door(client.files.create(file=("a.txt", b"x"), purpose="assistants"))
    [container] = upstream.containers
    assert len(ids_of(door(client.get(f"/containers/{container}/files", cast_to=object)))) == len(made)
    assert [(each.method, each.path) for each in upstream.requests] == [
        ("POST", "/files"),
        ("GET", f"/containers/{container}/files"),
    ]


def test_azure_clients_list_ours_too(door: Door, upstream: StandIn, settings: Settings, made: list[str]) -> None:
    """Behind ours, the upstream's first page comes from the v1 route, its later ones from where they always came."""
    azure = door.client(upstream, settings, azure=True)
    theirs = upstream.put_file("x.txt", b"x", "assistants")
    assert walked(door, azure) == [made[::-1], [theirs]]
    assert upstream.requests[-1].full_path.partition("?")[0] == "/openai/v1/files"
