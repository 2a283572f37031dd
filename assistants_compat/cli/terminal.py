"""What all commands share: output to stdout and stderr, exit codes, and a client from the environment."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

import openai
import typer
from typer.core import TyperGroup

from .. import azure
from ..doors.wrap import wrap
from ..errors import CompatError, SettingsError
from ..runtime.switch import is_off
from ..tools.upstream import REQUEST_ERRORS, describe_error

EXIT_FAILURE, EXIT_USAGE = 1, 2  # something failed; wrong arguments or settings
_SHORTEST_SECRET = 8  # characters
_SECRET_VARIABLES = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_CLIENT_SECRET")
AZURE_CREDENTIAL_VARIABLES = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")  # the SDK reads these

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]


def examples(*commands: str) -> str:
    """Return the epilog of a command's `--help`; the backspace keeps click from joining its lines."""
    return "\n".join(["\b", "Examples:", *(f"  python -m assistants_compat {command}" for command in commands)])


@contextmanager
def report_errors() -> Iterator[None]:
    """End the command with one line instead of a traceback; a wrong setting is a usage error."""
    try:
        yield
    except SettingsError as error:
        exit_with_error(str(error), EXIT_USAGE)
    except (*REQUEST_ERRORS, OSError) as error:
        exit_with_error(describe_error(error))


def exit_with_error(message: str, code: int = EXIT_FAILURE) -> NoReturn:
    """Print a message to stderr, and with --json to stdout as `{"error": message}`, and end the command."""
    print_to_stderr(f"assistants_compat: {message}")
    _print_json_error(message)
    raise typer.Exit(code)


class CommandGroup(TyperGroup):
    """The commands: it notes whether the user asked for JSON, so that errors are JSON too, also those of the parser."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note --json, or --format json, and parse the arguments."""
        _output.wants_json = "--json" in args or "--format=json" in args or ("--format", "json") in pairwise(args)
        _output.has_result = False
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error of the parser, which it prints itself, is written as JSON too."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            # Known by its method: newer versions of Typer have a copy of click, with exceptions of its own.
            if (format_message := getattr(error, "format_message", None)) is not None:
                _print_json_error(format_message())
            raise


class _Output:
    """What this run of the command line writes to stdout."""

    wants_json = False
    has_result = False


_output = _Output()


def _print_json_error(message: str) -> None:
    if _output.wants_json and not _output.has_result:
        _output.has_result = True
        with suppress(OSError):
            typer.echo(json.dumps({"error": message}))


def print_to_stderr(line: str) -> None:
    """Print a line that is not part of the result."""
    typer.echo(line, err=True)


def print_result(lines: list[str], as_json: Mapping[str, Any] | None) -> None:
    """Print the result to stdout: the JSON object if there is one, else the lines."""
    _output.has_result = True
    try:
        typer.echo("\n".join(lines) if as_json is None else json.dumps(as_json), nl=bool(lines) or as_json is not None)
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of the pipe has closed it; Typer exits without a message
            raise
        exit_with_error(f"cannot write to stdout: {error.strerror}")


def hide_secrets(text: str) -> str:
    """Replace every key and password of the environment in a text, because error messages may quote them."""
    # Local servers take keys such as "any": hiding those would garble the text, and they are no secret.
    secrets = [value for name in _SECRET_VARIABLES if len(value := os.environ.get(name, "")) >= _SHORTEST_SECRET]
    with suppress(ValueError):
        if password := urlsplit(os.environ.get("ASSISTANTS_COMPAT_STORE", "")).password:
            secrets.append(password)
    for secret in sorted(secrets, key=len, reverse=True):  # one secret may contain another
        text = text.replace(secret, "***")
    return text


def quantity(number: int, noun: str) -> str:
    """Return for example `1 file` or `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def no_recordings_message(paths: Iterable[Path]) -> str:
    """Return the error of a command that needs recordings and finds none."""
    return f"no recordings found in {', '.join(map(str, paths))}: expected VCR.py cassettes (YAML or JSON)"


def report_failures(failed: Mapping[str, str]) -> None:
    """Print each failure with its id to stderr, and exit with 1 if there is one."""
    for id_, reason in failed.items():
        print_to_stderr(f"{id_}: {reason}")
    if failed:
        raise typer.Exit(EXIT_FAILURE)


def check_output_directory(path: Path) -> None:
    """End the command with a usage error if a directory to write is a file, or would lie in one."""
    existing = next((place for place in (path, *path.parents) if os.path.lexists(place)), path)
    if os.path.lexists(existing) and not existing.is_dir():
        problem = "is not a directory" if existing == path else f"cannot be created, because {existing} is a file"
        exit_with_error(f"{path} {problem}: choose another one", EXIT_USAGE)


def confirm(question: str, wrong_use: str) -> None:
    """Ask on stderr before something that cannot be undone, and end the command unless the answer is yes.

    Without a terminal nobody can answer: then the command ends with the usage error `wrong_use`.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        exit_with_error(wrong_use, EXIT_USAGE)
    if not typer.confirm(question, err=True):
        exit_with_error("nothing was removed")


def client_from_environment() -> openai.OpenAI:
    """Return a wrapped client from the environment; a client that cannot be created is a usage error."""
    try:
        return make_client()
    except (openai.OpenAIError, CompatError, ValueError) as error:
        exit_with_error(describe_error(error), EXIT_USAGE)


def make_client() -> openai.OpenAI:
    """Return a wrapped client from the environment.

    Raises `openai.OpenAIError`, `CompatError` or `ValueError` if no client can be created.
    """
    if is_off():
        message = "ASSISTANTS_COMPAT=off switches the library off, but this command needs it: unset the variable."
        raise SettingsError(message)
    if not os.environ.get("AZURE_OPENAI_ENDPOINT"):
        return wrap(openai.OpenAI())
    if any(os.environ.get(name) for name in AZURE_CREDENTIAL_VARIABLES):
        return wrap(openai.AzureOpenAI(**azure.endpoint_options()))
    # Without a handler azure-identity prints on stderr what SignInError says already.
    logging.getLogger("azure").addHandler(logging.NullHandler())
    return azure.client()
