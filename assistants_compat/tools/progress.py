"""A progress bar for long operations, on a terminal and with the extra `cli`; otherwise nothing is shown.

There is one bar for everything, whose name is that of the present file: a terminal draws every bar again with each
step, so a bar for each of many files would take longer than the files.

The rest of the package calls the same functions either way, and knows nothing of rich.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Advances a bar by a number of bytes or items."""
StartBar = Callable[[str, int | None], Advance]
"""Adds what has a name and a total, if that is known, to the bar, and returns the function that advances it."""


@contextmanager
def progress(*, counts: bool = False) -> Iterator[StartBar]:
    """Yield the function that adds to the bar.

    Totals are bytes, or numbers of items if `counts` is true.
    """
    # The bar goes to stderr, so that stdout can be piped. A Windows program without a console has no stderr.
    if not (sys.stderr is not None and sys.stderr.isatty()):
        yield _no_bar
        return
    try:
        from rich import progress as bars  # noqa: PLC0415 - an extra, and slow to load
        from rich.console import Console  # noqa: PLC0415 - as above
        from rich.markup import escape  # noqa: PLC0415 - as above
    except ImportError:
        yield _no_bar
        return
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn() if counts else bars.DownloadColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task("", total=None)
        sum_of_totals: int | None = 0  # None as soon as one is not known

        def start_bar(name: str, total: int | None) -> Advance:
            nonlocal sum_of_totals
            sum_of_totals = None if sum_of_totals is None or total is None else sum_of_totals + total
            # Unescaped, rich would read [brackets] as styles.
            display.update(task, description=escape(name), total=sum_of_totals)
            display.tasks[0].total = sum_of_totals  # `update` cannot take a total away
            return lambda amount: display.advance(task, amount)

        yield start_bar


def _no_bar(_name: str, _total: int | None) -> Advance:
    return lambda _amount: None
