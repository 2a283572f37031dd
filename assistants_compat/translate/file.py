"""Translates the rows of generated files into the file objects that the Files API served, and orders lists of files."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from ..wire.objects import File, Json


def file_from_row(row: Mapping[str, Any]) -> File:
    """Return a generated file as the Files API served it: purpose `assistants_output`, keys in the recorded order."""
    return {
        "object": "file",
        "id": row["id"],
        "purpose": "assistants_output",
        # Of a linked file the full path in the container, as on the service (platform.md section 7).
        "filename": row["body"]["filename"],
        "bytes": row["body"]["bytes"],
        "created_at": row["created_at"],
        "expires_at": None,
        "status": "processed" if row["stored"] else "error",
        "status_details": row["trouble"],
    }


def time_of_file(file: Mapping[str, Any]) -> int:
    """Return when a file was created, in seconds since the epoch; 0 if the server does not tell."""
    created_at = file.get("created_at")
    return int(created_at) if isinstance(created_at, (int, float)) else 0


def merged_by_time(generated: Sequence[File], others: Sequence[Json], *, descending: bool) -> list[Json]:
    """Merge two lists that have this order; a generated file counts as newer than another one of the same second."""
    newer: Sequence[Mapping[str, Any]] = generated
    lists = (newer, others) if descending else (others, newer)
    return [dict(file) for file in heapq.merge(*lists, key=time_of_file, reverse=descending)]


def files_after_time(files: Sequence[Json], created_at: int, *, descending: bool) -> list[Json]:
    """Return the files that follow a generated file of this time in a merged list."""
    return [
        file for file in files if (time_of_file(file) <= created_at if descending else time_of_file(file) > created_at)
    ]


def files_after_cursor(files: Sequence[Json], cursor: str) -> list[Json]:
    """Return the files that follow the one with this id; all if there is none."""
    place = next((number for number, file in enumerate(files, 1) if file.get("id") == cursor), 0)
    return list(files[place:])
