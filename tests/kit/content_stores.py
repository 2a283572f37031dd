"""A place for generated files as tests see it, the core's I/O over one, and bytes to put there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistants_compat import Settings
from assistants_compat.engine.io import BlockingIO, run
from assistants_compat.store import object_storage
from kit.object_servers import ObjectServer

ID = "file-abc123"
# More than two parts of an upload, and no two pieces alike.
LONG = b"".join(b"%010d\n" % number for number in range(1_100_000))


@dataclass
class Place:
    """A place that holds nothing yet: how it is set, and a look into it from outside."""

    files: str
    server: ObjectServer | None

    def names(self) -> list[str]:
        """The names of all files that are here, also of unfinished ones."""
        if self.server is None:
            directory = Path(self.files)
            return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
        import obstore  # noqa: PLC0415 - an extra

        listed = obstore.list(object_storage._opened(self.files)).collect()
        return sorted(Path(each["path"]).name for each in listed)

    def unfinished(self) -> int:
        """How many uploads were begun and neither finished nor taken back (S3 keeps and charges them)."""
        if self.server is None or self.server.kind != "s3":
            return 0
        bucket = self.files.split("/")[2]
        return self.server.request("GET", f"/{bucket}?uploads").count(b"<Upload>")

    def restart(self) -> None:
        """Forget what this process knows, as a new one would."""
        object_storage._opened.cache_clear()


def io_over(settings: Settings) -> Any:
    """The core's I/O without an upstream."""
    nobody: Any = None
    return BlockingIO(settings, nobody, set())


async def pieces(data: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    """Data as it comes from a network."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def loaded(io: Any, part: range) -> bytes:
    """What `io.load` gives."""

    async def read() -> bytes:
        return b"".join([piece async for piece in io.load(ID, part)])

    return run(read())
