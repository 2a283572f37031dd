"""`import`: reads saved objects of the Assistants API, and files of assistants, into the store."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from ..engine.saved.assistants_file import ApplyReport
from ..settings import Settings
from ..tools.transfer.import_objects import ImportResult, import_assistants, import_objects
from ..tools.transfer.input_files import why_unusable
from .terminal import (
    EXIT_FAILURE,
    EXIT_USAGE,
    JsonOption,
    examples,
    exit_with_error,
    print_result,
    print_to_stderr,
    quantity,
    report_errors,
)

commands = typer.Typer(rich_markup_mode=None)

_ASSISTANTS_FILE_SUFFIXES = (".toml", ".yaml", ".yml")
_MAX_SHOWN_IDS = 20  # in a line of output; --json has all


@commands.command(
    "import",
    epilog=examples(
        "import saved/ --dry-run",
        "import saved/",
        "import messages.jsonl rows.csv web.har --json",
        "import assistants.toml --dry-run",
    ),
)
def import_(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH",
            help="Files (.json, .jsonl, .csv, .har, also as .gz), directories of these, - for stdin, or .toml and "
            ".yaml files.",
        ),
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be imported, and write nothing.")
    ] = False,
    oldest_first: Annotated[
        bool,
        typer.Option(
            "--oldest-first",
            help="If the times of a list do not show its order, read it as oldest first. The default is newest first, "
            "as the API sent it.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Import saved assistants, threads, messages, runs and run steps with their ids and times.

    The input is lists as the Assistants API sent them, objects as the SDK dumps them, alone or in one another, rows
    with thread_id, role, content and created_at, or the output of export. Objects that are already in the store do not
    change, so you can run an interrupted import again. A .toml or .yaml file describes assistants: it is applied as a
    whole, and --dry-run prints where the store differs. Import prints one line on stderr for each object it cannot
    import.
    """
    assistants_files = [path for path in paths if path.suffix.lower() in _ASSISTANTS_FILE_SUFFIXES]
    saved_paths = [path for path in paths if path not in assistants_files]
    for path in saved_paths:
        reason = why_unusable(path)
        if reason is not None:
            exit_with_error(f"{path}: {reason}", EXIT_USAGE)
    with report_errors():
        settings = Settings()
        applied = [(path, import_assistants(settings, path, dry_run=dry_run)) for path in assistants_files]
        # Also called without saved files, so that --json always has the same keys.
        result = import_objects(settings, saved_paths, _print_refusal, dry_run=dry_run, oldest_first=oldest_first)
    lines = [line for path, report in applied for line in _assistants_file_lines(path, report, dry_run=dry_run)]
    json_object = {
        "declared": {str(path): dataclasses.asdict(report) for path, report in applied},
        **_as_json(result, dry_run=dry_run),
    }
    print_result(
        [*lines, *(_summary_lines(result, dry_run=dry_run) if saved_paths else [])], json_object if as_json else None
    )
    if result.refused or any(report.deleted for _, report in applied):
        raise typer.Exit(EXIT_FAILURE)


def _assistants_file_lines(path: Path, report: ApplyReport, *, dry_run: bool) -> list[str]:
    would_be = "would be " if dry_run else ""
    lines = [f"{id_}: {would_be}created" for id_ in report.new]
    lines += [f"{id_}: {would_be}changed: {', '.join(names)}" for id_, names in report.changed.items()]
    lines += [f"{id_}: not created, because it was deleted in the store" for id_ in report.deleted]
    return [*lines, f"{path}: {quantity(report.same, 'assistant')} unchanged"]


def _print_refusal(location: str, reason: str) -> None:
    print_to_stderr(f"{location}: {reason}")


def _as_json(result: ImportResult, *, dry_run: bool) -> dict[str, Any]:
    return {**dataclasses.asdict(result), "dry_run": dry_run}


def _summary_lines(result: ImportResult, *, dry_run: bool) -> list[str]:
    would_be = "would be " if dry_run else ""
    counts = [quantity(number, kind.removesuffix("s")) for kind, number in result.taken.items()]
    lines = [
        f"{', '.join(counts) or 'nothing'} {would_be}imported",
        f"{result.there} already in the store, {result.refused} not imported",
    ]
    new_threads = [f"{id_} ({location})" for id_, location in result.new_threads.items()]
    unknown_keys = [f"{key[:80]!r} ({quantity(number, 'object')})" for key, number in result.unknown_keys.items()]
    for ids, what in (
        (result.kept, "different in the store, not changed"),
        (result.made, f"threads {would_be}created for messages or runs without a saved thread"),
        (result.ended, f"unfinished runs {would_be}imported as expired or cancelled"),
        (new_threads, "new ids of threads, because the input has none"),
        (unknown_keys, "keys with data that the store has no place for, not imported"),
    ):
        if ids:
            more = f" and {len(ids) - _MAX_SHOWN_IDS} more" if len(ids) > _MAX_SHOWN_IDS else ""
            lines.append(f"{what}: {', '.join(ids[:_MAX_SHOWN_IDS])}{more}")
    if result.upstream:
        lines.append(f"uploaded files that need no import, because the upstream keeps them: {result.upstream}")
    return lines
