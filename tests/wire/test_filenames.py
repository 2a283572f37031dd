"""Names of files that a model chose: whatever they are, they become base names that every system takes."""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assistants_compat.store.download_directory import SavedDraft
from assistants_compat.wire.objects.filenames import safe_names

NASTY = [
    "..",
    "/",
    "\\",
    "\0",
    "%2e",
    "%2F",
    " ",
    ".",
    "CON",
    "nul",
    "com1",
    ".txt",
    ":",
    "\n",
    "é",
    "\u202e",
    "\ud800",
    "🎈" * 60,
]
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
NAMES = st.one_of(st.text(), st.lists(st.sampled_from(NASTY)).map("".join), st.text(min_size=200, max_size=400))


def first(name: str) -> str:
    """The first name to try."""
    return next(safe_names(name))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/mnt/data/sales.csv", "sales.csv"),
        ("../../etc/passwd", "passwd"),
        ("/etc/shadow", "shadow"),
        ("C:\\Windows\\system.ini", "system.ini"),
        ("a/b\\c.csv", "c.csv"),
        ("%2e%2e%2fetc%2Fpasswd", "___etc_passwd"),
        ("100%25 報告.csv", "100%25 報告.csv"),
        ("..", "file"),
        (".", "file"),
        ("", "file"),
        ("x/", "file"),
        (".bashrc", "bashrc"),
        ("x.csv. . ", "x.csv"),
        ("nul\0.csv", "nul_.csv"),
        ("CON", "_CON"),
        ("nul.tar.gz", "_nul.tar.gz"),
        ("COM1 .txt", "_COM1.txt"),
        ("lpt¹", "_lpt¹"),
        ("console.txt", "console.txt"),
        ("a:b*?.csv", "a_b__.csv"),
        ("gpj\u202egnp.exe", "gpj_gnp.exe"),
        ("e\u0301.csv", "é.csv"),
        ("x" * 300 + ".csv", "x" * 176 + ".csv"),
        ("é" * 300 + ".csv", "é" * 88 + ".csv"),
        ("x." + "y" * 300, "x." + "y" * 178),
    ],
)
def test_a_name_is_reduced_to_a_base_name(name: str, expected: str) -> None:
    """What is a name stays; what some system reads as more is changed, and the suffix is kept."""
    assert first(name) == expected


def test_a_second_of_a_name_gets_a_number() -> None:
    """Before its suffix, as browsers do."""
    assert list(itertools.islice(safe_names("a.csv"), 3)) == ["a.csv", "a (1).csv", "a (2).csv"]
    assert list(itertools.islice(safe_names("a"), 2)) == ["a", "a (1)"]


@given(NAMES)
@example("x" * 300 + "." + "y" * 20)
def test_every_name_is_one_that_every_system_takes(name: str) -> None:
    """No separator, nothing reserved or unseen, no dot or space at its ends, short, and always the same."""
    for safe in itertools.islice(safe_names(name), 3):
        assert safe == safe.strip(" .") != ""
        assert not set(safe) & set('/\\<>:"|?*\0')
        assert not any(encoded in safe.lower() for encoded in ("%2e", "%2f", "%5c", "%00"))
        assert not {unicodedata.category(char) for char in safe} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert safe.partition(".")[0].strip().lower() not in DEVICES
        assert len(safe.encode()) <= 200
    assert first(name) == first(name)


@settings(max_examples=50, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=5))
def test_files_of_any_names_stay_children_of_the_directory_and_apart(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each can be made, is a direct child, and holds its own bytes; nothing else is left, inside or beside."""
    outer = tmp_path_factory.mktemp("outer")
    directory = outer / "inner"
    made: list[Path] = []
    for number, name in enumerate(names):
        draft = SavedDraft(directory, safe_names(name))
        draft.write([str(number).encode()])
        draft.commit()
        assert draft.path is not None
        made.append(draft.path)
    assert [path.read_text() for path in made] == [str(number) for number in range(len(names))]
    assert sorted(directory.iterdir()) == sorted(made)
    assert {path.resolve().parent for path in made} == {directory.resolve()}
    assert list(outer.iterdir()) == [directory]
