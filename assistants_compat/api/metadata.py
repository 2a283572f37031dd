"""Merges the metadata of an update into an object's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire import checks
from ..wire.objects import Json


def updated_metadata(current: Mapping[str, Any], given: Mapping[str, Any]) -> Json:
    """Return `{"metadata": ...}` after an update of the object `current` with the fields `given`; empty without any.

    The given keys are added or change their values. Null empties the metadata, and is the only way to remove keys: the
    spec takes null for the whole, and only strings, also empty ones, for a value. Raises `ApiError` (400) if together
    there are more keys than an object may have.

    No recording shows an update of an object that had other keys. A public suite that also ran against the real service
    changed its expectations from replacing to merging on 2024-05-08, and merging loses no data.
    """
    if "metadata" not in given:
        return {}
    if given["metadata"] is None:
        return {"metadata": {}}
    merged = {**(current.get("metadata") or {}), **given["metadata"]}
    checks.metadata(merged, "metadata")
    return {"metadata": merged}
