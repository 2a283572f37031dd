"""The script of a test: what the model answers (Turn) and how the server fails (Fault). Plain values only."""

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

    For an answer written by hand:

    - `text`: the message. A link `sandbox:/mnt/data/NAME` to one of `files` gets a citation.
    - `files`: the files that the model generates in the container, by name; `images` are those that it shows.
    - `code` and `logs`: the input and the output of the Code Interpreter call.
    - `function_calls`: calls as `{"name", "arguments"[, "call_id"]}`.
    - `output`: raw output items, instead of the above. Missing item ids are generated. Missing container and file ids
      of Code Interpreter calls and citations are filled in by file name.
    - `status`, `error`, `incomplete_details` and `usage`: how the response ended.

    For a recorded answer: `response`, a whole response body that keeps its ids, or `events`, its stream. The containers
    and files that it cites exist afterwards; `files` may have their bytes by name.

    For either: `polls` is how many polls of a background response return `in_progress`, and `pace` the seconds between
    two events of a stream. Citations follow recordings.md section 1.
    """

    text: str | None = None
    output: Sequence[Mapping[str, Any]] | None = None
    response: Mapping[str, Any] | None = None
    events: Sequence[Mapping[str, Any]] | None = None
    polls: int = 1  # as recorded: queued, in_progress once, completed (test_background_mode_vcr.yaml)
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
    """A failure of the server for the next `times` requests whose `METHOD /path` matches `match`.

    `match` is a shell pattern for the method and the path without its base: `POST /responses`,
    `GET /containers/*/content`, `*`.

    - `stall`: seconds to wait first; if nothing else is set, the normal answer follows.
    - `drop`: close the connection without an answer; the request has no effect.
    - `status`: answer with this status, `body` (JSON, text or bytes) and `headers`.
    - `html`: answer with the HTML page of a gateway.
    - `truncate`: process the request, but send only half of the answer and close the connection.
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
        """Whether this fault applies to a request."""
        # Not `fnmatch`, which ignores case and changes slashes on Windows.
        return fnmatchcase(f"{method} {path}", self.match)
