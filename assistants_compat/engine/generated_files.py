"""Generated files: copied from their container while it lives, served from our own content store afterwards.

Lists what a container holds, copies content with retries and size checks, and repeats a failed copy on demand. What
becomes of the copies in messages and steps is decided in `translate`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import NamedTuple
from urllib.parse import quote

from .. import errors
from ..service.refusal_table import container_is_gone
from ..settings import StoredFile
from ..store import queries
from ..store.database import Connection
from ..store.queries import Row
from ..translate.outcome import GeneratedFile
from ..translate.uncited_files import (
    FileLocation,
    files_made_by_model,
    has_links,
    keys_of_version,
    location_of_file,
    was_written_again,
)
from ..translate.unlisted_files import ListFailure, is_of_earlier_run, open_marks
from ..wire.headers import content_disposition, expected_size
from ..wire.objects import Json, Run, as_object_list
from .io import IO, Request, StreamedResponse

log = logging.getLogger("assistants_compat")

# Marks in the body of a file's row: the Files API has refused it as input of code, and a container has too.
NOT_UPLOADABLE, UNUSABLE = "not_uploadable", "unusable_as_input"

_MAX_PAGES = 50  # of 100 files each
_MAX_ATTEMPTS = 3
_FIRST_RETRY_DELAY = 0.5  # seconds; doubled after each attempt
_MAX_RETRY_AFTER = 20.0  # seconds; a caller waits for the answer to a poll
_HTTP_OK, _HTTP_SERVER_ERROR = 200, 500
# With 5xx, these are the statuses that the SDK retries (platform.md section 2).
_TRANSIENT_STATUSES = frozenset({408, 409, 429})
_FINAL_STATUSES = frozenset({404, 405, 410})  # no such container, or no such route
_MAX_ERROR_BYTES = 64 * 1024  # larger than any error body of the service


class NotCopiedError(Exception):
    """A file could not be copied from its container; `retryable` tells whether another attempt may succeed.

    `retry_after` is how many seconds the container asked to wait first.
    """

    def __init__(self, reason: str, *, retryable: bool, retry_after: float = 0) -> None:
        """Set the reason, which is served to callers as the file's `status_details`."""
        super().__init__(reason)
        self.retryable, self.retry_after = retryable, retry_after


class NewFiles(NamedTuple):
    """The files that a run made in its containers, and why some of these could not be listed, by their id."""

    files: list[Json]
    failures: dict[str, ListFailure]


async def list_new_files(
    io: IO, run_id: str, container_ids: Sequence[str], assigned_ids: Mapping[str, list[str]], since: object
) -> NewFiles:
    """Return the files that the model made in these containers, except those that belong to an earlier round or run.

    A file that was written again since then is new: its container may keep the id of a path. `assigned_ids` are the ids
    that this round has given out, by kind, and `since` is when its response began. If a container cannot be listed, its
    cited files are still copied.
    """
    if not container_ids:
        return NewFiles([], {})
    files, failures = [], {}
    for container_id in container_ids:
        listed, failure = await list_container(io, container_id)
        files += files_made_by_model(listed)
        if failure is not None:
            failures[container_id] = failure
    namespace, now = io.settings.namespace, io.now()

    def read_known(db: Connection) -> tuple[dict[FileLocation, Row], dict[str, list[Json]]]:
        rows = {id_: queries.get(db, "containers", namespace, id_) for id_ in container_ids}
        marks = {id_: open_marks(row["body"], now) for id_, row in rows.items() if row is not None}
        return queries.generated_files(db, namespace, container_ids), marks

    known, marks = await io.read(read_known)
    own_ids = set(assigned_ids.get("file", ()))  # recorded earlier in the same round, so the file belongs to it

    def is_new(file: Json) -> bool:
        row = known.get(location_of_file(file))
        if row is not None and row["id"] not in own_ids and not was_written_again(file, row):
            return False
        return not is_of_earlier_run(file, marks.get(file["container_id"], ()), run_id, since)

    return NewFiles(list(filter(is_new, files)), failures)


async def earlier_files(io: IO, run: Run, items: Sequence[Json]) -> list[Json]:
    """Return the thread's existing files, newest first, in the shape of a container's list with our id as `ours`.

    They serve links without a citation, so the result is empty when these output items contain no link.
    """
    if not has_links(items):
        return []
    rows = await io.read(lambda db: queries.rows_of_thread(db, "files", io.settings.namespace, run["thread_id"]))
    return [
        {
            "id": row["container_file_id"],
            "container_id": row["container_id"],
            "path": row["body"]["filename"],
            "generated_file_id": row["id"],
        }
        for row in rows
    ]


async def list_container(
    io: IO, container_id: str, *, attempts: int = _MAX_ATTEMPTS
) -> tuple[list[Json], ListFailure | None]:
    """Return the files of a container, and why there may be more of them, if its list could not be had."""
    path, after, files = f"/containers/{quote(container_id, safe='')}/files", "", []
    try:
        for _ in range(_MAX_PAGES):
            query = (("limit", "100"), ("order", "asc"), *((("after", after),) if after else ()))
            page = await _ask_with_retries(io, Request("GET", path, query=query), attempts)
            # By the spec each file names its container. Some servers omit it, and a gateway that renames containers in
            # responses (LiteLLM) does not rename them in lists: the id that was asked is the one that citations have.
            files += [{**file, "container_id": container_id} for file in as_object_list(page.get("data"))]
            after = str(page.get("last_id") or "")
            if not (page.get("has_more") and after):
                break
    except errors.UPSTREAM_FAILURES as error:
        failure = _list_failure(error)
        log.warning("could not list the files of container %s: %s", container_id, failure.reason)
        return files, failure
    return files, None


def _list_failure(error: Exception) -> ListFailure:
    """Return why a container could not be listed, without the upstream's text: it contains upstream ids."""
    if not isinstance(error, errors.UpstreamError):
        lost = isinstance(error, errors.UnreachableError)
        return ListFailure("the connection was lost" if lost else "the upstream's answer was not a list")
    if container_is_gone(error.error()):
        return ListFailure("it has expired or was deleted", is_final=True)
    return ListFailure(f"the upstream answered {error.status}", is_final=error.status in _FINAL_STATUSES)


async def _ask_with_retries(io: IO, request: Request, attempts: int) -> Json:
    """Send a GET as `IO.ask` does, again after a failure that may pass: the SDK would have tried it three times too."""
    delay = _FIRST_RETRY_DELAY
    for attempts_left in reversed(range(attempts)):
        wait = delay
        try:
            return await io.ask(request)
        except (errors.UpstreamError, errors.UnreachableError, errors.ApiError) as error:
            if not attempts_left or (isinstance(error, errors.UpstreamError) and not _is_transient(error.status)):
                raise
            if isinstance(error, errors.UpstreamError):
                wait = max(delay, _retry_after(error.headers))
        await io.sleep(wait)
        delay *= 2
    raise AssertionError  # pragma: no cover - the last attempt returns or raises


def _is_transient(status: int) -> bool:
    return status >= _HTTP_SERVER_ERROR or status in _TRANSIENT_STATUSES


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that an answer asks to wait, up to a limit; 0 if it does not say so in seconds."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return 0
    return min(seconds, _MAX_RETRY_AFTER) if seconds > 0 else 0  # also for "nan"


async def copy_files(io: IO, files: Sequence[GeneratedFile], run: Run) -> list[Json]:
    """Copy files into our store, several at a time, and return their rows in the same order."""
    return await io.gather([partial(copy_file, io, file, run) for file in files])


async def copy_file(io: IO, file: GeneratedFile, run: Run) -> Json:
    """Copy one file into our store and return its row for the `files` table.

    If the copy fails, the run does not: the row records the reason, and a download retries the copy.
    """
    row = _row_of_file(io, file, run)
    try:
        size, sha256 = await _copy_content(io, row, file.data, file.size)
    except NotCopiedError as error:
        log.warning("could not copy file %s of run %s: %s", file.id, run["id"], error)
        return {**row, "trouble": str(error)}
    return {**row, "stored": True, "sha256": sha256, "body": {**row["body"], "bytes": size}}


def rows_without_copy(io: IO, db: Connection, files: Iterable[GeneratedFile], run: Run) -> list[Json]:
    """Return rows for the files that have none yet, of a run that ended before it copied them.

    A download copies them.
    """
    by_id = {file.id: file for file in files}
    if not by_id:
        return []
    new_ids = by_id.keys() - queries.existing_ids(db, "files", io.settings.namespace, by_id)
    trouble = "the run ended before the file was copied"
    return [{**_row_of_file(io, file, run), "trouble": trouble} for id_, file in by_id.items() if id_ in new_ids]


def _row_of_file(io: IO, file: GeneratedFile, run: Run) -> Json:
    return {
        "namespace": io.settings.namespace,
        "id": file.id,
        "created_at": io.now(),
        "thread_id": run["thread_id"],
        "run_id": run["id"],
        "container_id": file.container_id,
        "container_file_id": file.container_file_id,
        "body": {"filename": file.filename, "bytes": 0, **keys_of_version(file.version)},
        "stored": False,
    }


async def ensure_stored(io: IO, row: Row) -> Row:
    """Make sure that a file's content is stored here, complete, and return the file's row.

    If it is not (for example because another machine copied it), the file is copied from its container while that
    lives. Raises `ApiError` (404) when the content is gone.
    """
    if row["stored"] and await io.content_size(row["id"]) == row["body"]["bytes"]:
        return row
    changes = await retry_copy(io, row)
    if changes is None:
        raise errors.no_such_file(row["id"], row["trouble"] or "its bytes are no longer kept here")
    now_stored: Row = {**row, **changes}

    def save_row(db: Connection) -> bool:
        before = queries.get(db, "files", io.settings.namespace, row["id"], lock=True)
        if before is None:  # deleted meanwhile
            return False
        body = {**before["body"], "bytes": changes["body"]["bytes"]}  # it may have got other keys meanwhile
        queries.update_row(db, "files", io.settings.namespace, row["id"], **{**changes, "body": body})
        return not before["stored"]

    # Of several concurrent copies only the first is reported. A file that another machine stored was reported there.
    if await io.write(save_row):
        await report_stored(io, [now_stored])
    return now_stored


async def report_stored(io: IO, rows: Sequence[Json]) -> None:
    """Call `on_file` for each row whose content is stored; only the code that has just committed the rows does so."""
    for row in rows:
        if row["stored"]:
            body = row["body"]
            await io.call_on_file(
                StoredFile(row["id"], body["filename"], body["bytes"], row["thread_id"], row["run_id"])
            )


async def mark(io: IO, id_: str, mark_name: str) -> None:
    """Set a mark in the body of a file's row, unless the file was deleted."""

    def write_mark(db: Connection) -> None:
        row = queries.get(db, "files", io.settings.namespace, id_, lock=True)
        if row is not None:
            queries.update_row(db, "files", io.settings.namespace, id_, body={**row["body"], mark_name: True})

    await io.write(write_mark)


async def retry_copy(io: IO, row: Row) -> Json | None:
    """Repeat the copy of a file and return the changes for its row, or None if the copy failed again.

    A file that was copied before, and whose container has another version by now, is not replaced by it.
    """
    if row["container_id"] is None:
        return None
    try:
        size, sha256 = await _copy_content(io, row, None)
    except NotCopiedError:
        return None
    if row["stored"] and row["sha256"] not in {None, sha256}:
        await io.delete_content(row["id"])
        return None
    return {"stored": True, "sha256": sha256, "trouble": None, "body": {**row["body"], "bytes": size}}


async def _copy_content(io: IO, row: Row, data: bytes | None, expected: int | None = None) -> tuple[int, str]:
    """Store the content of a file, from `data` or else from its container, and return its size and SHA-256."""
    if data is not None:
        return await io.save_content(row["id"], _single_chunk(data), content_disposition(row["body"]["filename"]))
    request = Request("GET", f"{_file_path(row)}/content", accept="*/*")
    delay = _FIRST_RETRY_DELAY
    for attempts_left in reversed(range(_MAX_ATTEMPTS)):
        try:
            return await _download(io, row, request, expected)
        except NotCopiedError as error:
            if not (attempts_left and error.retryable):
                raise
            wait = max(delay, error.retry_after)
        await io.sleep(wait)
        delay *= 2
    raise AssertionError  # pragma: no cover - the last attempt returns or raises


async def _download(io: IO, row: Row, request: Request, expected: int | None) -> tuple[int, str]:
    try:
        async with aclosing(await io.open_content(request)) as response:
            # Before any byte is stored: an error body must not become the file.
            if response.status != _HTTP_OK:
                raise await _refusal_error(response)
            return await _save_checked(io, row, response, expected)
    except errors.UnreachableError:
        reason = "the connection to the container was lost"
        raise NotCopiedError(reason, retryable=True) from None


async def _refusal_error(response: StreamedResponse) -> NotCopiedError:
    """Return the reason why a container refused a download, without the upstream's text: it contains upstream ids."""
    body = b""
    async with aclosing(response.chunks()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > _MAX_ERROR_BYTES:
                break
    if container_is_gone(errors.UpstreamError(response.status, response.headers, body).error()):
        return NotCopiedError("its container has expired or was deleted", retryable=False)
    return NotCopiedError(
        f"the container answered {response.status}",
        retryable=_is_transient(response.status),
        retry_after=_retry_after(response.headers),
    )


async def _save_checked(io: IO, row: Row, response: StreamedResponse, expected: int | None) -> tuple[int, str]:
    """Store the content if its size is what the container's list or the response's header announced.

    This rejects an error body that comes with status 200. Without a size from the list (`expected` is None: on a later
    attempt, or when the list failed) the container is asked for it.
    """
    size, sha256 = await io.save_content(row["id"], response.chunks(), content_disposition(row["body"]["filename"]))
    announced = await _size_in_container(io, row) if expected is None else expected
    # A proxy was reported to answer 200 with an error as the content (BerriAI/litellm#37737).
    expected = expected_size(response.headers, size, announced)
    if expected is not None and expected != size:
        await io.delete_content(row["id"])
        reason = f"the container sent {size} of {expected} bytes"
        raise NotCopiedError(reason, retryable=True)
    return size, sha256


async def _size_in_container(io: IO, row: Row) -> int | None:
    """Return the size that the container reports for a file, or None if it reports none."""
    try:
        size = (await io.ask(Request("GET", _file_path(row)))).get("bytes")
    except errors.UPSTREAM_FAILURES:
        return None
    return size if isinstance(size, int) else None


def _file_path(row: Row) -> str:
    """Return the upstream path of a file in its container."""
    container, file = (quote(str(row[name]), safe="") for name in ("container_id", "container_file_id"))
    return f"/containers/{container}/files/{file}"


async def _single_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data
