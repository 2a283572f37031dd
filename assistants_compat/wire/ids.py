"""Makes ids and recognises the ids of generated files.

The shapes follow the recorded ids: `asst_`, `thread_`, `msg_`, `run_`, `step_`, `call_` and `file-`, each with 22 to 24
letters and digits. The caller passes in the randomness, so that a replayed test gets the same ids on every run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal

LENGTH = 24
_ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# 256 is not a multiple of 62, so some characters are slightly more frequent: an id still has 142 bits.
_CHARACTER_OF_BYTE = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in range(256))

IdKind = Literal["asst", "thread", "msg", "run", "step", "call", "file", "req"]
IdFactory = Callable[[IdKind], str]

# The ids of generated files carry this mark, so that requests for files uploaded upstream need no store lookup.
# The mark only saves lookups: the store decides which files are ours.
_GENERATED_FILE_MARK = "AC"
GENERATED_FILE_ID_IN_JSON = f'"file-{_GENERATED_FILE_MARK}'.encode()
"""The beginning of a generated file's id within a JSON body."""
_GENERATED_FILE_ID = re.compile(rf"file-{_GENERATED_FILE_MARK}[0-9A-Za-z]+\Z")


def new_id(kind: IdKind, random_bytes: Callable[[int], bytes]) -> str:
    """Make an id of `kind`; `random_bytes(length)` returns that many random bytes."""
    prefix = f"file-{_GENERATED_FILE_MARK}" if kind == "file" else f"{kind}_"
    length = LENGTH - len(_GENERATED_FILE_MARK) if kind == "file" else LENGTH
    return prefix + random_bytes(length).translate(_CHARACTER_OF_BYTE).decode("ascii")


_THREAD_ID = re.compile(r"thread_[0-9A-Za-z]{1,128}\Z", re.ASCII)
_ASSISTANT_ID = re.compile(r"asst_[0-9A-Za-z_-]{1,128}\Z", re.ASCII)


def looks_like_thread_id(id_: str) -> bool:
    """Whether an id has the shape of a thread id, made here or by the old service."""
    return _THREAD_ID.match(id_) is not None


def looks_like_assistant_id(id_: str) -> bool:
    """Whether an id has the shape of an assistant id."""
    return _ASSISTANT_ID.match(id_) is not None


class RepeatableIds:
    """An `IdFactory` that repeats the ids of an earlier reading of the same response.

    It returns the `earlier_ids` of each kind first, in their order, and then new ones; `assigned_ids` collects all of
    them. So a response that is read again, because its first reader died, yields the same ids.
    """

    def __init__(self, new_id: IdFactory, earlier_ids: Mapping[str, list[str]] | None = None) -> None:
        """`earlier_ids` are the `assigned_ids` of the earlier reading, if there was one."""
        self._new_id = new_id
        self._remaining = {kind: list(reversed(ids)) for kind, ids in (earlier_ids or {}).items()}
        self.assigned_ids: dict[str, list[str]] = {}

    def __call__(self, kind: IdKind) -> str:
        """The next id of `kind`."""
        remaining = self._remaining.get(kind)
        id_ = remaining.pop() if remaining else self._new_id(kind)
        self.assigned_ids.setdefault(kind, []).append(id_)
        return id_


def looks_like_generated_file_id(file_id: str) -> bool:
    """Whether a file id has the shape of a generated file's id; if so, the store decides whether it is one."""
    return _GENERATED_FILE_ID.match(file_id) is not None
