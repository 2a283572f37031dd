"""Merges the metadata of an update into an object's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire import checks
from ..wire.objects import Json


def merged_metadata(current: Mapping[str, str] | None, given: Mapping[str, str] | None) -> Json:
    """Return an object's metadata after an update with `given`, whose keys are added or change their values.

    Null empties the metadata, and is the only way to remove keys: the spec takes null for the whole, and only strings,
    also empty ones, for a value. Raises `ApiError` (400) if together there are more keys than an object may have.

    No recording shows an update of an object that had other keys. A public suite that also ran against the real service
    changed its expectations from replacing to merging on 2024-05-08, and merging loses no data.
    """
    if given is None:
        return {}
    merged = {**(current or {}), **given}
    checks.metadata(merged, "metadata")
    return merged


def with_merged_metadata(fields: Json, current: Mapping[str, Any]) -> Json:
    """Return the fields of an update, with their metadata, if they have any, merged into that of the object."""
    if "metadata" not in fields:
        return fields
    return {**fields, "metadata": merged_metadata(current.get("metadata"), fields["metadata"])}
