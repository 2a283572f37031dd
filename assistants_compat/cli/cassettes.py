"""`cassettes`: shows recordings of a test suite, and converts them to the Responses API."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..recordings import check, vcr_yaml
from ..recordings.convert import play
from ..recordings.show import summary_lines
from .terminal import (
    EXIT_FAILURE,
    EXIT_USAGE,
    JsonOption,
    check_output_directory,
    examples,
    exit_with_error,
    no_recordings_message,
    print_result,
    print_to_stderr,
    quantity,
)

commands = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Check, convert and show recordings, the VCR.py cassettes of a test suite (needs the extra `pytest`).",
)

RecordingArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A recording (YAML).", show_default=False)]
RecordingsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="PATH", help="Recordings (YAML), or directories that contain them.", show_default=False),
]


@commands.command(name="show", epilog=examples("cassettes show tests/cassettes/chat.yaml"))
def show(path: RecordingArgument, *, as_json: JsonOption = False) -> None:
    """Print a recording in readable form, without headers and secrets, and with counts of streamed events."""
    shown = list(summary_lines(read_recording(path)))
    print_result(shown, {"lines": shown} if as_json else None)


@commands.command(epilog=examples("cassettes convert tests/cassettes --to converted"))
def convert(
    paths: RecordingsArgument,
    to: Annotated[Path, typer.Option("--to", help="Directory for the new recordings.", show_default=False)],
    *,
    partly: Annotated[
        bool, typer.Option("--partly", help="Also write recordings with calls that could not be converted.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Convert recordings of the Assistants API into recordings of the Responses API, for the same tests.

    It plays the old calls through assistants_compat against an upstream that answers as recorded; nothing is sent over
    the network. It prints one line for each thing that is unknown, that cannot be converted or that a test will see
    differently. It copies recordings without Assistants calls, and reports and skips files that are not recordings.
    """
    # The report has what the log would say; without a handler Python prints warnings on stderr.
    logging.getLogger("assistants_compat").addHandler(logging.NullHandler())
    report: dict[str, Any] = {}
    summaries: list[str] = []
    failed = False
    for path, target in _target_paths(paths, to, force=force).items():
        try:
            conversion = play.convert(vcr_yaml.load(path))
        except (vcr_yaml.CassetteError, OSError) as error:
            if path in paths:  # named by the user, not just found in a directory
                exit_with_error(_error_message(path, error), EXIT_USAGE)
            failed = True
            print_to_stderr(f"skipped: {_error_message(path, error)}")
            report[str(path)] = {"to": None, "unreadable": _error_message(path, error)}
            continue
        is_complete = not conversion.refused
        failed = failed or not is_complete
        if is_complete or partly:
            _write(target, vcr_yaml.dump(conversion.document))
            # A key recurs in every request of a recording; one line for it is enough.
            for leak in dict.fromkeys(check.leaks_in_document(conversion.document, ())):
                print_to_stderr(f"{path}: copied from the old recording, check it: {leak}")
        for line in _difference_lines(conversion):
            print_to_stderr(f"{path}: {line}")
        report[str(path)] = _as_json(conversion, target if is_complete or partly else None)
        outcome = f" -> {target}" if is_complete or partly else ", not written"
        summaries.append(f"{path}: {_summary(conversion)}{outcome}")
    if not summaries:
        exit_with_error(no_recordings_message(paths), EXIT_USAGE)
    print_result(summaries, report if as_json else None)
    if failed:
        raise typer.Exit(EXIT_FAILURE)


def _target_paths(paths: list[Path], to: Path, *, force: bool) -> dict[Path, Path]:
    """Return the new path of each recording; exits before anything is written if a file would be overwritten."""
    recordings = dict(_find_recordings(paths))
    if not recordings:
        exit_with_error(no_recordings_message(paths), EXIT_USAGE)
    check_output_directory(to)
    targets = {path: to / name for path, name in recordings.items()}
    # Paths are relative to the directory that was named, so two directories may hold the same one.
    for target, count in Counter(targets.values()).items():
        if count > 1:
            exit_with_error(
                f"{target} would be written {count} times: convert these directories separately.", EXIT_USAGE
            )
        if target.exists() and not force:
            exit_with_error(
                f"{target} exists already: choose another directory, or use --force to overwrite it.", EXIT_USAGE
            )
        if target.suffix == ".json":
            exit_with_error(
                f"{target} would contain YAML, the only format that is written: save the recording as .yaml first.",
                EXIT_USAGE,
            )
    return targets


def _find_recordings(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each recording and its path relative to the directory in which it was found."""
    for path in paths:
        if path.is_dir():
            for recording in check.yaml_files([path]):
                yield recording, recording.relative_to(path)
        else:
            yield path, Path(path.name)


def _write(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    except OSError as error:
        exit_with_error(f"{target}: {error.strerror}")


def _summary(conversion: play.Conversion) -> str:
    if not conversion.has_legacy_calls:
        return "no Assistants calls, copied"
    same, total = conversion.count_fields()
    calls = [outcome for outcome in conversion.outcomes if outcome.kind != "copied"]
    converted = len(calls) - len(conversion.refused)
    return f"{converted} of {quantity(len(calls), 'call')} converted, {same} of {quantity(total, 'field')} as recorded"


def _difference_lines(conversion: play.Conversion) -> Iterator[str]:
    """Yield what is unknown, not converted, or not as recorded.

    New fields are left out, and times that differ are only counted.
    """
    yield from conversion.warnings
    times = 0
    for outcome in conversion.outcomes:
        interaction = f"interaction {outcome.number} ({outcome.call})"
        if outcome.kind == "refused":
            yield f"{interaction} cannot be converted: {outcome.reason}"
        for difference in outcome.differences:
            times += difference.is_time
            if not (difference.is_new or difference.is_time):
                yield f"{interaction}: {difference}"
    if times:
        changed = "1 recorded time differs" if times == 1 else f"{times} recorded times differ"
        yield f"{changed}: a run's messages and steps get the time of the call that first returned them"


def _as_json(conversion: play.Conversion, target: Path | None) -> dict[str, Any]:
    same, total = conversion.count_fields()
    return {
        "to": None if target is None else str(target),
        "fields": total,
        "same": same,
        "unknown": conversion.warnings,
        "refused": [
            {"number": outcome.number, "call": outcome.call, "reason": outcome.reason} for outcome in conversion.refused
        ],
        "differs": [
            {
                "number": outcome.number,
                "field": difference.path,
                "recorded": difference.recorded,
                "now": difference.current,
            }
            for outcome in conversion.outcomes
            for difference in outcome.differences
        ],
    }


def read_recording(path: Path) -> list[vcr_yaml.Exchange]:
    """Return the exchanges of a recording; a file that cannot be read is a usage error."""
    try:
        return vcr_yaml.exchanges_from_document(vcr_yaml.load(path))
    except (vcr_yaml.CassetteError, OSError) as error:
        exit_with_error(_error_message(path, error), EXIT_USAGE)


def _error_message(path: Path, error: vcr_yaml.CassetteError | OSError) -> str:
    message = str(error) if isinstance(error, vcr_yaml.CassetteError) else str(error.strerror)
    return message if str(path) in message else f"{path}: {message}"  # some errors name the file already
