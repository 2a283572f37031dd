"""`audit`: lists where a code base uses the Assistants API, and what this library does with each use."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..tools.audit import audit as audit_paths
from ..tools.audit import report
from ..tools.audit.findings import SEVERITY
from .terminal import (
    EXIT_FAILURE,
    EXIT_USAGE,
    JsonOption,
    examples,
    exit_with_error,
    print_result,
    print_to_stderr,
    quantity,
)

commands = typer.Typer(rich_markup_mode=None)
# `SEVERITY` goes from harmless to worst, so each threshold is a slice of it.
_FAILING_VERDICTS = {"any": SEVERITY, "differs": SEVERITY[1:], "unsupported": SEVERITY[-1:], "never": ()}


@commands.command(
    epilog=examples(
        "audit .", "audit src notebooks --format markdown > audit.md", "audit . --fail-on unsupported --json"
    )
)
def audit(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Folders, Python files and notebooks to read.")],
    *,
    output_format: Annotated[
        Literal["text", "json", "markdown"], typer.Option("--format", help="The output format.")
    ] = "text",
    fail_on: Annotated[
        Literal["any", "differs", "unsupported", "never"],
        typer.Option(
            help="Which uses make the exit code 1: any use, uses that do not work unchanged (differs), "
            "uses that need an edit (unsupported), or never."
        ),
    ] = "any",
    read_all: Annotated[
        bool, typer.Option("--all", help="Also read virtual environments, caches and files that .gitignore names.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List every use of the Assistants API by file and line, what this library does with it, and the native call.

    The code is parsed and never run. By default the exit code is 1 if there is any use, else 0.
    """
    for path in paths:
        if not os.path.exists(path):  # noqa: PTH110 - `Path.exists` raises for a folder that may not be read
            exit_with_error(f"{path} does not exist", EXIT_USAGE)
    try:
        result = audit_paths(paths, include_ignored=read_all)
    except Exception:  # noqa: BLE001 - Python's own exit code for it is 1, which says here that there are uses
        traceback.print_exc()
        raise typer.Exit(EXIT_USAGE) from None
    # On stderr, so that a report that is piped into a file holds only the report.
    if result.skipped:
        print_to_stderr(f"assistants_compat: skipped {quantity(len(result.skipped), 'path')} (--all reads everything)")
    if as_json or output_format == "json":
        print_result([], report.as_json(result))
    else:
        print_result(report.text(result) if output_format == "text" else report.markdown(result), None)
    if any(use.verdict in _FAILING_VERDICTS[fail_on] for use in result.uses):
        raise typer.Exit(EXIT_FAILURE)
