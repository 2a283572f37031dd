"""`settle`: finish runs that nobody polls, once or as a service."""

from __future__ import annotations

import dataclasses
import signal
import sys
import time
from types import FrameType
from typing import Annotated, NoReturn

import openai
import typer

from ..tools import settle as settling
from ..tools.upstream import TROUBLES, reason
from .terminal import AsJson, client_from_environment, examples, say, say_failed, show, troubles_said

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog=examples("settle", "settle --watch --every 120    # a service beside programs that do not poll"),
)
def settle(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until SIGINT or SIGTERM.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two rounds of --watch.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Finish runs that nobody polls, and copy files that could not be copied, before their container dies.

    A container dies after 20 idle minutes: call it at least every ten.
    """
    if not watch:
        with troubles_said(), client_from_environment() as client:
            settled = settling.settle(client)
        show([_in_words(settled)], dataclasses.asdict(settled) if as_json else None)
        say_failed(settled.failed)
        return
    signal.signal(signal.SIGTERM, _leave)
    with troubles_said(), client_from_environment() as client:
        try:
            while True:
                _round(client, as_json=as_json)
                time.sleep(every)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None  # that is how it ends


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """As Ctrl-C: what was begun is undone."""
    raise KeyboardInterrupt


def _round(client: openai.OpenAI, *, as_json: bool) -> None:
    """One round of `--watch`: quiet when nothing came of it, and a failure is not its end."""
    try:
        settled = settling.settle(client)
    except (*TROUBLES, OSError) as error:
        say(f"assistants_compat: {reason(error)}")
        return
    if settled.finished or settled.recovered:
        show([_in_words(settled)], dataclasses.asdict(settled) if as_json else None)
        sys.stdout.flush()  # a log shows it now
    for id_, why in settled.failed.items():
        say(f"{id_}: {why}")


def _in_words(settled: settling.Settled) -> str:
    counted = [
        (settled.finished, "runs finished"),
        (settled.active, "still active"),
        (settled.recovered, "files recovered"),
        (settled.failed, "failed"),
    ]
    return ", ".join(f"{len(ids)} {what}" for ids, what in counted)
