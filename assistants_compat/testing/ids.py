"""Generates ids with the recorded prefixes and lengths.

The same seed gives the same ids in every test run. Each prefix has its own counter, so that an extra request does not
change the ids of other objects.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import Counter

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# Source: CanDeleteResponse.json (resp, msg), CodeInterpreterToolWithUploadedFileIds.json (ci, cntr, cfile, file),
# FunctionCallWorks.json (fc, call), FileSearch.json (fs, vs), return_image.yaml (rs), and for conv
# CanCreateGetUpdateAndDeleteConversation.json. Until September 2025 resp_, msg_ and ci_ had 48 digits; no later ci_ is
# recorded. vsfb_ has no recording.
_HEX_LENGTHS = {
    **dict.fromkeys(("resp_", "msg_", "ci_", "fc_", "rs_", "fs_"), 50),
    **dict.fromkeys(("cntr_", "conv_"), 48),
    "req_": 32,
}
_BASE62_LENGTHS = {"file-": 22, "call_": 24}


class IdGenerator:
    """Generates ids; the same seed gives each prefix the same ids in the same order."""

    def __init__(self, seed: int | None) -> None:
        """Start from `seed`, or from a random seed if it is None."""
        self._seed = secrets.token_hex(8) if seed is None else str(seed)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def new(self, prefix: str) -> str:
        """Return a new id; `cfile_` and every prefix without a recorded length get 32 hexadecimal digits."""
        with self._lock:
            self._counts[prefix] += 1
            number = self._counts[prefix]
        digest = hashlib.sha256(f"{self._seed}:{prefix}:{number}".encode()).hexdigest()
        if prefix in _BASE62_LENGTHS:
            return prefix + _base62(digest, _BASE62_LENGTHS[prefix])
        return prefix + digest[: _HEX_LENGTHS.get(prefix, 32)]

    def random_hex(self, length: int) -> str:
        """Return seeded hexadecimal digits, such as the hash in front of an uploaded file's name."""
        return self.new(f"hex{length}:")[-length:]


def _base62(digest: str, length: int) -> str:
    number = int(digest, 16)
    letters = []
    for _ in range(length):
        number, index = divmod(number, 62)
        letters.append(_BASE62[index])
    return "".join(letters)
