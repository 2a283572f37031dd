"""Installs the wheel with each extra by uv, pip and poetry, and finds the platforms that have wheels for all of it.

`make installs` runs it in an environment that has pip and poetry. Each installation gets an environment that is deleted
afterwards, takes the newest packages of the index, and must run a conversation with a download. Then uv resolves the
wheel for other platforms, from wheels alone. Nothing is run there, so a line says "wheels", not "works".
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# What must work with each extra, beside the conversation.
PROBES = {
    "": "",
    "postgres": "import psycopg; psycopg.pq.version()",
    "objects": "import obstore.store; obstore.store.S3Store",
    "cli": "import assistants_compat.cli, subprocess, sys; from pathlib import Path; "
    "subprocess.run([Path(sys.executable).with_name('assistants-compat'), '--version'], check=True)",
    "yaml": "import yaml, importlib; importlib.import_module('tomllib' if sys.version_info >= (3, 11) else 'tomli')",
    "azure": "import azure.identity.aio, assistants_compat.azure; assistants_compat.azure.client",
    "pytest": "import pytest, vcr, assistants_compat.pytest_plugin",
}

CONVERSATION = """
import importlib.metadata, openai, sys, tempfile
from pathlib import Path
import assistants_compat
from assistants_compat.testing import StandIn, Turn

assert "site-packages" in assistants_compat.__file__, assistants_compat.__file__
folder = Path(tempfile.mkdtemp(dir="."))
settings = assistants_compat.Settings(store=str(folder / "store.db"), poll_after_ms=1)
with StandIn() as upstream:
    upstream.script(Turn(text="sandbox:/mnt/data/a.csv", files={"a.csv": b"a"}))
    client = assistants_compat.wrap(openai.OpenAI(api_key="sk", base_url=upstream.base_url), settings)
    assistant = client.beta.assistants.create(model="gpt-4.1", tools=[{"type": "code_interpreter"}])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "x"}])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    [path] = assistants_compat.download_files(client, run, folder)
    assert path.read_bytes() == b"a"
    client.close()
"""

# uv's names. The C library of Alpine is musl.
PLATFORMS = {
    "Linux x86_64, glibc 2.28": "x86_64-manylinux_2_28",
    "Linux aarch64, glibc 2.28": "aarch64-manylinux_2_28",
    "Alpine x86_64 (musl)": "x86_64-unknown-linux-musl",
    "Alpine aarch64 (musl)": "aarch64-unknown-linux-musl",
    "Windows x86_64": "x86_64-pc-windows-msvc",
    "Windows arm64": "aarch64-pc-windows-msvc",
    "macOS arm64": "aarch64-apple-darwin",
    "macOS x86_64": "x86_64-apple-darwin",
}

PROJECT = """\
[project]
name = "app"
version = "0"
requires-python = ">=3.10"

[tool.poetry]
package-mode = false
"""

UV = os.environ.get("UV", "uv")


@dataclass(frozen=True)
class Installation:
    """One installer with one extra, or with several separated by commas."""

    tool: str
    extras: str

    def name(self) -> str:
        """The installer and the extras as they are printed."""
        return f"{self.tool} {f'[{self.extras}]' if self.extras else ''}".strip()


def install_with_uv(wheel: Path, extras: str, folder: Path) -> Path:
    """Install as `uv pip install` does; returns the environment's Python."""
    run([UV, "venv", "-q", "-p", sys.executable, folder / "venv"])
    run([UV, "pip", "install", "-q", "-p", folder / "venv", requirement(wheel, extras)])
    return interpreter(folder / "venv")


def install_with_pip(wheel: Path, extras: str, folder: Path) -> Path:
    """Install as `pip install` does; returns the environment's Python."""
    run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"])
    python = interpreter(folder / "venv")
    # Compiling takes as long as everything else and tells nothing.
    run([sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile", requirement(wheel, extras)])
    run([sys.executable, "-m", "pip", "--python", python, "check"])
    return python


def install_with_poetry(wheel: Path, extras: str, folder: Path) -> Path:
    """Add the wheel to an empty project as `poetry add` does; returns the environment's Python."""
    (folder / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    options = [option for extra in extras.split(",") if extra for option in ("--extras", extra)]
    environment = {**os.environ, "POETRY_VIRTUALENVS_IN_PROJECT": "1", "POETRY_VIRTUALENVS_CREATE": "1"}
    environment.pop("VIRTUAL_ENV", None)
    run([sys.executable, "-m", "poetry", "add", "-n", "-q", wheel, *options], cwd=folder, env=environment)
    return interpreter(folder / ".venv")


TOOLS: dict[str, Callable[[Path, str, Path], Path]] = {
    "uv": install_with_uv,
    "pip": install_with_pip,
    "poetry": install_with_poetry,
}


def requirement(wheel: Path, extras: str) -> str:
    """The wheel as a user writes it, with extras in brackets."""
    return f"{wheel}[{extras}]" if extras else str(wheel)


def interpreter(environment: Path) -> Path:
    """The Python of an environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(command: Sequence[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command and return what it prints; raises `RuntimeError` with its output if it fails."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - built here
    if done.returncode:
        message = f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
        raise RuntimeError(message)
    return done.stdout


def try_installation(wheel: Path, installation: Installation) -> tuple[bool, str]:
    """Install into a new environment and run the probes; returns whether that worked, and what to print."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="installs-") as name:
        folder = Path(name)
        try:
            python = TOOLS[installation.tool](wheel, installation.extras, folder)
            program = "\n".join(["import sys", *map(PROBES.__getitem__, installation.extras.split(",")), CONVERSATION])
            sdk = run([python, "-c", f"{program}\nprint(openai.__version__)"], cwd=folder).split()[-1]
        except RuntimeError as error:
            return False, f"failed\n{error}"
    return True, f"ok  {time.monotonic() - start:4.0f} s  openai {sdk}"


def missing_wheels(wheel: Path, extras: str, platform: str, python: str) -> str | None:
    """Resolve from wheels alone for another platform; returns the reason if that fails.

    The wheel itself may come from anywhere; uv takes the newest version of each package that has a fitting wheel.
    """
    command = [UV, "pip", "compile", "-q", "--only-binary", ":all:", "--python-platform", platform]
    command += ["--python-version", python, "--no-header", "-"]
    line = f"assistants-compat{f'[{extras}]' if extras else ''} @ {wheel.resolve().as_uri()}"
    done = subprocess.run(command, input=line, capture_output=True, text=True, check=False)  # noqa: S603 - built here
    if not done.returncode:
        return None
    lacking = set(re.findall(r"([a-z][\w.-]*)(?:\{[^}]*\})?[<>=][^ ]* has no (?:usable )?wheels", done.stderr))
    return ", ".join(sorted(lacking)) or " ".join(done.stderr.split())


def main() -> int:
    """Run all installations, then all platforms; returns 1 if one failed."""
    parser = argparse.ArgumentParser(description="Install the wheel with each extra and each installer.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--tool", action="append", choices=TOOLS, help="try this installer alone; may be repeated")
    parser.add_argument("--extra", action="append", choices=PROBES, help="try this extra alone; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="installations at the same time (2)")
    options = parser.parse_args()
    wheel = options.wheel.resolve()
    extras = options.extra or [*PROBES, ",".join(filter(None, PROBES))]
    wanted = [Installation(tool, extra) for tool in options.tool or TOOLS for extra in extras]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    print(f"{wheel.name} on Python {python}, {sys.platform}")
    failures = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(lambda installation: try_installation(wheel, installation), wanted)
        for installation, (worked, text) in zip(wanted, results, strict=True):
            failures += not worked
            print(f"{installation.name():<52} {text}", flush=True)
        print(f"\nWheels for every package on Python {python}, by platform")
        for platform, target in PLATFORMS.items():
            reasons = pool.map(lambda extra, target=target: missing_wheels(wheel, extra, target, python), extras)
            lacking = {extra or "no extra": reason for extra, reason in zip(extras, reasons, strict=True) if reason}
            print(f"{platform:<52} {'all' if not lacking else ''}")
            for extra, reason in lacking.items():
                print(f"  [{extra}]: {reason}")
    print(f"\n{len(wanted) - failures} of {len(wanted)} installations work")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
