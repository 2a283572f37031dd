"""`cassettes`: what is done with recordings of a test suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..cassettes import vcr
from ..cassettes.show import lines
from .terminal import WRONG_USE, AsJson, examples, show, stop

commands = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Recordings of a test suite (VCR.py's YAML, extra `pytest`)."
)

File = Annotated[Path, typer.Argument(help="A recording.", show_default=False)]


@commands.command(name="show", epilog=examples("cassettes show tests/cassettes/test_chat/test_answer.yaml"))
def show_one(cassette: File, *, as_json: AsJson = False) -> None:
    """Write one recording to stdout as lines that a person reads: no headers, no secrets, streams as counts."""
    told = list(lines(read(cassette)))
    show(told, {"lines": told} if as_json else None)


def read(cassette: Path) -> list[vcr.Exchange]:
    """The exchanges of a file; one that cannot be read is wrong use."""
    try:
        return vcr.exchanges_from_document(vcr.load(cassette))
    except vcr.CassetteError as error:
        said = str(error)
        stop(said if str(cassette) in said else f"{cassette}: {said}", WRONG_USE)
    except OSError as error:
        stop(f"{cassette}: {error.strerror}", WRONG_USE)
