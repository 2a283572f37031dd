"""`python -m assistants_compat run ...`: a program as Python runs it, with `install()` called before its first line.

The program gets a Python of its own in the place of this process, so that nothing of ours is around it: not in its
`__main__`, its arguments, its tracebacks, its signals or its exit code.  A `sitecustomize` of ours on PYTHONPATH calls
`install()`, there and in every Python that the program starts: workers, reloaders, processes of multiprocessing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..errors import SettingsError
from ..runtime.switch import is_off

USAGE = """\
Usage: python -m assistants_compat run FILE [ARGS]...
       python -m assistants_compat run -m MODULE [ARGS]...
       python -m assistants_compat run -c CODE [ARGS]...

Run a program whose Assistants calls are answered over the Responses API, without an edit.

What follows is given to Python as it stands, also --help. Options of Python's own go before -m assistants_compat.
Pythons that the program starts are covered too, but for those with -E, -I or -S. Settings come from
ASSISTANTS_COMPAT_* variables; with ASSISTANTS_COMPAT=off the program runs as it is.

Examples:
  python -m assistants_compat run app.py --port 8000
  python -m assistants_compat run -m gunicorn app:app
  python -X dev -m assistants_compat run app.py
"""

_WRONG_USE = 2
_START = Path(__file__).with_name("start")


def run(arguments: Sequence[str]) -> NoReturn:
    """Become `python ARGUMENTS`; exits with 2 for wrong use."""
    if arguments[:1] in (["--help"], ["-h"]):
        sys.stdout.write(USAGE)
        sys.exit(0)
    first = arguments[0] if arguments else ""
    if not first or (first.startswith("-") and first not in {"-", "-m", "-c"}):
        sys.stderr.write(USAGE)
        sys.exit(_WRONG_USE)
    try:
        off = is_off()
    except SettingsError as error:
        _refuse(str(error))
    if not off:
        if sys.flags.ignore_environment or sys.flags.no_site:
            _refuse("Python's -E, -I and -S keep `run` from working; call assistants_compat.install() in the program.")
        os.environ["PYTHONPATH"] = os.pathsep.join(_places())
    _become([sys.executable, *_options(), *arguments])


def _refuse(said: str) -> NoReturn:
    sys.stderr.write(f"assistants_compat: {said}\n")
    sys.exit(_WRONG_USE)


def _places() -> list[str]:
    """PYTHONPATH with our start in front; with this package too, where only the current directory has it."""
    given = os.environ.get("PYTHONPATH")
    places = given.split(os.pathsep) if given else []
    package = str(Path(__file__).parents[1])
    if package not in sys.path[1:]:
        places.append(package)
    start = str(_START)
    return [start, *(place for place in places if place != start)]


def _options() -> list[str]:
    """Python's own options, as they stand before `-m assistants_compat` in the command line."""
    options = list(sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1])
    last = options.pop() if options else ""
    if last == __package__ and options:
        last = options.pop()
    last = last.removesuffix(str(__package__)).removesuffix("m")
    return [*options, last] if last not in {"", "-"} else options


def _become(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execv(command[0], command)  # noqa: S606 - the same Python, with the user's own arguments
    # Windows has no exec that keeps the console: wait, and leave Ctrl-C to the program, which gets it as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(subprocess.call(command))  # noqa: S603 - as above
