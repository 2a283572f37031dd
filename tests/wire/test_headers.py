"""Which part of a file a Range header asks for (RFC 9110, section 14), and names in Content-Disposition."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.wire.objects.headers import UnsatisfiableError, asked_part, disposition

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", range(1)),
        ("bytes=2-5", range(2, 6)),
        ("bytes=2-", range(2, 10)),
        ("bytes=9-9", range(9, 10)),
        ("bytes=2-99999999999999999999999", range(2, 10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=-10", range(10)),
        ("bytes=-11", range(10)),
        ("Bytes= 2-5 ", range(2, 6)),
        ("", None),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=1-2-3", None),
        ("bytes=+1-2", None),
        ("bytes=\u0661-\u0662", None),
        ("items=0-1", None),
        ("0-1", None),
    ],
)
def test_a_range_is_a_part_or_ignored(asked: str, part: range | None) -> None:
    """One range of bytes is served, everything else is ignored and the whole is sent."""
    assert asked_part({"range": asked}, 10, ETAG) == part


@pytest.mark.parametrize(("asked", "size"), [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_a_range_without_a_byte_is_unsatisfiable(asked: str, size: int) -> None:
    """What lies behind the end, or is nothing, is refused."""
    with pytest.raises(UnsatisfiableError):
        asked_part({"range": asked}, size, ETAG)


def test_if_range_asks_for_the_whole_when_the_file_is_another() -> None:
    """A part is sent only of the file that the caller has begun; a date is no etag."""
    assert asked_part({"range": "bytes=1-2", "if-range": ETAG}, 10, ETAG) == range(1, 3)
    for other in ('"def"', 'W/"abc"', "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert asked_part({"range": "bytes=1-2", "if-range": other}, 10, ETAG) is None
    assert asked_part({}, 10, ETAG) is None


@given(st.one_of(st.text(), st.from_regex(r"bytes=[0-9]{0,30}-[0-9]{0,30}")), st.integers(0, 10**12))
def test_a_part_lies_within_the_file(asked: str, size: int) -> None:
    """Whatever is asked for, what is served is there, and not empty."""
    try:
        part = asked_part({"range": asked}, size, ETAG)
    except UnsatisfiableError:
        return
    assert part is None or (0 <= part.start < part.stop <= size and part.step == 1)


@given(st.text())
def test_a_disposition_is_a_header_for_any_name(name: str) -> None:
    """Printable ASCII with two quotes, whatever the name holds (a lone surrogate, a line break)."""
    header = disposition(name)
    assert re.fullmatch(r"attachment; filename=\"[ !#-\[\]-~]+\"(; filename\*=UTF-8''[\w.~%-]+)?", header, re.ASCII)
