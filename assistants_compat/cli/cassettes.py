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

RecordingArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="A recording (YAML or JSON).", show_default=False)
]
RecordingsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH", help="Recordings (YAML or JSON), or directories that contain them.", show_default=False
    ),
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
    differently. It copies recordings without Assistants calls, and reports and skips files that are not recordings. A
    recording keeps its format, YAML or JSON.
    """
    # The report has what the log would say; without a handler Python prints warnings on stderr.
    logging.getLogger("assistants_compat").addHandler(logging.NullHandler())
    report: dict[str, Any] = {}
    summaries: list[str] = []
    failed = False
    targets, passed_over = _target_paths(paths, to, force=force)
    for path in passed_over:
        # Another tool may have recorded it, and then its calls stay unconverted.
        has_legacy_calls = check.mentions_legacy_calls(path)
        failed = failed or has_legacy_calls
        reason = f"{path} is not a VCR.py recording{', but names routes of the Assistants API' * has_legacy_calls}."
        print_to_stderr(f"skipped: {reason}")
        report[str(path)] = {"to": None, "unreadable": reason}
    for path, target in targets.items():
        try:
            conversion = play.convert(vcr_yaml.load(path))
        except (vcr_yaml.CassetteError, OSError) as error:
            if path in paths:  # named by the user, not just found in a directory
                exit_with_error(_error_message(path, error), EXIT_USAGE)
            failed = True
            print_to_stderr(f"skipped: {_error_message(path, error)}")
            report[str(path)] = {"to": None, "unreadable": _error_message(path, error)}
            continue
        text = _as_text(conversion, path) if partly or not conversion.refused else None
        failed = failed or bool(conversion.refused) or text is None
        if text is not None:
            _write(target, text)
            # A key recurs in every request of a recording; one line for it is enough.
            for leak in dict.fromkeys(check.leaks_in_document(conversion.document, ())):
                print_to_stderr(f"{path}: copied from the old recording, check it: {leak}")
        for line in _difference_lines(conversion):
            print_to_stderr(f"{path}: {line}")
        report[str(path)] = _as_json(conversion, None if text is None else target)
        outcome = ", not written" if text is None else f" -> {target}"
        summaries.append(f"{path}: {_summary(conversion)}{outcome}")
    if not summaries:
        exit_with_error(no_recordings_message(paths), EXIT_USAGE)
    print_result(summaries, report if as_json else None)
    if failed:
        raise typer.Exit(EXIT_FAILURE)


def _as_text(conversion: play.Conversion, path: Path) -> str | None:
    """Return the new recording in the format of the old one; None, with a line on stderr, if that is not possible."""
    if not vcr_yaml.is_json(path):
        return vcr_yaml.dump(conversion.document)
    try:
        return vcr_yaml.dump_json(conversion.document)
    except vcr_yaml.CassetteError as error:
        print_to_stderr(f"{path}: {error}")
        return None


def _target_paths(paths: list[Path], to: Path, *, force: bool) -> tuple[dict[Path, Path], list[Path]]:
    """Return the new path of each recording, and the files that are none.

    Exits before anything is written if a file would be overwritten.
    """
    recordings, passed_over = _find_recordings(paths)
    if not recordings:
        for path in passed_over:
            print_to_stderr(f"skipped: {path} is not a VCR.py recording.")
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
    return targets, passed_over


def _find_recordings(paths: list[Path]) -> tuple[dict[Path, Path], list[Path]]:
    """Return each recording with its path below the directory in which it was found, and the files passed over."""
    recordings: dict[Path, Path] = {}
    passed_over: list[Path] = []
    for path in paths:
        files, others = check.recording_files([path])
        recordings |= {file: file.relative_to(path) if path.is_dir() else Path(path.name) for file in files}
        passed_over += others
    return recordings, list(dict.fromkeys(passed_over))


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
    folded = {polls.kept.number: polls for polls in conversion.folded}
    times = 0
    for outcome in conversion.outcomes:
        interaction = f"interaction {outcome.number} ({outcome.call})"
        if outcome.kind == "refused":
            yield f"{interaction} cannot be converted: {outcome.reason}"
        if polls := folded.get(outcome.number):
            for status, recorded in polls.recorded.items():
                if recorded != (current := polls.current[status]):
                    yield f"{interaction}: polls showed {status} {_times(recorded)}, now {_times(current)}"
        for difference in outcome.differences:
            times += difference.is_time
            if not (difference.is_new or difference.is_time):
                yield f"{interaction}: {difference}"
    if times:
        changed = "1 recorded time differs" if times == 1 else f"{times} recorded times differ"
        yield f"{changed}: a run's messages and steps get the time of the call that first returned them"


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")


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
        "folded": [
            {
                "number": polls.kept.number,
                "call": polls.kept.call,
                "dropped": polls.numbers,
                "recorded": dict(polls.recorded),
                "now": dict(polls.current),
            }
            for polls in conversion.folded
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
