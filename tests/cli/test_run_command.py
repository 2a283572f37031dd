"""`run` runs a program exactly as Python does, and covers it and its children."""

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
    *arguments: str, options: tuple[str, ...] = (), stdin: str = "", cwd: Path, **environment: str
) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr of a Python process."""
    result = subprocess.run(
        [sys.executable, *options, *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
        timeout=100,
    )
    return result.returncode, result.stdout, result.stderr


PROGRAM = """
import __main__, atexit, os, sys
atexit.register(print, "at exit")
print(__name__, __file__ if "__file__" in globals() else None, __spec__ and __spec__.name, __package__)
print(sys.argv, sys.path, sys.flags, sys.warnoptions, __main__.__dict__ is globals(), sorted(globals()))
print(sys.stdin.read())
def fail():
    {end}
fail()
"""
ENDINGS = ("sys.exit(7)", "raise ValueError('x')", "raise KeyboardInterrupt")


@pytest.mark.parametrize("end", ENDINGS)
def test_a_program_runs_as_under_python(end: str, tmp_path: Path) -> None:
    """Names, arguments, path, flags, stdin, traceback, exit code and signal are those of `python app.py`."""
    (tmp_path / "app.py").write_text(PROGRAM.format(end=end))
    common: dict[str, Any] = {"stdin": "typed", "cwd": tmp_path, "options": ("-u", "-OW", "error")}
    plain = python("app.py", "--help", "--json", "run", "-m", **common)
    assert python(*RUN, "app.py", "--help", "--json", "run", "-m", **common) == plain
    assert "typed" in plain[1]


@pytest.mark.parametrize("options", [(), ("-u", "-OW", "error")])
def test_the_console_command_runs_a_program_too(options: tuple[str, ...], tmp_path: Path) -> None:
    """`assistants-compat run app.py` does what `python -m assistants_compat run app.py` does."""
    (tmp_path / "app.py").write_text(PROGRAM.format(end="sys.exit(7)"))
    command = Path(sys.executable).with_name("assistants-compat")
    common: dict[str, Any] = {"stdin": "typed", "cwd": tmp_path, "options": options}
    plain = python("app.py", "--help", "-m", **common)
    assert python(str(command), "run", "app.py", "--help", "-m", **common) == plain
    assert plain[0] == 7


def test_an_invalid_log_level_ends_the_command(tmp_path: Path) -> None:
    """A wrong `ASSISTANTS_COMPAT_LOG` ends `run` with one line and 2, before the program starts."""
    (tmp_path / "app.py").write_text("print('started')")
    code, out, err = python(*RUN, "app.py", cwd=tmp_path, ASSISTANTS_COMPAT_LOG="loud")
    assert (code, out) == (2, "")
    assert err == "assistants_compat: ASSISTANTS_COMPAT_LOG='loud' is not valid; expected debug, info or warning.\n"


@pytest.mark.parametrize("arguments", [("-m", "package.app", "-x"), ("-", "a")])
def test_modules_and_stdin_run_too(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """`run` also accepts `-m module` and `-`, as Python does."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "app.py").write_text(PROGRAM.format(end="sys.exit(4)"))
    common: dict[str, Any] = {"stdin": "print(6 * 7)", "cwd": tmp_path}
    plain = python(*arguments, **common)
    assert python(*RUN, *arguments, **common) == plain
    assert plain[1]


def test_a_signal_reaches_the_program(tmp_path: Path) -> None:
    """The program has the process that was started, so a signal to that process reaches the program."""
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


def test_on_windows_the_exit_code_of_the_child_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows cannot replace a process: the program is a child that alone gets Ctrl-C; its exit code is passed on."""
    monkeypatch.setattr(run_program, "os", SimpleNamespace(name="nt"))
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as caught:
            run_program._replace_process([sys.executable, "-c", "import sys; sys.exit(5)"])
        assert (caught.value.code, signal.getsignal(signal.SIGINT)) == (5, signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGINT, before)


# --- wrong use


def exit_code(*arguments: str) -> object:
    """Return the exit code of a `run` that ends before a program starts."""
    with pytest.raises(SystemExit) as caught:
        run_program.run([*arguments])
    return caught.value.code


@pytest.mark.parametrize("arguments", [("--help",), ("-h", "app.py")])
def test_run_prints_its_own_help(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a program `--help` prints the help of `run` itself."""
    assert exit_code(*arguments) == 0
    output = capsys.readouterr().out
    assert output.partition("\n")[0] == "Usage: python -m assistants_compat run FILE [ARGS]..."


@pytest.mark.parametrize("arguments", [(), ("-X", "dev", "app.py"), ("--json",)])
def test_wrong_use_of_run_is_exit_code_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a program, or with an option of Python's, `run` exits with 2."""
    assert exit_code(*arguments) == 2
    output = capsys.readouterr()
    assert (output.out, output.err[:5]) == ("", "Usage")


def test_a_misspelled_switch_stops_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelled switch stops `run`, because the program may be meant to run without the library."""
    monkeypatch.setenv("ASSISTANTS_COMPAT", "of")
    assert exit_code("app.py") == 2
    assert capsys.readouterr().err == "assistants_compat: ASSISTANTS_COMPAT='of' is not valid; expected on or off.\n"


def test_run_refuses_options_that_disable_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -E, -I or -S `run` exits with 2, because the program would silently run uncovered."""
    flags = SimpleNamespace(ignore_environment=1, no_site=0)
    monkeypatch.setattr(run_program, "sys", SimpleNamespace(**{**vars(sys), "flags": flags}))
    assert exit_code("app.py") == 2
    assert capsys.readouterr().err == (
        "assistants_compat: `run` needs PYTHONPATH and sitecustomize, which Python's -E, -I and -S switch off. "
        "Drop these options, or call assistants_compat.install() in the program.\n"
    )


def test_run_needs_no_extra(tmp_path: Path) -> None:
    """`run` works without typer and rich."""
    for name in ("typer", "rich"):
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    assert python(*RUN, "-c", "print(1)", cwd=tmp_path)[:2] == (0, "1\n")


# --- what is covered

# Prints whether a process is covered, without importing the SDK, which takes seconds.
COVERED = """
import sys
module = sys.modules.get("assistants_compat.doors.install")
print(bool(module and module._installations))
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
    """Children are covered whether they are spawned, started or forked, as workers and reloaders are."""
    (tmp_path / "covered.py").write_text(COVERED)
    (tmp_path / "app.py").write_text(CHILDREN)
    assert python(*RUN, "app.py", cwd=tmp_path) == (0, "True\n" * 3, "")


def test_with_the_switch_off_a_program_runs_uncovered(tmp_path: Path) -> None:
    """With the switch off the program and its children are not covered, and one line says why."""
    (tmp_path / "covered.py").write_text(COVERED)
    (tmp_path / "app.py").write_text(CHILDREN)
    line = "ASSISTANTS_COMPAT=off: clients are not wrapped, and their Assistants calls go to the service.\n"
    assert python(*RUN, "app.py", cwd=tmp_path, ASSISTANTS_COMPAT="off") == (0, "False\n" * 3, line)


@pytest.mark.parametrize("fails", ["", "import missing_module"])
def test_a_sitecustomize_of_the_users_runs_as_before(fails: str, tmp_path: Path) -> None:
    """A user's sitecustomize still runs under its own name, and if it fails ours runs nevertheless."""
    (tmp_path / "sitecustomize.py").write_text(f"print('theirs', __name__, __file__)\n{fails}\n")
    (tmp_path / "covered.py").write_text(COVERED)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    _, plain_output, stderr = python("-c", "import covered", cwd=tmp_path, PYTHONPATH=path)
    code, output, run_stderr = python(*RUN, "-c", "import covered", cwd=tmp_path, PYTHONPATH=path)
    own_line = f"theirs sitecustomize {tmp_path / 'sitecustomize.py'}\n"
    assert (code, plain_output, output) == (0, f"{own_line}False\n", f"{own_line}{own_line}True\n")
    assert run_stderr == stderr * 2  # `run` is a Python as well
    assert ("missing_module" in stderr) == bool(fails)


LAUNCHER = """#!{python}
import os, sys
# As opentelemetry-instrument does: its own directory comes first, and with it its own sitecustomize.
os.environ["PYTHONPATH"] = os.pathsep.join([{folder!r}, os.environ.get("PYTHONPATH", "")])
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def launcher(tmp_path: Path) -> dict[str, Any]:
    """A launcher that hides the sitecustomize of `run`, and the PATH on which it is found."""
    folder = tmp_path / "launcher"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("print('launched')\n")
    (folder / "launch").write_text(LAUNCHER.format(python=sys.executable, folder=str(folder)))
    (folder / "launch").chmod(0o755)
    (tmp_path / "covered.py").write_text(COVERED)
    return {"PATH": os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])}


def test_a_program_under_a_launcher_is_covered(launcher: dict[str, Any], tmp_path: Path) -> None:
    """A launcher with a sitecustomize of its own covers the program all the same, whether it is a name or a file."""
    script = str(tmp_path / "launcher" / "launch")
    for name in ("launch", script):
        result = python(*RUN, name, "python", "covered.py", cwd=tmp_path, **launcher)
        assert result == (0, "launched\nTrue\n", "")
    result = python(*RUN, "launch", "python", "covered.py", cwd=tmp_path, ASSISTANTS_COMPAT="off", **launcher)
    assert result[:2] == (0, "launched\nFalse\n")


def test_a_command_of_path_is_run(launcher: dict[str, Any], tmp_path: Path) -> None:
    """A name on PATH is run as it is, unless a file has that name, and an unknown name is Python's own error."""
    assert python(*RUN, "python", "covered.py", cwd=tmp_path, **launcher)[:2] == (0, "True\n")
    (tmp_path / "launch").write_text("import covered\n")
    assert python(*RUN, "launch", cwd=tmp_path, **launcher)[:2] == (0, "True\n")
    code, _, err = python(*RUN, "no-such-command", cwd=tmp_path, **launcher)
    assert code == 2
    assert "can't open file" in err


def test_without_the_file_of_the_wheel_a_command_is_run_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """From a checkout, `run` says that a command may hide its sitecustomize, before it starts the command."""
    started: list[list[str]] = []

    def start(command: list[str]) -> None:
        started.append(command)
        raise SystemExit

    monkeypatch.setattr(run_program, "_replace_process", start)
    monkeypatch.setattr(run_program, "_PTH_FILE", tmp_path / "assistants_compat.pth")
    for name in ("PYTHONPATH", run_program.RUN_VARIABLE):
        monkeypatch.setenv(name, "")
    exit_code("python3", "app.py")
    assert "python3 is covered only if" in capsys.readouterr().err
    (tmp_path / "assistants_compat.pth").touch()
    exit_code("python3", "app.py")
    assert capsys.readouterr().err == ""
    assert [Path(command[0]).name for command in started] == ["python3", "python3"]


def test_a_child_without_the_library_runs_unchanged(tmp_path: Path) -> None:
    """A child Python whose environment lacks the package starts silently."""
    bare = "import subprocess, sys, os; os.environ['PYTHONPATH'] = os.environ['PYTHONPATH'].split(os.pathsep)[0]"
    start = f"{bare}; subprocess.run([sys._base_executable, '-c', 'print(1)'], check=True)"
    assert python(*RUN, "-c", start, cwd=tmp_path) == (0, "1\n", "")
