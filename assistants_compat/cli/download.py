"""`download`: saves the generated files of a run, message, thread or response."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import DownloadError
from ..tools.downloads import download_files
from .terminal import (
    EXIT_USAGE,
    JsonOption,
    check_output_directory,
    client_from_environment,
    examples,
    exit_with_error,
    print_result,
    report_errors,
    report_failures,
)

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog=examples("download thread_abc", "download thread_abc --run run_abc --to reports", "download resp_abc --json")
)
def download(  # noqa: PLR0913 - one for each option
    id_: Annotated[
        str | None, typer.Argument(metavar="ID", help="A thread (thread_...) or a native response (resp_...).")
    ] = None,
    *,
    thread: Annotated[str | None, typer.Option(help="The thread, instead of ID.")] = None,
    run: Annotated[str | None, typer.Option(help="Only the files of this run of the thread.")] = None,
    message: Annotated[str | None, typer.Option(help="Only the files of this message of the thread.")] = None,
    to: Annotated[Path, typer.Option("--to", help="Directory for the files; created if missing.")] = Path("downloads"),
    as_json: JsonOption = False,
) -> None:
    """Download every file that Code Interpreter generated, and print the paths.

    Existing files are never overwritten.
    """
    source_id = id_ or thread
    if source_id is None or (id_ is not None and thread is not None):
        exit_with_error("give exactly one thread or response: download thread_... or download resp_...", EXIT_USAGE)
    is_thread = source_id.startswith("thread_")
    if not is_thread and (run is not None or message is not None or not source_id.startswith("resp_")):
        exit_with_error(
            f"{source_id} is not a thread id: give thread_..., or resp_... without --run and --message",
            EXIT_USAGE,
        )
    if run is not None and message is not None:
        exit_with_error("give --run or --message, not both", EXIT_USAGE)
    check_output_directory(to)
    failed: Mapping[str, str] = {}
    with report_errors(), client_from_environment() as client:
        source: Any = source_id
        if run is not None:
            # Retrieved, because the routes of a run or message need its thread's id, which only the object has.
            source = client.beta.threads.runs.retrieve(run, thread_id=source_id)
        elif message is not None:
            source = client.beta.threads.messages.retrieve(message, thread_id=source_id)
        try:
            paths = download_files(client, source, to)
        except DownloadError as error:
            # The other files were saved, so their paths are printed as usual before the failures.
            paths, failed = error.paths, error.failed
    saved = [str(path) for path in paths]
    print_result(saved, {"files": saved, "failed": dict(failed)} if as_json else None)
    report_failures(failed)
