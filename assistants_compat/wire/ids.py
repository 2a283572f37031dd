"""Names of things: how ids are minted and how our own file ids are recognised.

Shapes follow the recorded ids (`asst_`, `thread_`, `msg_`, `run_`, `step_`, `call_` and `file-`, each with 22 to 24
letters and digits).  Randomness is handed in, so that a replayed test can make the same ids on every run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal

LENGTH = 24
_ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Some characters come a little more often than others: an id has 142 bits all the same.
_CHARACTERS = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in range(256))

Kind = Literal["asst", "thread", "msg", "run", "step", "call", "file", "req"]
Mint = Callable[[Kind], str]

# A generated file's id carries this mark, so that a request for a file that was uploaded upstream is recognised as
# foreign without a look into the store.  The mark only spares look-ups: the store decides what is ours.
_FILE_MARK = "AC"
OUR_FILE_BEGINS = f'"file-{_FILE_MARK}'.encode()
"""How such an id begins in JSON."""
_OUR_FILE = re.compile(rf"file-{_FILE_MARK}[0-9A-Za-z]+\Z")


def mint(kind: Kind, random_bytes: Callable[[int], bytes]) -> str:
    """A new id of `kind`; `random_bytes` gives as many bytes as it is asked for."""
    start = f"file-{_FILE_MARK}" if kind == "file" else f"{kind}_"
    length = LENGTH - len(_FILE_MARK) if kind == "file" else LENGTH
    return start + random_bytes(length).translate(_CHARACTERS).decode("ascii")


_THREAD = re.compile(r"thread_[0-9A-Za-z]{1,128}\Z", re.ASCII)
_ASSISTANT = re.compile(r"asst_[0-9A-Za-z_-]{1,128}\Z", re.ASCII)


def may_be_thread(id_: str) -> bool:
    """Whether an id has the shape of a thread's, of this service or of the old one."""
    return _THREAD.match(id_) is not None


def may_be_assistant(id_: str) -> bool:
    """Whether an id has the shape of an assistant's."""
    return _ASSISTANT.match(id_) is not None


class Replay:
    """Mints ids and remembers them by kind in `minted`; what was minted `before` is given again first, in its order.

    So a response that is read once more, after its reader died in the middle, leaves the same ids.
    """

    def __init__(self, mint: Mint, before: Mapping[str, list[str]] | None = None) -> None:
        """Begin with what was minted before, if anything."""
        self._mint = mint
        self._before = {kind: list(reversed(ids)) for kind, ids in (before or {}).items()}
        self.minted: dict[str, list[str]] = {}

    def __call__(self, kind: Kind) -> str:
        """The next id."""
        before = self._before.get(kind)
        id_ = before.pop() if before else self._mint(kind)
        self.minted.setdefault(kind, []).append(id_)
        return id_


def may_be_ours(file_id: str) -> bool:
    """Whether a file id has the shape of one that we minted (then the store has the last word)."""
    return _OUR_FILE.match(file_id) is not None
