"""`doctor --live`: asks for the price, runs the live checks, and writes what was found."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import openai
import typer

from ..engine.io import IO
from ..errors import CompatError
from ..recordings.vcr_yaml import CassetteError, dump
from ..runtime.clock import current
from ..settings import Settings
from ..store import locations, verdicts
from ..store.database import transact
from ..tools.upstream import run_with_client
from .live_checks.catalogue import CHECKS
from .live_checks.check import LiveCheck, Target
from .live_checks.report import Anonymizer, cassette, leaks, report
from .live_checks.runner import LiveResult, LiveRun, price_in_cents, run_checks, select_checks
from .live_checks.verdicts import LiveVerdict
from .terminal import EXIT_USAGE, exit_with_error, hide_secrets, print_to_stderr, quantity

INTERRUPTED = 130
REPORT_FILE, CASSETTE_FILE = "live-report.json", "live-report.yaml"
_TIMEOUT = 120.0  # seconds for each request: a model that runs code takes its time
_SUMMARY_LENGTH = 400  # characters of a refusal on the terminal; the report has all of them


@dataclasses.dataclass(frozen=True)
class LiveOptions:
    """The options of `--live`."""

    checks: list[LiveCheck]
    models: list[str]
    is_agreed: bool
    is_saved: bool
    directory: Path


def read_only(text: str) -> list[LiveCheck]:
    """Return the checks that `--only` names, or all; another number is a usage error."""
    try:
        return select_checks([int(number) for number in text.split(",")] if text else [])
    except (ValueError, KeyError):
        exit_with_error(f"--only {text!r} is not valid; use numbers from 1 to {max(CHECKS)}, like 5,9", EXIT_USAGE)


def confirm_price(options: LiveOptions, models: Sequence[str]) -> None:
    """Say what the checks cost, and ask on a terminal; end the command without agreement."""
    dollars = price_in_cents(options.checks, len(models)) / 100
    checks = f"{quantity(len(options.checks), 'live check')} with {', '.join(models)}"
    price = f"{checks}: up to ${dollars:.2f} with a small model"
    if options.is_agreed:
        print_to_stderr(price)
    elif not _is_terminal():
        exit_with_error(f"{price}; add --yes to agree, because there is no terminal to ask on", EXIT_USAGE)
    elif not typer.confirm(f"{price}. Go on?", err=True):
        exit_with_error("nothing was sent")


def run_live(
    client: openai.OpenAI, settings: Settings, options: LiveOptions, models: Sequence[str], *, is_azure: bool
) -> LiveRun:
    """Run the checks and write their files; with `--save` keep the verdicts in the store."""
    targets = [Target(model, is_azure) for model in models]
    upstream_names: list[str] = []

    async def work(io: IO) -> LiveRun:
        upstream_names.append(io.upstream.name)
        return await run_checks(io, options.checks, targets, print_to_stderr)

    live_run: Any = run_with_client(client.with_options(timeout=_TIMEOUT, max_retries=0), work)
    _report_not_deleted(live_run)
    _write_files(live_run, client, models, options.directory, is_azure=is_azure)
    if options.is_saved:
        _save(live_run, settings, upstream_names[0])
    results = [dataclasses.replace(result, verdict=_without_secrets(result.verdict)) for result in live_run.results]
    return dataclasses.replace(live_run, results=results)  # type: ignore[no-any-return]  # of a synchronous client


def live_lines(live_run: LiveRun) -> list[str]:
    """Return the results as lines: the outcome of each check, what was seen, and the setting that follows."""
    lines = []
    for result in live_run.results:
        verdict = result.verdict
        says = verdict.says if len(verdict.says) <= _SUMMARY_LENGTH else f"{verdict.says[:_SUMMARY_LENGTH]}..."
        lines.append(f"{verdict.outcome:<13} {_title(result)}: {says}")
        if verdict.do:
            lines.append(f"{'':<13} do: {verdict.do}")
    return lines


def live_json(live_run: LiveRun) -> dict[str, Any]:
    """Return the results as the JSON of `--json`."""
    return {
        "interrupted": live_run.is_interrupted,
        "not_deleted": live_run.not_deleted,
        "checks": [
            {
                "number": result.check.number,
                "name": result.check.name,
                "model": result.model,
                "outcome": result.verdict.outcome,
                "says": result.verdict.says,
                "do": result.verdict.do,
            }
            for result in live_run.results
        ],
    }


def is_complete(live_run: LiveRun) -> bool:
    """Whether every check came to a verdict, and nothing is left upstream."""
    is_decided = all(result.verdict.outcome != "undecided" for result in live_run.results)
    return is_decided and not live_run.is_interrupted and not live_run.not_deleted


def _without_secrets(verdict: LiveVerdict) -> LiveVerdict:
    return dataclasses.replace(verdict, says=hide_secrets(verdict.says), do=hide_secrets(verdict.do))


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _title(result: LiveResult) -> str:
    return f"{result.check.number} {result.check.name}" + (f" ({result.model})" if result.check.per_model else "")


def _report_not_deleted(live_run: LiveRun) -> None:
    for path in live_run.not_deleted:
        print_to_stderr(f"not deleted: {path}; delete it yourself")


def _write_files(
    live_run: LiveRun, client: openai.OpenAI, models: Sequence[str], directory: Path, *, is_azure: bool
) -> None:
    """Write the report and the cassette; nothing if one still looks as if it had a secret."""
    secrets = [key for key in (client.api_key, client.organization, client.project) if key]
    anonymizer = Anonymizer(str(client.base_url), models, secrets, is_azure=is_azure)
    versions = {
        "assistants_compat": metadata.version("assistants_compat"),
        "openai": openai.__version__,
        "python": platform.python_version(),
    }
    recorded = cassette(live_run.exchanges, anonymizer)
    found = report(live_run, anonymizer, versions)
    if leak := next(iter(leaks(recorded, found)), None):
        print_to_stderr(f"no report was written, because it might hold a secret: {leak}")
        return
    report_path, cassette_path = directory / REPORT_FILE, directory / CASSETTE_FILE
    try:
        text = dump(recorded)
    except CassetteError:  # PyYAML is not installed, and JSON is YAML
        text = json.dumps(recorded, indent=2)
    try:
        report_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        cassette_path.write_text(text, encoding="utf-8")
    except OSError as error:
        print_to_stderr(f"no report was written: {error.strerror}: {directory}")
        return
    print_to_stderr(f"written without keys, ids and hosts: {report_path} and {cassette_path}")


def _save(live_run: LiveRun, settings: Settings, upstream: str) -> None:
    """Keep the verdicts in the store, where every process finds them when it opens the store."""
    known, url = live_run.known(), locations.database_url(settings.store)
    if not known:
        print_to_stderr("no verdict was saved: none of these checks has one that the library remembers")
        return
    try:
        transact(
            url,
            lambda db: verdicts.save(db, settings.namespace, upstream, known, current().now()),
            write=True,
        )
    except CompatError as error:
        exit_with_error(f"the verdicts were not saved: {error}")
    refused = sum(known.values())
    print_to_stderr(f"saved in the store: {quantity(len(known), 'verdict')}, {refused} of them a refusal")
