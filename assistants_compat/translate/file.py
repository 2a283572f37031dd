"""Translates the rows of generated files into the file objects that the Files API served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire.objects import File


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
