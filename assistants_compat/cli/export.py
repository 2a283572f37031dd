"""`export`: writes everything in the store, in the shapes of the Assistants API."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from ..settings import Settings
from ..store.locations import database_url
from ..tools.transfer import export_objects
from .terminal import (
    EXIT_USAGE,
    JsonOption,
    check_output_directory,
    examples,
    exit_with_error,
    hide_secrets,
    print_result,
    quantity,
    report_errors,
    report_failures,
)

commands = typer.Typer(rich_markup_mode=None)


@commands.command(epilog=examples("export --to backup", "export --to backup --json"))
def export(
    *,
    to: Annotated[Path, typer.Option("--to", help="A new or empty directory.")],
    as_json: JsonOption = False,
) -> None:
    """Export all assistants, threads, messages, runs, run steps and generated files of the namespace.

    The output is JSON lines in the shapes of the Assistants API, and the bytes of the files. Use import to read it into
    any database. If the namespace is empty, the exit code is 1.
    """
    check_output_directory(to)
    try:
        with report_errors():
            settings = Settings()
            result = export_objects.export(settings, to)
    except export_objects.DirectoryNotEmptyError:
        # A wrong argument, so the exit code is not that of an export that failed.
        exit_with_error(f"{to} is not an empty directory: choose a new or empty one", EXIT_USAGE)
    counts = [quantity(number, name.removesuffix("s").replace("_", " ")) for name, number in result.written.items()]
    print_result(
        [f"{to}: {', '.join(counts)} ({quantity(result.bytes, 'byte')})"],
        {**dataclasses.asdict(result), "to": str(to)} if as_json else None,
    )
    if not any(result.written.values()):
        # A backup of nothing is mostly one of the wrong store, which a script must notice.
        store = hide_secrets(database_url(settings.store).removeprefix("sqlite:///"))
        exit_with_error(
            f"nothing was exported: {store} has nothing in the namespace {settings.namespace!r}. "
            "Check ASSISTANTS_COMPAT_STORE and ASSISTANTS_COMPAT_NAMESPACE."
        )
    report_failures(result.failed)
