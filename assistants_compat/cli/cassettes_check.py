"""`cassettes check`: finds secrets in recordings, and requests that no test plays."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from ..recordings import vcr_yaml
from ..recordings.check import (
    has_legacy_requests,
    leaks_in_document,
    mentions_legacy_calls,
    recording_files,
    request_lines,
    unplayed_requests,
)
from .terminal import (
    EXIT_FAILURE,
    EXIT_USAGE,
    JsonOption,
    examples,
    exit_with_error,
    no_recordings_message,
    print_result,
    print_to_stderr,
    quantity,
)

_MAX_NAMES = 5  # of files that were passed over
commands = typer.Typer(rich_markup_mode=None)

RecordingsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH", help="Recordings (YAML or JSON), or directories that contain them.", show_default=False
    ),
]


@commands.command(
    epilog=examples(
        "cassettes check tests/cassettes",
        "cassettes check tests --played played.json",
    ),
)
def check(
    paths: RecordingsArgument,
    *,
    played: Annotated[
        Path | None,
        typer.Option(help="The file that `pytest --assistants-compat-played=FILE` wrote in a run of the whole suite."),
    ] = None,
    harmless: Annotated[
        list[str] | None,
        typer.Option(help="A regular expression for text that looks like a secret but is harmless; can be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find secrets in recordings and, with --played, requests that no test plays.

    It prints one line for each problem, with at most the first four characters of a secret. The exit code is 1 if there
    is a problem. It names the files in a directory that it passes over, because VCR.py did not record them.
    """
    harmless_patterns = _compile_patterns(harmless or [])
    unplayed_by_path = None if played is None else _read_unplayed(played)
    lines: list[str] = []
    recordings = with_legacy_calls = 0
    files, passed_over = recording_files(paths)
    for path in files:
        try:
            document = vcr_yaml.load(path)
        except OSError as error:
            exit_with_error(f"{path}: {error.strerror}", EXIT_USAGE)
        except vcr_yaml.CassetteError as error:
            if path in paths:
                exit_with_error(str(error), EXIT_USAGE)
            passed_over.append(path)  # a directory of tests may contain other YAML
            continue
        try:
            problems = [f"{path}: {leak}" for leak in leaks_in_document(document, harmless_patterns)]
            # An empty mapping counts: a suite that opened no recording has played none of these.
            if unplayed_by_path is not None:
                requests = request_lines(document)
                problems += [f"{path}: {line}" for line in _unplayed_lines(requests, path, unplayed_by_path)]
            with_legacy_calls += has_legacy_requests(document)
        except vcr_yaml.CassetteError as error:  # it was not checked, so it must not look clean
            problems = [f"{path}: {error}"]
        recordings += 1
        lines += dict.fromkeys(problems)
    if passed_over:
        print_to_stderr(_passed_over_line(passed_over))
    if not recordings:
        exit_with_error(no_recordings_message(paths), EXIT_USAGE)
    report = {
        "recordings": recordings,
        "old": with_legacy_calls,
        "found": lines,
        "passed_over": [str(path) for path in sorted(passed_over)],
    }
    found = quantity(len(lines), "problem") if lines else "no problems"
    print_to_stderr(f"{quantity(recordings, 'recording')}, {with_legacy_calls} with Assistants calls: {found} found")
    print_result(lines, report if as_json else None)
    if lines:
        raise typer.Exit(EXIT_FAILURE)


def _passed_over_line(passed_over: list[Path]) -> str:
    """Return which files were not checked: those with Assistants calls first, because another tool recorded these."""
    by_weight = sorted(passed_over, key=lambda path: (not mentions_legacy_calls(path), path))
    names = ", ".join(map(str, by_weight[:_MAX_NAMES]))
    more = f" and {len(by_weight) - _MAX_NAMES} more" if len(by_weight) > _MAX_NAMES else ""
    return f"passed over {quantity(len(by_weight), 'file')} that VCR.py did not record: {names}{more}"


def _unplayed_lines(requests: list[str], path: Path, unplayed_by_path: dict[str, list[int]]) -> list[str]:
    # The plugin writes resolved paths, and this command may run in another directory.
    unplayed = unplayed_by_path.get(str(path.resolve()))
    if unplayed is None:
        return ["no test opens this recording"]
    # The file can be older than the recording, so an index may be too large.
    return [f"{index + 1}. no test plays {requests[index]}" for index in unplayed if index < len(requests)]


def _compile_patterns(expressions: list[str]) -> list[re.Pattern[str]]:
    try:
        return [re.compile(expression) for expression in expressions]
    except re.error as error:
        exit_with_error(f"--harmless {error.pattern!r} is not a valid regular expression: {error}", EXIT_USAGE)


def _read_unplayed(file: Path) -> dict[str, list[int]]:
    try:
        return unplayed_requests(file)
    except OSError as error:
        exit_with_error(f"{file}: {error.strerror}", EXIT_USAGE)
    except ValueError as error:
        exit_with_error(f"{file}: {error}", EXIT_USAGE)
