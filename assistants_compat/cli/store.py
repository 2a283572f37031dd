"""`store`: maintains the store."""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Annotated

import typer

from ..settings import Settings
from ..tools.retention import remove_old_files
from .terminal import JsonOption, confirm, examples, print_result, quantity, report_errors, report_failures

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Maintain the store.")

# ASCII, because `\d` and `int` take the digits of every script.
_AGE_PATTERN = re.compile(r"(\d{1,6})([hdw])\Z", re.ASCII)
_SECONDS_PER_UNIT = {"h": 3600, "d": 86_400, "w": 604_800}


def _age_in_seconds(text: str) -> int:
    """Return an age such as `30d` in seconds."""
    match = _AGE_PATTERN.match(text)
    if match is None:
        message = f"{text!r} is not a valid age; use for example 12h, 30d or 8w."
        raise typer.BadParameter(message)
    return int(match[1]) * _SECONDS_PER_UNIT[match[2]]


@commands.command(epilog=examples("store gc --older-than 30d --dry-run", "store gc --older-than 8w"))
def gc(
    *,
    older_than: Annotated[
        int,
        typer.Option(
            parser=_age_in_seconds, metavar="AGE", help="Age in hours, days or weeks, such as 12h, 30d or 8w."
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed, and remove nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before an AGE of 0 removes all generated files.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove generated files that are older than AGE: their bytes and their data in the store.

    Messages keep their text and annotations, but downloads of these files return 404. Only files of the namespace are
    removed. If AGE is 0, which is all of them, the command asks first.
    """
    if older_than == 0 and not dry_run and not yes:
        _confirm_removal_of_everything()
    with report_errors():
        result = remove_old_files(Settings(), before=int(time.time()) - older_than, dry_run=dry_run)
    would_be = "would be " if dry_run else ""
    total = f"{quantity(len(result.removed), 'file')}, {quantity(result.bytes, 'byte')} {would_be}removed"
    print_result(
        [*result.removed, total],
        {**dataclasses.asdict(result), "dry_run": dry_run} if as_json else None,
    )
    report_failures(result.failed)


def _confirm_removal_of_everything() -> None:
    with report_errors():
        settings = Settings()
        everything = remove_old_files(settings, before=int(time.time()), dry_run=True)
    if everything.removed:
        count = f"({quantity(len(everything.removed), 'file')}, {quantity(everything.bytes, 'byte')})"
        what = f"all generated files of the namespace {settings.namespace!r} {count}"
        confirm(f"This removes {what}. Continue?", f"an age of 0 removes {what}: give --yes if you mean it")
