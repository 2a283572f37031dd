"""A download works silently where no progress bar can be shown."""

from __future__ import annotations

import sys

import pytest

from assistants_compat.tools.progress import progress


@pytest.mark.parametrize(("is_terminal", "is_installed"), [(True, False), (False, True)])
def test_without_a_terminal_or_rich_nothing_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, is_terminal: bool, is_installed: bool
) -> None:
    """Without a terminal or without rich nothing is printed, and without a terminal rich is not imported."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    if not is_installed:
        for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "rich", None)
    with progress() as begin:
        begin("x.csv", 3)(3)
    assert capsys.readouterr() == ("", "")


def test_without_a_stderr_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without stderr (pythonw) can download too."""
    monkeypatch.setattr(sys, "stderr", None)
    with progress() as begin:
        begin("x.csv", None)(3)
