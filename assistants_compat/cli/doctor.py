"""`doctor`: checks everything that a run will need, and says what to do about each problem."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import threading
from typing import Annotated
from urllib.parse import urlsplit

import typer

from ..tools.upstream import describe_error
from .doctor_checks import CHECKS, Check, CheckContext, Finding
from .terminal import EXIT_FAILURE, JsonOption, examples, print_result

commands = typer.Typer(rich_markup_mode=None)

_SHORTEST_SECRET = 8  # characters
_SECRET_VARIABLES = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_CLIENT_SECRET")


@commands.command(epilog=examples("doctor", "doctor --ask", "doctor --json"))
def doctor(
    *,
    ask: Annotated[
        bool, typer.Option("--ask", help="Also request one short response; a few tokens are billed.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that each check may take.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Check the settings, the store, the file storage, the key or sign-in, the upstream and the models.

    It changes nothing, except that it writes and deletes a file of one byte, and it never shows a key. The exit code
    is 1 if a check fails.
    """
    context = CheckContext(ask, timeout)
    findings = [_without_secrets(finding) for name, check in CHECKS for finding in _run_check(name, check, context)]
    lines = [line for finding in findings for line in _finding_lines(finding)]
    failed = any(finding.state == "failed" for finding in findings)
    json_object = {"ok": not failed, "checks": [dataclasses.asdict(finding) for finding in findings]}
    print_result(lines, json_object if as_json else None)
    if failed:
        raise typer.Exit(EXIT_FAILURE)


def _finding_lines(finding: Finding) -> list[str]:
    first = f"{finding.state:<8} {finding.check}: {finding.says}"
    return [first, f"{'':<8} do: {finding.do}"] if finding.do else [first]


def _run_check(name: str, check: Check, context: CheckContext) -> list[Finding]:
    """Return the findings of a check; an exception or a timeout becomes a finding.

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
        return results.get(timeout=context.timeout)
    except queue.Empty:
        do = "check that it is reachable and not locked by another process, or allow more time with --timeout"
        return [Finding(name, "failed", f"no answer within {context.timeout:g} seconds", do)]


def _without_secrets(finding: Finding) -> Finding:
    """Replace every key and password in a finding, because error messages may quote them."""
    # Local servers take keys such as "any": hiding those would garble the text, and they are no secret.
    secrets = [value for name in _SECRET_VARIABLES if len(value := os.environ.get(name, "")) >= _SHORTEST_SECRET]
    with contextlib.suppress(ValueError):
        if password := urlsplit(os.environ.get("ASSISTANTS_COMPAT_STORE", "")).password:
            secrets.append(password)
    says, do = finding.says, finding.do
    for secret in sorted(secrets, key=len, reverse=True):  # one secret may contain another
        says, do = says.replace(secret, "***"), do.replace(secret, "***")
    return dataclasses.replace(finding, says=says, do=do)
