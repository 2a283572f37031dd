"""`export`: everything in the store as the old API served it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from ..settings import Settings
from ..tools.transfer import export_objects
from .terminal import WRONG_USE, AsJson, examples, say_failed, show, stop, troubles_said

commands = typer.Typer(rich_markup_mode=None)


@commands.command(epilog=examples("export --to backup", "export --to backup --json"))
def export(
    *,
    to: Annotated[Path, typer.Option("--to", help="A directory that is not there yet, or empty.")],
    as_json: AsJson = False,
) -> None:
    """Write all assistants, threads, messages, runs, run steps and generated files of the namespace.

    JSON lines in the shapes of the old API, and the bytes of the files; import takes them back, into any database.
    """
    try:
        with troubles_said():
            done = export_objects.export(Settings(), to)
    except export_objects.TakenDirectoryError:
        stop(f"{to} is not an empty directory: choose another", WRONG_USE)
    words = ", ".join(f"{number} {name}" for name, number in done.written.items())
    show(
        [f"{to}: {words}, {done.bytes} bytes of files"],
        {**dataclasses.asdict(done), "to": str(to)} if as_json else None,
    )
    say_failed(done.failed)
