"""The command line, `python -m assistants_compat`: what operators do beside the program that holds the client.

What was asked for goes to stdout, as lines or with `--json`; everything else goes to stderr.  Exit codes: 0 when all of
it was done, 1 when something could not be, 2 for wrong use.  A user's mistake is a line, never a traceback.
One file a command; none imports another, all speak by `terminal`.
"""

from __future__ import annotations

import typer

from . import audit, cassettes, cassettes_check, demo, doctor, download, export, import_, run, settle, store

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Files and runs of the Assistants API over the Responses API.\n\n"
    "Settings come from ASSISTANTS_COMPAT_* variables. The client is made from OPENAI_API_KEY (and OPENAI_BASE_URL), "
    "or from AZURE_OPENAI_API_KEY where AZURE_OPENAI_ENDPOINT is set; "
    "without that key it asks with the tokens of who is signed in to Azure.",
)
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
