"""A link is found in any text, however much of it is encoded, and only the file that it names."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.translate.links import links_to_base_name, links_to_paths, path_from_name, paths_from_link

# Names with everything that Markdown, a URL or Unicode treats in a way of its own.
STEMS = st.text(alphabet="abC1 _-()%&+#[]é\u0301表ÅñÖ😀가", min_size=1, max_size=10).map(str.strip).filter(bool)
NAMES = st.builds(lambda stem, extension: f"{stem}.{extension}", STEMS, st.sampled_from(["csv", "png", "tar.gz"]))
FOLDERS = st.sampled_from(["", "out/", "a b/é/"])
WORDS = st.text(alphabet="ab 表.,;()!\n", max_size=12)


@st.composite
def spellings(draw: st.DrawFn, name: str) -> str:
    """Write a name in another normal form, with any of its characters percent-encoded, in either case."""
    name = unicodedata.normalize(draw(st.sampled_from(["NFC", "NFD"])), name)
    pieces = []
    for character in name:
        # A percent sign is always encoded in a link that has escapes: nothing else could tell it from one.
        escape = draw(st.sampled_from([None, str.upper, str.lower])) if character != "%" else str.upper
        pieces.append(
            character if escape is None else "".join(f"%{escape(f'{byte:02x}')}" for byte in character.encode())
        )
    return "".join(pieces)


@given(folder=FOLDERS, name=NAMES, before=WORDS, data=st.data())
def test_a_link_is_found_in_any_spelling(folder: str, name: str, before: str, data: st.DataObject) -> None:
    """A link with any characters encoded, in NFC or NFD, with `./` or `//`, names its file, and its span is exact."""
    detour = data.draw(st.sampled_from(["", "./", "/", "x/../"]))
    link = f"sandbox:/mnt/data/{detour}{folder}{data.draw(spellings(name))}"
    text = f"{before}[file]({link}) and more"
    path = path_from_name(f"{folder}{name}")
    [found] = links_to_paths(text, {path, path_from_name("other.csv")})
    assert (text[slice(*found.span)], found.path) == (link, path)
    [by_name] = links_to_base_name(text, name)
    assert by_name == found


@given(names=st.lists(NAMES, min_size=1, max_size=4, unique_by=path_from_name), data=st.data())
def test_each_link_names_its_own_file(names: list[str], data: st.DataObject) -> None:
    """Of files whose names begin with each other's, each link names the whole of its own."""
    links = [f"sandbox:/mnt/data/{data.draw(spellings(name))}" for name in names]
    text = "".join(f"[x]({link})\n" for link in links)
    paths = [path_from_name(name) for name in names]
    assert [(text[slice(*link.span)], link.path) for link in links_to_paths(text, paths)] == list(
        zip(links, paths, strict=True)
    )


@given(text=st.text(max_size=80) | WORDS.map(lambda rest: f"sandbox:/mnt/data/{rest}"), names=st.lists(NAMES | WORDS))
def test_any_text_and_names_give_links_or_nothing(text: str, names: list[str]) -> None:
    """In any text, what is found begins with the scheme and means one of the paths, and no two links overlap."""
    paths = {path_from_name(name) for name in names}
    position = 0
    for link in links_to_paths(text, paths):
        start, end = link.span
        assert position <= start < end <= len(text)
        position = end
        assert link.path in paths
        assert link.path in paths_from_link(text[start:end])


@given(STEMS | st.text(max_size=10))
def test_the_form_of_a_path_is_its_own_form(name: str) -> None:
    """A path in the form that is compared stays as it is."""
    path = path_from_name(name)
    assert path_from_name(path) == path
    assert path.startswith("/")


@pytest.mark.parametrize(
    ("text", "names", "linked"),
    [
        ("sandbox:/mnt/data/d.csvを見てください。", ["d.csv"], "d.csv"),
        ("保存先: sandbox:/mnt/data/表.csvです", ["表.csv"], "表.csv"),
        ("See sandbox:/mnt/data/d.csvand tell me.", ["d.csv"], "d.csv"),
        ("It is in _sandbox:/mnt/data/d.csv_.", ["d.csv"], "d.csv"),
        ("It is sandbox:/mnt/data/d.csv...", ["d.csv"], "d.csv"),
        ("sandbox:/mnt/data/d.csv.zip", ["d.csv"], None),
        ("sandbox:/mnt/data/d.csv-2", ["d.csv"], None),
        ("[x](sandbox:/mnt/data/d.csv%20copy)", ["d.csv"], None),
        ("[x](sandbox:/mnt/data/a.xlsx)", ["a.xls"], None),
        ("It is sandbox:/mnt/data/a.xlsx", ["a.xls"], None),
        ("It is sandbox:/mnt/data/a.xlsx", ["a.xls", "a.xlsx"], "a.xlsx"),
        ("It is sandbox:/mnt/data/表格.csv", ["表"], None),
        ("[x](sandbox:/mnt/data/out/x.csv)", ["out"], None),
        ("[x](sandbox:/mnt/data/report (1).csv)", ["report", "report (1).csv"], "report (1).csv"),
        ("[x](sandbox:/mnt/data/cafe\u0301)", ["cafe"], None),
        ("[x](sandbox:mnt/data/d.csv)", ["d.csv"], "d.csv"),
        ("[x](sandbox:///mnt/data//d.csv)", ["d.csv"], "d.csv"),
        ("[x](sandbox:/mnt/data/a%20b.csv)", ["a%20b.csv", "a b.csv"], "a%20b.csv"),
        ("[x](sandbox:/mnt/data/a%2520b.csv)", ["a%20b.csv", "a b.csv"], "a%20b.csv"),
        ("[x](sandbox:/mnt/data/a%zz%.csv)", ["a%zz%.csv"], "a%zz%.csv"),
    ],
)
def test_a_link_ends_where_its_name_ends(text: str, names: list[str], linked: str | None) -> None:
    """A link may be followed by a word, and the beginning of a longer name is not the link."""
    found = [link.path for link in links_to_paths(text, {path_from_name(name) for name in names})]
    assert found == ([] if linked is None else [path_from_name(linked)])


def test_a_name_is_encoded_as_urls_are() -> None:
    """A name that the standard library has quoted is found, whatever is safe."""
    name = "résumé 2024 (x)~!表.csv"
    for safe in ("", "/", "()~!"):
        text = f"[x](sandbox:/mnt/data/{quote(name, safe=safe)})"
        assert [link.path for link in links_to_paths(text, {path_from_name(name)})] == [path_from_name(name)]
