"""An audit reads the right files and reports those that it does not read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.tools.audit import Audit, audit, findings_in_notebook
from assistants_compat.tools.audit.report import as_json, markdown, text

USE = "client.beta.threads.create()\n"


def write_files(folder: Path, files: dict[str, str]) -> Path:
    """Write files below a folder and return the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def locations(result: Audit, folder: Path) -> list[str]:
    """Return the findings' locations relative to a folder."""
    return [finding.location().removeprefix(f"{folder}{os.sep}") for finding in result.findings]


def test_foreign_files_are_skipped_and_reported(tmp_path: Path) -> None:
    """Environments, caches and ignored files are skipped and reported, unless they are included."""
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
    result = audit([write_files(tmp_path, files)])
    assert locations(result, tmp_path) == ["a/deep.py:1", "a/kept.gen.py:1", "app.py:1"]
    assert sorted(Path(path).name for path in result.skipped) == [
        ".venv",
        "b.gen.py",
        "build",
        "env-of-mine",
        "node_modules",
    ]
    assert len(audit([tmp_path], include_ignored=True).findings) == 8


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
    """Anchors, folders, stars, classes and exceptions of a `.gitignore` work as in git."""
    every = {"a.py", "d/a.py", "d/e/a.py"}
    result = audit([write_files(tmp_path, {".gitignore": lines, **dict.fromkeys(every, USE)})])
    read = {location.partition(":")[0] for location in locations(result, tmp_path)}
    assert every - read == ignored


def test_a_gitignore_above_counts_within_its_repository(tmp_path: Path) -> None:
    """A repository's `.gitignore` applies to its folders, but a path that is named itself is read."""
    write_files(
        tmp_path, {".git/HEAD": "", ".gitignore": "gen.py\n/src/made/\n", "src/gen.py": USE, "src/made/a.py": USE}
    )
    assert locations(audit([tmp_path / "src"]), tmp_path) == []
    assert locations(audit([tmp_path / "src" / "gen.py"]), tmp_path) == ["src/gen.py:1"]
    assert locations(audit([tmp_path / "src" / "made"]), tmp_path) == ["src/made/a.py:1"]


def test_a_folder_that_is_ignored_is_read_when_it_is_named(tmp_path: Path) -> None:
    """A package in an ignored environment is read when it is named."""
    write_files(tmp_path, {".git/HEAD": "", "env/.gitignore": "*\n", "env/lib/package/a.py": USE})
    assert [use.path for use in audit([tmp_path / "env" / "lib" / "package"]).uses] == [
        str(tmp_path / "env" / "lib" / "package" / "a.py")
    ]


WAYS_TO_NAME_A_FOLDER = [
    ("app", ".", ""),
    ("", "app", "app/"),
    ("", "./app", "app/"),
    ("app/sub", "..", "../"),
    ("other", "../app", "../app/"),
    ("", "linked", "linked/"),
]


@pytest.mark.parametrize(("start", "named", "prefix"), WAYS_TO_NAME_A_FOLDER)
def test_a_relative_folder_is_read_like_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, named: str, prefix: str
) -> None:
    """A relative folder with a `.gitignore`, above it or in it, gives the findings of the absolute one."""
    files = {
        ".git/HEAD": "",
        ".gitignore": "above.py\n/app/anchored.py\n",
        "app/.gitignore": "inside.py\n/sub/deep.py\n",
        "app/.venv/x.py": USE,
        **dict.fromkeys(("app/above.py", "app/anchored.py", "app/inside.py", "app/sub/deep.py"), USE),
        **dict.fromkeys(("app/app.py", "app/sub/kept.py"), USE),
        "other/x.txt": "",
    }
    write_files(tmp_path, files)
    (tmp_path / "linked").symlink_to("app")
    monkeypatch.chdir(tmp_path / start)
    relative, absolute = audit([Path(named)]), audit([tmp_path / "app"])
    assert [use.path for use in relative.uses] == [f"{prefix}app.py", f"{prefix}sub/kept.py"]
    assert locations(absolute, tmp_path / "app") == ["app.py:1", "sub/kept.py:1"]
    assert relative.skipped == [
        f"{prefix}{name}" for name in (".venv", "above.py", "anchored.py", "inside.py", "sub/deep.py")
    ]
    assert len(audit([Path(named), tmp_path / "app"]).uses) == 2


def test_unreadable_files_are_reported_with_a_reason(tmp_path: Path) -> None:
    """Unreadable files are reported with a reason; pipes and broken links are ignored."""
    write_files(tmp_path, {"good.py": USE, "old.py": "print 'x'", "broken.ipynb": "{", "huge.py": "#" * 5_000_001})
    (tmp_path / "binary.py").write_bytes(b"\x00\x01")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "nowhere.py").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path)
    result = audit([tmp_path])
    assert locations(result, tmp_path) == ["good.py:1"]
    assert {Path(path).name: reason.partition(":")[0] for path, reason in result.unread.items()} == {
        "binary.py": "binary file",
        "broken.ipynb": "not a valid notebook",
        "huge.py": "larger than 5 MB",
        "old.py": "not valid Python 3",
    }


def test_a_file_is_read_once(tmp_path: Path) -> None:
    """A path that is named twice, or lies in another named path, is read once."""
    write_files(tmp_path, {"app.py": USE})
    assert len(audit([tmp_path, tmp_path / "app.py"]).findings) == 1


def notebook(*sources: str) -> str:
    """Return a notebook with these code cells after a text cell."""
    code_cells = [{"cell_type": "code", "source": source.splitlines(keepends=True)} for source in sources]
    return json.dumps({"cells": [{"cell_type": "markdown", "source": [USE]}, *code_cells], "nbformat": 4})


def test_notebooks_are_read_by_cells(tmp_path: Path) -> None:
    """Magics and cells of other languages are ignored, and a location is a cell and its line."""
    content = notebook(
        f"%pip install openai\n!ls\nx = !ls\n{USE}client.beta?\nif 1:\n    %time pass\n",
        f"%%bash\n{USE}",
        f"%%time\n{USE}",
        "print 'x'",
    )
    result = audit([write_files(tmp_path, {"b.ipynb": content})])
    assert locations(result, tmp_path) == ["b.ipynb:cell 2:4", "b.ipynb:cell 4:2"]
    assert next(iter(result.unread.values())).startswith("cell 5: not valid Python 3")


def test_routes_in_the_shell_commands_of_a_notebook_are_found(tmp_path: Path) -> None:
    """A route that a cell requests with curl is found: in a line, over several lines, and in a cell of its own."""
    content = notebook(
        "!curl https://api.openai.com/v1/threads -H 'OpenAI-Beta: assistants=v2'\n",
        f"x = !curl -s \\\n  \"$BASE/threads/{{thread}}/runs?limit=1\" \\\n  -H 'x: y'\n{USE}",
        "%%bash\ncurl -X POST \\\n  ${BASE}/assistants\n",
        "!ls /data/threads\n%%time\n",
        "%%writefile a.txt\ncurl https://api.openai.com/v1/threads\n",
        "# !curl https://api.openai.com/v1/threads\n",
    )
    result = audit([write_files(tmp_path, {"b.ipynb": content})])
    expected = ["cell 2:1", "cell 3:2", "cell 3:4", "cell 4:3"]
    assert locations(result, tmp_path) == [f"b.ipynb:{place}" for place in expected]
    assert [finding.what for finding in result.findings if finding.kind == "route"] == [
        "https://api.openai.com/v1/threads",
        "{}/threads/{}/runs?limit=1",
        "{}/assistants",
    ]


def test_notebooks_of_the_third_format_are_read(tmp_path: Path) -> None:
    """In format 3 the cells are in worksheets, and a source is called `input`."""
    content = json.dumps({"worksheets": [{"cells": [{"cell_type": "code", "input": USE}]}]})
    assert locations(audit([write_files(tmp_path, {"b.ipynb": content})]), tmp_path) == ["b.ipynb:cell 1:1"]


ANY: st.SearchStrategy[object] = st.sampled_from([None, 1, "", "code", "x =", [], [1], ["x\n", None], {}])
CELLS = ANY | st.fixed_dictionaries({"cell_type": st.just("code"), "source": ANY})


@given(
    st.binary(max_size=50)
    | st.dictionaries(st.sampled_from(["cells", "worksheets"]), st.lists(CELLS, max_size=3) | ANY)
)
def test_any_notebook_gives_findings_or_a_reason(book: bytes | dict[str, object]) -> None:
    """For any JSON in a notebook the audit gives findings or a reason."""
    content = book if isinstance(book, bytes) else json.dumps(book).encode()
    found, reason = findings_in_notebook(content)
    assert found == []
    assert reason is None or reason


def test_a_client_alone_is_not_a_finding(tmp_path: Path) -> None:
    """Code that never used assistants has no findings."""
    files = {"a.py": "client = OpenAI()\nclient.files.content(f)\nclient.chat.completions.create()\n"}
    assert audit([write_files(tmp_path, files)]).findings == []


def test_reports_are_complete_and_have_no_control_characters(tmp_path: Path) -> None:
    """Each report has a line for each use, and names from files can break neither terminal nor table."""
    source = "requests.post('https://api.openai.com/v1/threads/a|b\\x1b[31m`')\nc.beta.threads.runs.retrieve('r')\n"
    result = audit([write_files(tmp_path, {"a.py": source, "b.py": "print 'x'"})])
    lines, table = text(result), markdown(result)
    assert any(line.endswith("a.py:2: works: beta.threads.runs.retrieve") for line in lines)
    assert "    native:  responses.retrieve(response_id)" in lines
    assert "\x1b" not in "".join([*lines, *table])
    rows = [line.replace("\\|", "") for line in table if line.startswith("|")]
    assert [row.count("|") for row in rows] == [4] * len(rows)
    assert lines[-1] == "2 uses in 1 of 2 files: 1 works, 1 unsupported; 1 file not read or not parsed"
    assert [finding["line"] for finding in as_json(result)["findings"]] == [1, 2]
    assert json.loads(json.dumps(as_json(result)))["counts"]["unsupported"] == 1
    assert any(line.startswith("not read: ") and "b.py" in line for line in lines)


def test_the_counts_of_a_report_add_up(tmp_path: Path) -> None:
    """The summary counts every line of the report: uses by verdict, what is beside them, and unread files."""
    files = {
        "app.py": f"client = OpenAI()\n{USE}client.beta.threads.delete('t')\nclient.files.content(f)\n",
        "client.py": "client = OpenAI()\n",
        "clean.py": "x = 1\n",
        "big.py": "#" * 5_000_001,
    }
    result = audit([write_files(tmp_path, files)])
    lines, report = text(result), as_json(result)
    counts = "1 works, 1 differs; 3 other lines (clients, uploads, annotations); 1 file not read or not parsed"
    assert lines[-1] == f"2 uses in 1 of 3 files: {counts}"
    assert lines.index("") == 5 == len(report["findings"])
    assert (sum(report["counts"].values()), report["uses"], report["context"]) == (2, 2, 3)
