"""What the process knows of its upstreams: which refusals have come, so that they are not provoked again.

A verdict is the name of a row in `service/refusal_table.py`, with a key if it holds for one model only. It is kept for
the life of the process, for one upstream and one credential: what one organization is refused, another may have.
`doctor --live --save` can add verdicts that were found earlier; they hold for every credential.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import Iterable

from ..service.refusal_table import row
from ..settings import Settings

log = logging.getLogger("assistants_compat")


_MAX_RESPONSES = 1000  # of the last ones that were created and that nobody has looked up yet
_MAX_DELETED = 10_000  # of the last files that were deleted
_SECRET = secrets.token_bytes(16)  # so that a hash of a key is worth nothing outside of this process


def memory_of(settings: Settings) -> UpstreamMemory:
    """Return the memory that all clients of a store and namespace share."""
    return _memories.setdefault((str(settings.store), settings.namespace), UpstreamMemory())


def forget_store(store: str) -> None:
    """Forget what is known to clients of a store that no test will use again."""
    for key in [key for key in _memories if key[0] == store]:
        _memories.pop(key, None)


class UpstreamMemory:
    """The verdicts on every upstream."""

    def __init__(self, verdicts: Iterable[tuple[str, str, str]] = ()) -> None:
        """Begin with these verdicts: (name of the upstream, name of the row, key)."""
        # Adding to a set and looking in it are atomic, so threads need no lock.
        self._verdicts = set(verdicts)
        self._subjects: set[tuple[str, str]] = set()
        self._responses: deque[str] = deque(maxlen=_MAX_RESPONSES)
        self._deleted: OrderedDict[tuple[str, str], None] = OrderedDict()

    def add(self, upstream: str, row_name: str, key: str = "") -> None:
        """Add a verdict that was found earlier; nothing is logged."""
        self._verdicts.add((upstream, row_name, key))

    def of(self, upstream: str, credential: str = "") -> BoundMemory:
        """Return the memory of one upstream, given its name (origin and base path), for the holder of a credential."""
        digest = hashlib.blake2b(credential.encode(), key=_SECRET, digest_size=8).hexdigest() if credential else ""
        return BoundMemory(self, upstream, digest)

    def knows(self, upstream: str, row_name: str, key: str) -> bool:
        """Whether there is such a verdict."""
        return (upstream, row_name, key) in self._verdicts

    def is_first(self, upstream: str, subject: str) -> bool:
        """Whether this is the first call with this subject."""
        is_first = (upstream, subject) not in self._subjects
        self._subjects.add((upstream, subject))
        return is_first

    def has_subject(self, upstream: str, subject: str) -> bool:
        """Whether `is_first` was called with this subject."""
        return (upstream, subject) in self._subjects

    def note_created(self, response_id: str) -> None:
        """Note that a response was created here; only the newest are kept."""
        self._responses.append(response_id)

    def has_created(self, response_id: str) -> bool:
        """Whether `note_created` was called with this id not long ago."""
        return response_id in self._responses.copy()

    def note_deleted(self, upstream: str, file_id: str) -> None:
        """Note that a file was deleted; only the last ones are kept."""
        self._deleted[upstream, file_id] = None
        if len(self._deleted) > _MAX_DELETED:
            self._deleted.popitem(last=False)

    def was_deleted(self, upstream: str, file_id: str) -> bool:
        """Whether `note_deleted` was called with this file not long ago."""
        return (upstream, file_id) in self._deleted


_memories: dict[tuple[str, str], UpstreamMemory] = {}


class BoundMemory:
    """The verdicts on one upstream: `io.memory`."""

    def __init__(self, memory: UpstreamMemory, upstream: str, owner: str) -> None:
        """Read and write the verdicts of `memory` on `upstream`; `owner` stands for the credential."""
        self._memory, self._upstream, self._owned = memory, upstream, f"{upstream} {owner}"

    def knows(self, row_name: str, key: str = "") -> bool:
        """Whether this upstream is known to refuse what the row describes; `key` is a model's name, for example."""
        names = (self._owned, self._upstream)  # the second for what was found and saved earlier
        return any(self._memory.knows(name, row_name, key) for name in names)

    def remember(self, row_name: str, key: str = "") -> bool:
        """Remember a refusal; return whether it is new, and log the row's line once if it is."""
        if self.knows(row_name, key):
            return False
        refusal = row(row_name)
        self._memory.add(self._owned, row_name, key)
        if refusal.log:
            level = logging.WARNING if refusal.is_loss else logging.INFO
            log.log(level, "%s%s", refusal.log, f" ({key})" if key else "")
        return True

    def is_first(self, subject: str) -> bool:
        """Whether this is the first call with this subject, for a line that is logged once."""
        return self._memory.is_first(self._upstream, subject)

    def note(self, subject: str) -> None:
        """Note something about this upstream that is no refusal."""
        self._memory.is_first(self._upstream, subject)

    def has_note(self, subject: str) -> bool:
        """Whether `note` was called with this subject."""
        return self._memory.has_subject(self._upstream, subject)

    def note_created(self, response_id: str) -> None:
        """Note that a response was created by this process."""
        self._memory.note_created(response_id)

    def has_created(self, response_id: str) -> bool:
        """Whether this process created a response, as far as it remembers."""
        return self._memory.has_created(response_id)

    def note_deleted(self, file_id: str) -> None:
        """Note that a file of the user was deleted from this upstream."""
        self._memory.note_deleted(self._upstream, file_id)

    def was_deleted(self, file_id: str) -> bool:
        """Whether a file was deleted through a client of this process, as far as it remembers."""
        return self._memory.was_deleted(self._upstream, file_id)
