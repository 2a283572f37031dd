"""`store`: what the store keeps."""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Annotated

import typer

from ..settings import Settings
from ..tools.retention import collect
from .terminal import AsJson, examples, say_failed, show, troubles_said

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What the store keeps.")

_AGE = re.compile(r"(\d{1,6})([hdw])\Z", re.ASCII)
_SECONDS = {"h": 3600, "d": 86_400, "w": 604_800}


def _age(text: str) -> int:
    """`30d` in seconds."""
    found = _AGE.match(text)
    if found is None:
        message = f"{text!r} is no age; 12h, 30d or 8w are"
        raise typer.BadParameter(message)
    return int(found[1]) * _SECONDS[found[2]]


@commands.command(epilog=examples("store gc --older-than 30d --dry-run", "store gc --older-than 8w"))
def gc(
    *,
    older_than: Annotated[int, typer.Option(parser=_age, metavar="AGE", help="Age in hours, days or weeks: 30d.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove generated files that are older than an age: their bytes and what the store says of them.

    Messages keep their text and annotations; a download answers 404 then. The files of the namespace only.
    """
    with troubles_said():
        done = collect(Settings(), before=int(time.time()) - older_than, dry_run=dry_run)
    verb = "would be removed" if dry_run else "removed"
    show(
        [*done.removed, f"{len(done.removed)} files, {done.bytes} bytes {verb}"],
        {**dataclasses.asdict(done), "dry_run": dry_run} if as_json else None,
    )
    say_failed(done.failed)
