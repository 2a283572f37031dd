"""Everything that can go wrong, as a tree.

::

    CompatError              raised at the programmer, never sent
    |-- SettingsError        a setting or variable that cannot be used
    |-- SignInError          Azure gave no token
    |-- UnsupportedSdkError  the installed openai package has no Assistants resources
    `-- StoreError           the store cannot be opened; one sentence that says why and what to do
        `-- StoreBusyError   the store did not answer in time or went away; another try may help
    ApiError                 answered on the wire: {"error": {"message", "type", "param", "code"}}
    UpstreamError            what the Responses service answered with status >= 400, passed on as it is
    UnreachableError         a connection failure or timeout; carries the HTTP client's own exception through the core
    ForeignError             what the caller's own code raised while a stream was read (a signal's handler, a transport)

Texts are byte-exact where a recording or a report has them (platform.md section 12; client code matches them, some by
regular expression).  A text that no source has is built on the same pattern and says "assumed" here.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

log = logging.getLogger("assistants_compat")


class CompatError(Exception):
    """The root of what this library raises at the programmer."""


class SettingsError(CompatError, ValueError):
    """A setting or an `ASSISTANTS_COMPAT_*` variable has a value that cannot be used."""


class UnsupportedSdkError(CompatError):
    """The installed openai package no longer has (or never had) `client.beta.threads`."""


class SignInError(CompatError):
    """Azure gave no token for a client of `assistants_compat.azure`; the message says what to do."""


class StoreError(CompatError):
    """The store cannot be opened; the message is one sentence that says why and what to do."""


class StoreBusyError(StoreError):
    """The store is there but did not answer: locked for too long, or its server went away."""


class DownloadError(CompatError):
    """Some files could not be downloaded: `failed` says why, by their ids; `paths` are those of the others."""

    def __init__(self, failed: Mapping[str, str], paths: Sequence[Path]) -> None:
        """Name the first of them."""
        [(file_id, why), *more] = failed.items()
        others = f", and {len(more)} more" if more else ""
        super().__init__(f"{file_id} could not be downloaded: {why}{others}")
        self.failed = dict(failed)
        self.paths = list(paths)


class ApiError(Exception):
    """An error that is answered on the wire in the service's own shape.

    `status` is the HTTP status; the rest are the four recorded keys of `error`, in their recorded order.
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
        """Keep the wire's own words: `kind` is the key `type`."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The recorded shape, keys in their recorded order (recordings.md section 5, "Error bodies")."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


class UpstreamError(Exception):
    """The Responses service answered with an error: its status, body and retry headers are our answer."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Take the answer as it came; nothing is rewritten."""
        super().__init__(f"the upstream answered {status}")
        self.status = status
        self.headers = headers
        self.body = body

    def error(self) -> dict[str, Any]:
        """The `error` object of the body, or an empty one where the body is not the service's JSON."""
        try:
            error: object = json.loads(self.body)["error"]
        except (ValueError, KeyError, TypeError):
            return {}
        return cast("dict[str, Any]", error) if isinstance(error, dict) else {}


class UnreachableError(Exception):
    """The caller's own HTTP client raised: the upstream could not be reached or did not answer in full.

    `original` is its exception: the door raises it again, so that the SDK sees what the service would have caused.
    """

    def __init__(self, original: Exception) -> None:
        """Carry the HTTP library's exception through a core that knows no HTTP library."""
        super().__init__(type(original).__name__)
        self.original = original


class ForeignError(Exception):
    """The caller's own code raised while a stream was read: `original` goes back to it as it is."""

    def __init__(self, original: Exception) -> None:
        """Carry it past what answers our own failures."""
        super().__init__(type(original).__name__)
        self.original = original


# Matched on the message, because the code is null (platform.md section 4).  The text for one that is deleted is not
# known: any that says so of a container will do.
_GONE = re.compile(r"Container is expired|\bcontainer\b.*\b(?:expired|not found|not exist)", re.IGNORECASE | re.DOTALL)


def container_is_gone(error: object) -> bool:
    """Whether an error of the upstream says that a container is not there any more."""
    said = cast("dict[str, object]", error).get("message") if isinstance(error, dict) else None
    return bool(_GONE.search(str(said)))


UNANSWERED = (UpstreamError, UnreachableError, ApiError)
"""What asking the upstream raises, where its answer is a help and not what the caller waits for."""


def not_found(noun: str, id_: str) -> ApiError:
    """404 `No thread found with id 'thread_x'.`: recorded for run steps, reported for assistants and threads.

    The texts for runs and messages are assumed on the same pattern (platform.md section 12).
    """
    return ApiError(404, f"No {noun} found with id '{id_}'.")


def no_response(run_id: str) -> ApiError:
    """404 for a run that is there, whose response is not there upstream."""
    text = f"The response of run '{run_id}' was not found: it was deleted, or belongs to another project."
    return ApiError(404, text, code="no_response")


def no_such_file(id_: str, reason: str | None = None) -> ApiError:
    """404 `No such File object: file-x`, as recorded; `reason` says why bytes that once were ours are not here."""
    text = f"No such File object: {id_}" + (f" ({reason})" if reason else "")
    return ApiError(404, text, param="id")


def no_such_range(id_: str, size: int) -> ApiError:
    """416 for a `Range` behind a file's end (assumed text; the header is RFC 9110's)."""
    text = f"The requested range is not satisfiable: file {id_} has {size} bytes."
    return ApiError(416, text, headers={"content-range": f"bytes */{size}"})


def active_run(thread_id: str, run_id: str) -> ApiError:
    """400 for a second run on a thread (reported text; never 409, which the SDK would try again)."""
    return ApiError(400, f"Thread {thread_id} already has an active run {run_id}.")


def locked(thread_id: str, run_id: str) -> ApiError:
    """400 for a new message while a run is active (reported text, openai/openai-python#1023)."""
    return ApiError(400, f"Can't add messages to {thread_id} while a run {run_id} is active.")


def bad_upstream(what: str) -> ApiError:
    """502 for a success that is not the service's JSON: a proxy's page, say.  The SDK tries a 502 again."""
    return ApiError(502, f"The upstream's answer was not understood: {what}.", kind="server_error", code="bad_upstream")


def api_error(error: Exception) -> ApiError:
    """Any error as the wire knows it.  Only what may pass by itself is left for the SDK to try again."""
    final = {"x-should-retry": "false"}
    if isinstance(error, ApiError):
        return error
    if isinstance(error, StoreBusyError):
        return ApiError(503, str(error), kind="server_error", code="store_busy")
    if isinstance(error, StoreError):
        return ApiError(500, str(error), kind="server_error", code="store_error", headers=final)
    if isinstance(error, SettingsError):
        return ApiError(500, str(error), kind="server_error", code="settings_error", headers=final)
    # Where, not what: an exception's own words may hold a message's text.
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("assistants_compat failed: %s\n%s", type(error).__name__, where)
    text = f"assistants_compat failed: {type(error).__name__}. This is a bug; its log has the details."
    return ApiError(500, text, kind="server_error", code="compat_error", headers=final)
