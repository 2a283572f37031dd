"""Compares a recorded legacy stream with ours to the same request, event by event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from legacy_calls import objects_of
from legacy_differences import Difference, Ids, differences
from recorded_streams import Event, fold_deltas, shape_lines

from kit.stream_deltas import DeltaSums, pieces_of

Json = dict[str, Any]

ORDER = "a stream"


def stream_differences(recorded: Iterable[Event], ours: Iterable[Event], ids: Ids) -> Iterator[Difference]:
    """Yield every difference in order, complete objects, shapes of deltas and sums of deltas."""
    recorded, ours = list(recorded), list(ours)
    if fold_deltas(recorded) != fold_deltas(ours):
        yield Difference(ORDER, ", ".join(fold_deltas(recorded)), ", ".join(fold_deltas(ours)))
        return
    for recorded_object, our_object in zip(objects_of(recorded), objects_of(ours), strict=True):
        yield from differences(recorded_object, our_object, ids)
    yield from _delta_differences(_by_piece(recorded), _by_piece(ours), ids)
    yield from _sum_differences(DeltaSums().add_all(recorded), DeltaSums().add_all(ours), ids)
    if recorded[-1] != ours[-1]:
        yield Difference(ORDER, str(recorded[-1]), str(ours[-1]))


Pieces = dict[tuple[str, int], list[Json]]
"""Deltas by the id of their message or step and the index in it."""


def _by_piece(stream: list[Event]) -> Pieces:
    deltas: Pieces = {}
    for name, data in stream:
        for piece in pieces_of(name, data):
            deltas.setdefault((data["id"], piece["index"]), []).append(data)
    return deltas


def _delta_differences(recorded: Pieces, ours: Pieces, ids: Ids) -> Iterator[Difference]:
    """Compare the first delta of each piece with the recorded first one, and later ones with later ones."""
    yield from differences([list(key) for key in recorded], [list(key) for key in ours], ids, "deltas")
    for recorded_deltas, our_deltas in zip(recorded.values(), ours.values(), strict=False):
        kind = recorded_deltas[0]["object"]
        if kind == "thread.run.step.delta":  # the first names the call and holds no streamed text
            yield from differences(recorded_deltas[0], our_deltas[0], ids)
        yield from _shape_differences(f"{kind}, first", recorded_deltas[:1], our_deltas[:1])
        yield from _shape_differences(f"{kind}, later", recorded_deltas[1:], our_deltas[1:])


def _shape_differences(path: str, recorded: list[Json], ours: list[Json]) -> Iterator[Difference]:
    recorded_shapes, our_shapes = ({tuple(shape_lines(delta)) for delta in deltas} for deltas in (recorded, ours))
    if recorded_shapes != our_shapes:
        yield Difference(path, str(sorted(recorded_shapes)), str(sorted(our_shapes)))


def _sum_differences(recorded: DeltaSums, ours: DeltaSums, ids: Ids) -> Iterator[Difference]:
    for path, recorded_sums, our_sums in (
        ("sums of message deltas", recorded.contents, ours.contents),
        ("sums of step deltas", recorded.calls, ours.calls),
    ):
        yield from differences([*map(list, recorded_sums.items())], [*map(list, our_sums.items())], ids, path)
