"""The span of a citation is found in any text and for any offsets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assistants_compat.translate.citations import is_shown_image, span_of_citation, text_without_markers

# Astral characters take two UTF-16 units, so that the two ways to count differ.
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30) | st.text(alphabet="a😀𝒳é", max_size=12)
NAMES = st.from_regex(r"[a-zé😀_ ]{1,8}\.(csv|png)", fullmatch=True)


def citation(name: str, start: Any, end: Any) -> dict[str, Any]:
    """Return a citation of a container file, as recorded."""
    return {
        "type": "container_file_citation",
        "container_id": "cntr_1",
        "file_id": "cfile_1",
        "filename": name,
        "start_index": start,
        "end_index": end,
    }


@given(before=TEXTS, after=TEXTS, name=NAMES)
def test_a_span_in_code_points_is_kept(before: str, after: str, name: str) -> None:
    """Offsets that count code points are kept."""
    link = f"sandbox:/mnt/data/{name}"
    start, end = len(before), len(before) + len(link)
    assert span_of_citation(before + link + after, citation(name, start, end)) == (start, end)


@given(before=TEXTS, after=TEXTS, name=NAMES)
@example(before="😀 ", after=")", name="a.csv")
def test_a_span_in_utf16_units_is_turned_into_code_points(before: str, after: str, name: str) -> None:
    """Offsets that count UTF-16 units become a span in code points that covers the link."""
    link = f"sandbox:/mnt/data/{name}"
    text = before + link + after
    start = len(before.encode("utf-16-le")) // 2
    end = start + len(link.encode("utf-16-le")) // 2
    span = span_of_citation(text, citation(name, start, end))
    assert span is not None
    assert text[slice(*span)].startswith("sandbox:")
    assert text[slice(*span)].endswith(f"/{name}")


@given(text=TEXTS, name=NAMES, start=st.integers() | st.none(), end=st.integers() | st.none())
def test_any_offsets_give_a_link_or_nothing(text: str, name: str, start: int | None, end: int | None) -> None:
    """Any offsets give a span within the text that covers a link, or none."""
    span = span_of_citation(text, citation(name, start, end))
    if span is not None:
        assert 0 <= span[0] < span[1] <= len(text)
        assert text[slice(*span)].startswith("sandbox:")


@given(before=TEXTS, after=TEXTS, link=st.text(alphabet="ab%é(1) /+", min_size=1, max_size=12), name=NAMES)
def test_a_cited_link_is_believed(before: str, after: str, link: str, name: str) -> None:
    """A cited span that is a link is kept, whatever its name is, in code points and in UTF-16 units."""
    link = f"sandbox:{link}"
    text = before + link + after
    assert span_of_citation(text, citation(name, len(before), len(before + link))) == (
        len(before),
        len(before + link),
    )
    start = len(before.encode("utf-16-le")) // 2
    span = span_of_citation(text, citation(name, start, start + len(link)))
    assert span == (len(before), len(before + link))


@given(before=TEXTS, between=TEXTS, name=NAMES)
def test_a_link_without_usable_offsets_is_found_after_the_used_ones(before: str, between: str, name: str) -> None:
    """Two links to one file get two spans, even without usable offsets."""
    link = f"sandbox:/mnt/data/{name}"
    text = f"{before}{link}) {between}{link}"
    first = span_of_citation(text, citation(name, None, None))
    assert first is not None
    second = span_of_citation(text, citation(name, None, None), [first])
    assert second is not None
    assert second[0] > first[0]
    assert text[slice(*first)] == text[slice(*second)] == link


def test_the_beginning_of_a_longer_name_is_not_a_link() -> None:
    """A citation of `d.csv` without usable offsets does not select the link to `d.csv.zip`."""
    text = "[zip](sandbox:/mnt/data/d.csv.zip), [csv](sandbox:/mnt/data/d.csv)."
    span = span_of_citation(text, citation("d.csv", None, None))
    assert span is not None
    assert span[0] == text.rindex("sandbox:")


def test_a_link_is_found_in_a_text_with_half_a_surrogate() -> None:
    """A link is found in a text with half a surrogate pair, which JSON can hold."""
    text = "\ud83d see sandbox:/mnt/data/a.csv"
    span = span_of_citation(text, citation("a.csv", 1, 5))
    assert span is not None
    assert text[slice(*span)] == "sandbox:/mnt/data/a.csv"


@pytest.mark.parametrize(
    ("name", "is_shown"),
    [
        ("cfile_68ab.png", True),
        ("chart.PNG", True),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", True),
        ("", True),
        ("d.csv", False),
        ("cfile_68ab.csv", False),
        ("Makefile", False),
    ],
)
def test_the_name_decides_what_a_citation_without_a_span_is(name: str, is_shown: bool) -> None:  # noqa: FBT001
    """A citation at 0/0 is a shown image if its name is that of an image, or made from an id without an extension."""
    assert is_shown_image(citation(name, 0, 0)) == is_shown
    assert not is_shown_image(citation(name, 0, 9))
    assert not is_shown_image(citation(name, None, None))


# --- markers of searched files

WORDS = st.text(alphabet="aé😀 .,[]()0:†", max_size=12)
MARKERS = st.sampled_from(["【4:0†a.txt】", "【4:1†source】", "【13†résumé 😀.pdf】"])


def utf16_length(text: str) -> int:
    """Return the number of UTF-16 units in a text, as JavaScript counts."""
    return len(text.encode("utf-16-le")) // 2


@given(
    pieces=st.lists(st.tuples(WORDS, MARKERS), max_size=5),
    end=WORDS,
    off_by=st.sampled_from([0, 1, -1, 7, -100, 100, None]),
    in_utf16=st.booleans(),
    has_texts=st.booleans(),
)
@example(pieces=[("😀😀 Cake", "【4:0†a.txt】")], end=" and tea.", off_by=0, in_utf16=True, has_texts=True)
@example(pieces=[("Cake", "【4:0†a.txt】"), ("", "【4:0†a.txt】")], end="", off_by=None, in_utf16=True, has_texts=True)
@example(
    pieces=[("Cake", "【4:0†a.txt】"), (" and tea", "【4:1†source】")],
    end="",
    off_by=7,
    in_utf16=False,
    has_texts=False,
)
def test_markers_are_cut_wherever_their_offsets_point(
    pieces: list[tuple[str, str]], end: str, off_by: int | None, *, in_utf16: bool, has_texts: bool
) -> None:
    """Every cited marker is cut out and no word of the answer, whatever the offsets count and by how much they err."""
    value, annotations = "", []
    for words, marker in pieces:
        value += words
        length = utf16_length if in_utf16 else len
        start = None if off_by is None else length(value) + off_by
        annotation: dict[str, Any] = {"type": "file_citation", "text": marker}
        if start is not None:
            annotation |= {"start_index": start, "end_index": start + length(marker)}
        if not has_texts:
            del annotation["text"]
        annotations.append(annotation)
        value += marker
    text = {"value": value + end, "annotations": annotations}
    assert text_without_markers(text) == "".join(words for words, _ in pieces) + end


@given(
    value=TEXTS, start=st.integers() | st.none(), length=st.integers(0, 9), text=st.none() | st.just("【4:0†a.txt】")
)
def test_no_word_is_cut_where_no_marker_is(value: str, start: int | None, length: int, text: str | None) -> None:
    """A citation whose marker is not in the text, perhaps because a program removed it, cuts out nothing."""
    annotation = {"type": "file_citation", "text": text, "start_index": start, "end_index": (start or 0) + length}
    assert text_without_markers({"value": value, "annotations": [annotation]}) == value


def test_a_marker_of_any_form_is_cut_where_its_offsets_are_right() -> None:
    """A marker that looks like no other is believed where its span is exactly its text."""
    annotation = {"type": "file_citation", "text": "[1]", "start_index": 4, "end_index": 7}
    assert text_without_markers({"value": "Cake[1] [1]", "annotations": [annotation]}) == "Cake [1]"
    assert text_without_markers({"value": "[1] Cake", "annotations": [annotation]}) == "[1] Cake"
