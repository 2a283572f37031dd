"""`python -m assistants_compat` and the console command `assistants-compat`: run the command line of `cli`."""

from __future__ import annotations

import io
import signal
import sys
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import NoReturn

_INTERRUPTED, _TERMINATED = 130, 143  # what shells report for Ctrl-C and SIGTERM
_CONSOLE_COMMAND = "assistants-compat"


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback, also while it is still being imported."""
    try:
        _run_command()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _run_command() -> None:
    """Run one command; exit with 2 if the packages of the extra `cli` are missing and the command needs them."""
    if sys.argv[1:2] == ["run"]:
        from .doors.run_program import run  # noqa: PLC0415 - the other commands do not need it

        run(sys.argv[2:])
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"assistants_compat {metadata.version('assistants_compat')}\n")
        return
    try:
        import rich  # noqa: F401, PLC0415 - imported here so that an ImportError of our own is not taken for its absence
        import typer  # noqa: F401, PLC0415 - as above
    except ImportError:
        sys.stderr.write(
            "This command needs the packages typer and rich: pip install typer rich. `run` works without them.\n"
        )
        sys.exit(2)
    _escape_unprintable()
    signal.signal(signal.SIGTERM, _terminate)
    from .cli import app  # noqa: PLC0415 - needs the packages above

    # Shells complete the name of a command, which `python -m assistants_compat` is not.
    completes = sys.argv[1:2] in (["--install-completion"], ["--show-completion"])
    is_console_command = Path(sys.argv[0]).stem == _CONSOLE_COMMAND
    app(prog_name=_CONSOLE_COMMAND if completes or is_console_command else "python -m assistants_compat")


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """End the command as an exception does, so that unfinished files are removed and transactions rolled back."""
    sys.exit(_TERMINATED)


def _escape_unprintable() -> None:
    """Let stdout escape what its encoding lacks, as stderr does.

    Names come from users and models, and output that goes to a file on Windows is in a code page.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
