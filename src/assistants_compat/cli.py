"""The command line, `python -m assistants_compat`: what operators do beside the program that holds the client.

What was asked for goes to stdout, as lines or with `--json`; everything else goes to stderr.  Exit codes: 0 when all of
it was done, 1 when something could not be, 2 for wrong use.  A user's mistake is a line, never a traceback.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import openai
import typer

from . import azure
from .clients import TROUBLES, reason
from .downloads import download_files
from .errors import CompatError, DownloadError, SettingsError
from .intercept import wrap
from .retention import collect
from .settings import Settings
from .settling import Settled, settle

_NOT_DONE, _WRONG_USE = 1, 2
_AZURE_CREDENTIALS = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")  # of the SDK's own

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Files and runs of the Assistants API over the Responses API.\n\n"
    "Settings come from ASSISTANTS_COMPAT_* variables. The client is made from OPENAI_API_KEY (and OPENAI_BASE_URL), "
    "or from AZURE_OPENAI_API_KEY where AZURE_OPENAI_ENDPOINT is set; "
    "without that key it asks with the tokens of who is signed in to Azure.",
)
store = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What the store keeps.")
app.add_typer(store, name="store")

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]


# --- what all commands share


def _examples(*commands: str) -> str:
    """For `--help`, a line each (the first character says so)."""
    return "\n".join(["\b", "Examples:", *(f"  python -m assistants_compat {command}" for command in commands)])


@contextmanager
def _troubles_said() -> Iterator[None]:
    """Say what went wrong in a line; wrong settings and no key are wrong use."""
    try:
        yield
    except SettingsError as error:
        _stop(str(error), _WRONG_USE)
    except (*TROUBLES, OSError) as error:
        _stop(reason(error))


def _stop(said: str, code: int = _NOT_DONE) -> NoReturn:
    _say(f"assistants_compat: {said}")
    raise typer.Exit(code)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _print(lines: list[str], as_json: Mapping[str, Any] | None) -> None:
    typer.echo("\n".join(lines) if as_json is None else json.dumps(as_json), nl=bool(lines) or as_json is not None)


def _client() -> openai.OpenAI:
    """A wrapped client from the environment; one that cannot be made is wrong use."""
    try:
        if not os.environ.get("AZURE_OPENAI_ENDPOINT"):
            return wrap(openai.OpenAI())
        if any(os.environ.get(name) for name in _AZURE_CREDENTIALS):
            version = os.environ.get("OPENAI_API_VERSION") or azure.API_VERSION
            return wrap(openai.AzureOpenAI(api_version=version))
        logging.getLogger("azure").addHandler(logging.NullHandler())  # it would say on stderr what SignInError says
        return azure.client()
    except (openai.OpenAIError, CompatError, ValueError) as error:
        _stop(reason(error), _WRONG_USE)


# --- download


@app.command(
    epilog=_examples(
        "download thread_abc", "download thread_abc --run run_abc --to reports", "download resp_abc --json"
    )
)
def download(  # noqa: PLR0913 - one for each option
    thing: Annotated[str | None, typer.Argument(help="A thread (thread_...) or a native response (resp_...).")] = None,
    *,
    thread: Annotated[str | None, typer.Option(help="The thread, if it is not the argument.")] = None,
    run: Annotated[str | None, typer.Option(help="Only the files of this run of the thread.")] = None,
    message: Annotated[str | None, typer.Option(help="Only the files of this message of the thread.")] = None,
    to: Annotated[Path, typer.Option("--to", help="The directory; it is made if it is not there.")] = Path("downloads"),
    as_json: AsJson = False,
) -> None:
    """Download every file that Code Interpreter made, and write their paths.

    Nothing that is in the directory is overwritten.
    """
    given = thing or thread
    if given is None or (thing is not None and thread is not None):
        _stop("one thread or response is needed: download thread_..., or download resp_...", _WRONG_USE)
    is_thread = given.startswith("thread_")
    if not is_thread and (run is not None or message is not None or not given.startswith("resp_")):
        _stop(f"{given} is no thread: give --thread thread_... for a run or a message of it", _WRONG_USE)
    if run is not None and message is not None:
        _stop("--run and --message exclude each other", _WRONG_USE)
    failed: Mapping[str, str] = {}
    with _troubles_said(), _client() as client:
        wanted: Any = given
        if run is not None:
            wanted = client.beta.threads.runs.retrieve(run, thread_id=given)
        elif message is not None:
            wanted = client.beta.threads.messages.retrieve(message, thread_id=given)
        try:
            paths = download_files(client, wanted, to)
        except DownloadError as error:
            paths, failed = error.paths, error.failed
    shown = [str(path) for path in paths]
    _print(shown, {"files": shown, "failed": dict(failed)} if as_json else None)
    _say_failed(failed)


def _say_failed(failed: Mapping[str, str]) -> None:
    for id_, why in failed.items():
        _say(f"{id_}: {why}")
    if failed:
        raise typer.Exit(_NOT_DONE)


# --- settle


@app.command(
    "settle",
    epilog=_examples("settle", "settle --watch --every 120    # a service beside programs that do not poll"),
)
def settle_(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until SIGINT or SIGTERM.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two rounds of --watch.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Finish runs that nobody polls, and copy files that could not be copied, before their container dies.

    A container dies after 20 idle minutes: call it at least every ten.
    """
    if not watch:
        with _troubles_said(), _client() as client:
            settled = settle(client)
        _print([_in_words(settled)], dataclasses.asdict(settled) if as_json else None)
        _say_failed(settled.failed)
        return
    signal.signal(signal.SIGTERM, _leave)
    with _troubles_said(), _client() as client:
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
        settled = settle(client)
    except (*TROUBLES, OSError) as error:
        _say(f"assistants_compat: {reason(error)}")
        return
    if settled.finished or settled.recovered:
        _print([_in_words(settled)], dataclasses.asdict(settled) if as_json else None)
        sys.stdout.flush()  # a log shows it now
    for id_, why in settled.failed.items():
        _say(f"{id_}: {why}")


def _in_words(settled: Settled) -> str:
    counted = [
        (settled.finished, "runs finished"),
        (settled.active, "still active"),
        (settled.recovered, "files recovered"),
        (settled.failed, "failed"),
    ]
    return ", ".join(f"{len(ids)} {what}" for ids, what in counted)


# --- store

_AGE = re.compile(r"(\d{1,6})([hdw])\Z", re.ASCII)
_SECONDS = {"h": 3600, "d": 86_400, "w": 604_800}


def _age(text: str) -> int:
    """`30d` in seconds."""
    found = _AGE.match(text)
    if found is None:
        message = f"{text!r} is no age; 12h, 30d or 8w are"
        raise typer.BadParameter(message)
    return int(found[1]) * _SECONDS[found[2]]


@store.command(epilog=_examples("store gc --older-than 30d --dry-run", "store gc --older-than 8w"))
def gc(
    *,
    older_than: Annotated[int, typer.Option(parser=_age, metavar="AGE", help="Age in hours, days or weeks: 30d.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove generated files that are older than an age: their bytes and what the store says of them.

    Messages keep their text and annotations; a download answers 404 then. The files of the namespace only.
    """
    with _troubles_said():
        done = collect(Settings(), before=int(time.time()) - older_than, dry_run=dry_run)
    verb = "would be removed" if dry_run else "removed"
    _print(
        [*done.removed, f"{len(done.removed)} files, {done.bytes} bytes {verb}"],
        {**dataclasses.asdict(done), "dry_run": dry_run} if as_json else None,
    )
    _say_failed(done.failed)
