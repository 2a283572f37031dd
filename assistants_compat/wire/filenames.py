"""Reduces model-chosen file names to safe base names. Such a name is data, never a path.

It changes everything that some system treats as more than a name: separators and `..` (also percent-encoded), Windows'
device names and reserved characters, trailing dots and spaces (Windows drops them) and a leading dot. It also changes
characters that are invisible or reverse the text around them, and names that are too long for a directory.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator

_MAX_BYTES = 180  # in UTF-8: file systems allow 255, some encrypted ones 143 characters, and a number is added
_MAX_SUFFIX_BYTES = 20  # a longer "suffix" is treated as part of the stem
_PERCENT_ENCODED = re.compile(r"%(?:2e|2f|5c|00)", re.IGNORECASE)
_RESERVED_CHARACTERS = re.compile(r'[<>:"|?*]')
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Windows opens these names as devices, also with a suffix and with spaces before it.
_WINDOWS_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|clock\$|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*(?:\..*)?\Z", re.IGNORECASE
)


def safe_names(name: str) -> Iterator[str]:
    """Yield safe base names for any `name`: `x.csv`, then `x (1).csv`, `x (2).csv` and so on, without end."""
    stem, suffix = _split_to_fit(_safe_base_name(name))
    if _WINDOWS_DEVICE.match(f"{stem}{suffix}"):  # after cutting, which can leave a device's name
        stem = f"_{stem}"
    for number in itertools.count():
        counter = f" ({number})" if number else ""
        yield f"{stem}{counter}{suffix}"


def _safe_base_name(name: str) -> str:
    # Half a surrogate pair cannot be encoded, so no file can have such a name.
    base = name.encode("utf-8", "replace").decode("utf-8").replace("\\", "/").rpartition("/")[2]
    base = _PERCENT_ENCODED.sub("_", unicodedata.normalize("NFC", base))
    base = "".join("_" if unicodedata.category(char) in _INVISIBLE_CATEGORIES else char for char in base)
    return _RESERVED_CHARACTERS.sub("_", base).strip(" .") or "file"


def _split_to_fit(base: str) -> tuple[str, str]:
    """Split into a stem and a suffix with its dot, and cut the stem so that both fit into `_MAX_BYTES`."""
    stem, dot, suffix = base.rpartition(".")
    if not stem or len(suffix.encode()) > _MAX_SUFFIX_BYTES:
        stem, dot, suffix = base, "", ""
    stem_bytes = _MAX_BYTES - len(f"{dot}{suffix}".encode())
    return stem.encode()[:stem_bytes].decode("utf-8", "ignore").rstrip(" .") or "file", f"{dot}{suffix}"
