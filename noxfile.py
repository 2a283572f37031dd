"""Sessions against the built wheel: `make matrix` and `make clients`.

`contract`: the contract tests on pinned pairs of Python and openai SDK. `clients`: frameworks run their own agents,
each in an environment of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox

HERE = Path(__file__).parent

# The cheapest honest subset of {3.10 .. 3.13} x {1.40, 1.109, 2.54, 3.54, newest}: every SDK generation once (1.40 is
# the floor, on httpx < 0.28; 1.109 the last 1.x; 2.54 the last 2.x) and every Python once; 3.11 with the newest SDK, on
# httpx2, is `make test`. What a pair can break is an SDK or a Python, hardly ever both together, so the full product
# would repeat itself.
PAIRS = [
    nox.param("3.10", "1.40.0", id="py3.10-openai-1.40.0"),
    nox.param("3.13", "1.109.1", id="py3.13-openai-1.109.1"),  # by one door: 1.40 and 2.54 on both sides have both
    nox.param("3.12", "2.54.0", id="py3.12-openai-2.54.0"),
]

OLDEST, ONE_DOOR = "1.40.0", "1.109.1"

# Every test on SQLite, which comes with the Python; on PostgreSQL only those of runs, because no SDK knows of it and
# all Pythons have the same driver. `make test` has every test on both.
STORES = "not postgresql or test_runs"
# What happens between the library and the upstream alone: the SDK has no part in it, and `make test` has it.
UPSTREAM = ("container_troubles", "every_file_once", "leavings", "on_file", "restored_containers", "stale_items")
SELECTED = f"({STORES}) and not ({' or '.join(f'test_{name}' for name in UPSTREAM)})"

# Frameworks that drive the Assistants API, each with an SDK that it accepts: every generation of the SDK once.
FRAMEWORKS = [
    nox.param("langchain", "2.54.0", id="langchain"),
    nox.param("llamaindex", "1.109.1", id="llamaindex"),
    nox.param("autogen", "1.59.9", id="autogen"),
    nox.param("autogen-ext", "3.54.0", id="autogen-ext"),
]

# Recorded tests: what the SDK has a part in, a suite over old, converted and new recordings.
RECORDED = ("tests/plugin/test_day_one.py", "tests/plugin/test_converted.py", "tests/plugin/test_recording.py")
RECORDED_SELECTED = "with_one_line or after_conversion or anew"

PYTEST = ("pytest", "-p", "no:cacheprovider")  # not `python -m pytest`, which would import the checkout

nox.options.sessions = ["contract"]
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.envdir = ".venv/nox"
nox.options.reuse_existing_virtualenvs = True
# Locally a missing Python is skipped, and said so; in CI it is a failure.
nox.options.error_on_missing_interpreters = os.environ.get("CI") == "true"


def offer_every_pyenv_python() -> None:
    """Let pyenv's python3.10, python3.12 ... answer: without this only its selected version does."""
    pyenv = shutil.which("pyenv")
    if pyenv and "PYENV_VERSION" not in os.environ:
        done = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, check=False)  # noqa: S603 - pyenv itself
        os.environ["PYENV_VERSION"] = ":".join(line for line in done.stdout.split() if "/" not in line)


offer_every_pyenv_python()


@nox.session
@nox.parametrize("python,sdk", PAIRS)
def contract(session: nox.Session, sdk: str) -> None:
    """Run tests/contract on one pinned SDK, and a legacy suite with its recordings."""
    install(session, f"locks/py{session.python}-openai-{sdk}.txt", sdk)
    selected = f"({SELECTED}) and not async" if sdk == ONE_DOOR else SELECTED
    session.run(*PYTEST, "-n", "auto", "tests/contract", "-k", selected, *session.posargs)
    if sdk != OLDEST:  # suites that record anew have moved on from there
        session.run(*PYTEST, *RECORDED, "-k", RECORDED_SELECTED)


@nox.session(python="3.11")
@nox.parametrize("framework,sdk", FRAMEWORKS)
def clients(session: nox.Session, framework: str, sdk: str) -> None:
    """Run the tests of one framework beside it; that it warns of its own age is no failure."""
    install(session, f"locks/clients-{framework}.txt", sdk)
    tests = f"tests/clients/test_{framework.replace('-', '_')}.py"
    session.run(*PYTEST, tests, "-W", "default", *session.posargs)


def install(session: nox.Session, lock: str, sdk: str) -> None:
    """Install exactly what a lock names, and the wheel in dist/."""
    wheels = sorted((HERE / "dist").glob("*.whl"))
    if len(wheels) != 1:
        session.error("dist/ must hold one wheel; `make matrix` and `make clients` build it")
    session.install("--no-deps", "-r", lock)
    session.install("--no-deps", "--reinstall", str(wheels[0]))
    session.run("uv", "pip", "check", silent=True)
    session.run("python", "-c", f"import openai; assert openai.__version__ == '{sdk}', openai.__version__")
