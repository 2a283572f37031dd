"""Helpers of the tests of file storage: an empty location, the engine's I/O on it, and test data."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistants_compat import Settings
from assistants_compat.engine.io import BlockingIO, run
from assistants_compat.runtime.upstream_memory import UpstreamMemory
from assistants_compat.store import object_storage
from kit.object_servers import ObjectServer

ID = "file-abc123"
# More than two parts of an upload, and no two pieces alike.
LONG = b"".join(b"%010d\n" % number for number in range(1_100_000))


@dataclass
class ContentLocation:
    """An empty location for generated files: its setting, and ways to inspect it from outside."""

    files: str
    server: ObjectServer | None

    def names(self) -> list[str]:
        """Return the names of all files here, unfinished ones included."""
        if self.server is None:
            directory = Path(self.files)
            return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
        import obstore  # noqa: PLC0415 - an extra

        listed = obstore.list(object_storage._open_bucket(self.files)).collect()
        return sorted(Path(entry["path"]).name for entry in listed)

    def unfinished(self) -> int:
        """Count the uploads that were neither completed nor aborted (S3 keeps those and charges for them)."""
        if self.server is None or self.server.kind != "s3":
            return 0
        bucket = self.files.split("/")[2]
        return self.server.request("GET", f"/{bucket}?uploads").count(b"<Upload>")

    def restart(self) -> None:
        """Forget the open buckets, as a new process would."""
        object_storage._open_bucket.cache_clear()


def make_io(settings: Settings) -> Any:
    """Return the engine's I/O without an upstream."""
    no_transport: Any = None
    return BlockingIO(settings, no_transport, UpstreamMemory())


async def byte_pieces(data: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    """Yield data in pieces, as a network delivers it."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def load_content(io: Any, part: range) -> bytes:
    """Return the bytes that `io.load_content` yields."""

    async def read() -> bytes:
        return b"".join([piece async for piece in io.load_content(ID, part)])

    return run(read())
