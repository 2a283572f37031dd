"""The places for generated files: a local directory, an S3 server and Azure's own, both on loopback."""

from __future__ import annotations

import importlib.util
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.store import object_storage
from kit.content_stores import Place, io_over
from kit.object_servers import NotThereError, ObjectServer, azure_server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """An S3 server of this session."""
    for needed in ("obstore", "moto", "flask_cors"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def azure(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """Azure's own storage server for tests; its installation is kept with pytest's cache."""
    pytest.importorskip("obstore", reason="obstore is not installed")
    kept = pytestconfig.cache.mkdir("azurite") if pytestconfig.cache else tmp_path_factory.mktemp("installed")
    with ExitStack() as stack:
        try:
            server = stack.enter_context(azure_server(tmp_path_factory.mktemp("azure"), kept))
        except NotThereError as reason:
            pytest.skip(str(reason))
        yield server


@pytest.fixture
def no_clouds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test finds the developer's own credentials."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)  # without any certificate obstore makes no client
    object_storage._opened.cache_clear()
    yield
    object_storage._opened.cache_clear()


def _place(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return Place(f"{server.make_bucket(f'b-{uuid.uuid4().hex}')}/some/prefix", server)


@pytest.fixture(params=["local", "s3", "azure"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_clouds: None
) -> Iterator[Place]:
    """An empty place of each kind."""
    if request.param == "local":
        yield Place(str(tmp_path / "kept"), None)
        shutil.rmtree(tmp_path / "kept", ignore_errors=True)
        return
    yield _place(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture(params=["s3", "azure"])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, no_clouds: None) -> Place:
    """An empty place in each kind of object storage."""
    return _place(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture
def place_settings(place: Place, sqlite_settings: Settings) -> Settings:
    """Settings with an empty SQLite store and this place."""
    return replace(sqlite_settings, files=place.files)


@pytest.fixture
def storage_settings(storage: Place, sqlite_settings: Settings) -> Settings:
    """The same with object storage."""
    return replace(sqlite_settings, files=storage.files)


@pytest.fixture
def io(place_settings: Settings) -> Any:
    """The core's I/O over this place."""
    return io_over(place_settings)
