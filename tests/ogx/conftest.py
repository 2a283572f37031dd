"""Proves on OGX, a Responses server of another project, what the stand-in claims."""

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


def _environment(**extra: str) -> dict[str, str]:
    """Return our environment without variables that would lead another Python to our packages."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONWARNINGS")
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**inherited, "NO_PROXY": "127.0.0.1", "PIP_RETRIES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra}


def _python() -> dict[str, str]:
    """Return the variables that choose a Python for OGX; pyenv's shims start one only if it is named."""
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
    versions = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, check=False).stdout.split()
    return [version for version in versions if version.startswith(f"{minor}.")]


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [server.getsockname()[1] for server in sockets]


def _copy_with_embeddings(shared: Path, directory: Path) -> Path:
    """Copy OGX's script, configuration and model into `directory`, extended with embeddings for vector stores."""
    here = Path(__file__).parent
    additions = {
        "start.sh": "",
        "config.yaml": (here / "embeddings.yaml").read_text(encoding="utf-8"),
        "model.py": "\nfrom embeddings import with_embeddings\n\napp = with_embeddings(app)\n",
    }
    for name, addition in additions.items():
        (directory / name).write_text((shared / name).read_text(encoding="utf-8") + addition, encoding="utf-8")
    shutil.copy(here / "embeddings.py", directory)
    return directory / "start.sh"


def _enable_sqlite_extensions(directory: Path) -> None:
    """Give OGX an SQLite that loads extensions such as sqlite-vec, if its Python was built without."""
    python = directory / "venv" / "bin" / "python"

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result

    probe = "import sqlite3; print(hasattr(sqlite3.Connection, 'enable_load_extension'))"
    if run(str(python), "-c", probe).stdout.strip() == "True":
        return
    run(str(python), "-m", "pip", "install", "-q", "pysqlite3-binary")
    packages = run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    names = ("pysqlite3", "pysqlite3.dbapi2")
    lines = [f"sys.modules['{name.replace('pysqlite3', 'sqlite3')}'] = {name}" for name in names]
    Path(packages, "sqlite_that_loads.pth").write_text(f"import sys, {', '.join(names)}; {'; '.join(lines)}\n")


def _is_installed(directory: Path) -> bool:
    """Return whether an installation was finished; the tokenizers are its last step."""
    return (directory / "venv" / "bin" / "ogx").exists() and any(directory.glob("wheel/litellm/*/tokenizers/*"))


@contextlib.contextmanager
def _run_script(script: Path, directory: Path, chosen: dict[str, str]) -> Iterator[subprocess.CompletedProcess[str]]:
    """Run the script and yield its result; end the servers it started by the pid files that it wrote."""
    command = ["bash", str(script), str(directory), *map(str, _free_ports(2))]
    # Files instead of pipes, because the servers inherit them.
    output, errors = directory / "start.out", directory / "start.err"
    try:
        with output.open("w") as out, errors.open("w") as err:
            result = subprocess.run(command, env=_environment(**chosen), stdout=out, stderr=err, check=False)
        yield subprocess.CompletedProcess(command, result.returncode, output.read_text(), errors.read_text())
    finally:
        for file in directory.glob("*.pid"):
            _end(int(file.read_text()))
            file.unlink()


def _end(pid: int) -> None:
    """End a server and its workers, which `setsid` put into their own process group."""
    for signal_ in (signal.SIGTERM, signal.SIGKILL):
        for _ in range(50):
            try:
                os.killpg(pid, signal_)
            except (ProcessLookupError, PermissionError):
                return
            time.sleep(0.1)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Lock the installation, which test workers share."""
    import fcntl  # noqa: PLC0415 - missing on Windows, where these tests skip

    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def ogx(shared: Path, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ogx]:
    """OGX with a deterministic model behind it, on free ports; its installation is kept in pytest's cache."""
    script = shared / "ogx" / "start.sh"
    if not script.is_file():
        pytest.skip("the script that starts OGX (../shared/ogx) is not part of a bare checkout")
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if sys.platform == "win32" or missing:
        pytest.skip(f"OGX is started by a shell script that needs {', '.join(missing) or 'a Unix'}")
    python_variables = _python()
    cache = getattr(pytestconfig, "cache", None)  # absent with `-p no:cacheprovider`
    installation = cache.mkdir("ogx") if cache else tmp_path_factory.mktemp("installed")
    with _locked(installation):
        if not _is_installed(installation):
            shutil.rmtree(installation / "venv", ignore_errors=True)
            with _run_script(script, installation, python_variables) as first:
                if not _is_installed(installation):
                    pytest.skip(f"OGX could not be installed: {first.stderr.strip().splitlines()[-1:]}")
        _enable_sqlite_extensions(installation)
    script = _copy_with_embeddings(script.parent, tmp_path_factory.mktemp("served"))
    # Data, logs and pid files belong to this session alone.
    directory = tmp_path_factory.mktemp("ogx")
    for name in ("venv", "wheel"):
        (directory / name).symlink_to(installation / name)
    with _run_script(script, directory, python_variables) as started:
        assert started.returncode == 0, started.stderr + (directory / "ogx.log").read_text()[-2000:]
        yield Ogx(started.stdout.strip())


@pytest.fixture(params=["background", "inline"])
def mode(request: pytest.FixtureRequest) -> str:
    """The mode in which runs are carried out."""
    return str(request.param)


@pytest.fixture
def ogx_settings(sqlite_settings: Settings) -> Settings:
    """Settings for an empty store, with polls slow enough for the server."""
    return replace(sqlite_settings, poll_after_ms=20)


@pytest.fixture
def client(door: Door, ogx: Ogx, ogx_settings: Settings, mode: Any) -> Any:
    """A wrapped client of OGX, of the door's kind."""
    return assistants_compat.wrap(door.raw_client(ogx), replace(ogx_settings, mode=mode))
