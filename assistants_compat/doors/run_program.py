"""`python -m assistants_compat run ...`: runs a program unchanged, with `install()` called before its first line.

A fresh Python replaces this process and runs the program, so that its `__main__`, arguments, tracebacks, signals and
exit code are its own. PYTHONPATH leads that Python to `start/sitecustomize.py`, which calls `install()`. So does every
Python that the program starts: workers, reloaders, multiprocessing.

A launcher such as `opentelemetry-instrument` puts a `sitecustomize` of its own before ours. For these the wheel has
`assistants_compat.pth`, which Python reads from site-packages: it calls `install()` if the variable of `run` is set.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..errors import SettingsError
from ..runtime import logs
from ..runtime.switch import is_off

USAGE = """\
Usage: python -m assistants_compat run FILE [ARGS]...
       python -m assistants_compat run -m MODULE [ARGS]...
       python -m assistants_compat run -c CODE [ARGS]...
       python -m assistants_compat run COMMAND [ARGS]...

Run an unchanged program and answer its Assistants calls over the Responses API.

All arguments after `run` go to Python unchanged, --help included. Put Python's
own options before -m assistants_compat. A COMMAND is found on PATH, if there
is no FILE of its name; it may start Python itself, as launchers do. Python
processes that the program starts are covered too, unless they run with -E, -I
or -S. Settings come from ASSISTANTS_COMPAT_* variables; ASSISTANTS_COMPAT=off
leaves the clients of the program as they are.

Examples:
  python -m assistants_compat run app.py --port 8000
  python -m assistants_compat run -m gunicorn app:app
  python -m assistants_compat run opentelemetry-instrument python app.py
  python -X dev -m assistants_compat run app.py
"""

_USAGE_ERROR = 2  # the exit code of Python and of most commands for wrong arguments
_START_DIRECTORY = Path(__file__).with_name("start")
_PACKAGE = str(__package__).partition(".")[0]
_PTH_FILE = Path(__file__).parents[2] / "assistants_compat.pth"
RUN_VARIABLE = "_ASSISTANTS_COMPAT_RUN"
"""The environment variable that tells `assistants_compat.pth` to cover a process."""


def run(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by `python ARGUMENTS`; exits with 2 for wrong arguments."""
    if arguments[:1] in (["--help"], ["-h"]):
        sys.stdout.write(USAGE)
        sys.exit(0)
    first = arguments[0] if arguments else ""
    if not first or (first.startswith("-") and first not in {"-", "-m", "-c"}):
        sys.stderr.write(USAGE)
        sys.exit(_USAGE_ERROR)
    try:
        is_switched_off = is_off()
        if not is_switched_off:
            logs.level_from_environment()
    except SettingsError as error:
        _exit_with_error(str(error))
    if not is_switched_off:
        if sys.flags.ignore_environment or sys.flags.no_site:
            _exit_with_error(
                "`run` needs PYTHONPATH and sitecustomize, which Python's -E, -I and -S switch off. "
                "Drop these options, or call assistants_compat.install() in the program."
            )
        os.environ["PYTHONPATH"] = os.pathsep.join(_python_path())
        os.environ[RUN_VARIABLE] = "1"
    command = None if first.startswith("-") or Path(first).exists() else shutil.which(first)
    if command is None:
        _replace_process([sys.executable, *_python_options(), *arguments])
    if not is_switched_off and not _PTH_FILE.is_file():
        sys.stderr.write(
            f"assistants_compat: {first} is covered only if it has no `sitecustomize` of its own, because this package "
            "is not installed from its wheel. Otherwise call assistants_compat.install() in the program.\n"
        )
    _replace_process([command, *arguments[1:]])


def _exit_with_error(message: str) -> NoReturn:
    sys.stderr.write(f"assistants_compat: {message}\n")
    sys.exit(_USAGE_ERROR)


def _python_path() -> list[str]:
    """Return the directories of PYTHONPATH with `start/` first.

    The parent of this package is added if only the current directory provides the package: the program's `sys.path`
    starts with its own directory instead.
    """
    variable = os.environ.get("PYTHONPATH")
    directories = variable.split(os.pathsep) if variable else []
    package_parent = str(Path(__file__).parents[2])
    if package_parent not in sys.path[1:]:
        directories.append(package_parent)
    start = str(_START_DIRECTORY)
    return [start, *(directory for directory in directories if directory != start)]


def _python_options() -> list[str]:
    """Return Python's own options: what stands before `-m assistants_compat` or the console command.

    `-m` may be joined to the module's name or to other options (`-massistants_compat`, `-Bm assistants_compat`).
    """
    options = list(sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1])
    last = options.pop() if options else ""
    if not last.endswith(_PACKAGE):  # the path of the console command, `assistants-compat`
        return options
    if last == _PACKAGE and options:
        last = options.pop()
    last = last.removesuffix(_PACKAGE).removesuffix("m")
    return [*options, last] if last not in {"", "-"} else options


def _replace_process(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execv(command[0], command)  # noqa: S606 - the same Python, with the user's own arguments
    # On Windows exec does not keep the console. Wait for a child instead, and ignore Ctrl-C, which the child gets too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(subprocess.call(command))  # noqa: S603 - as above
