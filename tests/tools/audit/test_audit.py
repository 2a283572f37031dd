"""Which files an audit reads, and what it says of those that it does not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.tools.audit import Audit, audit, of_notebook
from assistants_compat.tools.audit.report import as_json, markdown, text

USE = "client.beta.threads.create()\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    """The same for names that are none of Python."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def places(done: Audit, folder: Path) -> list[str]:
    """Where the findings are, below a folder."""
    return [each.place().removeprefix(f"{folder}{os.sep}") for each in done.findings]


def test_what_others_wrote_is_passed_over_and_said(tmp_path: Path) -> None:
    """Environments, caches, and what a .gitignore names are not read, unless all is asked for."""
    files = {
        "app.py": USE,
        "a/deep.py": USE,
        ".venv/lib/x.py": USE,
        "env-of-mine/pyvenv.cfg": "",
        "env-of-mine/x.py": USE,
        "node_modules/x.py": USE,
        "build/x.py": USE,
        "a/kept.gen.py": USE,
        "a/b.gen.py": USE,
        "a/notes.txt": USE,
        ".gitignore": "# made\n/build/\n*.gen.py\n!kept.gen.py\n",
    }
    done = audit([write(tmp_path, files)])
    assert places(done, tmp_path) == ["a/deep.py:1", "a/kept.gen.py:1", "app.py:1"]
    assert sorted(Path(each).name for each in done.skipped) == [
        ".venv",
        "b.gen.py",
        "build",
        "env-of-mine",
        "node_modules",
    ]
    assert len(audit([tmp_path], everything=True).findings) == 8


GITIGNORE = [
    ("*.py", {"a.py", "d/a.py", "d/e/a.py"}),
    ("/a.py", {"a.py"}),
    ("d/", {"d/a.py", "d/e/a.py"}),
    ("d/*.py", {"d/a.py"}),
    ("d/**", {"d/a.py", "d/e/a.py"}),
    ("**/e/a.py", {"d/e/a.py"}),
    ("?.py", {"a.py", "d/a.py", "d/e/a.py"}),
    ("[!b].py", {"a.py", "d/a.py", "d/e/a.py"}),
    ("[", set()),
    ("d\n!d/e", {"d/a.py", "d/e/a.py"}),
    ("a.py/", set()),
]


@pytest.mark.parametrize(("lines", "ignored"), GITIGNORE)
def test_a_gitignore_means_what_git_says(tmp_path: Path, lines: str, ignored: set[str]) -> None:
    """Anchors, folders, stars, classes and exceptions."""
    every = {"a.py", "d/a.py", "d/e/a.py"}
    done = audit([write(tmp_path, {".gitignore": lines, **dict.fromkeys(every, USE)})])
    read = {place.partition(":")[0] for place in places(done, tmp_path)}
    assert every - read == ignored


def test_a_gitignore_above_counts_within_its_repository(tmp_path: Path) -> None:
    """Reading a folder of a repository heeds what its root says; a folder that is named itself is read."""
    write(tmp_path, {".git/HEAD": "", ".gitignore": "gen.py\n/src/made/\n", "src/gen.py": USE, "src/made/a.py": USE})
    assert places(audit([tmp_path / "src"]), tmp_path) == []
    assert places(audit([tmp_path / "src" / "gen.py"]), tmp_path) == ["src/gen.py:1"]
    assert places(audit([tmp_path / "src" / "made"]), tmp_path) == ["src/made/a.py:1"]


def test_a_folder_that_is_ignored_is_read_when_it_is_named(tmp_path: Path) -> None:
    """An environment ignores all of itself; a package in it can be audited all the same."""
    write(tmp_path, {".git/HEAD": "", "env/.gitignore": "*\n", "env/lib/package/a.py": USE})
    assert [each.path for each in audit([tmp_path / "env" / "lib" / "package"]).uses] == [
        str(tmp_path / "env" / "lib" / "package" / "a.py")
    ]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Binary and huge files, broken notebooks and old Pythons have a reason; a pipe and a broken link are no files."""
    write(tmp_path, {"good.py": USE, "old.py": "print 'x'", "broken.ipynb": "{", "huge.py": "#" * 5_000_001})
    (tmp_path / "binary.py").write_bytes(b"\x00\x01")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "nowhere.py").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path)
    done = audit([tmp_path])
    assert places(done, tmp_path) == ["good.py:1"]
    assert {Path(path).name: why.partition(":")[0] for path, why in done.unread.items()} == {
        "binary.py": "it is binary",
        "broken.ipynb": "no notebook",
        "huge.py": "larger than 5 MB",
        "old.py": "no Python 3",
    }


def test_a_file_is_read_once(tmp_path: Path) -> None:
    """A path that is named twice, or lies in another one, counts once."""
    write(tmp_path, {"app.py": USE})
    assert len(audit([tmp_path, tmp_path / "app.py"]).findings) == 1


def notebook(*sources: str) -> str:
    """A notebook of code cells after a cell of text."""
    made = [{"cell_type": "code", "source": source.splitlines(keepends=True)} for source in sources]
    return json.dumps({"cells": [{"cell_type": "markdown", "source": [USE]}, *made], "nbformat": 4})


def test_notebooks_are_read_by_cells(tmp_path: Path) -> None:
    """Magics do nothing, cells of another language are left out, and a place is a cell and its line."""
    book = notebook(
        f"%pip install openai\n!ls\nx = !ls\n{USE}client.beta?\nif 1:\n    %time pass\n",
        f"%%bash\n{USE}",
        f"%%time\n{USE}",
        "print 'x'",
    )
    done = audit([write(tmp_path, {"b.ipynb": book})])
    assert places(done, tmp_path) == ["b.ipynb:cell 2:4", "b.ipynb:cell 4:2"]
    assert next(iter(done.unread.values())).startswith("cell 5: no Python 3")


def test_notebooks_of_the_third_format_are_read(tmp_path: Path) -> None:
    """There the cells lie in sheets, and a source is an input."""
    book = json.dumps({"worksheets": [{"cells": [{"cell_type": "code", "input": USE}]}]})
    assert places(audit([write(tmp_path, {"b.ipynb": book})]), tmp_path) == ["b.ipynb:cell 1:1"]


ANY: st.SearchStrategy[object] = st.sampled_from([None, 1, "", "code", "x =", [], [1], ["x\n", None], {}])
CELL = ANY | st.fixed_dictionaries({"cell_type": st.just("code"), "source": ANY})


@given(
    st.binary(max_size=50) | st.dictionaries(st.sampled_from(["cells", "worksheets"]), st.lists(CELL, max_size=3) | ANY)
)
def test_no_notebook_breaks_it(book: bytes | dict[str, object]) -> None:
    """Whatever JSON a notebook holds, there are findings or a reason."""
    content = book if isinstance(book, bytes) else json.dumps(book).encode()
    found, trouble = of_notebook(content)
    assert found == []
    assert trouble is None or trouble


def test_a_client_alone_is_no_use(tmp_path: Path) -> None:
    """Code that never used assistants has nothing to be found."""
    files = {"a.py": "client = OpenAI()\nclient.files.content(f)\nclient.chat.completions.create()\n"}
    assert audit([write(tmp_path, files)]).findings == []


def test_reports_are_whole_and_show_no_control_characters(tmp_path: Path) -> None:
    """Each use has its line in each form, a name from a file cannot act on a terminal, and a table stays a table."""
    source = "requests.post('https://api.openai.com/v1/threads/a|b\\x1b[31m`')\nc.beta.threads.runs.retrieve('r')\n"
    done = audit([write(tmp_path, {"a.py": source, "b.py": "print 'x'"})])
    lines, table = text(done), markdown(done)
    assert any(line.endswith("a.py:2: works: beta.threads.runs.retrieve") for line in lines)
    assert "    native: responses.retrieve(response_id)" in lines
    assert "\x1b" not in "".join([*lines, *table])
    rows = [line.replace("\\|", "") for line in table if line.startswith("|")]
    assert [row.count("|") for row in rows] == [4] * len(rows)
    assert lines[-1] == "2 uses in 1 of 2 files: 1 works, 0 differs, 0 mistake, 1 unsupported"
    assert [each["line"] for each in as_json(done)["findings"]] == [1, 2]
    assert json.loads(json.dumps(as_json(done)))["counts"]["unsupported"] == 1
    assert any(line.startswith("not read: ") and "b.py" in line for line in lines)
