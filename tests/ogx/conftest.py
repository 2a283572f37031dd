"""A real Responses server that nobody here wrote (OGX), installed once and started for the session."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import assistants_compat
from assistants_compat import Settings
from kit.doors import Door

NEEDED = ("bash", "curl", "setsid")
MINORS = ("3.12", "3.13")


@dataclass(frozen=True)
class Ogx:
    """The running server."""

    base_url: str


def _environment(**more: str) -> dict[str, str]:
    """Ours without what would lead another Python to our packages."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "NO_PROXY": "127.0.0.1", "PIP_RETRIES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **more}


def _python() -> dict[str, str]:
    """The variables that choose a Python which OGX runs on: pyenv's shims start one only if it is named."""
    for minor in MINORS:
        python = shutil.which(f"python{minor}")
        for chosen in [{}, *({"PYENV_VERSION": version} for version in _pyenv_versions(minor))] if python else []:
            command = [str(python), "-c", "import ensurepip, venv"]
            if subprocess.run(command, env=_environment(**chosen), capture_output=True, check=False).returncode == 0:
                return {"PYTHON": str(python), **chosen}
    pytest.skip("OGX needs Python 3.12 or 3.13, and neither is on the PATH")


def _pyenv_versions(minor: str) -> list[str]:
    pyenv = shutil.which("pyenv")
    if pyenv is None:
        return []
    found = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, check=False).stdout.split()
    return [version for version in found if version.startswith(f"{minor}.")]


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in sockets]


def _furnished(shared: Path, directory: Path) -> Path:
    """The script, beside OGX's configuration and model with what vector stores need added to them."""
    here = Path(__file__).parent
    added = {
        "start.sh": "",
        "config.yaml": (here / "embeddings.yaml").read_text(encoding="utf-8"),
        "model.py": "\nfrom embeddings import with_embeddings\n\napp = with_embeddings(app)\n",
    }
    for name, more in added.items():
        (directory / name).write_text((shared / name).read_text(encoding="utf-8") + more, encoding="utf-8")
    shutil.copy(here / "embeddings.py", directory)
    return directory / "start.sh"


def _let_load_extensions(directory: Path) -> None:
    """Give OGX an SQLite that loads extensions (sqlite-vec is one) where its Python was built without."""
    python = directory / "venv" / "bin" / "python"

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done

    probe = "import sqlite3; print(hasattr(sqlite3.Connection, 'enable_load_extension'))"
    if run(str(python), "-c", probe).stdout.strip() == "True":
        return
    run(str(python), "-m", "pip", "install", "-q", "pysqlite3-binary")
    packages = run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    names = ("pysqlite3", "pysqlite3.dbapi2")
    lines = [f"sys.modules['{name.replace('pysqlite3', 'sqlite3')}'] = {name}" for name in names]
    Path(packages, "sqlite_that_loads.pth").write_text(f"import sys, {', '.join(names)}; {'; '.join(lines)}\n")


def _installed(directory: Path) -> bool:
    """Whether an installation was finished: the tokenizers are its last step."""
    return (directory / "venv" / "bin" / "ogx").exists() and any(directory.glob("wheel/litellm/*/tokenizers/*"))


@contextlib.contextmanager
def _started(script: Path, directory: Path, chosen: dict[str, str]) -> Iterator[subprocess.CompletedProcess[str]]:
    """The outcome of the script; what it started is ended by the pid files that it wrote."""
    command = ["bash", str(script), str(directory), *map(str, _free_ports(2))]
    # Files, not pipes: the servers inherit them.
    said, errors = directory / "start.out", directory / "start.err"
    try:
        with said.open("w") as out, errors.open("w") as err:
            done = subprocess.run(command, env=_environment(**chosen), stdout=out, stderr=err, check=False)
        yield subprocess.CompletedProcess(command, done.returncode, said.read_text(), errors.read_text())
    finally:
        for file in directory.glob("*.pid"):
            _end(int(file.read_text()))
            file.unlink()


def _end(pid: int) -> None:
    """End a server and its workers, which `setsid` put into a group of their own."""
    for which in (signal.SIGTERM, signal.SIGKILL):
        for _ in range(50):
            try:
                os.killpg(pid, which)
            except (ProcessLookupError, PermissionError):
                return
            time.sleep(0.1)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process at a time: test workers share the installation."""
    import fcntl  # noqa: PLC0415 - not there on Windows, where these tests skip

    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def ogx(shared: Path, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ogx]:
    """OGX with a deterministic model behind it, on free ports; its installation is kept with pytest's cache."""
    script = shared / "ogx" / "start.sh"
    if not script.is_file():
        pytest.skip("the script that starts OGX (../shared/ogx) is not part of a bare checkout")
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if sys.platform == "win32" or missing:
        pytest.skip(f"OGX is started by a shell script that needs {', '.join(missing) or 'a Unix'}")
    chosen = _python()
    cache = getattr(pytestconfig, "cache", None)  # not there with `-p no:cacheprovider`
    kept = cache.mkdir("ogx") if cache else tmp_path_factory.mktemp("installed")
    with _locked(kept):
        if not _installed(kept):
            shutil.rmtree(kept / "venv", ignore_errors=True)
            with _started(script, kept, chosen) as first:
                if not _installed(kept):
                    pytest.skip(f"OGX could not be installed: {first.stderr.strip().splitlines()[-1:]}")
        _let_load_extensions(kept)
    script = _furnished(script.parent, tmp_path_factory.mktemp("served"))
    # Its data, logs and pid files are this session's own.
    directory = tmp_path_factory.mktemp("ogx")
    for name in ("venv", "wheel"):
        (directory / name).symlink_to(kept / name)
    with _started(script, directory, chosen) as started:
        assert started.returncode == 0, started.stderr + (directory / "ogx.log").read_text()[-2000:]
        yield Ogx(started.stdout.strip())


@pytest.fixture(params=["background", "inline"])
def mode(request: pytest.FixtureRequest) -> str:
    """How runs are carried."""
    return str(request.param)


@pytest.fixture
def ogx_settings(sqlite_settings: Settings) -> Settings:
    """Settings for an empty store, and polls that leave the server some time."""
    return replace(sqlite_settings, poll_after_ms=20)


@pytest.fixture
def client(door: Door, ogx: Ogx, ogx_settings: Settings, mode: Any) -> Any:
    """A wrapped client of OGX, of the door's kind."""
    return assistants_compat.wrap(door.raw_client(ogx), replace(ogx_settings, mode=mode))
