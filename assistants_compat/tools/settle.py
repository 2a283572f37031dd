"""Runs that nobody polls, finished before their container dies; files that could not be copied, tried once more."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, overload
from urllib.parse import quote

import openai

from ..engine.io import IO, Request
from ..store import queries
from ..translate.run import TERMINAL
from .upstream import TROUBLES, reason, served

# Seconds after which a file is no longer tried.  A container dies after 20 idle minutes and every try keeps it alive
# (and paid for), so a file that can never be had must not be tried for ever.
_WORTH_A_TRY = 3600


@dataclass(frozen=True)
class Settled:
    """What `settle` found, as ids, oldest first.

    `finished` are the runs that have ended now, `active` those that go on or wait for tool outputs.  `recovered` are
    the files whose bytes were copied at last.  `failed` says of every other run or file why nothing came of it.
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
    """Look once at every active run of the client's namespace, and try once more to copy files that could not be had.

    A run moves when somebody looks at it, and its files are copied when it ends; their container dies 20 idle minutes
    later.  So for runs that nobody polls this is to be called every few minutes, from anywhere with the same store:
    any number at once do no harm.  A run that somebody streams is left alone.  Four are looked at at a time; one that
    fails does not stop the others, and a file is tried for an hour after it was made.

    `client` is a wrapped one; an asynchronous one gives a coroutine to await.  Raises `TypeError` for a client that is
    not wrapped, and `StoreError` when the store cannot be used.
    """
    return served(client, _settle)


async def _settle(io: IO) -> Settled:
    namespace, now = io.settings.namespace, io.now()
    runs = await io.read(lambda db: queries.idle_runs(db, namespace, now))
    files = await io.read(lambda db: queries.missing_files(db, namespace, now - _WORTH_A_TRY))
    failed: dict[str, str] = {}
    looks = await io.together([partial(_look, io, thread_id, run_id, failed) for thread_id, run_id in runs])
    tries = await io.together([partial(_fetch, io, file_id, failed) for file_id in files])
    statuses = [(run_id, status) for (_, run_id), status in zip(runs, looks, strict=True) if status is not None]
    return Settled(
        finished=tuple(run_id for run_id, status in statuses if status in TERMINAL),
        active=tuple(run_id for run_id, status in statuses if status not in TERMINAL),
        recovered=tuple(file_id for file_id, is_here in zip(files, tries, strict=True) if is_here),
        failed=failed,
    )


async def _look(io: IO, thread_id: str, run_id: str, failed: dict[str, str]) -> str | None:
    """The run's status now, or None and why in `failed`."""
    path = f"/threads/{quote(thread_id, safe='')}/runs/{quote(run_id, safe='')}"
    try:
        run = await io.ask(Request("GET", path))
    except TROUBLES as trouble:
        failed[run_id] = reason(trouble)
        return None
    return str(run["status"])


async def _fetch(io: IO, file_id: str, failed: dict[str, str]) -> bool:
    """Whether the file's bytes are here now.  They are not read: that the answer begins says it."""
    try:
        body = await io.upstream.open(Request("GET", f"/files/{file_id}/content", accept="*/*"))
    except TROUBLES as trouble:
        failed[file_id] = reason(trouble)
        return False
    await body.aclose()
    return True
