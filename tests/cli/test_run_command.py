"""`python -m assistants_compat run`: a program runs as Python runs it, and it and its children are covered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assistants_compat.doors import run_program

RUN = ("-m", "assistants_compat", "run")


def python(
    *arguments: str, options: tuple[str, ...] = (), given: str = "", cwd: Path, **environment: str
) -> tuple[int, str, str]:
    """The exit code of a Python, and what it wrote to stdout and stderr."""
    done = subprocess.run(
        [sys.executable, *options, *arguments],
        capture_output=True,
        text=True,
        input=given,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
        timeout=100,
    )
    return done.returncode, done.stdout, done.stderr


SAID = """
import __main__, atexit, os, sys
atexit.register(print, "at exit")
print(__name__, __file__ if "__file__" in globals() else None, __spec__ and __spec__.name, __package__)
print(sys.argv, sys.path, sys.flags, sys.warnoptions, __main__.__dict__ is globals(), sorted(globals()))
print(sys.stdin.read())
def fail():
    {end}
fail()
"""
ENDS = ("sys.exit(7)", "raise ValueError('x')", "raise KeyboardInterrupt")


@pytest.mark.parametrize("end", ENDS)
def test_a_program_notices_nothing(end: str, tmp_path: Path) -> None:
    """Names, arguments, path, flags, stdin, traceback, exit code and signal are those of `python app.py`."""
    (tmp_path / "app.py").write_text(SAID.format(end=end))
    given: dict[str, Any] = {"given": "typed", "cwd": tmp_path, "options": ("-u", "-OW", "error")}
    plain = python("app.py", "--help", "--json", "run", "-m", **given)
    assert python(*RUN, "app.py", "--help", "--json", "run", "-m", **given) == plain
    assert "typed" in plain[1]


@pytest.mark.parametrize("arguments", [("-m", "package.app", "-x"), ("-", "a")])
def test_modules_and_stdin_run_too(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """The other ways to give Python a program."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "app.py").write_text(SAID.format(end="sys.exit(4)"))
    given: dict[str, Any] = {"given": "print(6 * 7)", "cwd": tmp_path}
    plain = python(*arguments, **given)
    assert python(*RUN, *arguments, **given) == plain
    assert plain[1]


def test_a_signal_reaches_the_program(tmp_path: Path) -> None:
    """It has the process that was started, so whoever stops that stops the program."""
    (tmp_path / "app.py").write_text(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "print(os.getpid(), flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, *RUN, "app.py"], stdout=subprocess.PIPE, cwd=tmp_path, text=True) as started:
        assert started.stdout is not None
        assert int(started.stdout.readline()) == started.pid
        time.sleep(0.05)
        started.send_signal(signal.SIGTERM)
        assert started.wait(10) == 9


def test_where_a_process_cannot_be_replaced_its_exit_code_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no such exec: the program is a child, and Ctrl-C is for the child alone."""
    monkeypatch.setattr(run_program, "os", SimpleNamespace(name="nt"))
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as caught:
            run_program._become([sys.executable, "-c", "import sys; sys.exit(5)"])
        assert (caught.value.code, signal.getsignal(signal.SIGINT)) == (5, signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGINT, before)


# --- wrong use


def exits(*arguments: str) -> object:
    """The exit code of `run` where it ends before a program begins."""
    with pytest.raises(SystemExit) as caught:
        run_program.run([*arguments])
    return caught.value.code


@pytest.mark.parametrize("arguments", [("--help",), ("-h", "app.py")])
def test_its_own_help(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """It is ours while no program is named."""
    assert exits(*arguments) == 0
    said = capsys.readouterr().out
    assert said.partition("\n")[0] == "Usage: python -m assistants_compat run FILE [ARGS]..."


@pytest.mark.parametrize("arguments", [(), ("-X", "dev", "app.py"), ("--json",)])
def test_wrong_use(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a program, or with an option of Python's, it ends with 2."""
    assert exits(*arguments) == 2
    said = capsys.readouterr()
    assert (said.out, said.err[:5]) == ("", "Usage")


def test_a_switch_that_is_misspelled_stops_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program that was meant to run without us must not run with us."""
    monkeypatch.setenv("ASSISTANTS_COMPAT", "of")
    assert exits("app.py") == 2
    assert capsys.readouterr().err == "assistants_compat: ASSISTANTS_COMPAT is 'of': 'on' or 'off' is needed.\n"


def test_where_it_could_not_work_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -I Python reads no PYTHONPATH: a program that runs uncovered unnoticed would be worse."""
    flags = SimpleNamespace(ignore_environment=1, no_site=0)
    monkeypatch.setattr(run_program, "sys", SimpleNamespace(**{**vars(sys), "flags": flags}))
    assert exits("app.py") == 2
    assert capsys.readouterr().err == (
        "assistants_compat: Python's -E, -I and -S keep `run` from working; "
        "call assistants_compat.install() in the program.\n"
    )


def test_it_needs_no_extra(tmp_path: Path) -> None:
    """Neither typer nor rich has to be there."""
    for name in ("typer", "rich"):
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    assert python(*RUN, "-c", "print(1)", cwd=tmp_path)[:2] == (0, "1\n")


# --- what is covered

# What says whether a process is covered, without the seconds that the SDK takes to import.
COVERED = """
import sys
module = sys.modules.get("assistants_compat.doors.install")
print(bool(module and module._covered))
sys.stdout.flush()
"""
CHILDREN = """
import multiprocessing, os, subprocess, sys

def work():
    import covered

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    child.join()
    subprocess.run([sys.executable, "-c", "import covered"], check=True)
    if os.fork() == 0:
        import covered
    else:
        os.wait()
"""


def test_the_children_of_a_program_are_covered(tmp_path: Path) -> None:
    """Whether they are spawned, started or forked: workers and reloaders are such children."""
    (tmp_path / "covered.py").write_text(COVERED)
    (tmp_path / "app.py").write_text(CHILDREN)
    assert python(*RUN, "app.py", cwd=tmp_path) == (0, "True\n" * 3, "")


def test_off_runs_a_program_as_it_is(tmp_path: Path) -> None:
    """It and its children are not covered, and one line says why."""
    (tmp_path / "covered.py").write_text(COVERED)
    (tmp_path / "app.py").write_text(CHILDREN)
    said = "ASSISTANTS_COMPAT=off: clients are left as they are, and nothing is answered here.\n"
    assert python(*RUN, "app.py", cwd=tmp_path, ASSISTANTS_COMPAT="off") == (0, "False\n" * 3, said)


@pytest.mark.parametrize("fails", ["", "import missing_module"])
def test_a_sitecustomize_of_the_users_runs_as_before(fails: str, tmp_path: Path) -> None:
    """The one that ours hides runs under its own name; that it fails is Python's line, and does not keep us out."""
    (tmp_path / "sitecustomize.py").write_text(f"print('theirs', __name__, __file__)\n{fails}\n")
    (tmp_path / "covered.py").write_text(COVERED)
    places = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    _, before, complained = python("-c", "import covered", cwd=tmp_path, PYTHONPATH=places)
    code, said, again = python(*RUN, "-c", "import covered", cwd=tmp_path, PYTHONPATH=places)
    theirs = f"theirs sitecustomize {tmp_path / 'sitecustomize.py'}\n"
    assert (code, before, said) == (0, f"{theirs}False\n", f"{theirs}{theirs}True\n")
    assert again == complained * 2  # `run` is a Python as well
    assert ("missing_module" in complained) == bool(fails)


def test_a_child_without_the_library_runs_as_it_is(tmp_path: Path) -> None:
    """A Python with another environment, where this package is not, starts without a word."""
    bare = "import subprocess, sys, os; os.environ['PYTHONPATH'] = os.environ['PYTHONPATH'].split(os.pathsep)[0]"
    start = f"{bare}; subprocess.run([sys._base_executable, '-c', 'print(1)'], check=True)"
    assert python(*RUN, "-c", start, cwd=tmp_path) == (0, "1\n", "")
