"""A line of JSON Lines that is too long for memory is one refusal, and costs no other line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assistants_compat.tools.transfer import input_files

LIMIT = 40


@pytest.mark.parametrize("length", [LIMIT + 1, 2 * LIMIT, 2 * LIMIT + 1, 10 * LIMIT])
@pytest.mark.parametrize("end", ["\n", ""], ids=["ended", "cut"])
def test_a_line_that_is_too_long_is_refused_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, end: str
) -> None:
    """However long it is, and whether or not it ends, it is one refusal with its number, and the others are read."""
    monkeypatch.setattr(input_files, "MAX_DOCUMENT_BYTES", LIMIT)
    path = tmp_path / "all.jsonl"
    long_line = json.dumps("x" * (length - 2 - len(end))) + end
    assert len(long_line) == length
    path.write_text(f"1\n{long_line}" + ("2\n" if end else ""), "utf-8")
    refused: list[tuple[str, str]] = []
    values = list(input_files.read_values(path, lambda *problem: refused.append(problem), lambda _size: None))
    assert values == [(f"{path}:1", 1), *([(f"{path}:3", 2)] if end else [])]
    assert refused == [(f"{path}:2", f"the line is longer than {LIMIT} bytes")]
