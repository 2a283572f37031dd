"""The bytes of generated files in object storage: `s3://`, `az://` and `gs://`, through obstore (the extra `objects`).

An upload goes in parts, a few at a time, and is visible when all of them are there.  A download is one request, which
obstore takes up again where it was cut off.  Credentials come from the variables that the clouds' own tools read
(`AWS_ACCESS_KEY_ID`, `AZURE_STORAGE_ACCOUNT_NAME`, `GOOGLE_APPLICATION_CREDENTIALS`, ...) or from the machine's
identity; they are never shown: of an error only its first line is, without the queries of its URLs.

obstore works in threads of its own, which a forked child does not have: there it would wait for ever (tried with
0.12.1), so a child of a process that has used it is told to begin anew.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Generator, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..errors import StoreBusyError, StoreError
from .content import STEP, Draft, checked

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

_PART = 5 * 1024 * 1024  # bytes; S3 takes no smaller parts
_PARTS_AT_ONCE = 2  # for each of the files that a run copies at a time
_RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}  # obstore's own 3 minutes would block a caller
_ONE_REQUEST = "5min"  # obstore's own 30 seconds are too short for a part over a slow line
_SILENCE = "60s"

# Options given in code hide those of the environment (tried), so they are read here: AWS_ALLOW_HTTP and the like.
_FROM_ENVIRONMENT = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "read_timeout",
    "root_certificate",
    "timeout",
    "user_agent",
)
_PREFIXES = {"s3": "AWS_", "az": "AZURE_", "gs": "GOOGLE_"}

_REFUSED = re.compile(r"status code: 40[13]\b")

_process: int | None = None  # which has used obstore first: itself or an ancestor


def _obstore() -> Any:
    """The library; raises `StoreError` where it is missing or would hang."""
    global _process  # noqa: PLW0603 - what a fork copies is the point
    if _process not in (None, os.getpid()):
        message = (
            "Object storage was used before this process was forked and would hang in it: "
            "start processes with spawn or forkserver, or fork before the first file."
        )
        raise StoreError(message)
    try:
        import obstore  # noqa: PLC0415 - an extra: the package is imported without it
    except ImportError:
        message = "Object storage needs a package that is missing: pip install 'assistants-compat[objects]'."
        raise StoreError(message) from None
    _process = os.getpid()
    return obstore


@contextlib.contextmanager
def _trouble_said(url: str) -> Iterator[None]:
    from obstore.exceptions import BaseError  # noqa: PLC0415 - an extra

    try:
        yield
    except FileNotFoundError:
        message = f"The bucket or container of {url} (ASSISTANTS_COMPAT_FILES), or an object in it, is not there."
        raise StoreError(message) from None
    except (BaseError, OSError) as error:  # a writer raises the second kind only, whatever has happened
        if _REFUSED.search(str(error)):
            message = f"Access to {url} was refused: check the cloud's credentials in this process's environment."
            raise StoreError(message) from None
        message = f"The object storage {url} did not answer: {_reason(error)}."
        raise StoreBusyError(message) from None


def _reason(error: Exception) -> str:
    first_line = str(error).partition("\n")[0]
    return re.sub(r"\?\S*", "", first_line).rstrip(". ")  # the query of a signed URL is a credential


@functools.cache
def _opened(url: str) -> S3Store | AzureStore | GCSStore:
    """The client of a bucket; one for the process, because it holds connections."""
    _obstore()
    from obstore.exceptions import BaseError  # noqa: PLC0415 - an extra
    from obstore.store import from_url  # noqa: PLC0415 - an extra

    given: Any = {"client_options": _client_options(url), "retry_config": _RETRIES}
    try:
        return from_url(url, **given)  # type: ignore[return-value]  # only for the three kinds of URL that are let in
    except BaseError as error:
        message = f"The object storage {url} cannot be used: {_reason(error)}."
        raise StoreError(message) from None


def _client_options(url: str) -> dict[str, str]:
    prefix = _PREFIXES[url.partition("://")[0]]
    variables = {name: os.environ.get(f"{prefix}{name.upper()}") for name in _FROM_ENVIRONMENT}
    chosen = {name: value for name, value in variables.items() if value}
    return {"timeout": _ONE_REQUEST, "read_timeout": _SILENCE, **chosen}


class ObjectDraft(Draft):
    """An upload: at most `_PARTS_AT_ONCE` parts and the one that is being filled are in memory."""

    def __init__(self, url: str, key: str, disposition: str) -> None:
        """Begin; nothing is sent before the first part is full."""
        super().__init__()
        self._url = url
        attributes = {"Content-Type": "application/octet-stream", "Content-Disposition": disposition}
        self._writer = _obstore().open_writer(
            _opened(url), key, attributes=attributes, buffer_size=_PART, max_concurrency=_PARTS_AT_ONCE
        )

    def _append(self, chunks: Sequence[bytes]) -> None:
        _obstore()
        with _trouble_said(self._url):
            for chunk in chunks:
                self._writer.write(chunk)

    def _finish(self) -> None:
        _obstore()
        with _trouble_said(self._url):
            self._writer.close()

    def _undo(self) -> None:
        # A writer that is only let go leaves its parts in the bucket, unseen and paid for; one that is left with an
        # error takes them away (both tried).
        with contextlib.suppress(Exception):  # the trouble that brought us here is the one to tell
            self._writer.__exit__(StoreError, StoreError(), None)


class ObjectFiles:
    """A prefix in a bucket or container; an object has the file's id as its name below that."""

    def __init__(self, url: str) -> None:
        """Remember where; nothing is opened, and obstore is not imported."""
        self._url = url

    def draft(self, key: str, disposition: str) -> ObjectDraft:
        """Start to write the file `key`."""
        return ObjectDraft(self._url, checked(key), disposition)

    def size(self, key: str) -> int | None:
        """How many bytes the file has, or None when it is not here."""
        obstore, opened = _obstore(), _opened(self._url)
        with _trouble_said(self._url):
            try:
                return int(obstore.head(opened, checked(key))["size"])
            except FileNotFoundError:
                return None

    def pieces(self, key: str, part: range) -> Generator[bytes, None, None]:
        """The bytes at these positions, by one request."""
        if not part:
            return  # a range of nothing is an error there
        obstore, opened = _obstore(), _opened(self._url)
        with _trouble_said(self._url):
            found = obstore.get(opened, checked(key), options={"range": (part.start, part.stop)})
            # obstore goes on reading meanwhile; a thread of ours to read ahead took more turns than it saved.
            for piece in found.stream(min_chunk_size=STEP):
                yield bytes(piece)
                _obstore()  # a child that was forked meanwhile is told so

    def delete(self, key: str) -> None:
        """Delete the file; it may be gone already."""
        obstore, opened = _obstore(), _opened(self._url)
        with _trouble_said(self._url), contextlib.suppress(FileNotFoundError):
            obstore.delete(opened, checked(key))

    def link(self, key: str, seconds: int) -> str:
        """A URL that the cloud has signed; the object's own Content-Disposition names the file."""
        obstore, opened = _obstore(), _opened(self._url)
        with _trouble_said(self._url):
            return str(obstore.sign(opened, "GET", checked(key), timedelta(seconds=seconds)))
