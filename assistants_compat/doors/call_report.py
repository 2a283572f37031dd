"""`Settings(report=...)`: counts the Assistants calls that a program still makes, by method and route only.

A report file holds lines of JSON, and several processes may append to it. Each line counts the calls since the previous
line of its process, so a reader adds the lines up. The content of a call is never recorded.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from ..settings import LegacyCall, Report

log = logging.getLogger("assistants_compat")

_WRITE_INTERVAL = 10  # seconds between two lines of a process that only repeats known kinds of calls
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a forked child must not inherit a lock held by another thread
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_pending_by_path: dict[str, _PendingCounts] = {}
_counting_pid: list[int] = []  # the process that the counts belong to; empty before the first call


class _PendingCounts:
    """Calls that this process has counted for one file and has not written yet."""

    def __init__(self) -> None:
        self.written_kinds: set[LegacyCall] = set()
        self.counts: Counter[LegacyCall] = Counter()
        self.written_at = 0.0


def count_call(report: Report, call: LegacyCall) -> None:
    """Pass a call to the report function, or count it for the report file; a failure is only logged."""
    try:
        if callable(report):
            report(call)
        else:
            _count_in_file(report, call)
    except Exception as error:  # noqa: BLE001 - a failing report must not fail the call
        log.warning("Settings(report=...) failed: %s", type(error).__name__)


def _count_in_file(path: str, call: LegacyCall) -> None:
    with _lock:
        if _counting_pid != [os.getpid()]:
            _start_counting()
        pending = _pending_by_path.setdefault(path, _PendingCounts())
        pending.counts[call] += 1
        # A new kind of call is written at once, so that the file shows it even if the process is killed.
        if call not in pending.written_kinds or time.monotonic() - pending.written_at >= _WRITE_INTERVAL:
            pending.written_kinds.add(call)
            _write(path, pending)


def _start_counting() -> None:
    """Start counting in this process; after a fork, the parent writes what it has counted itself."""
    _pending_by_path.clear()
    _counting_pid[:] = [os.getpid()]
    atexit.register(_write_all)
    if (util := sys.modules.get("multiprocessing.util")) is not None:  # its children exit without running atexit
        util.Finalize(None, _write_all, exitpriority=0)


def _write_all() -> None:
    with _lock:
        for path, pending in _pending_by_path.items():
            _write_logging_errors(path, pending)


def _write_logging_errors(path: str, pending: _PendingCounts) -> None:
    try:
        _write(path, pending)
    except OSError as error:
        log.warning("Settings(report=...) failed: %s", type(error).__name__)


def _write(path: str, pending: _PendingCounts) -> None:
    if not pending.counts:
        return
    calls = [
        {"method": call.method, "route": call.route, "answered": call.answered, "calls": count}
        for call, count in pending.counts.items()
    ]
    line = json.dumps({"process": os.getpid(), "at": int(time.time()), "counted": calls}) + "\n"
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="ascii") as report_file:  # noqa: PTH123 - one appending write
        report_file.write(line)
    pending.counts.clear()
    pending.written_at = time.monotonic()
