"""Where a citation stands in a text, whatever the text and whatever the numbers."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from assistants_compat.translate.citations import span_of_citation

# Astral characters take two UTF-16 units, so that the two ways to count differ.
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30) | st.text(alphabet="a😀𝒳é", max_size=12)
NAMES = st.from_regex(r"[a-zé😀_ ]{1,8}\.(csv|png)", fullmatch=True)


def citation(name: str, start: Any, end: Any) -> dict[str, Any]:
    """A citation of a container's file, as recorded."""
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
    """When the numbers count code points and slice the link, they are served as they are."""
    link = f"sandbox:/mnt/data/{name}"
    start, end = len(before), len(before) + len(link)
    assert span_of_citation(before + link + after, citation(name, start, end)) == (start, end)


@given(before=TEXTS, after=TEXTS, name=NAMES)
@example(before="😀 ", after=")", name="a.csv")
def test_a_span_in_utf16_units_is_turned_into_code_points(before: str, after: str, name: str) -> None:
    """When the numbers count UTF-16 units, the served span still slices the link."""
    link = f"sandbox:/mnt/data/{name}"
    text = before + link + after
    start = len(before.encode("utf-16-le")) // 2
    end = start + len(link.encode("utf-16-le")) // 2
    span = span_of_citation(text, citation(name, start, end))
    assert span is not None
    assert text[slice(*span)].startswith("sandbox:")
    assert text[slice(*span)].endswith(f"/{name}")


@given(text=TEXTS, name=NAMES, start=st.integers() | st.none(), end=st.integers() | st.none())
def test_any_numbers_give_a_link_or_nothing(text: str, name: str, start: int | None, end: int | None) -> None:
    """Whatever is sent, the span is inside the text and slices a link to the file, or there is none."""
    span = span_of_citation(text, citation(name, start, end))
    if span is not None:
        assert 0 <= span[0] < span[1] <= len(text)
        assert text[slice(*span)].startswith("sandbox:")


@given(before=TEXTS, between=TEXTS, name=NAMES)
def test_a_link_without_usable_numbers_is_found_past_those_that_are_taken(before: str, between: str, name: str) -> None:
    """Two links to one file get two spans."""
    link = f"sandbox:/mnt/data/{name}"
    text = f"{before}{link}) {between}{link}"
    first = span_of_citation(text, citation(name, None, None))
    assert first is not None
    second = span_of_citation(text, citation(name, None, None), [first])
    assert second is not None
    assert second[0] > first[0]
    assert text[slice(*first)] == text[slice(*second)] == link


def test_the_beginning_of_a_longer_name_is_not_a_link() -> None:
    """A citation of `d.csv` whose numbers are of no use does not land on `d.csv.zip`."""
    text = "[zip](sandbox:/mnt/data/d.csv.zip), [csv](sandbox:/mnt/data/d.csv)."
    span = span_of_citation(text, citation("d.csv", None, None))
    assert span is not None
    assert span[0] == text.rindex("sandbox:")


def test_half_a_surrogate_in_a_text_does_no_harm() -> None:
    """JSON may hold half a surrogate pair; the search goes on."""
    text = "\ud83d see sandbox:/mnt/data/a.csv"
    span = span_of_citation(text, citation("a.csv", 1, 5))
    assert span is not None
    assert text[slice(*span)] == "sandbox:/mnt/data/a.csv"
