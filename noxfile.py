"""Nox sessions against the built wheel: `make matrix` and `make clients`.

`contract` runs the contract tests on pinned pairs of Python and openai SDK. `clients` runs frameworks' own agents, each
in an environment of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox

HERE = Path(__file__).parent

# The smallest subset of {3.10 .. 3.13} x {1.40, 1.109, 2.54, 3.54, newest} with every SDK generation and every Python:
# 1.40 is the oldest supported (on httpx < 0.28), 1.109 the last 1.x, 2.54 the last 2.x; `make test` runs 3.11 with the
# newest SDK, on httpx2. A fault comes from an SDK or from a Python, hardly ever from both together.
PAIRS = [
    nox.param("3.10", "1.40.0", id="py3.10-openai-1.40.0"),
    nox.param("3.13", "1.109.1", id="py3.13-openai-1.109.1"),  # synchronous client only: 1.40 and 2.54 test both kinds
    nox.param("3.12", "2.54.0", id="py3.12-openai-2.54.0"),
]

OLDEST, ONE_DOOR = "1.40.0", "1.109.1"

# Tests of what a legacy program uses: every endpoint, files, runs and the functions that take a client.
CONTRACT = (
    "tests/api",
    "tests/doors/test_clients.py",
    "tests/doors/test_pass_through.py",
    "tests/engine/files",
    "tests/engine/runs",
    "tests/tools",
    "--ignore=tests/tools/audit",
    "--ignore=tests/tools/transfer",
)

# Every test on SQLite, which comes with Python; on PostgreSQL only those of runs, because no SDK knows the database and
# all Pythons have the same driver. `make test` runs every test on both.
STORES = "not postgresql or test_runs"
# Left out: these test traffic between library and upstream, where the SDK plays no part. `make test` runs them.
UPSTREAM = ("cleanup", "container_troubles", "every_file_once", "on_file", "restored_containers", "stale_items")
SELECTED = f"({STORES}) and not ({' or '.join(f'test_{name}' for name in UPSTREAM)})"

# Frameworks that use the Assistants API, each with an SDK that it accepts; every SDK generation occurs once.
FRAMEWORKS = [
    nox.param("langchain", "2.54.0", id="langchain"),
    nox.param("llamaindex", "1.109.1", id="llamaindex"),
    nox.param("autogen", "1.59.9", id="autogen"),
    nox.param("autogen-ext", "3.54.0", id="autogen-ext"),
]

# Tests of recordings in which the SDK plays a part: a suite over old, converted and new recordings.
RECORDED = tuple(f"tests/pytest_plugin/test_{name}.py" for name in ("old_recordings", "converted", "recording"))
RECORDED_SELECTED = "with_one_line or after_conversion or anew"

PYTEST = ("pytest", "-p", "no:cacheprovider")  # not `python -m pytest`, which would import the checkout

nox.options.sessions = ["contract"]
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.envdir = ".venv/nox"
nox.options.reuse_existing_virtualenvs = True
# A missing Python is skipped with a message locally, and a failure in CI.
nox.options.error_on_missing_interpreters = os.environ.get("CI") == "true"


def offer_every_pyenv_python() -> None:
    """Let pyenv run python3.10, python3.12 and so on; without this only its selected version starts."""
    pyenv = shutil.which("pyenv")
    if pyenv and "PYENV_VERSION" not in os.environ:
        done = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, check=False)  # noqa: S603 - pyenv itself
        os.environ["PYENV_VERSION"] = ":".join(line for line in done.stdout.split() if "/" not in line)


offer_every_pyenv_python()


@nox.session
@nox.parametrize("python,sdk", PAIRS)
def contract(session: nox.Session, sdk: str) -> None:
    """Run the contract tests on one pinned SDK, and a legacy suite with its recordings."""
    install(session, f"locks/py{session.python}-openai-{sdk}.txt", sdk)
    selected = f"({SELECTED}) and not async" if sdk == ONE_DOOR else SELECTED
    session.run(*PYTEST, "-n", "auto", *CONTRACT, "-k", selected, *session.posargs)
    if sdk != OLDEST:  # suites that record again no longer use the oldest SDK
        session.run(*PYTEST, *RECORDED, "-k", RECORDED_SELECTED)


@nox.session(python="3.11")
@nox.parametrize("framework,sdk", FRAMEWORKS)
def clients(session: nox.Session, framework: str, sdk: str) -> None:
    """Run the tests of one framework beside it; its own deprecation warnings do not fail them."""
    install(session, f"locks/clients-{framework}.txt", sdk)
    tests = f"tests/clients/test_{framework.replace('-', '_')}.py"
    session.run(*PYTEST, tests, "-W", "default", *session.posargs)


def install(session: nox.Session, lock: str, sdk: str) -> None:
    """Install exactly the packages of a lock file, and the wheel in dist/."""
    wheels = sorted((HERE / "dist").glob("*.whl"))
    if len(wheels) != 1:
        session.error("dist/ must hold one wheel; `make matrix` and `make clients` build it")
    session.install("--no-deps", "-r", lock)
    session.install("--no-deps", "--reinstall", str(wheels[0]))
    session.run("uv", "pip", "check", silent=True)
    session.run("python", "-c", f"import openai; assert openai.__version__ == '{sdk}', openai.__version__")
