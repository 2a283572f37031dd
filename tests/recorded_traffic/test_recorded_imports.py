"""Imported objects of the old service are served again as they were recorded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from legacy_calls import recorded_calls
from platform_schemas import SCHEMA_OF_OBJECT

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from assistants_compat.tools.transfer.import_objects import import_objects
from kit.doors import Door
from kit.legacy_code import get_raw

PATHS = {
    "assistant": "/assistants/{id}",
    "thread": "/threads/{id}",
    "thread.message": "/threads/{thread_id}/messages/{id}",
    "thread.run": "/threads/{thread_id}/runs/{id}",
    "thread.run.step": "/threads/{thread_id}/runs/{run_id}/steps/{id}"
    "?include[]=step_details.tool_calls[*].file_search.results[*].content",
}
COUNTED = {"assistant": 81, "thread": 14, "thread.message": 23, "thread.run": 25, "thread.run.step": 16}
# Fields that are not served as recorded, by the object's kind and the key.
CHANGED = {
    ("assistant", "file_ids"),  # API version 1; now tool resources
    ("thread", "tool_resources"),  # the service's answers to POST show fewer than those to GET
    ("thread.message", "file_ids"),  # API version 1; now attachments
    ("thread.run", "file_ids"),
}
UNFINISHED = {"status", "expires_at", "required_action", "cancelled_at", "started_at"}


def _last_seen(recordings: ModuleType) -> list[dict[str, Any]]:
    """Return every recorded object as it was seen last."""
    last: dict[str, dict[str, Any]] = {}
    for _, _, calls in recorded_calls(recordings):
        for call in calls:
            for entry in call.objects() if call.status == 200 else ():
                if entry.get("object") in PATHS:
                    last[entry["id"]] = entry
    return list(last.values())


def test_recorded_objects_come_back_field_by_field(
    recordings: ModuleType,
    sync: Door,
    upstream: StandIn,
    sqlite_settings: Settings,
    tmp_path: Path,
    check: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every recorded field of an imported object is served with its value, and the object fits the spec."""
    objects = _last_seen(recordings)
    path = tmp_path / "recorded.json"
    path.write_text(json.dumps({"object": "list", "data": objects}), encoding="utf-8")
    errors: list[str] = []
    imported = import_objects(sqlite_settings, [path], lambda _place, why: errors.append(why))
    assert errors == []
    client = sync.client(upstream, sqlite_settings)
    compared: Counter[str] = Counter()
    for entry in objects:
        kind = entry["object"]
        ours = get_raw(sync, client, PATHS[kind].format(**entry))
        check(SCHEMA_OF_OBJECT[kind], ours)
        changed_by_end = UNFINISHED if entry["id"] in imported.ended or entry.get("status") == "in_progress" else set()
        for key, value in entry.items():
            if (kind, key) not in CHANGED and key not in changed_by_end:
                assert ours[key] == value, (kind, key)
        compared[kind] += 1
    with capsys.disabled():
        print(f"\nrecorded objects: {dict(compared)} back")  # noqa: T201
    assert compared == COUNTED
