"""`settle`: finishes runs that no program polls, once or as a service."""

from __future__ import annotations

import dataclasses
import logging
import signal
import sys
import time
from types import FrameType
from typing import Annotated, NoReturn

import openai
import typer

from ..tools.settle import Settled
from ..tools.settle import settle as settle_runs
from ..tools.upstream import REQUEST_ERRORS, describe_error
from .terminal import (
    JsonOption,
    client_from_environment,
    examples,
    print_result,
    print_to_stderr,
    quantity,
    report_errors,
    report_failures,
)

log = logging.getLogger("assistants_compat")

_SECONDS_BETWEEN_LIFE_SIGNS = 60

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog=examples("settle", "settle --watch --every 120"),
)
def settle(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until SIGINT or SIGTERM.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds to wait between two passes of --watch.")] = 60,
    as_json: JsonOption = False,
) -> None:
    """Finish runs that no program polls, and retry failed file copies, before their containers expire.

    A container expires after 20 idle minutes, so run this at least every ten minutes. With ASSISTANTS_COMPAT_LOG=info,
    --watch says once a minute that it is alive.
    """
    if not watch:
        with report_errors(), client_from_environment() as client:
            settled = settle_runs(client)
        print_result([_summary(settled)], dataclasses.asdict(settled) if as_json else None)
        report_failures(settled.failed)
        return
    signal.signal(signal.SIGTERM, _interrupt)
    with report_errors(), client_from_environment() as client:
        try:
            # An error of a pass is reported by the pass; only a wrong setting or a missing key ends the command.
            life_signs = _LifeSigns()
            while True:
                _settle_and_report(client, as_json=as_json)
                life_signs.passes += 1
                life_signs.wait(every)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None  # an interrupt is the normal end of --watch


class _LifeSigns:
    """Logs once a minute that `--watch` goes on (INFO): a pass that changes nothing prints nothing."""

    def __init__(self) -> None:
        self.passes = 0
        self.logged_at = time.monotonic()

    def wait(self, seconds: float) -> None:
        """Wait, and log meanwhile."""
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            if now - self.logged_at >= _SECONDS_BETWEEN_LIFE_SIGNS:
                log.info("settle --watch is alive: passes so far: %s.", self.passes)
                self.logged_at = now
            if now >= end:
                return
            time.sleep(min(end, self.logged_at + _SECONDS_BETWEEN_LIFE_SIGNS) - now)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Treat SIGTERM like Ctrl-C, so that open transactions are rolled back."""
    raise KeyboardInterrupt


def _settle_and_report(client: openai.OpenAI, *, as_json: bool) -> None:
    """Make one pass of `--watch`: print only results and failures, and continue after an error."""
    try:
        settled = settle_runs(client)
    except (*REQUEST_ERRORS, OSError) as error:
        print_to_stderr(f"assistants_compat: {describe_error(error)}")
        return
    # A pass that changed nothing prints nothing: as a service this would fill the log.
    if settled.finished or settled.recovered:
        print_result([_summary(settled)], dataclasses.asdict(settled) if as_json else None)
        sys.stdout.flush()  # a log file should show it at once
    for id_, reason in settled.failed.items():
        print_to_stderr(f"{id_}: {reason}")


def _summary(settled: Settled) -> str:
    finished = f"{quantity(len(settled.finished), 'run')} finished"
    recovered = f"{quantity(len(settled.recovered), 'file')} recovered"
    return f"{finished}, {len(settled.active)} still active, {recovered}, {len(settled.failed)} failed"
