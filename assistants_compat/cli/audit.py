"""`audit`: where a code base uses the Assistants API, and what becomes of each use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..tools import audit as audits
from ..tools.audit import report
from ..tools.audit.findings import SEVERITY
from .terminal import NOT_DONE, WRONG_USE, AsJson, examples, say, show, stop

commands = typer.Typer(rich_markup_mode=None)
_FAILS = {"any": SEVERITY, "differs": SEVERITY[1:], "unsupported": SEVERITY[-1:], "never": ()}


@commands.command(
    epilog=examples(
        "audit .", "audit src notebooks --format markdown > audit.md", "audit . --fail-on unsupported --json"
    )
)
def audit(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Folders and files, Python and notebooks.")],
    *,
    form: Annotated[
        Literal["text", "json", "markdown"], typer.Option("--format", help="How it is written to stdout.")
    ] = "text",
    fail_on: Annotated[
        Literal["any", "differs", "unsupported", "never"],
        typer.Option(help="Exit with 1 for any use, for what does not simply work, for what needs an edit, or never."),
    ] = "any",
    everything: Annotated[
        bool, typer.Option("--all", help="Read environments, caches and what .gitignore names, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List every use of the Assistants API by file and line, what becomes of it here, and the native call.

    The code is parsed and never run. The exit code is 0 when nothing is found, and 1 when there are uses
    (see --fail-on).
    """
    for path in paths:
        if not path.exists():
            stop(f"{path} does not exist", WRONG_USE)
    done = audits.audit(paths, everything=everything)
    if done.skipped:
        say(f"assistants_compat: {len(done.skipped)} folders and files passed over (--all reads them)")
    if as_json or form == "json":
        show([], report.as_json(done))
    else:
        show(report.text(done) if form == "text" else report.markdown(done), None)
    if any(found.verdict in _FAILS[fail_on] for found in done.uses):
        raise typer.Exit(NOT_DONE)
