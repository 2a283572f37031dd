"""`cassettes`: what is done with recordings of a test suite."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..recordings import check, vcr_yaml
from ..recordings.convert import play
from ..recordings.show import lines
from .terminal import NOT_DONE, WRONG_USE, AsJson, examples, say, show, stop

commands = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Recordings of a test suite (VCR.py's YAML, extra `pytest`)."
)

File = Annotated[Path, typer.Argument(help="A recording.", show_default=False)]
Files = Annotated[list[Path], typer.Argument(help="Recordings, or directories of them.", show_default=False)]


@commands.command(name="show", epilog=examples("cassettes show tests/cassettes/test_chat/test_answer.yaml"))
def show_one(cassette: File, *, as_json: AsJson = False) -> None:
    """Write one recording to stdout as lines that a person reads: no headers, no secrets, streams as counts."""
    told = list(lines(read(cassette)))
    show(told, {"lines": told} if as_json else None)


@commands.command(epilog=examples("cassettes convert tests/cassettes --to tests/cassettes-responses"))
def convert(
    old: Files,
    to: Annotated[Path, typer.Option("--to", help="Where the new recordings go.", show_default=False)],
    *,
    partly: Annotated[bool, typer.Option("--partly", help="Write also what could not be converted whole.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn recordings of the Assistants API into recordings of the Responses API, for the same tests.

    The old calls are played through assistants_compat over an upstream that answers as recorded; nothing is sent
    anywhere. What is not known, what cannot be converted and what a test will see differently is said line by line.
    A recording without such calls is copied; what is no recording is said and left out.
    """
    logging.getLogger("assistants_compat").addHandler(logging.NullHandler())  # what it would say is in the report
    report: dict[str, Any] = {}
    told: list[str] = []
    failed = False
    for path, target in _targets(old, to, force=force).items():
        try:
            converted = play.convert(vcr_yaml.load(path))
        except (vcr_yaml.CassetteError, OSError) as error:
            if path in old:
                stop(_trouble(path, error), WRONG_USE)
            failed = True
            say(f"left out: {_trouble(path, error)}")
            report[str(path)] = {"to": None, "unreadable": _trouble(path, error)}
            continue
        is_whole = not converted.refused
        failed = failed or not is_whole
        if is_whole or partly:
            _write(target, vcr_yaml.dump(converted.document))
            for leak in dict.fromkeys(check.found_in(converted.document, ())):
                say(f"{path}: kept from the old recording: {leak}")
        for line in _unlike(converted):
            say(f"{path}: {line}")
        report[str(path)] = _as_json(converted, target if is_whole or partly else None)
        told.append(f"{path}: {_in_words(converted)}" + (f" -> {target}" if is_whole or partly else ", not written"))
    if not told:
        stop("there is no recording", WRONG_USE)
    show(told, report if as_json else None)
    if failed:
        raise typer.Exit(NOT_DONE)


def _targets(given: list[Path], to: Path, *, force: bool) -> dict[Path, Path]:
    """Where each recording goes; what would be written over is wrong use before anything is written."""
    found = dict(_found(given))
    if not found:
        stop("there is no recording", WRONG_USE)
    targets = {path: to / name for path, name in found.items()}
    for target, count in Counter(targets.values()).items():
        if count > 1:
            stop(f"{target} would be written {count} times: convert these apart.", WRONG_USE)
        if target.exists() and not force:
            stop(f"{target} is there already (--force writes over it).", WRONG_USE)
        if target.suffix == ".json":
            stop(f"{target} would hold YAML, which is what is written: save it as YAML first.", WRONG_USE)
    return targets


def _found(given: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Each recording, and its name below what was given."""
    for path in given:
        if path.is_dir():
            for found in check.files([path]):
                yield found, found.relative_to(path)
        else:
            yield path, Path(path.name)


def _write(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    except OSError as error:
        stop(f"{target}: {error.strerror}")


def _in_words(converted: play.Converted) -> str:
    if not converted.is_old:
        return "no Assistants traffic, copied"
    same, every = converted.share()
    calls = [each for each in converted.outcomes if each.kind != "copied"]
    return f"{len(calls) - len(converted.refused)} of {len(calls)} calls, {same} of {every} fields as recorded"


def _unlike(converted: play.Converted) -> Iterator[str]:
    """What is not known, not converted, or not as recorded; fields that are only new, and times, are counted."""
    yield from converted.troubles
    times = 0
    for outcome in converted.outcomes:
        where = f"interaction {outcome.number} ({outcome.call})"
        if outcome.kind == "refused":
            yield f"{where} cannot be converted: {outcome.reason}"
        for each in outcome.differing:
            times += each.is_time
            if not (each.is_new or each.is_time):
                yield f"{where}: {each}"
    if times:
        yield f"{times} recorded time(s) differ: a run's messages and steps have the time of the call that showed them"


def _as_json(converted: play.Converted, target: Path | None) -> dict[str, Any]:
    same, every = converted.share()
    return {
        "to": None if target is None else str(target),
        "fields": every,
        "same": same,
        "unknown": converted.troubles,
        "refused": [{"number": each.number, "call": each.call, "reason": each.reason} for each in converted.refused],
        "differs": [
            {"number": outcome.number, "field": each.where, "recorded": each.recorded, "now": each.now}
            for outcome in converted.outcomes
            for each in outcome.differing
        ],
    }


def read(cassette: Path) -> list[vcr_yaml.Exchange]:
    """The exchanges of a file; one that cannot be read is wrong use."""
    try:
        return vcr_yaml.exchanges_from_document(vcr_yaml.load(cassette))
    except (vcr_yaml.CassetteError, OSError) as error:
        stop(_trouble(cassette, error), WRONG_USE)


def _trouble(cassette: Path, error: vcr_yaml.CassetteError | OSError) -> str:
    said = str(error) if isinstance(error, vcr_yaml.CassetteError) else str(error.strerror)
    return said if str(cassette) in said else f"{cassette}: {said}"
