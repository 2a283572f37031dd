"""Every file of a run, a message, a thread or a native response, into a directory."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, overload
from urllib.parse import quote

import openai

from ..engine.io import IO, Request
from ..errors import CompatError, DownloadError, UnreachableError
from ..store import queries
from ..store.database import Connection
from ..store.download_directory import SavedDraft
from ..translate.file_references import (
    files_of_message,
    files_of_response,
    files_of_step,
    why_no_files_in_response,
    why_no_files_in_run,
)
from ..translate.uncited_files import containers_of, made_files
from ..wire.filenames import safe_names
from ..wire.headers import expected_size
from ..wire.objects import Json, objects
from .progress import Advance, Begin, progress
from .upstream import TROUBLES, everything, reason, served

log = logging.getLogger("assistants_compat")

_TRIES = 3  # for bytes that stop coming
_FIRST_PAUSE = 0.5  # seconds; doubled after each try


class Thing(Protocol):
    """An object of the SDK: a `Run`, a `Message`, a `Thread` or a `Response`."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def object(self) -> str:
        """What it is, in the API's words."""
        ...


@overload
def download_files(
    client: openai.OpenAI, thing: str | Thing, directory: str | os.PathLike[str] = "downloads"
) -> list[Path]: ...


@overload
def download_files(
    client: openai.AsyncOpenAI, thing: str | Thing, directory: str | os.PathLike[str] = "downloads"
) -> Coroutine[Any, Any, list[Path]]: ...


def download_files(
    client: openai.OpenAI | openai.AsyncOpenAI,
    thing: str | Thing,
    directory: str | os.PathLike[str] = "downloads",
) -> list[Path] | Coroutine[Any, Any, list[Path]]:
    """Download every file that Code Interpreter made in `thing` into a directory; the paths, in the order of the files.

    `thing` is a run, a message, a thread or the id of one, or a native `Response` or its id.  Each file is saved once,
    under the base name that the model chose, made safe: nothing is written outside of the directory, and nothing there
    is followed or overwritten (`x.csv`, then `x (1).csv`).  On a terminal a progress bar is shown, with the extra
    `cli`.  When there are no files the logger `assistants_compat` warns, and says what to check.

    `client` is a wrapped one, or for a native `Response` any; an asynchronous one gives a coroutine to await.  Raises
    `DownloadError` for files that could not be had, when the others are there, the SDK's errors when the thing itself
    cannot be read, `OSError` when the directory cannot be written, and `TypeError` or `ValueError` for another thing.
    """
    kind = _kind(thing)
    return served(client, partial(_download, _FINDERS[kind], thing, Path(directory)), wrapped=kind != "response")


def _kind(thing: str | Thing) -> str:
    if isinstance(thing, str):
        kind = {"thread": "thread", "resp": "response"}.get(thing.partition("_")[0])
        if kind is None:
            message = f"download_files({thing!r}): of ids only a thread's or a response's is enough; give the object."
            raise ValueError(message)
        return kind
    kind = str(getattr(thing, "object", None))
    if kind not in _FINDERS:
        message = f"download_files() takes a run, a message, a thread or a response, not {type(thing).__name__}."
        raise TypeError(message)
    return kind


@dataclass(frozen=True)
class _File:
    """A file to download: `path` below the API's base, or `data` where the bytes are at hand."""

    name: str
    path: str
    size: int | None
    data: bytes | None = None


@dataclass(frozen=True)
class _Found:
    """What a thing holds: files by id, each with what describes it, and what to say if there are none."""

    files: dict[str, Callable[[], Awaitable[_File]]]
    none: str


async def _download(
    find: Callable[[IO, Any], Awaitable[_Found]], thing: str | Thing, directory: Path, io: IO
) -> list[Path]:
    found = await find(io, thing)
    if not found.files:
        log.warning("No files were made in %s.", found.none)
    paths: list[Path] = []
    failed: dict[str, str] = {}
    with progress() as begin:
        for file_id, describe in found.files.items():
            try:
                paths.append(await _saved(io, await describe(), directory, begin))
            except TROUBLES as trouble:  # noqa: PERF203 - each one is caught by itself
                failed[file_id] = reason(trouble)
    if failed:
        raise DownloadError(failed, paths)
    return paths


# --- one file


async def _saved(io: IO, file: _File, directory: Path, begin: Begin) -> Path:
    """Its path, after some tries when its bytes stop coming; the SDK tries again by itself what cannot be begun."""
    # A name that was not made safe could command the terminal.
    advance, pause = begin(next(safe_names(file.name)), file.size), _FIRST_PAUSE
    for left in reversed(range(_TRIES)):
        try:
            return await _written(io, file, directory, advance)
        except UnreachableError:
            if not left:
                raise
        await io.sleep(pause)
        pause *= 2
    raise AssertionError  # pragma: no cover - the last try returns or raises


async def _written(io: IO, file: _File, directory: Path, advance: Advance) -> Path:
    drafts: list[SavedDraft] = []

    def draft() -> SavedDraft:
        drafts.append(SavedDraft(directory, safe_names(file.name)))
        return drafts[0]

    async with aclosing(_shown(_chunks(io, file), advance)) as chunks:
        await io.fill(draft, chunks)
    path = drafts[0].path
    assert path is not None  # noqa: S101 - it was committed
    return path


async def _shown(chunks: AsyncGenerator[bytes, None], advance: Advance) -> AsyncGenerator[bytes, None]:
    """The chunks, while the bar follows; it goes back when they are asked for again."""
    done = 0
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                done += len(chunk)
                advance(len(chunk))
                yield chunk
    except BaseException:
        advance(-done)
        raise


async def _chunks(io: IO, file: _File) -> AsyncGenerator[bytes, None]:
    """Its bytes, all of them: raises when they are not as many as was announced."""
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
        message = f"{size} of {expected} bytes came"
        raise UnreachableError(CompatError(message))


# --- legacy things


async def _in_run(io: IO, thing: Any) -> _Found:
    path = f"{_thread(thing.thread_id)}/runs/{_quoted(thing.id)}"
    run = await io.ask(Request("GET", path))  # an active run moves by it
    messages = await everything(io, f"{_thread(thing.thread_id)}/messages", ("run_id", thing.id))
    steps = await everything(io, f"{path}/steps")
    why = f"run {thing.id}: {why_no_files_in_run(run, steps)}"
    kept = await io.read(lambda db: _kept(io, db, thing.thread_id, run_id=thing.id))
    return _by_id(io, why, messages, steps, kept)


async def _in_message(io: IO, thing: Any) -> _Found:
    message = await io.ask(Request("GET", f"{_thread(thing.thread_id)}/messages/{_quoted(thing.id)}"))
    why = f"message {thing.id}; check the other messages of its thread, which can be downloaded as a whole"
    return _by_id(io, why, [message], [])


async def _in_thread(io: IO, thing: Any) -> _Found:
    thread_id = thing if isinstance(thing, str) else thing.id
    runs = await everything(io, f"{_thread(thread_id)}/runs")  # first: an active run moves by it
    messages = await everything(io, f"{_thread(thread_id)}/messages")
    steps = [await everything(io, f"{_thread(thread_id)}/runs/{_quoted(run['id'])}/steps") for run in runs]
    why = f"its last run, {runs[-1]['id']}: {why_no_files_in_run(runs[-1], steps[-1])}" if runs else "it has no runs"
    kept = await io.read(lambda db: _kept(io, db, thread_id))
    return _by_id(io, f"thread {thread_id}: {why}", messages, [step for each in steps for step in each], kept)


def _kept(io: IO, db: Connection, thread_id: str, **where: str) -> list[str]:
    return [file["id"] for file in reversed(queries.of_thread(db, "files", io.settings.namespace, thread_id, **where))]


def _by_id(io: IO, none: str, messages: Iterable[Json], steps: Iterable[Json], kept: Iterable[str] = ()) -> _Found:
    """What these speak of, and then what is `kept` although no message and no step does: its run ended without one."""
    ids = [file_id for message in messages for file_id in files_of_message(message)]
    ids += [file_id for step in steps for file_id in files_of_step(step)]
    ids += kept
    return _Found({file_id: partial(_described, io, file_id) for file_id in ids}, none)


async def _described(io: IO, file_id: str) -> _File:
    path = f"/files/{_quoted(file_id)}"
    file = await io.ask(Request("GET", path))
    size = file.get("bytes") if file.get("status") != "error" else None  # then its bytes are only asked for now
    return _File(str(file.get("filename")), f"{path}/content", size)


def _thread(thread_id: str) -> str:
    return f"/threads/{_quoted(thread_id)}"


# --- native responses


async def _in_response(io: IO, thing: Any) -> _Found:
    if isinstance(thing, str):
        response = await io.ask(Request("GET", f"/responses/{_quoted(thing)}"))
    else:
        response = thing.to_dict(warnings=False)  # it may not be stored, so it is not asked for again
    listed = [
        file
        for container_id in containers_of(objects(response.get("output")))
        for file in await _made(io, container_id)
    ]
    files = {file.id: file for file in files_of_response(response, listed, io.mint)}
    found: dict[str, Callable[[], Awaitable[_File]]] = {}
    for file in files.values():
        container, cited = _quoted(str(file.container_id)), _quoted(str(file.container_file_id))
        path = f"/containers/{container}/files/{cited}/content"
        found[file.container_file_id or file.filename] = partial(
            _at_hand, _File(file.filename, path, file.size, file.data)
        )
    return _Found(found, f"response {response.get('id')}: {why_no_files_in_response(response)}")


async def _made(io: IO, container_id: str) -> list[Json]:
    """The files that the model made in a container; one that cannot be listed loses nothing that is cited."""
    try:
        listed = await everything(io, f"/containers/{_quoted(container_id)}/files")
    except TROUBLES as trouble:
        log.warning("container %s could not be listed: %s", container_id, reason(trouble))
        return []
    return made_files({"container_id": container_id, **file} for file in listed)


async def _at_hand(file: _File) -> _File:
    return file


def _quoted(id_: str) -> str:
    return quote(id_, safe="")


_FINDERS: dict[str, Callable[[IO, Any], Awaitable[_Found]]] = {
    "thread.run": _in_run,
    "thread.message": _in_message,
    "thread": _in_thread,
    "response": _in_response,
}
