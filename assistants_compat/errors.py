"""All exceptions, and the factories for the error bodies of the API.

::

    CompatError              raised to the programmer, never sent over the wire
    |-- DownloadError        some files could not be downloaded
    |-- SettingsError        a setting or variable has an invalid value
    |-- SignInError          Azure issued no token
    |-- UnsupportedSdkError  the installed openai package has no Assistants resources
    `-- StoreError           the store cannot be used; the message says why and what to do
        `-- StoreBusyError   the store did not answer in time or went away; a retry may help
    ApiError                 answered over the wire: {"error": {"message", "type", "param", "code"}}
    UpstreamError            an answer of the Responses service with status >= 400, passed on unchanged
    UnreachableError         a connection failure or timeout; carries the HTTP client's exception through the core
    CallerCodeError          an exception of the caller's own code during a stream (a signal handler, a transport)

A text of the API is byte-exact if a recording or a report has it (platform.md section 12), because client code matches
these texts, some of it by regular expression. A text without a source follows the same pattern and is marked "assumed".
"""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

log = logging.getLogger("assistants_compat")

_MAX_WRAPPINGS = 3  # gateways behind each other
_MAX_DETAILS = 4000  # bytes of a body that is no error of the service


class CompatError(Exception):
    """Base class of the exceptions that this library raises to the programmer.

    Example::

        try:
            assistants_compat.settle(client)
        except assistants_compat.CompatError as error:
            print("settle failed:", error)
    """


class SettingsError(CompatError, ValueError):
    """A setting or an `ASSISTANTS_COMPAT_*` variable has an invalid value.

    Example::

        try:
            settings = assistants_compat.Settings(mode="fast")
        except assistants_compat.SettingsError as error:
            print(error)
    """


class UnsupportedSdkError(CompatError):
    """The installed openai package has no `client.beta.threads`, because it is too old or too new.

    Example::

        try:
            client = assistants_compat.wrap(openai.OpenAI())
        except assistants_compat.UnsupportedSdkError as error:
            print(error)
    """


class SignInError(CompatError):
    """Azure issued no token for a client of `assistants_compat.azure`; the message says what to do.

    Example::

        try:
            assistant = client.beta.assistants.create(model="gpt-4.1")
        except assistants_compat.SignInError as error:
            print("Sign in to Azure first:", error)
    """


class StoreError(CompatError):
    """The store cannot be used; the message says in one sentence why and what to do.

    Example::

        try:
            settled = assistants_compat.settle(client)
        except assistants_compat.StoreError as error:
            print("The store cannot be used:", error)
    """


class StoreBusyError(StoreError):
    """The store exists but did not answer: it was locked for too long, or its server went away."""


class DownloadError(CompatError):
    """Some files could not be downloaded.

    `failed` maps their ids to the reasons; `paths` lists the files that were downloaded.

    Example::

        try:
            paths = assistants_compat.download_files(client, run)
        except assistants_compat.DownloadError as error:
            paths = error.paths
            print("missing:", error.failed)
    """

    def __init__(self, failed: Mapping[str, str], paths: Sequence[Path]) -> None:
        """The message gives the first failure and the number of the others."""
        [(file_id, reason), *other_failures] = failed.items()
        others = f", and {len(other_failures)} more" if other_failures else ""
        super().__init__(f"{file_id} could not be downloaded: {reason}{others}")
        self.failed = dict(failed)
        self.paths = list(paths)


class ApiError(Exception):
    """An error that is answered over the wire in the service's own shape.

    `status` is the HTTP status. `message`, `kind` (the key `type`), `param` and `code` are the four recorded keys of
    `error`. `headers` are sent with the answer.
    """

    def __init__(  # noqa: PLR0913 - the four keys of the wire shape, the status and the retry hint
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`kind` becomes the key `type`, whose name is a builtin in Python."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error body with its keys in the recorded order (recordings.md section 5, "Error bodies")."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


class NotFoundError(ApiError):
    """404 for an object that the store does not have; `noun` and `id` say which."""

    def __init__(self, noun: str, id_: str) -> None:
        """Take the text that `not_found` describes."""
        super().__init__(404, f"No {noun} found with id '{id_}'.")
        self.noun, self.id = noun, id_


class UpstreamError(Exception):
    """The Responses service answered with an error; its status, body and retry headers are passed on."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keep the answer unchanged."""
        super().__init__(f"the upstream answered {status}")
        self.status = status
        self.headers = headers
        self.body = body

    def error(self) -> dict[str, Any]:
        """The `error` object of the body, or an empty object if the body is not the service's JSON.

        Gateways wrap the service's error as text into `message`, with a code and param of their own (LiteLLM). Then it
        is the innermost error, as the service sent it.
        """
        try:
            error: object = json.loads(self.body)["error"]
        except (ValueError, KeyError, TypeError):
            return {}
        return _unwrapped(cast("dict[str, Any]", error)) if isinstance(error, dict) else {}

    def details(self) -> dict[str, Any]:
        """The `error` object of the body; for a body of another form an object whose `message` is the whole body."""
        return self.error() or {"message": self.body[:_MAX_DETAILS].decode("utf-8", "replace")}


def _unwrapped(error: dict[str, Any]) -> dict[str, Any]:
    """Return the innermost error that gateways have wrapped as text into `message`."""
    for _ in range(_MAX_WRAPPINGS):
        # A gateway has only a status as code. An error with a param or a code of the service is the innermost one: its
        # message may quote an object of the user.
        code = error.get("code")
        if error.get("param") or not (code is None or str(code).isdecimal()):
            break
        inner = _error_in_text(error.get("message"))
        if inner is None:
            break
        error = inner
    return error


def _error_in_text(text: object) -> dict[str, Any] | None:
    """Return the error object in a text such as `OpenAIException - {"error": {...}}. Received ...`, or None.

    The SDK's own text of an error has it as a Python dictionary: `Error code: 400 - {'error': {...}}`.
    """
    if not isinstance(text, str) or "{" not in text or len(text) > _MAX_WRAPPED_TEXT:
        return None
    start = text.index("{")
    value: object = None
    try:
        value, _ = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes, which are not ours
            value = ast.literal_eval(text[start : text.rfind("}") + 1])
    except RecursionError:
        return None
    outer = _as_object(value)
    if outer is None:
        return None
    error = _as_object(outer.get("error"))
    if error is None and ("type" in outer or "code" in outer):
        error = outer
    return error if error is not None and isinstance(error.get("message"), str) else None


_MAX_WRAPPED_TEXT = 65_536  # characters; parsing a longer text could take long, and no error is that long


def _as_object(value: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


class UnreachableError(Exception):
    """The caller's HTTP client raised: the upstream was unreachable or its answer was incomplete.

    `original` is that exception. The client proxy raises it again, so that the SDK sees what it would see without us.
    """

    def __init__(self, original: Exception) -> None:
        """Carry the HTTP library's exception through a core that does not import that library."""
        super().__init__(type(original).__name__)
        self.original = original


class CallerCodeError(Exception):
    """The caller's own code or timeout ended the reading of a stream; `original` is raised to the caller unchanged."""

    def __init__(self, original: Exception) -> None:
        """Carry the exception past the code that turns our own failures into error bodies."""
        super().__init__(type(original).__name__)
        self.original = original


UPSTREAM_FAILURES = (UpstreamError, UnreachableError, ApiError)
"""The exceptions of an upstream request; for callers that can go on without its answer."""


def not_found(noun: str, id_: str) -> NotFoundError:
    """404 with a text like `No thread found with id 'thread_x'.` for a missing object.

    Recorded for run steps, reported for assistants and threads, assumed for runs and messages (platform.md section 12).
    """
    return NotFoundError(noun, id_)


def response_not_found(run_id: str) -> ApiError:
    """404 for an existing run whose response no longer exists upstream."""
    text = f"The response of run '{run_id}' was not found: it was deleted, or belongs to another project."
    return ApiError(404, text, code="no_response")


def no_such_file(id_: str, reason: str | None = None) -> ApiError:
    """404 `No such File object: file-x` (recorded); `reason` says why we no longer have the bytes of a known file."""
    text = f"No such File object: {id_}" + (f" ({reason})" if reason else "")
    return ApiError(404, text, param="id")


def no_such_range(id_: str, size: int) -> ApiError:
    """416 for a `Range` beyond the end of a file (assumed text; RFC 9110 defines the header)."""
    text = f"The requested range is not satisfiable: file {id_} has {size} bytes."
    return ApiError(416, text, headers={"content-range": f"bytes */{size}"})


def run_already_active(thread_id: str, run_id: str) -> ApiError:
    """400 for a second run on a thread (reported text). Never 409, which the SDK would retry."""
    return ApiError(400, f"Thread {thread_id} already has an active run {run_id}.")


def thread_locked(thread_id: str, run_id: str) -> ApiError:
    """400 for a new message while a run is active (reported text, openai/openai-python#1023)."""
    return ApiError(400, f"Can't add messages to {thread_id} while a run {run_id} is active.")


def bad_upstream(problem: str) -> ApiError:
    """502 for a successful answer that is not the service's JSON, for example a proxy's page. The SDK retries a 502."""
    text = f"The upstream's answer was not understood: {problem}."
    return ApiError(502, text, kind="server_error", code="bad_upstream")


def api_error_from(error: Exception) -> ApiError:
    """Any exception as an `ApiError`. The SDK may retry only errors that can pass by themselves."""
    no_retry = {"x-should-retry": "false"}  # the SDK retries every 5xx without this header
    if isinstance(error, ApiError):
        return error
    if isinstance(error, StoreBusyError):
        return ApiError(503, str(error), kind="server_error", code="store_busy")
    if isinstance(error, StoreError):
        return ApiError(500, str(error), kind="server_error", code="store_error", headers=no_retry)
    if isinstance(error, SettingsError):
        return ApiError(500, str(error), kind="server_error", code="settings_error", headers=no_retry)
    # Log where it happened, but not the exception's text, which may contain the text of a message.
    stack = "".join(traceback.format_tb(error.__traceback__))
    log.error("assistants_compat failed: %s\n%s", type(error).__name__, stack)
    text = f"assistants_compat failed: {type(error).__name__}. This is a bug; its log has the details."
    return ApiError(500, text, kind="server_error", code="compat_error", headers=no_retry)
