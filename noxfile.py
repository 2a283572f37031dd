"""Nox sessions against the built wheel: `make matrix` and `make clients`.

`contract` runs the contract tests on pinned pairs of Python and openai SDK. `clients` runs frameworks' own agents, each
in an environment of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import nox

HERE = Path(__file__).parent

# Pythons that this machine may lack; `make matrix` makes them of Debian's packages where it can.
NEWER = ("3.14", "3.15")
NEWER_HOMES = {version: HERE / f".venv/python{version}" for version in NEWER}


def offer_every_python() -> None:
    """Let pyenv run python3.10, python3.12 and so on, not only its selected version, and add the newer Pythons."""
    pyenv = shutil.which("pyenv")
    if pyenv and "PYENV_VERSION" not in os.environ:
        done = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, check=False)  # noqa: S603 - pyenv itself
        os.environ["PYENV_VERSION"] = ":".join(line for line in done.stdout.split() if "/" not in line)
    # Last, because these folders hold more than a Python.
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *(f"{home}/usr/bin" for home in NEWER_HOMES.values())])


offer_every_python()


@dataclass(frozen=True)
class Row:
    """A pair of Python and SDK."""

    python: str
    sdk: str
    selection: str = ""  # in addition to SELECTED

    @property
    def id(self) -> str:
        """The name of the row, of its lock and of its report."""
        return f"py{self.python}-openai-{self.sdk}"

    @property
    def lock(self) -> str:
        """The packages of the row: the lock of its Python has the newest SDK."""
        return f"locks/py{self.python}.txt" if self.sdk == NEWEST else f"locks/{self.id}.txt"

    @property
    def missing(self) -> str:
        """Why the row cannot run here, or nothing. A Python that is not in NEWER is left to nox, which fails in CI."""
        if self.python not in NEWER or shutil.which(f"python{self.python}"):
            return ""
        log = NEWER_HOMES[self.python] / "log"
        text = log.read_text(encoding="utf-8").strip() if log.is_file() else ""
        why = text.splitlines()[-1] if text else "../shared/tools/newer_python.sh, which makes one, is not here"
        return f"no Python {self.python} on this machine: {why}"


# 1.21 is the first SDK with the API's second version, 1.40 the last that sends both key and token to Azure, 1.76 one of
# those that know Responses only in part, 1.109 the last 1.x, 2.54 the last 2.x. Up to 1.55.2 they are on httpx < 0.28,
# from 3.0 on httpx2. `make test` runs every test on 3.11 with the newest SDK; its row is for docs/versions.md.
# A fault comes from an SDK or from a Python, hardly ever from both together.
NEWEST = "3.57.0"
ROWS = [
    Row("3.10", "1.21.0"),
    Row("3.11", "1.30.3"),
    Row("3.10", "1.40.0"),
    Row("3.12", "1.76.0"),
    Row("3.13", "1.109.1", selection="not async"),  # other rows test both kinds of client
    Row("3.12", "2.54.0"),
    Row("3.11", NEWEST),
    Row("3.14", NEWEST),
    Row("3.15", NEWEST),
]
# Without its Python a row gets no environment, and says why when it is run.
PAIRS = [nox.param(False if row.missing else row.python, row, id=row.id) for row in ROWS]

# Tests of what a legacy program uses: every endpoint, files, runs and the functions that take a client.
CONTRACT = (
    "tests/api",
    "tests/doors/test_cancellation.py",
    "tests/doors/test_clients.py",
    "tests/doors/test_pass_through.py",
    "tests/engine/files",
    "tests/engine/runs",
    "tests/testing/test_request_types.py",  # the stand-in is the same under every SDK
    "tests/testing/test_stand_in_rules.py",
    "tests/tools",
    "--ignore=tests/tools/audit",
    "--ignore=tests/tools/transfer",
)

# Every test on SQLite, which comes with Python; on PostgreSQL only those of runs, because no SDK knows the database and
# all Pythons have the same driver. `make test` runs every test on both.
STORES = "not postgresql or test_runs"
# Left out: these test traffic between library and upstream, where the SDK plays no part. `make test` runs them.
UPSTREAM = (
    *("cleanup", "container_troubles", "every_file_once", "on_file", "restored_containers", "stale_items"),
    # Refusals and their remedies; some of these tests set parameters that early SDKs lack.
    *("avoided_refusals", "gateway_answers", "gone_images", "mapped_models", "never_refused", "recoveries"),
    # What an SDK's dump says, sent back: early ones have no field for a link to an image.
    "sent_back",
    *("deleted_inputs", "images_with_bytes", "listings", "many_files", "refused_files", "told_refusals"),
)
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

# Suites that record again no longer use these SDKs.
BEFORE_RECORDINGS = ("1.21.0", "1.30.3", "1.40.0")

# The SDK's own tests over a wrapped client, and an audit of them. The source distribution is downloaded.
SDK_SUITE = ["tests/sdk_suite/test_sdk_suite.py", "tests/sdk_suite/test_sdk_audit.py"]

# Every module of the package.
IMPORT_ALL = """
import importlib, pkgutil, assistants_compat
for module in pkgutil.walk_packages(assistants_compat.__path__, "assistants_compat."):
    if not module.name.endswith("__main__") and ".start" not in module.name:
        importlib.import_module(module.name)
"""

PYTEST = ("pytest", "-p", "no:cacheprovider")  # not `python -m pytest`, which would import the checkout

nox.options.sessions = ["contract"]
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.envdir = ".venv/nox"
nox.options.reuse_existing_virtualenvs = True
# A missing Python is skipped with a message locally, and a failure in CI.
nox.options.error_on_missing_interpreters = os.environ.get("CI") == "true"


# A row runs a quarter of its test files, another one every day (UTC), because all of them take half an hour. FULL=1
# runs every row whole, SHARE=2/4 chooses the quarter.
FULL = bool(os.environ.get("FULL"))
TODAY = datetime.now(timezone.utc).toordinal()
REPORTS = HERE / ".venv" / "matrix"  # of whole rows; `make versions` makes the tables of docs/versions.md of them


def share_of(files: list[str], row: Row) -> tuple[list[str], str]:
    """Return the test files of a row and their share: "1/1" for all, or for example "2/4"."""
    if FULL:
        return files, "1/1"
    number, _, of = os.environ.get("SHARE", "").partition("/")
    parts = int(of or 4)
    part = int(number or (TODAY + ROWS.index(row)) % parts + 1)
    return files[part - 1 :: parts], f"{part}/{parts}"


def contract_files() -> list[str]:
    """Return every file of the contract tests, without those that SELECTED leaves out as a whole."""
    left_out = {f"test_{name}.py" for name in UPSTREAM}
    files = [file for name in CONTRACT for file in sorted((HERE / name).rglob("test_*.py")) or [HERE / name]]
    return [str(file.relative_to(HERE)) for file in files if file.name not in left_out]


@nox.session
@nox.parametrize("python,row", PAIRS)
def contract(session: nox.Session, row: Row) -> None:
    """Run the contract tests on one pinned SDK, the SDK's own suite, and a legacy suite with its recordings."""
    if row.missing:
        session.skip(row.missing)
    if row.python == "3.11" and row.sdk == NEWEST and not FULL:
        session.skip("`make test` runs these tests and all others on this pair")
    files, share = share_of(contract_files(), row)
    report = []
    if share != "1/1":
        session.log(f"share {share} of the test files; all: make matrix FULL=1; this share: make matrix SHARE={share}")
    elif not session.posargs:
        report = [f"--junitxml={REPORTS / row.id}.xml"]
    install(session, row.lock, row.sdk)
    # Imports come before pytest turns warnings into errors.
    session.run("python", "-W", "error", "-c", IMPORT_ALL)
    selected = f"({SELECTED}) and {row.selection}" if row.selection else SELECTED
    if share.startswith("1/"):
        files += SDK_SUITE
    session.run(*PYTEST, "-n", "auto", *report, *files, "-k", selected, *session.posargs)
    if row.sdk not in BEFORE_RECORDINGS and share.startswith("1/"):
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
