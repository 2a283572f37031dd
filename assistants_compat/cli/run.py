"""`run`: starts a program with every client wrapped. `__main__` handles the command, so that it needs no extra."""

from __future__ import annotations

import typer

from ..doors import run_program
from .terminal import examples

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    add_help_option=False,  # `run_program` prints its own help, and later --help options belong to the program
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples("run app.py --port 8000", "run -m gunicorn app:app"),
)
def run(context: typer.Context) -> None:
    """Run an unchanged program (FILE or -m MODULE) and answer its Assistants calls over the Responses API."""
    run_program.run(context.args)
