"""Generated files as they are served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire.objects import File


def file_from_row(row: Mapping[str, Any]) -> File:
    """A generated file as the Files API served it: purpose `assistants_output`, key order as recorded."""
    return {
        "object": "file",
        "id": row["id"],
        "purpose": "assistants_output",
        "filename": row["body"]["filename"],
        "bytes": row["body"]["bytes"],
        "created_at": row["created_at"],
        "expires_at": None,
        "status": "processed" if row["stored"] else "error",
        "status_details": row["trouble"],
    }
