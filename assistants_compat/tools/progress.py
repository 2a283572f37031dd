"""A progress bar for what takes long: on a terminal, where the extra `cli` is installed; elsewhere nothing is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
Begin = Callable[[str, int | None], Advance]


@contextmanager
def progress(*, counts: bool = False) -> Iterator[Begin]:
    """Gives a function that begins a bar, by its name and its size in bytes, and gives one to advance it.

    With `counts` the size is a number of things.
    """
    if not (sys.stderr is not None and sys.stderr.isatty()):
        yield _nothing
        return
    try:
        from rich import progress as bars  # noqa: PLC0415 - an extra, and slow to load
        from rich.console import Console  # noqa: PLC0415 - as above
        from rich.markup import escape  # noqa: PLC0415 - as above
    except ImportError:
        yield _nothing
        return
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn() if counts else bars.DownloadColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True)) as shown:

        def begin(name: str, size: int | None) -> Advance:
            task = shown.add_task(escape(name), total=size)
            return lambda done: shown.advance(task, done)

        yield begin


def _nothing(_name: str, _size: int | None) -> Advance:
    return lambda _done: None
