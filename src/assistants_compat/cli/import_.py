"""`import`: saved objects of the old API into the store."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from ..importing import Imported, import_objects
from ..settings import Settings
from .terminal import NOT_DONE, AsJson, examples, say, show, troubles_said

commands = typer.Typer(rich_markup_mode=None)

_SHOWN = 20  # ids of a kind; all are in --json


@commands.command(
    "import",
    epilog=examples("import saved/ --dry-run", "import saved/", "import messages.jsonl more.json --json"),
)
def import_(
    paths: Annotated[list[Path], typer.Argument(help="Files (.json, .jsonl, .ndjson), or directories of them.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be taken, and write nothing.")] = False,
    oldest_first: Annotated[
        bool,
        typer.Option(
            "--oldest-first", help="Lists whose times do not tell begin with the oldest, not the newest as served."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take saved assistants, threads, messages, runs and run steps into the store, with their ids and times.

    Lists as the old API served them, JSON lines, or what export wrote. What is there already stays as it is, so the
    same command goes on after an interruption. A line to stderr for each object that could not be taken.
    """
    with troubles_said():
        done = import_objects(Settings(), paths, _refused, dry_run=dry_run, oldest_first=oldest_first)
    show(_in_words(done, dry_run=dry_run), _as_json(done, dry_run=dry_run) if as_json else None)
    if done.refused:
        raise typer.Exit(NOT_DONE)


def _refused(place: str, why: str) -> None:
    say(f"{place}: {why}")


def _as_json(done: Imported, *, dry_run: bool) -> dict[str, Any]:
    return {**dataclasses.asdict(done), "dry_run": dry_run}


def _in_words(done: Imported, *, dry_run: bool) -> list[str]:
    verb = "would be taken" if dry_run else "taken"
    taken = ", ".join(f"{number} {word}" for word, number in done.taken.items()) or "nothing"
    lines = [f"{taken} {verb}", f"{done.there} already there, {done.refused} not taken"]
    for ids, what in (
        (done.kept, "differ in the store and were left as they are there"),
        (done.made, "threads were made for their messages and runs"),
        (done.ended, "runs were unfinished, and have expired"),
    ):
        if ids:
            more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
            lines.append(f"{len(ids)} {what}: {', '.join(ids[:_SHOWN])}{more}")
    if done.upstream:
        lines.append(f"{done.upstream} uploaded files are still kept upstream, under the same ids")
    return lines
