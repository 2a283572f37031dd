"""Stores the bytes of generated files in `s3://`, `az://` or `gs://`, through obstore (the extra `objects`).

An upload sends a few parts at a time and becomes visible when all of them have arrived. A download is one request,
which obstore resumes after an interruption. Credentials come from the variables of the clouds' own tools
(`AWS_ACCESS_KEY_ID`, `AZURE_STORAGE_ACCOUNT_NAME`, `GOOGLE_APPLICATION_CREDENTIALS`, ...) or from the machine's
identity. They are never shown: our messages contain only the first line of an error, without the queries of its URLs.

obstore has its own threads, which a forked child does not inherit, so that the child would wait for ever (tried with
0.12.1). So this module raises in a child of a process that has used obstore.
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
from .content import IO_CHUNK_SIZE, Draft, check_key

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

_PART_SIZE = 5 * 1024 * 1024  # the minimum size of a part in S3
_MAX_CONCURRENT_PARTS = 2  # for each file; a run copies several files at a time
_RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}  # obstore's default of 3 minutes blocks callers
_REQUEST_TIMEOUT = "5min"  # of one request; obstore's default of 30 seconds is too short for a part over a slow line
_READ_TIMEOUT = "60s"

# Options passed in code hide those of the environment (tried), so this module reads AWS_ALLOW_HTTP and so on itself.
_ENVIRONMENT_OPTIONS = (
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
_VARIABLE_PREFIXES = {"s3": "AWS_", "az": "AZURE_", "gs": "GOOGLE_"}

_ACCESS_DENIED = re.compile(r"status code: 40[13]\b")

_first_process_id: int | None = None  # the process that used obstore first: this one or an ancestor


def _import_obstore() -> Any:
    """The module obstore; raises `StoreError` if it is missing or would hang."""
    global _first_process_id  # noqa: PLW0603 - a fork copies it, which is how a child is detected
    if _first_process_id not in (None, os.getpid()):
        message = (
            "Object storage was used before this process was forked, so it would hang here: "
            "start processes with spawn or forkserver, or fork before the first generated file."
        )
        raise StoreError(message)
    try:
        import obstore  # noqa: PLC0415 - an extra; importing the package must not need it
    except ImportError:
        message = "Object storage needs the package obstore: pip install obstore."
        raise StoreError(message) from None
    _first_process_id = os.getpid()
    return obstore


@contextlib.contextmanager
def _store_errors(url: str) -> Iterator[None]:
    """Turn obstore's exceptions into `StoreError` and `StoreBusyError`."""
    from obstore.exceptions import BaseError  # noqa: PLC0415 - an extra

    try:
        yield
    except FileNotFoundError:
        message = f"The bucket or container of {url} (ASSISTANTS_COMPAT_FILES), or an object in it, does not exist."
        raise StoreError(message) from None
    except (BaseError, OSError) as error:  # a writer raises OSError for every failure
        if _ACCESS_DENIED.search(str(error)):
            message = f"Access to {url} was refused: check the cloud's credentials in this process's environment."
            raise StoreError(message) from None
        message = f"The object storage {url} did not answer: {_redacted_reason(error)}."
        raise StoreBusyError(message) from None


def _redacted_reason(error: Exception) -> str:
    first_line = str(error).partition("\n")[0]
    return re.sub(r"\?\S*", "", first_line).rstrip(". ")  # the query of a signed URL is a credential


@functools.cache
def _open_bucket(url: str) -> S3Store | AzureStore | GCSStore:
    """The client of a bucket or container; one for the process, because it holds connections."""
    _import_obstore()
    from obstore.exceptions import BaseError  # noqa: PLC0415 - an extra
    from obstore.store import from_url  # noqa: PLC0415 - an extra

    options: Any = {"client_options": _client_options(url), "retry_config": _RETRIES}
    try:
        return from_url(url, **options)  # type: ignore[return-value]  # settings.py admits three kinds of URL only
    except BaseError as error:
        message = f"The object storage {url} cannot be used: {_redacted_reason(error)}."
        raise StoreError(message) from None


def _client_options(url: str) -> dict[str, str]:
    prefix = _VARIABLE_PREFIXES[url.partition("://")[0]]
    variables = {name: os.environ.get(f"{prefix}{name.upper()}") for name in _ENVIRONMENT_OPTIONS}
    from_environment = {name: value for name, value in variables.items() if value}
    return {"timeout": _REQUEST_TIMEOUT, "read_timeout": _READ_TIMEOUT, **from_environment}


class ObjectDraft(Draft):
    """An upload; at most `_MAX_CONCURRENT_PARTS` parts and the one that is being filled are in memory."""

    def __init__(self, url: str, key: str, disposition: str) -> None:
        """Prepare the upload; obstore sends nothing before the first part is full."""
        super().__init__()
        self._url = url
        attributes = {"Content-Type": "application/octet-stream", "Content-Disposition": disposition}
        self._writer = _import_obstore().open_writer(
            _open_bucket(url), key, attributes=attributes, buffer_size=_PART_SIZE, max_concurrency=_MAX_CONCURRENT_PARTS
        )

    def _append(self, chunks: Sequence[bytes]) -> None:
        _import_obstore()
        with _store_errors(self._url):
            for chunk in chunks:
                self._writer.write(chunk)

    def _finish(self) -> None:
        _import_obstore()
        with _store_errors(self._url):
            self._writer.close()

    def _undo(self) -> None:
        # A writer that is merely dropped leaves invisible, billed parts in the bucket. One that is exited with an
        # error deletes them (both tried).
        with contextlib.suppress(Exception):  # the caller reports the error that led here
            self._writer.__exit__(StoreError, StoreError(), None)


class ObjectFiles:
    """A prefix in a bucket or container. The name of an object is the prefix and the file's id."""

    def __init__(self, url: str) -> None:
        """Remember the URL. Nothing is opened yet, and obstore is not imported."""
        self._url = url

    def draft(self, key: str, disposition: str) -> ObjectDraft:
        """Start writing the file `key`."""
        return ObjectDraft(self._url, check_key(key), disposition)

    def size(self, key: str) -> int | None:
        """The size of the file in bytes, or None if it does not exist."""
        obstore, bucket = _import_obstore(), _open_bucket(self._url)
        with _store_errors(self._url):
            try:
                return int(obstore.head(bucket, check_key(key))["size"])
            except FileNotFoundError:
                return None

    def read_chunks(self, key: str, positions: range) -> Generator[bytes, None, None]:
        """Yield the bytes at these positions, read by one request."""
        if not positions:
            return  # object storage refuses an empty range
        obstore, bucket = _import_obstore(), _open_bucket(self._url)
        with _store_errors(self._url):
            response = obstore.get(bucket, check_key(key), options={"range": (positions.start, positions.stop)})
            # obstore reads ahead by itself; another thread for this cost more switches than it saved.
            for chunk in response.stream(min_chunk_size=IO_CHUNK_SIZE):
                yield bytes(chunk)
                _import_obstore()  # raises if this process was forked since the last chunk

    def delete(self, key: str) -> None:
        """Delete the file if it exists."""
        obstore, bucket = _import_obstore(), _open_bucket(self._url)
        with _store_errors(self._url), contextlib.suppress(FileNotFoundError):
            obstore.delete(bucket, check_key(key))

    def link(self, key: str, seconds: int) -> str:
        """A URL signed by the cloud. The object's own Content-Disposition names the file."""
        obstore, bucket = _import_obstore(), _open_bucket(self._url)
        with _store_errors(self._url):
            return str(obstore.sign(bucket, "GET", check_key(key), timedelta(seconds=seconds)))
