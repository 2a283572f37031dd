"""The script: what the stand-in's model says (Turn) and how its server misbehaves (Fault). Plain values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Status = Literal["completed", "failed", "incomplete", "cancelled"]


@dataclass(frozen=True)
class Turn:
    """One scripted answer to one `POST /responses`.

    Written by hand: `text` (with `sandbox:/mnt/data/NAME` links where it offers a file), `files` that the model leaves
    in the container, `images` that it shows, `code` and `logs` of the Code Interpreter call, `function_calls` as
    `{"name", "arguments"[, "call_id"]}`, or `output`, raw output items: missing item ids are minted, missing container
    and file ids of Code Interpreter calls and citations are filled in by file name.

    Recorded: `response`, a whole response body that keeps its own ids, or `events`, its stream. Containers and files
    that it cites exist from then on; `files` may give their bytes by name.

    `polls` is the number of looks that a background response answers with `in_progress`; `pace` the seconds between
    two events of a stream. Citations are made as recordings.md section 1 describes them.
    """

    text: str | None = None
    output: Sequence[Mapping[str, Any]] | None = None
    response: Mapping[str, Any] | None = None
    events: Sequence[Mapping[str, Any]] | None = None
    polls: int = 1
    files: Mapping[str, bytes] = field(default_factory=dict)
    images: Sequence[bytes] = ()
    code: str | None = None
    logs: str | None = None
    status: Status = "completed"
    error: Mapping[str, Any] | None = None
    incomplete_details: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = None
    function_calls: Sequence[Mapping[str, Any]] = ()
    pace: float = 0.0

    @property
    def is_recorded(self) -> bool:
        """Whether the answer is a recording."""
        return self.response is not None or self.events is not None

    @property
    def uses_code(self) -> bool:
        """Whether this turn calls Code Interpreter."""
        return bool(self.files or self.images or self.code is not None or self.logs is not None)


@dataclass(frozen=True)
class Fault:
    """A misbehaviour of the server for the next `times` requests whose `METHOD /path` fits `match`.

    `match` is a shell pattern over the path without its base: `POST /responses`, `GET /containers/*/content`, `*`.
    `stall` waits first. Then `drop` closes the socket without an answer (the request is not carried out), `status`
    answers with `body` (JSON, text or bytes) and `headers`, `html` answers with a gateway's HTML page, and `truncate`
    carries the request out but sends half of the answer and closes. With `stall` alone the true answer follows.
    """

    match: str = "*"
    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1
    drop: bool = False
    truncate: bool = False
    stall: float = 0.0
    html: bool = False

    def fits(self, method: str, path: str) -> bool:
        """Whether this fault is meant for the request."""
        return fnmatchcase(f"{method} {path}", self.match)
