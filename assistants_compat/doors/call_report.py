"""`Settings(report=...)`: which Assistants calls a program still makes, by method and route, never by what is in them.

A file gets lines of JSON that add up: many processes may write one, and a line says what came since the last.
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

_EVERY = 10  # seconds between two lines of a process whose kinds of calls are known
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child must not get a lock that nobody there will open
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_files: dict[str, _File] = {}
_process: list[int] = []


class _File:
    """What this process has counted for one file and not written yet."""

    def __init__(self) -> None:
        self.seen: set[LegacyCall] = set()
        self.counted: Counter[LegacyCall] = Counter()
        self.written = 0.0


def count(report: Report, call: LegacyCall) -> None:
    """Tell a function of a call, or count it for a file; what goes wrong is logged and harms nothing."""
    try:
        if callable(report):
            report(call)
        else:
            _count(report, call)
    except Exception as error:  # noqa: BLE001 - counting must not fail what is counted
        log.warning("Settings(report=...) failed: %s", type(error).__name__)


def _count(path: str, call: LegacyCall) -> None:
    with _lock:
        if _process != [os.getpid()]:
            _begin()
        file = _files.setdefault(path, _File())
        file.counted[call] += 1
        # A kind of call that is new is written at once: it is known even if the process is killed.
        if call not in file.seen or time.monotonic() - file.written >= _EVERY:
            file.seen.add(call)
            _write(path, file)


def _begin() -> None:
    """Start to count in this process; what a parent has counted is the parent's to write."""
    _files.clear()
    _process[:] = [os.getpid()]
    atexit.register(_finish)
    if (util := sys.modules.get("multiprocessing.util")) is not None:  # its children leave without atexit
        util.Finalize(None, _finish, exitpriority=0)


def _finish() -> None:
    with _lock:
        for path, file in _files.items():
            _write_at_last(path, file)


def _write_at_last(path: str, file: _File) -> None:
    try:
        _write(path, file)
    except OSError as error:
        log.warning("Settings(report=...) failed: %s", type(error).__name__)


def _write(path: str, file: _File) -> None:
    if not file.counted:
        return
    calls = [
        {"method": call.method, "route": call.route, "answered": call.answered, "calls": number}
        for call, number in file.counted.items()
    ]
    line = json.dumps({"process": os.getpid(), "at": int(time.time()), "counted": calls}) + "\n"
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="ascii") as opened:  # noqa: PTH123 - one write, at the end of whatever is there
        opened.write(line)
    file.counted.clear()
    file.written = time.monotonic()
