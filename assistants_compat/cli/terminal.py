"""What all commands share: a client from the environment, what is said and where, and how a command fails."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import openai
import typer

from .. import azure
from ..doors.wrap import wrap
from ..errors import CompatError, SettingsError
from ..runtime.switch import is_off
from ..tools.upstream import TROUBLES, reason

NOT_DONE, WRONG_USE = 1, 2
_AZURE_CREDENTIALS = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")  # of the SDK's own

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]


def examples(*commands: str) -> str:
    """For `--help`, a line each (the first character says so)."""
    return "\n".join(["\b", "Examples:", *(f"  python -m assistants_compat {command}" for command in commands)])


@contextmanager
def troubles_said() -> Iterator[None]:
    """Say what went wrong in a line; wrong settings and no key are wrong use."""
    try:
        yield
    except SettingsError as error:
        stop(str(error), WRONG_USE)
    except (*TROUBLES, OSError) as error:
        stop(reason(error))


def stop(said: str, code: int = NOT_DONE) -> NoReturn:
    """End the command with a line to stderr."""
    say(f"assistants_compat: {said}")
    raise typer.Exit(code)


def say(line: str) -> None:
    """Write a line to stderr: whatever was not asked for."""
    typer.echo(line, err=True)


def show(lines: list[str], as_json: Mapping[str, Any] | None) -> None:
    """Write what was asked for to stdout, as lines or as one JSON object."""
    try:
        typer.echo("\n".join(lines) if as_json is None else json.dumps(as_json), nl=bool(lines) or as_json is not None)
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever read has enough; Typer ends in silence
            raise
        stop(f"stdout cannot be written: {error.strerror}")


def say_failed(failed: Mapping[str, str]) -> None:
    """Say each failure by its id; the command ends with 1 if there was one."""
    for id_, why in failed.items():
        say(f"{id_}: {why}")
    if failed:
        raise typer.Exit(NOT_DONE)


def client_from_environment() -> openai.OpenAI:
    """A wrapped client from the environment; one that cannot be made is wrong use."""
    try:
        return client_made()
    except (openai.OpenAIError, CompatError, ValueError) as error:
        stop(reason(error), WRONG_USE)


def client_made() -> openai.OpenAI:
    """A wrapped client from the environment; raises what the SDK and we do where none can be made."""
    if is_off():
        message = "ASSISTANTS_COMPAT=off leaves every client as it is: unset it for this command."
        raise SettingsError(message)
    if not os.environ.get("AZURE_OPENAI_ENDPOINT"):
        return wrap(openai.OpenAI())
    if any(os.environ.get(name) for name in _AZURE_CREDENTIALS):
        version = os.environ.get("OPENAI_API_VERSION") or azure.API_VERSION
        return wrap(openai.AzureOpenAI(api_version=version))
    logging.getLogger("azure").addHandler(logging.NullHandler())  # it would say on stderr what SignInError says
    return azure.client()
