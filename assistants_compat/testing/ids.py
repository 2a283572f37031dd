"""Ids as the service writes them: prefix and length are the recorded ones.

A seed makes them repeat from run to run. Each kind counts by itself, so that an extra request somewhere does not
shift the ids of everything else.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import Counter

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# Source: CanDeleteResponse.json (resp, msg), CodeInterpreterToolWithUploadedFileIds.json (ci, cntr, cfile, file),
# FunctionCallWorks.json (fc, call), FileSearch.json (fs, vs), return_image.yaml (rs), and for conv
# CanCreateGetUpdateAndDeleteConversation.json. Until September 2025
# resp_, msg_ and ci_ had 48 digits; no later ci_ is recorded. vsfb_ has no recording.
_HEX_LENGTHS = {
    **dict.fromkeys(("resp_", "msg_", "ci_", "fc_", "rs_", "fs_"), 50),
    **dict.fromkeys(("cntr_", "conv_"), 48),
    "req_": 32,
}
_BASE62_LENGTHS = {"file-": 22, "call_": 24}


class Mint:
    """Makes ids; the same seed makes the same ids in the same order, kind by kind."""

    def __init__(self, seed: int | None) -> None:
        """Count from a seed, or from a random place."""
        self._seed = secrets.token_hex(8) if seed is None else str(seed)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def new(self, prefix: str) -> str:
        """A fresh id, `cfile_` and whatever is not listed with 32 hexadecimal digits."""
        with self._lock:
            self._counts[prefix] += 1
            number = self._counts[prefix]
        digest = hashlib.sha256(f"{self._seed}:{prefix}:{number}".encode()).hexdigest()
        if prefix in _BASE62_LENGTHS:
            return prefix + _base62(digest, _BASE62_LENGTHS[prefix])
        return prefix + digest[: _HEX_LENGTHS.get(prefix, 32)]

    def random_hex(self, length: int) -> str:
        """Seeded hexadecimal digits that are no id, such as the hash before an uploaded name."""
        return self.new(f"hex{length}:")[-length:]


def _base62(digest: str, length: int) -> str:
    number = int(digest, 16)
    letters = []
    for _ in range(length):
        number, index = divmod(number, 62)
        letters.append(_BASE62[index])
    return "".join(letters)
