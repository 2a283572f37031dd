"""`cassettes`: what is done with recordings of a test suite."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..cassettes import vcr
from ..cassettes.show import lines
from ..conversion import play
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
    A recording without such calls is copied.
    """
    logging.getLogger("assistants_compat").addHandler(logging.NullHandler())  # what it would say is in the report
    report: dict[str, Any] = {}
    told: list[str] = []
    failed = False
    for path, name in _found(old):
        target = to / name
        if target.exists() and not force:
            stop(f"{target} is there already (--force writes over it).", WRONG_USE)
        converted = _converted(path)
        is_whole = not converted.refused
        failed = failed or not is_whole
        if is_whole or partly:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(vcr.dump(converted.document), "utf-8")
        for line in _unlike(converted):
            say(f"{path}: {line}")
        report[str(path)] = _as_json(converted, target if is_whole or partly else None)
        told.append(f"{path}: {_in_words(converted)}" + (f" -> {target}" if is_whole or partly else ", not written"))
    if not told:
        stop("there is no recording", WRONG_USE)
    show(told, report if as_json else None)
    if failed:
        raise typer.Exit(NOT_DONE)


def _found(given: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Each recording, and its name below what was given."""
    for path in given:
        if path.is_dir():
            for found in sorted(each for each in path.rglob("*") if each.suffix in {".yaml", ".yml"}):
                yield found, found.relative_to(path)
        else:
            yield path, Path(path.name)


def _converted(path: Path) -> play.Converted:
    with _wrong_use(path):
        return play.convert(vcr.load(path))


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


def read(cassette: Path) -> list[vcr.Exchange]:
    """The exchanges of a file; one that cannot be read is wrong use."""
    with _wrong_use(cassette):
        return vcr.exchanges_from_document(vcr.load(cassette))


@contextmanager
def _wrong_use(cassette: Path) -> Iterator[None]:
    try:
        yield
    except vcr.CassetteError as error:
        said = str(error)
        stop(said if str(cassette) in said else f"{cassette}: {said}", WRONG_USE)
    except OSError as error:
        stop(f"{cassette}: {error.strerror}", WRONG_USE)
