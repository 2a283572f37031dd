"""Finds the `sandbox:` links of a text, and compares them with the names of container files.

This is the one place where names are compared. A model writes a link by hand, so a part of it may be percent-encoded,
and it may have `./`, `//` or another Unicode normal form than the file (reports; in the recordings every link is the
path itself). So both are decoded and normalised first. Only a link is decoded: a file may be called `100%25.csv`.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

LINK_SCHEME = "sandbox:"
"""How a link to a container file begins."""

WORKING_DIRECTORY = "/mnt/data/"
"""The folder of a container in which code runs."""

Span = tuple[int, int]
"""The start and the end of a piece of text, in code points."""

_ROOT = re.compile(r"/*(?=mnt/data/)")
_BYTES_OF_ESCAPE = 3
_MAX_DETOUR = 64  # characters for `./`, `//` and the like, which the name of the file does not have
_MAX_FOLDERS = 256  # characters before a base name
# What makes the end of a name the middle of a longer one: `d.csv` in `d.csv.zip`, `d.csv-2`, `d.csv%20copy`, `d.csv/x`.
_LONGER_NAME = re.compile(r"[.\-_]*(?:[^\W_]|/\w|%[0-9A-Fa-f]{2})")
# The next word of a sentence, with no space between: not the rest of a name, which would end in an extension.
_NEXT_WORD = re.compile(r"(?:[A-Za-z]+(?!\w)|[^\W\d_A-Za-z])(?![\w./%-]*\.[A-Za-z0-9])")
_QUOTES = tuple("<\"'`")
# Common extensions that begin with another one: `a.xls` is not meant by `a.xlsx`.
# fmt: off
_LONGER_EXTENSIONS = frozenset({
    "docm", "docx", "dotx", "html", "json", "jsonl", "jsx", "mdx", "pptm", "pptx", "pyc", "pyi", "pyw", "rst", "svgz",
    "tsx", "vsdx", "xlsb", "xlsm", "xlsx",
})
# fmt: on


@dataclass(frozen=True)
class Link:
    """A link of a text: its span, and the path that it names, as `path_from_name` returns it."""

    span: Span
    path: str


def path_from_name(name: str) -> str:
    """Return the absolute path of a file in a container by its name or path there, in the one form that is compared.

    A relative name is below `/mnt/data`. The form has no `.`, `..` or empty parts, and is in Unicode's NFC.
    """
    path = posixpath.normpath(posixpath.join(WORKING_DIRECTORY, name))
    return unicodedata.normalize("NFC", "/" + path.lstrip("/"))


def paths_from_link(link: str) -> tuple[str, str]:
    """Return the paths that a `sandbox:` link may mean: as it is written, and percent-decoded."""
    written = link.removeprefix(LINK_SCHEME)
    return _path_from_linked_name(written), _path_from_linked_name(unquote(written))


def _path_from_linked_name(name: str) -> str:
    return path_from_name(_ROOT.sub("/", name, count=1))  # also of `sandbox:mnt/data/d.csv`


def base_name(path: str) -> str:
    """Return the last part of a path or name, in the form that is compared."""
    return posixpath.basename(path_from_name(path))


def links_to_paths(text: str, paths: Collection[str]) -> Iterator[Link]:
    """Yield the links of a text that name one of these paths, in order.

    `paths` are as `path_from_name` returns them. A link that could end in two places names the longest path.
    """
    return _links(text, paths, str, _MAX_DETOUR)


def links_to_base_name(text: str, name: str) -> Iterator[Link]:
    """Yield the links of a text that name a file of this base name in any folder, in order."""
    return _links(text, {base_name(name)}, posixpath.basename, _MAX_DETOUR + _MAX_FOLDERS)


def _links(text: str, keys: Collection[str], key_of: Callable[[str], str], detour: int) -> Iterator[Link]:
    if LINK_SCHEME not in text:
        return
    keys = {key for key in keys if key}
    spellings = [spelling for key in keys for spelling in (key, unicodedata.normalize("NFD", key))]
    last_characters = frozenset(spelling[-1] for spelling in spellings)
    lengths = (len(spelling.encode("utf-8", "surrogatepass")) for spelling in spellings)
    max_length = _BYTES_OF_ESCAPE * max(lengths, default=0) + detour
    for match in re.finditer(rf"{LINK_SCHEME}(?:(?!{LINK_SCHEME})[^\r\n])*", text) if keys else ():
        start, end = match.span()
        found: Link | None = None
        for stop in range(start + len(LINK_SCHEME) + 1, min(end, start + len(LINK_SCHEME) + max_length) + 1):
            # Most places cannot be the end of any name: this is what makes the search cheap.
            last = text[stop - 1]
            if last.isascii() and last not in last_characters and text[stop - _BYTES_OF_ESCAPE] != "%":
                continue
            path = next((path for path in paths_from_link(text[start:stop]) if key_of(path) in keys), None)
            if path is not None and _ends_at(text, start, stop):
                found = Link((start, stop), path)
        if found is not None:
            yield found


def _ends_at(text: str, start: int, end: int) -> bool:
    """Whether a link may end here: not if what follows continues the name."""
    if unicodedata.combining(text[end : end + 1] or " "):
        return False
    if not _LONGER_NAME.match(text, end):
        return True
    # Between brackets or quotes a link is written whole. In a sentence the next word may follow at once: Japanese, for
    # one, has no spaces.
    is_enclosed = text.endswith(_QUOTES, 0, start) or text.endswith("](", 0, start)
    word = None if is_enclosed else _NEXT_WORD.match(text, end)
    extension = posixpath.splitext(text[start:end])[1][1:]
    # An extension of one letter begins too many others.
    return word is not None and len(extension) > 1 and f"{extension}{word[0]}".lower() not in _LONGER_EXTENSIONS
