"""`run`: a program whose clients are covered without an edit.  `__main__` runs it, so that it needs no extra."""

from __future__ import annotations

import typer

from ..doors import run_program
from .terminal import examples

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    add_help_option=False,  # `running` has its own, and the program's is the program's
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples("run app.py --port 8000", "run -m gunicorn app:app"),
)
def run(context: typer.Context) -> None:
    """Run a program, FILE or -m MODULE, whose Assistants calls are answered over the Responses API."""
    run_program.run(context.args)
