"""A recorded legacy stream and ours to the same request, event by event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from legacy_calls import objects_of
from legacy_differences import Difference, Ids, differences
from recorded_streams import Event, folded, lines

from kit.stream_deltas import Sums, pieces_of

Json = dict[str, Any]

ORDER = "a stream"


def stream_differences(recorded: Iterable[Event], ours: Iterable[Event], ids: Ids) -> Iterator[Difference]:
    """Every difference in order, whole objects, the shapes of deltas and what they add up to."""
    recorded, ours = list(recorded), list(ours)
    if folded(recorded) != folded(ours):
        yield Difference(ORDER, ", ".join(folded(recorded)), ", ".join(folded(ours)))
        return
    for one, other in zip(objects_of(recorded), objects_of(ours), strict=True):
        yield from differences(one, other, ids)
    yield from _deltas(_by_piece(recorded), _by_piece(ours), ids)
    yield from _sums(Sums().all(recorded), Sums().all(ours), ids)
    if recorded[-1] != ours[-1]:
        yield Difference(ORDER, str(recorded[-1]), str(ours[-1]))


Pieces = dict[tuple[str, int], list[Json]]
"""Deltas by what they are of: the message or step, and the index in it."""


def _by_piece(stream: list[Event]) -> Pieces:
    found: Pieces = {}
    for name, data in stream:
        for piece in pieces_of(name, data):
            found.setdefault((data["id"], piece["index"]), []).append(data)
    return found


def _deltas(recorded: Pieces, ours: Pieces, ids: Ids) -> Iterator[Difference]:
    """The first delta of each piece has the keys and types of the recorded first one, the later ones of the later."""
    yield from differences([list(key) for key in recorded], [list(key) for key in ours], ids, "deltas")
    for one, other in zip(recorded.values(), ours.values(), strict=False):
        kind = one[0]["object"]
        if kind == "thread.run.step.delta":  # it says which call begins, and nothing of what is cut into pieces
            yield from differences(one[0], other[0], ids)
        yield from _shapes(f"{kind}, first", one[:1], other[:1])
        yield from _shapes(f"{kind}, later", one[1:], other[1:])


def _shapes(place: str, recorded: list[Json], ours: list[Json]) -> Iterator[Difference]:
    one, other = ({tuple(lines(delta)) for delta in deltas} for deltas in (recorded, ours))
    if one != other:
        yield Difference(place, str(sorted(one)), str(sorted(other)))


def _sums(recorded: Sums, ours: Sums, ids: Ids) -> Iterator[Difference]:
    for place, one, other in (
        ("sums of message deltas", recorded.contents, ours.contents),
        ("sums of step deltas", recorded.calls, ours.calls),
    ):
        yield from differences([*map(list, one.items())], [*map(list, other.items())], ids, place)
