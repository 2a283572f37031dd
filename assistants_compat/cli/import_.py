"""`import`: saved objects of the old API into the store."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from ..engine.saved.assistants_file import Applied
from ..settings import Settings
from ..tools.transfer.import_objects import Imported, import_assistants, import_objects
from .terminal import NOT_DONE, AsJson, examples, say, show, troubles_said

commands = typer.Typer(rich_markup_mode=None)

_DECLARING = (".toml", ".yaml", ".yml")
_SHOWN = 20  # ids of a kind; all are in --json


@commands.command(
    "import",
    epilog=examples(
        "import saved/ --dry-run",
        "import saved/",
        "import messages.jsonl more.json --json",
        "import assistants.toml --dry-run",
    ),
)
def import_(
    paths: Annotated[
        list[Path], typer.Argument(help="Files (.json, .jsonl, .ndjson), directories of them, .toml, .yaml.")
    ],
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
    same command goes on after an interruption. A .toml or .yaml file is one of assistants as code: it is applied as a
    whole, and with --dry-run it is said where the store is otherwise. A line to stderr for each object that
    could not be taken.
    """
    files = [path for path in paths if path.suffix.lower() in _DECLARING]
    saved = [path for path in paths if path not in files]
    with troubles_said():
        settings = Settings()
        applied = [(path, import_assistants(settings, path, dry_run=dry_run)) for path in files]
        done = import_objects(settings, saved, _refused, dry_run=dry_run, oldest_first=oldest_first)
    lines = [line for path, each in applied for line in _applied_in_words(path, each, dry_run=dry_run)]
    as_one = {
        "declared": {str(path): dataclasses.asdict(each) for path, each in applied},
        **_as_json(done, dry_run=dry_run),
    }
    show([*lines, *(_in_words(done, dry_run=dry_run) if saved else [])], as_one if as_json else None)
    if done.refused or any(each.deleted for _, each in applied):
        raise typer.Exit(NOT_DONE)


def _applied_in_words(path: Path, done: Applied, *, dry_run: bool) -> list[str]:
    verb = "would be" if dry_run else "was"
    lines = [f"{id_}: {verb} made" for id_ in done.new]
    lines += [f"{id_}: {verb} changed: {', '.join(names)}" for id_, names in done.changed.items()]
    lines += [f"{id_}: was deleted here, and stays so" for id_ in done.deleted]
    return [*lines, f"{path}: {done.same} assistants as they are there"]


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
