"""What pyproject.toml says of the distribution."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from typing import Any

from packaging.requirements import Requirement

from kit.paths import ROOT

# The parser of Python 3.10 comes with the extra `yaml`, which the tests install.
_TOML = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
PYPROJECT: dict[str, Any] = _TOML.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]


def extras() -> dict[str, list[Requirement]]:
    """The extras and what each of them needs."""
    return {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}


def requirements() -> list[Requirement]:
    """Everything that pyproject.toml names: dependencies, extras and groups of developers' tools."""
    groups = [line for lines in PYPROJECT["dependency-groups"].values() for line in lines if isinstance(line, str)]
    own = [Requirement(line) for line in [*PROJECT["dependencies"], *groups]]
    return own + [each for needed in extras().values() for each in needed]


def supported_pythons() -> list[str]:
    """The versions of Python that the Makefile names, oldest first."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [line] = re.findall(r"^SUPPORTED := (.*)$", makefile, re.MULTILINE)
    return str(line).split()
