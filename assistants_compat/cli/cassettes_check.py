"""`cassettes check`: recordings that hold secrets, or requests that no test plays."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from ..recordings import check as checking
from ..recordings import vcr_yaml
from .terminal import NOT_DONE, WRONG_USE, AsJson, examples, say, show, stop

commands = typer.Typer(rich_markup_mode=None)

Places = Annotated[list[Path], typer.Argument(help="Recordings, or folders of them.", show_default=False)]


@commands.command(
    epilog=examples(
        "cassettes check tests/cassettes",
        "cassettes check tests --played played.json    # after: pytest --assistants-compat-played=played.json",
    ),
)
def check(
    places: Places,
    *,
    played: Annotated[
        Path | None, typer.Option(help="What `pytest --assistants-compat-played=FILE` wrote, over the whole suite.")
    ] = None,
    harmless: Annotated[
        list[str] | None, typer.Option(help="A regular expression of what looks like a secret and is none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look for secrets in recordings, and with --played for requests that no test plays.

    What is found is a line each; the exit code is 1 then. No secret is shown, only its first four characters.
    """
    known = _patterns(harmless or [])
    unplayed = None if played is None else _played(played)
    lines: list[str] = []
    counted = old = 0
    for path in checking.files(places):
        try:
            document = vcr_yaml.load(path)
        except OSError as error:
            stop(f"{path}: {error.strerror}", WRONG_USE)
        except vcr_yaml.CassetteError as error:
            if path in places:
                stop(str(error), WRONG_USE)
            continue  # a folder of tests has other YAML too
        try:
            found = [f"{path}: {leak}" for leak in checking.found_in(document, known)]
            if unplayed is not None:
                found += [f"{path}: {said}" for said in _unplayed(checking.calls(document), path, unplayed)]
            old += checking.is_of_the_old_service(document)
        except vcr_yaml.CassetteError as error:  # whatever it holds was not looked at
            found = [f"{path}: {error}"]
        counted += 1
        lines += dict.fromkeys(found)
    if not counted:
        stop("there is no recording", WRONG_USE)
    say(f"{counted} recordings, {old} of the old service: {len(lines) or 'nothing'} found")
    show(lines, {"recordings": counted, "old": old, "found": lines} if as_json else None)
    if lines:
        raise typer.Exit(NOT_DONE)


def _unplayed(calls: list[str], path: Path, unplayed: dict[str, list[int]]) -> list[str]:
    left = unplayed.get(str(path.resolve()))
    if left is None:
        return ["no test opens it"]
    return [f"{index + 1}. {calls[index]} is played by no test" for index in left if index < len(calls)]


def _patterns(given: list[str]) -> list[re.Pattern[str]]:
    try:
        return [re.compile(pattern) for pattern in given]
    except re.error as error:
        stop(f"--harmless is no regular expression: {error}", WRONG_USE)


def _played(file: Path) -> dict[str, list[int]]:
    try:
        return checking.played(file)
    except OSError as error:
        stop(f"{file}: {error.strerror}", WRONG_USE)
    except ValueError as error:
        stop(f"{file}: {error}", WRONG_USE)
