"""Every command that a message, a comment or a page tells the reader to type is one that works."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from assistants_compat import SettingsError
from assistants_compat.engine.saved import assistants_file
from kit.paths import DOCS, ROOT
from kit.project import extras, requirements

PACKAGE = sorted((ROOT / "assistants_compat").rglob("*.py"))
PAGES = [*ROOT.glob("*.md"), *sorted(DOCS.rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))

# A command ends where prose goes on.
PROSE = {"and", "or", "for", "to", "then", "#", "instead"}
# Names that code fills in; `test_a_missing_parser_is_named_by_its_distribution` has their values.
PLACEHOLDERS = {"assistants_file.py": "{package}"}


def found(pattern: str, files: list[Path]) -> Iterator[tuple[Path, str]]:
    """Yield what a pattern's group matches in files, with the file."""
    for path in files:
        for match in re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE):
            yield path, match


def words_of_command(rest: str) -> Iterator[str]:
    """Yield the arguments of a command that is followed by prose, without their quotes."""
    for raw in re.findall(r"'[^']*'[.,:;]?|\\?\"[^\"]*\"[.,:;]?|[^\s'\"]+", re.split(r"[`)]|\\n|\" *$|\"\n", rest)[0]):
        word = raw.rstrip(".,:;") if raw != "." else raw
        if word in PROSE:
            return
        yield word.strip("'\"\\")
        if word != raw:  # a full stop or a comma ends the command
            return


INSTALLS = [
    (path, tuple(words_of_command(rest)))
    for path, rest in found(r"pip install (?!-)(?=([^\n]+))", [*PACKAGE, *PAGES, *EXAMPLES])
]


def known_names() -> set[str]:
    """The distributions that pyproject.toml names; its own is not among them, because no index has it."""
    return {canonicalize_name(each.name) for each in requirements()}


@pytest.mark.parametrize(("path", "words"), INSTALLS, ids=lambda part: part.name if isinstance(part, Path) else "")
def test_an_install_command_names_what_can_be_installed(path: Path, words: tuple[str, ...]) -> None:
    """Every `pip install` names the checkout with extras that exist, or distributions from pyproject.toml."""
    assert words
    for word in words:
        if PLACEHOLDERS.get(path.name) == word:
            continue
        checkout = re.fullmatch(r"\.(?:\[([\w,]+)\])?", word)
        if checkout:
            assert path not in PACKAGE, "a message is read where there is no checkout"
            assert set(filter(None, (checkout[1] or "").split(","))) <= set(extras()), word
        else:
            assert canonicalize_name(Requirement(word).name) in known_names(), word


def test_the_install_commands_are_found() -> None:
    """The search finds the commands of the package, the README, the pages and the examples, and reads them as meant."""
    assert {"__main__.py", "azure.py", "assistants_file.py", "database.py", "README.md", "deployment.md"} <= {
        path.name for path, _ in INSTALLS
    }
    words = {words for _, words in INSTALLS}
    assert {("typer", "rich"), ("azure-identity", "aiohttp"), ("psycopg[binary]",), (".",)} <= words
    assert list(words_of_command("'.[azure]'`. The client then")) == [".[azure]"]
    with pytest.raises(InvalidRequirement):
        Requirement(next(words_of_command("{package}.")))


@pytest.mark.parametrize("modules", [("tomllib", "tomli"), ("yaml",)])
def test_a_missing_parser_is_named_by_its_distribution(
    modules: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint of a missing parser of assistants files names its distribution, which may differ from its module."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError) as caught:
        assistants_file._import_first(*modules)
    [(_, rest)] = re.findall(r"(pip install) (.*)", str(caught.value))
    assert {canonicalize_name(word) for word in words_of_command(rest)} <= known_names()


def test_every_extra_that_is_named_exists() -> None:
    """Every extra that a message, a docstring or a page names is in pyproject.toml."""
    named = {name for _, name in found(r"[Ee]xtras? `+(\w+)`", [*PACKAGE, *PAGES, *EXAMPLES])}
    assert {"cli", "azure", "objects"} <= named <= set(extras())


def test_every_command_that_the_package_names_exists() -> None:
    """Every `python -m assistants_compat COMMAND` in the package and the pages at the top is a command of it."""
    typer = pytest.importorskip("typer", reason="the extra `cli` is not installed")
    from assistants_compat.cli import app  # noqa: PLC0415 - needs typer

    main: Any = typer.main.get_command(app)
    pattern = r"python -m assistants_compat ([a-z]+(?: [a-z]+)?)"
    for path, words in found(pattern, [*PACKAGE, *ROOT.glob("*.md"), *EXAMPLES]):
        first, *rest = words.split()
        command = main.commands.get(first)
        assert command is not None, (path, words)
        if rest and first in {"cassettes", "store"}:
            assert rest[0] in command.commands, (path, words)


def test_every_target_that_is_named_exists() -> None:
    """Every `make TARGET` in the package, the pages, the Makefile's own help and the scripts is a target."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    scripts = [ROOT / "noxfile.py", *sorted((ROOT / "release").glob("*.py"))]
    pattern = r"(?:`|^|^step |echo ')make ((?:[a-z][a-z-]*)(?: [a-z-]+)*)"
    named = dict(found(pattern, [*PACKAGE, *PAGES, *scripts, ROOT / "Makefile", ROOT / ".ci" / "run"]))
    for path, words in named.items():
        first = words.split()[0]
        assert first in targets, (path, words)
