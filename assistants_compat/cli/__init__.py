"""The command line, `python -m assistants_compat`.

Results go to stdout, as lines or with `--json`; everything else goes to stderr. Exit codes: 0 for success, 1 if
something failed, 2 for wrong arguments or settings. A user's mistake is one line, never a traceback. Each command has a
file of its own; no command imports another, and all of them print through `terminal`. Start reading at `terminal.py`.
"""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from . import audit, cassettes, cassettes_check, demo, doctor, download, export, import_, run, settle, store, terminal

app = typer.Typer(
    cls=terminal.CommandGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Run, check and migrate code for the Assistants API over the Responses API.\n\n"
    "Settings come from ASSISTANTS_COMPAT_* variables. The client uses OPENAI_API_KEY and OPENAI_BASE_URL. "
    "If AZURE_OPENAI_ENDPOINT is set, it uses AZURE_OPENAI_API_KEY, or without that key your Azure sign-in.",
)


def _print_version(value: bool) -> None:  # noqa: FBT001 - Typer calls it so
    if value:
        typer.echo(f"assistants_compat {metadata.version('assistants_compat')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Handle the options before the command."""


app.add_typer(audit.commands)
app.add_typer(demo.commands)
app.add_typer(doctor.commands)
app.add_typer(download.commands)
app.add_typer(export.commands)
app.add_typer(import_.commands)
app.add_typer(run.commands)
app.add_typer(settle.commands)
app.add_typer(store.commands, name="store")
cassettes.commands.add_typer(cassettes_check.commands)
app.add_typer(cassettes.commands, name="cassettes")

__all__ = ["app"]
