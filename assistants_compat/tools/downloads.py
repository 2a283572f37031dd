"""Downloads every file that Code Interpreter generated for a run, message, thread or native response.

The finders at the end say which files belong to which object; everything above them saves one file. Names and free
paths in the target directory are chosen by `wire.filenames` and `store.download_directory`, not here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, overload
from urllib.parse import quote

import openai

from ..engine.io import IO, Request
from ..errors import CompatError, DownloadError, UnreachableError
from ..store import queries
from ..store.database import Connection
from ..store.download_directory import DownloadDraft
from ..translate.file_references import (
    explain_no_files_in_response,
    explain_no_files_in_run,
    files_of_message,
    files_of_response,
    files_of_step,
)
from ..translate.uncited_files import container_ids_from_output, files_made_by_model
from ..translate.unlisted_files import describe_mark, marks_of_container
from ..wire.filenames import safe_names
from ..wire.headers import expected_size
from ..wire.objects import Json, as_object_list
from .progress import Advance, StartBar, progress
from .upstream import REQUEST_ERRORS, describe_error, list_all, run_with_client

log = logging.getLogger("assistants_compat")

_MAX_ATTEMPTS = 3  # for a download that breaks off after it has started
_FIRST_RETRY_DELAY = 0.5  # seconds; doubled after each attempt


class SdkObject(Protocol):
    """An SDK object whose files can be downloaded: a `Run`, `Message`, `Thread` or `Response`."""

    @property
    def id(self) -> str:
        """The object's id."""
        ...

    @property
    def object(self) -> str:
        """The API's name of the object type, for example `thread.run`."""
        ...


@overload
def download_files(
    client: openai.OpenAI, thing: str | SdkObject, directory: str | os.PathLike[str] = "downloads"
) -> list[Path]: ...


@overload
def download_files(
    client: openai.AsyncOpenAI, thing: str | SdkObject, directory: str | os.PathLike[str] = "downloads"
) -> Coroutine[Any, Any, list[Path]]: ...


def download_files(
    client: openai.OpenAI | openai.AsyncOpenAI,
    thing: str | SdkObject,
    directory: str | os.PathLike[str] = "downloads",
) -> list[Path] | Coroutine[Any, Any, list[Path]]:
    """Download every file that Code Interpreter generated in `thing` and return the paths, in the order of the files.

    `thing` is a `Run`, `Message`, `Thread` or native `Response` object, or the id of a thread or response. Each file
    is saved once, under the model's file name reduced to a safe base name. Nothing is written outside `directory`.
    Existing files are not overwritten (`x.csv`, then `x (1).csv`) and symbolic links are not followed. With the extra
    `cli`, a terminal shows a progress bar. If there are no files, the logger `assistants_compat` warns and says what
    to check.

    `client` must be wrapped, except for a native `Response`. With an asynchronous client, await the returned coroutine.
    Raises `DownloadError` for files that could not be downloaded, after saving all the others. Raises the SDK's errors
    if `thing` itself cannot be read, and `OSError` if the directory cannot be written. Raises `TypeError` or
    `ValueError` if `thing` is not one of these objects or ids.

    Example::

        paths = assistants_compat.download_files(client, run, "downloads")
    """
    object_type = _object_type(thing)
    download = partial(_download, _FINDERS[object_type], thing, Path(directory))
    return run_with_client(client, download, wrapped=object_type != "response")


def _object_type(source: str | SdkObject) -> str:
    if isinstance(source, str):
        # The routes of runs and messages need a thread id too, which only the object has.
        object_type = {"thread": "thread", "resp": "response"}.get(source.partition("_")[0])
        if object_type is None:
            message = (
                f"download_files({source!r}): the id must be that of a thread (thread_...) or a response (resp_...); "
                "for a run or a message, pass the object."
            )
            raise ValueError(message)
        return object_type
    object_type = str(getattr(source, "object", None))
    if object_type not in _FINDERS:
        message = f"download_files() takes a run, a message, a thread or a response, not {type(source).__name__}."
        raise TypeError(message)
    return object_type


@dataclass(frozen=True)
class _DownloadableFile:
    """A file to download: from `path` below the API's base, or from `data` if the bytes are already in memory."""

    name: str
    path: str
    size: int | None
    data: bytes | None = None


@dataclass(frozen=True)
class _FoundFiles:
    """The files of one object, by id, and the rest of the warning that is logged if there are none.

    `unseen` are the reasons why there may be more files: containers that could not be listed. Each file is a function
    that retrieves its name and size, so that one failing file does not stop the others.
    """

    files: dict[str, Callable[[], Awaitable[_DownloadableFile]]]
    if_empty: str
    unseen: list[str] = field(default_factory=list)


async def _download(
    find: Callable[[IO, Any], Awaitable[_FoundFiles]], source: str | SdkObject, directory: Path, io: IO
) -> list[Path]:
    found = await find(io, source)
    if found.unseen:
        log.warning("Files may be missing in %s.", "; ".join(found.unseen))
    elif not found.files:
        log.warning("No files were generated in %s.", found.if_empty)
    paths: list[Path] = []
    failed: dict[str, str] = {}
    with progress() as start_bar:
        for file_id, describe in found.files.items():
            try:
                paths.append(await _save_with_retries(io, await describe(), directory, start_bar))
            except REQUEST_ERRORS as error:  # noqa: PERF203 - one failing file must not stop the others
                failed[file_id] = describe_error(error)
    if failed:
        raise DownloadError(failed, paths)
    return paths


# --- one file


async def _save_with_retries(io: IO, file: _DownloadableFile, directory: Path, start_bar: StartBar) -> Path:
    """Save a file and return its path; retry when the download breaks off.

    Only downloads that have started are retried here: the SDK retries requests that fail before an answer begins.
    """
    # The model chose the name: unless it is made safe, it could send control sequences to the terminal.
    advance, delay = start_bar(next(safe_names(file.name)), file.size), _FIRST_RETRY_DELAY
    for attempts_left in reversed(range(_MAX_ATTEMPTS)):
        try:
            return await _save_file(io, file, directory, advance)
        except UnreachableError:
            if not attempts_left:
                raise
        await io.sleep(delay)
        delay *= 2
    raise AssertionError  # pragma: no cover - the last attempt returns or raises


async def _save_file(io: IO, file: _DownloadableFile, directory: Path, advance: Advance) -> Path:
    drafts: list[DownloadDraft] = []  # `write_draft` opens the draft; its final path is needed here

    def new_draft() -> DownloadDraft:
        drafts.append(DownloadDraft(directory, safe_names(file.name)))
        return drafts[0]

    async with aclosing(_with_progress(_read_chunks(io, file), advance)) as chunks:
        await io.write_draft(new_draft, chunks)
    path = drafts[0].path
    assert path is not None  # noqa: S101 - it was committed
    return path


async def _with_progress(chunks: AsyncGenerator[bytes, None], advance: Advance) -> AsyncGenerator[bytes, None]:
    """Yield the chunks and advance the progress bar; reset the bar on failure, because a retry starts over."""
    received = 0
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                received += len(chunk)
                advance(len(chunk))
                yield chunk
    except BaseException:
        advance(-received)
        raise


async def _read_chunks(io: IO, file: _DownloadableFile) -> AsyncGenerator[bytes, None]:
    """Yield all bytes of a file; raise `UnreachableError` if their number is not the announced size."""
    if file.data is not None:
        yield file.data
        return
    size = 0
    async with aclosing(await io.upstream.open(Request("GET", file.path, accept="*/*"))) as body:
        async for chunk in body.chunks():
            size += len(chunk)
            yield chunk
    expected = expected_size(body.headers, size, file.size)
    if expected is not None and expected != size:
        message = f"received {size} of {expected} bytes"
        raise UnreachableError(CompatError(message))


# --- legacy objects


async def _find_in_run(io: IO, source: Any) -> _FoundFiles:
    path = f"{_thread_path(source.thread_id)}/runs/{_quote_id(source.id)}"
    # The run goes first: retrieving it refreshes an active run, and its files are copied when it ends.
    run = await io.ask(Request("GET", path))
    messages = await list_all(io, f"{_thread_path(source.thread_id)}/messages", ("run_id", source.id))
    steps = await list_all(io, f"{path}/steps")
    if_empty = f"run {source.id}: {explain_no_files_in_run(run, steps)}"
    stored_ids = await io.read(lambda db: _stored_file_ids(io, db, source.thread_id, run_id=source.id))
    unseen = await io.read(lambda db: _unseen(io, db, source.thread_id, source.id))
    return _legacy_files(io, if_empty, messages, steps, stored_ids, unseen)


async def _find_in_message(io: IO, source: Any) -> _FoundFiles:
    message = await io.ask(Request("GET", f"{_thread_path(source.thread_id)}/messages/{_quote_id(source.id)}"))
    if_empty = f"message {source.id}; check the other messages, or download the files of the whole thread"
    unseen = await io.read(lambda db: _unseen(io, db, source.thread_id, message.get("run_id")))
    return _legacy_files(io, if_empty, [message], [], (), unseen)


async def _find_in_thread(io: IO, source: Any) -> _FoundFiles:
    thread_id = source if isinstance(source, str) else source.id
    # The runs go first: listing them refreshes an active run, and its files are copied when it ends.
    runs = await list_all(io, f"{_thread_path(thread_id)}/runs")
    messages = await list_all(io, f"{_thread_path(thread_id)}/messages")
    steps = [await list_all(io, f"{_thread_path(thread_id)}/runs/{_quote_id(run['id'])}/steps") for run in runs]
    if runs:
        reason = f"its last run, {runs[-1]['id']}: {explain_no_files_in_run(runs[-1], steps[-1])}"
    else:
        reason = "it has no runs"
    all_steps = [step for steps_of_run in steps for step in steps_of_run]
    stored_ids = await io.read(lambda db: _stored_file_ids(io, db, thread_id))
    unseen = await io.read(lambda db: _unseen(io, db, thread_id, *(run["id"] for run in runs)))
    return _legacy_files(io, f"thread {thread_id}: {reason}", messages, all_steps, stored_ids, unseen)


def _stored_file_ids(io: IO, db: Connection, thread_id: str, **where: str) -> list[str]:
    return [
        file["id"] for file in reversed(queries.rows_of_thread(db, "files", io.settings.namespace, thread_id, **where))
    ]


def _unseen(io: IO, db: Connection, thread_id: str, *run_ids: str | None) -> list[str]:
    """Return why files of these runs may be missing: a container of theirs could not be listed."""
    rows = queries.rows_of_thread(db, "containers", io.settings.namespace, thread_id)
    marks = [mark for row in reversed(rows) for mark in marks_of_container(row["body"]) if mark["run_id"] in run_ids]
    hints = ["" if mark["final"] else "; try again soon" for mark in marks]
    return [f"run {mark['run_id']}: {describe_mark(mark)}{hint}" for mark, hint in zip(marks, hints, strict=True)]


def _legacy_files(  # noqa: PLR0913, PLR0917 - three places that name files, and what to say without any
    io: IO,
    if_empty: str,
    messages: Iterable[Json],
    steps: Iterable[Json],
    stored_ids: Iterable[str] = (),
    unseen: Iterable[str] = (),
) -> _FoundFiles:
    """Collect the files that messages and steps mention, then the stored files that nothing mentions.

    The latter exist when a run ended without a message.
    """
    ids = [file_id for message in messages for file_id in files_of_message(message)]
    ids += [file_id for step in steps for file_id in files_of_step(step)]
    ids += stored_ids
    files: dict[str, Callable[[], Awaitable[_DownloadableFile]]] = {
        file_id: partial(_describe_legacy_file, io, file_id) for file_id in ids
    }
    return _FoundFiles(files, if_empty, list(unseen))


async def _describe_legacy_file(io: IO, file_id: str) -> _DownloadableFile:
    path = f"/files/{_quote_id(file_id)}"
    file = await io.ask(Request("GET", path))
    # With status "error" the bytes were never copied. Downloading the content retries the copy; no size is known yet.
    size = file.get("bytes") if file.get("status") != "error" else None
    return _DownloadableFile(str(file.get("filename")), f"{path}/content", size)


def _thread_path(thread_id: str) -> str:
    return f"/threads/{_quote_id(thread_id)}"


# --- native responses


async def _find_in_response(io: IO, source: Any) -> _FoundFiles:
    if isinstance(source, str):
        response = await io.ask(Request("GET", f"/responses/{_quote_id(source)}"))
    else:
        response = source.to_dict(warnings=False)  # not retrieved again: the upstream may not have stored it
    listed: list[Json] = []
    unseen: list[str] = []
    for container_id in container_ids_from_output(as_object_list(response.get("output"))):
        try:
            files_of_container = await list_all(io, f"/containers/{_quote_id(container_id)}/files")
        except REQUEST_ERRORS as error:  # noqa: PERF203 - the files that the response cites are still downloaded
            unseen.append(f"response {response.get('id')}: its container could not be listed: {describe_error(error)}")
        else:
            listed += files_made_by_model({"container_id": container_id, **file} for file in files_of_container)
    # Listed files are passed in as well, so that a file that is both cited and listed is downloaded once.
    files = {file.id: file for file in files_of_response(response, listed, io.new_id)}
    downloads: dict[str, Callable[[], Awaitable[_DownloadableFile]]] = {}
    for file in files.values():
        container_id, file_id = _quote_id(str(file.container_id)), _quote_id(str(file.container_file_id))
        path = f"/containers/{container_id}/files/{file_id}/content"
        # An image that came as a data URL has no id in the container.
        downloads[file.container_file_id or file.filename] = partial(
            _return_file, _DownloadableFile(file.filename, path, file.size, file.data)
        )
    return _FoundFiles(downloads, f"response {response.get('id')}: {explain_no_files_in_response(response)}", unseen)


async def _return_file(file: _DownloadableFile) -> _DownloadableFile:
    return file


def _quote_id(id_: str) -> str:
    return quote(id_, safe="")


_FINDERS: dict[str, Callable[[IO, Any], Awaitable[_FoundFiles]]] = {
    "thread.run": _find_in_run,
    "thread.message": _find_in_message,
    "thread": _find_in_thread,
    "response": _find_in_response,
}
