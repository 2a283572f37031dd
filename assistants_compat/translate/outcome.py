"""What a response adds to its thread: messages, run steps and files."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..wire.objects import Json, Message, RunStep
from .uncited_files import FileLocation, FileVersion
from .unlisted_files import ListFailure


@dataclass
class GeneratedFile:
    """A file that Code Interpreter generated: its id in this library, and where its bytes are.

    `data` holds the bytes of an image that came in the output itself. The bytes of all others are in the container.
    """

    id: str
    filename: str
    container_id: str | None = None
    container_file_id: str | None = None
    data: bytes | None = None
    size: int | None = None  # in bytes, as the container lists it
    listed_at: int | None = None  # its time of creation there; another one means that the file was written again

    @property
    def version(self) -> FileVersion:
        """The version of the file that the container lists."""
        return self.size, self.listed_at

    def locate(self, filename: str, location: FileLocation, version: FileVersion) -> None:
        """Set the name of a shown image, and where the container has which version of it."""
        self.filename = filename
        self.container_id, self.container_file_id = location
        self.size, self.listed_at = version


@dataclass
class Outcome:
    """Everything that a response adds to its thread, in order; `files` are by their id in this library."""

    messages: list[Message] = field(default_factory=list)
    entries: list[Json] = field(default_factory=list)  # the messages, and the items between them that later runs send
    steps: list[RunStep] = field(default_factory=list)
    files: dict[str, GeneratedFile] = field(default_factory=dict)
    # Containers that could not be listed, by id: they may hold more files.
    unlisted: dict[str, ListFailure] = field(default_factory=dict)
