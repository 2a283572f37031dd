"""Every file name that a model chooses becomes a base name that is valid on every system."""

from __future__ import annotations

import itertools
import ntpath
import unicodedata
import warnings
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assistants_compat.store.download_directory import DownloadDraft
from assistants_compat.wire.filenames import safe_names

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


def first_safe_name(name: str) -> str:
    """Return the first name to try."""
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
        ("con" + " " * 300 + "x.csv", "_con.csv"),
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
    """A name is reduced to its base name, without characters that a system treats specially, and keeps its suffix."""
    assert first_safe_name(name) == expected


WINDOWS_FOLDERS = ("C:\\Users\\me\\downloads", "\\\\server\\share\\downloads", "\\\\?\\C:\\downloads", "downloads")


def is_reserved_on_windows(name: str) -> bool:
    """Whether Python says that Windows treats a name as a device or drops characters of it."""
    if hasattr(ntpath, "isreserved"):  # Python 3.13
        return bool(ntpath.isreserved(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return PureWindowsPath(name).is_reserved()


def check_on_windows(name: str) -> None:
    """Assert that each safe name is one plain entry of a folder under the rules of Windows paths."""
    for safe in itertools.islice(safe_names(name), 3):
        assert (PureWindowsPath(safe).anchor, PureWindowsPath(safe).name) == ("", safe)
        assert not is_reserved_on_windows(safe)
        for folder in map(PureWindowsPath, WINDOWS_FOLDERS):
            assert ((folder / safe).parent, (folder / safe).name) == (folder, safe)


@pytest.mark.parametrize(
    "name",
    [
        "C:sales.csv",
        "c:\\sales.csv",
        "D:",
        "\\\\server\\share\\sales.csv",
        "//server/share/sales.csv",
        "\\\\?\\C:\\sales.csv",
        "\\\\.\\PhysicalDrive0",
        "sales.csv:hidden",
        "sales.csv::$DATA",
        "sales.csv.",
        "sales.csv ... ",
        ". .",
        "aux.h",
        "COM0",
        "com¹.csv",
        "CONIN$",
        "conout$.txt",
        "NUL .csv",
        "prn" + "." * 300 + "csv",
        "lpt9" + " " * 300 + ".c s v",
    ],
)
def test_a_windows_path_or_device_becomes_a_plain_name(name: str) -> None:
    """Drive letters, shares, streams, devices and trailing dots of Windows become one plain entry of the folder."""
    check_on_windows(name)


@given(NAMES)
def test_every_name_is_a_plain_name_on_windows(name: str) -> None:
    """Any name becomes one entry of the folder under the rules of Windows paths, and no device."""
    check_on_windows(name)


def test_a_second_file_of_a_name_gets_a_number() -> None:
    """A second file of the same name gets a number before its suffix, as in browsers."""
    assert list(itertools.islice(safe_names("a.csv"), 3)) == ["a.csv", "a (1).csv", "a (2).csv"]
    assert list(itertools.islice(safe_names("a"), 2)) == ["a", "a (1)"]


@given(NAMES)
@example("x" * 300 + "." + "y" * 20)
def test_every_name_is_valid_on_every_system(name: str) -> None:
    """Any name becomes one without separators, reserved words or invisible characters, at most 200 bytes long."""
    for safe in itertools.islice(safe_names(name), 3):
        assert safe == safe.strip(" .") != ""
        assert not set(safe) & set('/\\<>:"|?*\0')
        assert not any(encoded in safe.lower() for encoded in ("%2e", "%2f", "%5c", "%00"))
        assert not {unicodedata.category(char) for char in safe} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert safe.partition(".")[0].strip().lower() not in DEVICES
        assert len(safe.encode()) <= 200
    assert first_safe_name(name) == first_safe_name(name)


@settings(max_examples=50, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=5))
def test_files_of_any_names_stay_apart_in_their_directory(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Files of any names become separate direct children of their directory, and nothing else is written."""
    outer = tmp_path_factory.mktemp("outer")
    directory = outer / "inner"
    paths: list[Path] = []
    for number, name in enumerate(names):
        draft = DownloadDraft(directory, safe_names(name))
        draft.write([str(number).encode()])
        draft.commit()
        assert draft.path is not None
        paths.append(draft.path)
    assert [path.read_text() for path in paths] == [str(number) for number in range(len(names))]
    assert sorted(directory.iterdir()) == sorted(paths)
    assert {path.resolve().parent for path in paths} == {directory.resolve()}
    assert list(outer.iterdir()) == [directory]
