"""Finishes runs that no program polls before their container expires, and retries failed file copies.

It also looks again at containers that could not be listed when their run ended. The work itself is done by the API's
own routes (`GET` of a run and of a file's content); this module only finds what to request.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, overload
from urllib.parse import quote

import openai

from ..engine.io import IO, Request
from ..store import queries
from ..store.database import Connection
from ..translate.run import TERMINAL
from ..translate.unlisted_files import describe_mark, open_marks
from .upstream import REQUEST_ERRORS, describe_error, run_with_client

# Seconds after a file was created during which its copy is retried. A container expires after 20 idle minutes, but
# every attempt keeps it alive, and billed. So a file that can never be copied must not be retried for ever.
_FILE_RETRY_SECONDS = 3600


@dataclass(frozen=True)
class Settled:
    """The result of `settle`, as ids, oldest first.

    `finished` are the runs that have now ended; `active` are those that continue or wait for tool outputs. `recovered`
    are the files whose bytes have now been copied, some of which are new: their container could not be listed when
    their run ended. `failed` maps every other run or file id to the reason.

    Example::

        settled = assistants_compat.settle(client)
        for run_or_file_id, reason in settled.failed.items():
            print(run_or_file_id, reason)
    """

    finished: tuple[str, ...]
    active: tuple[str, ...]
    recovered: tuple[str, ...]
    failed: Mapping[str, str]


@overload
def settle(client: openai.OpenAI) -> Settled: ...


@overload
def settle(client: openai.AsyncOpenAI) -> Coroutine[Any, Any, Settled]: ...


def settle(client: openai.OpenAI | openai.AsyncOpenAI) -> Settled | Coroutine[Any, Any, Settled]:
    """Refresh every active run of the client's namespace once, and retry file copies and listings that failed.

    A run advances only when something polls it. Its files are copied when it ends, and their container expires 20 idle
    minutes later. If no program polls your runs, call this every few minutes, from anywhere with the same store;
    several concurrent calls do no harm. Runs that are being streamed are skipped. Four runs are refreshed at a time,
    and one that fails does not stop the others. A file's copy is retried for an hour after the file was created, and a
    container that could not be listed is looked at again for an hour after its run.

    `client` must be wrapped; with an asynchronous one, await the returned coroutine. Raises `TypeError` for a client
    that is not wrapped, and `StoreError` if the store cannot be used.

    Example::

        settled = assistants_compat.settle(client)
        print(len(settled.finished), "runs finished")
    """
    return run_with_client(client, _settle)


async def _settle(io: IO) -> Settled:
    namespace, now = io.settings.namespace, io.now()
    # `idle_runs` omits runs that are being streamed: their stream holds a lease and finishes them itself.
    runs = await io.read(lambda db: queries.idle_runs(db, namespace, now))
    files = await io.read(lambda db: queries.files_without_bytes(db, namespace, now - _FILE_RETRY_SECONDS))
    unlisted = await io.read(lambda db: _unlisted_runs(db, namespace, now))
    failed: dict[str, str] = {}
    run_statuses = await io.gather([partial(_refresh_run, io, thread_id, run_id, failed) for thread_id, run_id in runs])
    found = await io.gather([partial(_look_again, io, thread_id, run_ids, failed) for thread_id, run_ids in unlisted])
    copied = await io.gather([partial(_retry_file_copy, io, file_id, failed) for file_id in files])
    statuses = [(run_id, status) for (_, run_id), status in zip(runs, run_statuses, strict=True) if status is not None]
    return Settled(
        finished=tuple(run_id for run_id, status in statuses if status in TERMINAL),
        active=tuple(run_id for run_id, status in statuses if status not in TERMINAL),
        recovered=(
            *(file_id for file_id, is_copied in zip(files, copied, strict=True) if is_copied),
            *(file_id for file_ids in found for file_id in file_ids),
        ),
        failed=failed,
    )


async def _refresh_run(io: IO, thread_id: str, run_id: str, failed: dict[str, str]) -> str | None:
    """Return the run's current status; on failure return None and add the reason to `failed`."""
    path = f"/threads/{quote(thread_id, safe='')}/runs/{quote(run_id, safe='')}"
    try:
        run = await io.ask(Request("GET", path))
    except REQUEST_ERRORS as error:
        failed[run_id] = describe_error(error)
        return None
    return str(run["status"])


def _unlisted_runs(db: Connection, namespace: str, now: int) -> list[tuple[str, list[str]]]:
    """Return the threads with containers that could not be listed, each with the runs that used these."""
    runs: dict[str, list[str]] = {}
    for container in queries.recent_containers(db, namespace, now - _FILE_RETRY_SECONDS):
        for mark in open_marks(container["body"], now):
            runs.setdefault(container["thread_id"], []).append(mark["run_id"])
    return list(runs.items())


async def _look_again(io: IO, thread_id: str, run_ids: list[str], failed: dict[str, str]) -> list[str]:
    """Retrieve a run, which looks at the containers of its thread; return the files that were found and stored."""
    namespace = io.settings.namespace

    def stored_files(db: Connection) -> list[str]:
        rows = queries.rows_of_thread(db, "files", namespace, thread_id)
        return [row["id"] for row in reversed(rows) if row["stored"] and row["run_id"] in run_ids]

    before = await io.read(stored_files)
    if await _refresh_run(io, thread_id, run_ids[-1], failed) is None:
        return []
    containers = await io.read(lambda db: queries.rows_of_thread(db, "containers", namespace, thread_id))
    marks = [mark for container in containers for mark in open_marks(container["body"], io.now())]
    failed.update({mark["run_id"]: describe_mark(mark) for mark in marks})
    return [file_id for file_id in await io.read(stored_files) if file_id not in before]


async def _retry_file_copy(io: IO, file_id: str, failed: dict[str, str]) -> bool:
    """Request the file's content, which copies it first, and return whether that worked.

    The bytes are not read here: the answer begins only once they have been copied.
    """
    try:
        body = await io.upstream.open(Request("GET", f"/files/{file_id}/content", accept="*/*"))
    except REQUEST_ERRORS as error:
        failed[file_id] = describe_error(error)
        return False
    await body.aclose()
    return True
