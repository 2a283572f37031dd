"""`doctor`: checks everything that a run will need, and says what to do about each problem.

`--ask` also sends short requests (`doctor_ask.py`), and `--live` the live checks (`doctor_live.py`).
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from ..tools.upstream import describe_error
from . import doctor_ask
from .doctor_checks import CHECKS, Check, CheckContext, Finding, models_in_use
from .doctor_live import (
    INTERRUPTED,
    LiveOptions,
    confirm_price,
    is_complete,
    live_json,
    live_lines,
    read_only,
    run_live,
)
from .live_checks.runner import LiveRun
from .terminal import EXIT_FAILURE, EXIT_USAGE, JsonOption, examples, exit_with_error, hide_secrets, print_result

commands = typer.Typer(rich_markup_mode=None)

_LONGER = 12  # a check of --ask sends several requests, each within the timeout


@commands.command(
    epilog=examples("doctor", "doctor --ask", "doctor --json", "doctor --live", "doctor --live --only 5,9 --yes --save")
)
def doctor(  # noqa: PLR0913 - the options of a command
    *,
    ask: Annotated[
        bool,
        typer.Option(
            "--ask", help="Also send a short conversation and what the saved assistants send; a few cents at most."
        ),
    ] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Also check what the service refuses, with your key and models; under $0.50."),
    ] = False,
    only: Annotated[str, typer.Option("--only", help="With --live: the numbers of the checks to run, like 5,9.")] = "",
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="With --live: a model to check instead of those in use; may be repeated."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --live: agree to the price without a question.")] = False,
    save: Annotated[
        bool, typer.Option("--save", help="With --live: keep the verdicts in the store, for all runs.")
    ] = False,
    to: Annotated[
        Path, typer.Option("--to", help="With --live: the directory for live-report.json and live-report.yaml.")
    ] = Path(),
    timeout: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds that each check may take; with --ask and --live some take longer."),
    ] = 10,
    as_json: JsonOption = False,
) -> None:
    """Check the settings, the store, the file storage, the key or sign-in, the upstream and the models.

    It changes nothing, except that it writes and deletes a file of one byte, and it never shows a key. What --ask and
    --live make upstream is deleted. The exit code is 1 if a check fails, or if a live check comes to no verdict.
    """
    options = None
    if live:
        options = LiveOptions(read_only(only), model or [], yes, save, to)
    elif only or model or yes or save or to != Path():
        exit_with_error("--only, --model, --yes, --save and --to belong to --live", EXIT_USAGE)
    context = CheckContext(ask, timeout)
    findings = [_without_secrets(finding) for name, check in CHECKS for finding in _run_check(name, check, context)]
    may_go_on = context.client is not None and not any(f.state == "failed" for f in findings if f.check == "upstream")
    if options is not None and may_go_on:
        confirm_price(options, _live_models(context, options))
    for name, check in doctor_ask.CHECKS:
        findings += [_without_secrets(finding) for finding in _run_check(name, check, context, _LONGER)]
    live_run = _run_live(context, options) if options is not None and may_go_on else None
    lines = [line for finding in findings for line in _finding_lines(finding)]
    json_object: dict[str, Any] = {"checks": [dataclasses.asdict(finding) for finding in findings]}
    failed = any(finding.state == "failed" for finding in findings)
    if live_run is not None:
        lines += live_lines(live_run)
        json_object["live"] = live_json(live_run)
    elif live:
        lines.append("the live checks were not run: there is no upstream to ask")
    failed = failed or (live and (live_run is None or not is_complete(live_run)))
    print_result(lines, {"ok": not failed, **json_object} if as_json else None)
    if live_run is not None and live_run.is_interrupted:
        raise typer.Exit(INTERRUPTED)
    if failed:
        raise typer.Exit(EXIT_FAILURE)


def _live_models(context: CheckContext, options: LiveOptions) -> list[str]:
    """Return the models to check: those of `--model`, else those that runs request, those of assistants first."""
    models = options.models or list(reversed(models_in_use(context)))
    if not models:
        exit_with_error("the store has no assistants yet: name a model with --model", EXIT_USAGE)
    return list(dict.fromkeys(models))


def _run_live(context: CheckContext, options: LiveOptions) -> LiveRun | None:
    if context.client is None or context.settings is None:
        return None
    models = _live_models(context, options)
    return run_live(context.client, context.settings, options, models, is_azure=context.is_azure)


def _finding_lines(finding: Finding) -> list[str]:
    first = f"{finding.state:<8} {finding.check}: {finding.says}"
    return [first, f"{'':<8} do: {finding.do}"] if finding.do else [first]


def _run_check(name: str, check: Check, context: CheckContext, factor: int = 1) -> list[Finding]:
    """Return the findings of a check; an exception or a timeout becomes a finding.

    A check of several requests may take `factor` times the timeout, which is then that of each request.

    The check runs in a thread, because a database or network call may block for longer than the timeout. Such a thread
    is abandoned.
    """
    results: queue.Queue[list[Finding]] = queue.Queue()

    def work() -> None:
        try:
            results.put(list(check(context)))
        except Exception as error:  # noqa: BLE001 - the other checks still have to run
            do = "read the message; doctor has no advice for this error"
            results.put([Finding(name, "failed", describe_error(error), do)])

    threading.Thread(target=work, daemon=True).start()
    try:
        return results.get(timeout=context.timeout * factor)
    except queue.Empty:
        do = "check that it is reachable and not locked by another process, or allow more time with --timeout"
        return [Finding(name, "failed", f"no answer within {context.timeout * factor:g} seconds", do)]


def _without_secrets(finding: Finding) -> Finding:
    """Replace every key and password in a finding, because error messages may quote them."""
    return dataclasses.replace(finding, says=hide_secrets(finding.says), do=hide_secrets(finding.do))
