"""Recorded objects of the old service, imported and served again, field by field."""

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
from kit.legacy_code import raw

PATHS = {
    "assistant": "/assistants/{id}",
    "thread": "/threads/{id}",
    "thread.message": "/threads/{thread_id}/messages/{id}",
    "thread.run": "/threads/{thread_id}/runs/{id}",
    "thread.run.step": "/threads/{thread_id}/runs/{run_id}/steps/{id}"
    "?include[]=step_details.tool_calls[*].file_search.results[*].content",
}
COUNTED = {"assistant": 81, "thread": 14, "thread.message": 23, "thread.run": 25, "thread.run.step": 16}
# What is not served as it was recorded, by the object's kind and the key.
CHANGED = {
    ("assistant", "file_ids"),  # of the first version: tool resources now
    ("thread", "tool_resources"),  # an answer to POST shows fewer than one to GET
    ("thread.message", "file_ids"),  # as above: attachments
    ("thread.run", "file_ids"),
}
UNFINISHED = {"status", "expires_at", "required_action", "cancelled_at", "started_at"}


def _last(recordings: ModuleType) -> list[dict[str, Any]]:
    """Every recorded object as it was seen last."""
    last: dict[str, dict[str, Any]] = {}
    for _, _, calls in recorded_calls(recordings):
        for call in calls:
            for each in call.objects() if call.status == 200 else ():
                if each.get("object") in PATHS:
                    last[each["id"]] = each
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
    """Every field that was recorded, with its value, and valid by the description."""
    objects = _last(recordings)
    path = tmp_path / "recorded.json"
    path.write_text(json.dumps({"object": "list", "data": objects}), encoding="utf-8")
    told: list[str] = []
    done = import_objects(sqlite_settings, [path], lambda _place, why: told.append(why))
    assert told == []
    client = sync.client(upstream, sqlite_settings)
    compared: Counter[str] = Counter()
    for each in objects:
        kind = each["object"]
        ours = raw(sync, client, PATHS[kind].format(**each))
        check(SCHEMA_OF_OBJECT[kind], ours)
        ended = UNFINISHED if each["id"] in done.ended or each.get("status") == "in_progress" else set()
        for key, value in each.items():
            if (kind, key) not in CHANGED and key not in ended:
                assert ours[key] == value, (kind, key)
        compared[kind] += 1
    with capsys.disabled():
        print(f"\nrecorded objects: {dict(compared)} back")  # noqa: T201
    assert compared == COUNTED
