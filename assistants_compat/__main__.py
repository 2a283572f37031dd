"""`python -m assistants_compat`: see `cli`, or hear in one line what to install for it."""

from __future__ import annotations

import sys

_INTERRUPTED = 130  # as shells have it for Ctrl-C


def main() -> None:
    """Run the command line; Ctrl-C ends it without a word, also while it is still being imported."""
    try:
        _command()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _command() -> None:
    """Exits with 2 where the extra `cli` is not installed.  `run` does without it."""
    if sys.argv[1:2] == ["run"]:
        from .doors.run_program import run  # noqa: PLC0415 - the other commands have no need of it

        run(sys.argv[2:])
    try:
        import rich  # noqa: F401, PLC0415 - asked for here so that an error of ours is not taken for its absence
        import typer  # noqa: F401, PLC0415 - as above
    except ImportError:
        sys.stderr.write("The command line needs an extra: pip install 'assistants-compat[cli]'\n")
        sys.exit(2)
    from .cli import app  # noqa: PLC0415 - needs what was looked for above

    app(prog_name="python -m assistants_compat")


if __name__ == "__main__":
    main()
