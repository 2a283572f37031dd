"""Names of files that a model chose, made safe for this machine: data, never a path.

What is changed is what some system reads as more than a name: separators and `..`, also percent-encoded, Windows'
devices and reserved characters, its loss of trailing dots and spaces, a leading dot, what cannot be seen or turns the
text around it, and what is too long for a directory.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator

_LONGEST = 180  # bytes in UTF-8; file systems take 255, some encrypted ones 143 characters, and a number is added
_LONGEST_SUFFIX = 20  # bytes; what is longer is no suffix
_ENCODED = re.compile(r"%(?:2e|2f|5c|00)", re.IGNORECASE)
_RESERVED = re.compile(r'[<>:"|?*]')
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# What Windows opens as a device, with any suffix, and with spaces before it.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|clock\$|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*(?:\..*)?\Z", re.IGNORECASE)


def safe_names(name: str) -> Iterator[str]:
    """Base names to write under, whatever `name` is: `x.csv`, then `x (1).csv`, `x (2).csv` and so on."""
    stem, suffix = _split(_reduced(name))
    for number in itertools.count():
        counted = f" ({number})" if number else ""
        yield f"{stem}{counted}{suffix}"


def _reduced(name: str) -> str:
    # Half a surrogate pair has no bytes, so no file can be called that.
    base = name.encode("utf-8", "replace").decode("utf-8").replace("\\", "/").rpartition("/")[2]
    base = _ENCODED.sub("_", unicodedata.normalize("NFC", base))
    base = "".join("_" if unicodedata.category(char) in _UNSEEN else char for char in base)
    base = _RESERVED.sub("_", base).strip(" .") or "file"
    return f"_{base}" if _DEVICE.match(base) else base


def _split(base: str) -> tuple[str, str]:
    """The stem, cut so that both fit, and the suffix with its dot."""
    stem, dot, suffix = base.rpartition(".")
    if not stem or len(suffix.encode()) > _LONGEST_SUFFIX:
        stem, dot, suffix = base, "", ""
    room = _LONGEST - len(f"{dot}{suffix}".encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip(" .") or "file", f"{dot}{suffix}"
