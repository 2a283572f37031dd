"""The package's own Python interface as a page of the documentation, made from signatures and docstrings."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import assistants_compat
from assistants_compat import azure

GROUPS: dict[str, tuple[str, ...]] = {
    "Cover clients": ("wrap", "install", "uninstall", "azure.client", "azure.async_client", "Settings"),
    "Files": ("download_files", "file_url", "StoredFile"),
    "Runs that no program polls": ("settle", "Settled"),
    "Leave for the Responses API": (
        "responses_request",
        "ResponsesRequest",
        "to_conversation",
        "from_conversation",
        "Moved",
        "LegacyCall",
    ),
    "Errors": (
        "CompatError",
        "DownloadError",
        "SettingsError",
        "SignInError",
        "StoreError",
        "UnsupportedSdkError",
    ),
    "Version": ("__version__",),
}
_TOO_LONG = {"Settings"}  # the page of settings describes its arguments
_WIDTH = 80


def public(name: str) -> Any:
    """Return a public object by its name below the package."""
    module, _, last = name.rpartition(".")
    return getattr(azure if module else assistants_compat, last)


def interface() -> Iterator[str]:
    """Yield the page: for each public name its signature, what its docstring says, and its example."""
    for group, names in GROUPS.items():
        yield from (f"## {group}", "")
        for name in names:
            yield from (f"### {name}", "", "```text", *signature(name), "```", "", *described(name), "")


def signature(name: str) -> list[str]:
    """Return the lines of a signature, at most 80 wide: arguments with types and defaults, or the bases of an error."""
    thing = public(name)
    shown = f"assistants_compat.{name}"
    if isinstance(thing, str):
        return [f"{shown}: str"]
    if isinstance(thing, type) and issubclass(thing, Exception):
        bases = ", ".join(base.__name__ for base in thing.__bases__)
        names = [parameter.name for parameter in _parameters(thing)] if "__init__" in vars(thing) else []
        return [f"class {shown}({bases})", *(f"    .{attribute}" for attribute in names)]
    if name in _TOO_LONG:
        settings = [f"    {field.name}: {field.type} = {getattr(thing(), field.name)!r}," for field in fields(thing)]
        return [f"{shown}(", *settings, ")"]
    arguments = [_argument(parameter) for parameter in _parameters(thing)]
    if any(parameter.kind is parameter.KEYWORD_ONLY for parameter in _parameters(thing)):
        first = next(n for n, parameter in enumerate(_parameters(thing)) if parameter.kind is parameter.KEYWORD_ONLY)
        arguments.insert(first, "*")
    returned = "" if isinstance(thing, type) else f" -> {_returned(thing)}"
    line = f"{shown}({', '.join(arguments)}){returned}"
    if len(line) <= _WIDTH:
        return [line]
    return [f"{shown}(", *(f"    {argument}," for argument in arguments), f"){returned}"]


def _parameters(thing: Any) -> list[inspect.Parameter]:
    return [*inspect.signature(thing).parameters.values()]


def _argument(parameter: inspect.Parameter) -> str:
    stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    annotation = str(parameter.annotation).replace("openai.", "")
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{stars}{parameter.name}: {annotation}{default}"


def _returned(function: Any) -> str:
    """Return what a call of a synchronous client gives; an asynchronous one gives a coroutine of it."""
    annotation = str(inspect.signature(function).return_annotation)
    return annotation.partition(" | Coroutine")[0].replace("openai.", "")


def described(name: str) -> list[str]:
    """Return a docstring as Markdown, its example as a block of Python."""
    thing = public(name)
    if isinstance(thing, str):
        return ["The installed version of the package."]
    text, _, example = inspect.cleandoc(thing.__doc__).partition("\nExample::\n")
    if name in _TOO_LONG:  # its list of settings has a page of its own
        text = text.partition("\n- ")[0].rstrip() + "\n\n[Settings](settings.md) describes them all."
    paragraphs = re.sub(r"(?<!\n)\n(?!\n)", " ", text.strip()).split("\n")
    lines = [line for paragraph in paragraphs for line in _wrapped(paragraph)]
    return [*lines, "", "```python", inspect.cleandoc(example), "```"] if example else lines


def _wrapped(paragraph: str) -> list[str]:
    return textwrap.wrap(paragraph, 118, break_long_words=False, break_on_hyphens=False) or [""]
