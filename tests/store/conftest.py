"""Proves that rows and bytes are kept: on both databases, over forks, in object storage, and by deferred writes."""

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
from kit.content_stores import ContentLocation, make_io
from kit.object_servers import ObjectServer, ServerUnavailableError, azure_server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """An S3 server for this session."""
    for package in ("obstore", "moto", "flask_cors"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def azure(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """Azure's own storage server for tests; its installation is kept in pytest's cache."""
    pytest.importorskip("obstore", reason="obstore is not installed")
    cache = getattr(pytestconfig, "cache", None)  # absent with `-p no:cacheprovider`
    installation = cache.mkdir("azurite") if cache else tmp_path_factory.mktemp("installed")
    with ExitStack() as stack:
        try:
            server = stack.enter_context(azure_server(tmp_path_factory.mktemp("azure"), installation))
        except ServerUnavailableError as reason:
            pytest.skip(str(reason))
        yield server


@pytest.fixture
def no_cloud_credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the developer's own credentials from a test."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)  # obstore makes no client without a certificate
    object_storage._open_bucket.cache_clear()
    yield
    object_storage._open_bucket.cache_clear()


def _make_location(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ContentLocation:
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return ContentLocation(f"{server.make_bucket(f'b-{uuid.uuid4().hex}')}/some/prefix", server)


@pytest.fixture(params=["local", "s3", "azure"])
def location(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_cloud_credentials: None
) -> Iterator[ContentLocation]:
    """An empty location of each kind."""
    if request.param == "local":
        yield ContentLocation(str(tmp_path / "kept"), None)
        shutil.rmtree(tmp_path / "kept", ignore_errors=True)
        return
    yield _make_location(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture(params=["s3", "azure"])
def storage(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, no_cloud_credentials: None
) -> ContentLocation:
    """An empty location in each kind of object storage."""
    return _make_location(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture
def location_settings(location: ContentLocation, sqlite_settings: Settings) -> Settings:
    """Settings with an empty SQLite store and this location."""
    return replace(sqlite_settings, files=location.files)


@pytest.fixture
def storage_settings(storage: ContentLocation, sqlite_settings: Settings) -> Settings:
    """Settings with an empty SQLite store and object storage."""
    return replace(sqlite_settings, files=storage.files)


@pytest.fixture
def io(location_settings: Settings) -> Any:
    """The engine's I/O on this location."""
    return make_io(location_settings)
