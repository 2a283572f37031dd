"""Range headers select parts of a file (RFC 9110, section 14), and Content-Disposition takes any file name."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.wire.headers import UnsatisfiableRangeError, content_disposition, requested_range

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "part"),
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
def test_a_range_selects_a_part_or_is_ignored(header: str, part: range | None) -> None:
    """A header with one range of bytes selects that part; any other header is ignored."""
    assert requested_range({"range": header}, 10, ETAG) == part


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_a_range_without_a_byte_is_unsatisfiable(header: str, size: int) -> None:
    """A range that is empty or behind the end is refused as unsatisfiable."""
    with pytest.raises(UnsatisfiableRangeError):
        requested_range({"range": header}, size, ETAG)


def test_if_range_with_another_etag_gets_the_whole_file() -> None:
    """`If-Range` gets a part only with the file's etag; another etag, or a date, gets the whole file."""
    assert requested_range({"range": "bytes=1-2", "if-range": ETAG}, 10, ETAG) == range(1, 3)
    for other in ('"def"', 'W/"abc"', "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert requested_range({"range": "bytes=1-2", "if-range": other}, 10, ETAG) is None
    assert requested_range({}, 10, ETAG) is None


@given(st.one_of(st.text(), st.from_regex(r"bytes=[0-9]{0,30}-[0-9]{0,30}")), st.integers(0, 10**12))
def test_a_part_lies_within_the_file(header: str, size: int) -> None:
    """Any Range header selects a part that is not empty and lies within the file, or none."""
    try:
        part = requested_range({"range": header}, size, ETAG)
    except UnsatisfiableRangeError:
        return
    assert part is None or (0 <= part.start < part.stop <= size and part.step == 1)


@given(st.text())
def test_a_disposition_is_valid_for_any_name(name: str) -> None:
    """Any file name, even with a lone surrogate or a line break, gives a header of printable ASCII."""
    header = content_disposition(name)
    assert re.fullmatch(r"attachment; filename=\"[ !#-\[\]-~]+\"(; filename\*=UTF-8''[\w.~%-]+)?", header, re.ASCII)
