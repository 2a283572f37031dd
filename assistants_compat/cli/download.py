"""`download`: every generated file of a run, a message, a thread or a response."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import DownloadError
from ..tools.downloads import download_files
from .terminal import WRONG_USE, AsJson, client_from_environment, examples, say_failed, show, stop, troubles_said

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog=examples("download thread_abc", "download thread_abc --run run_abc --to reports", "download resp_abc --json")
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
        stop("one thread or response is needed: download thread_..., or download resp_...", WRONG_USE)
    is_thread = given.startswith("thread_")
    if not is_thread and (run is not None or message is not None or not given.startswith("resp_")):
        stop(f"{given} is no thread: give --thread thread_... for a run or a message of it", WRONG_USE)
    if run is not None and message is not None:
        stop("--run and --message exclude each other", WRONG_USE)
    failed: Mapping[str, str] = {}
    with troubles_said(), client_from_environment() as client:
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
    show(shown, {"files": shown, "failed": dict(failed)} if as_json else None)
    say_failed(failed)
