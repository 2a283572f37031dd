"""Imported objects of the old service are served again as they were recorded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import openai.types.beta
import openai.types.beta.threads
import openai.types.beta.threads.runs
import pytest
from legacy_calls import recorded_calls
from openai._models import construct_type
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


MODELS = {
    "assistant": openai.types.beta.Assistant,
    "thread": openai.types.beta.Thread,
    "thread.message": openai.types.beta.threads.Message,
    "thread.run": openai.types.beta.threads.Run,
    "thread.run.step": openai.types.beta.threads.runs.RunStep,
}
# What a program may have saved of an object that the SDK gave it.
SAVED: dict[str, Callable[[Any], Any]] = {
    "the body of the answer": lambda entry: entry,
    "model_dump": lambda entry: _model(entry).model_dump(),
    "model_dump_json": lambda entry: json.loads(_model(entry).model_dump_json()),
    "to_dict": lambda entry: _model(entry).to_dict(),
    "to_dict with the names of attributes": lambda entry: _model(entry).to_dict(use_api_names=False),
}


def _model(entry: dict[str, Any]) -> Any:
    """Return an object as the SDK gives it to a program."""
    return construct_type(type_=MODELS[entry["object"]], value=entry)


@pytest.mark.parametrize("form", SAVED)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the SDK does not check what it dumps
def test_recorded_objects_come_back_field_by_field(
    form: str,
    recordings: ModuleType,
    sync: Door,
    upstream: StandIn,
    sqlite_settings: Settings,
    tmp_path: Path,
    check: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every recorded field of an object is served with its value, and fits the spec, however the SDK saved it."""
    objects = _last_seen(recordings)
    path = tmp_path / "recorded.json"
    saved = [SAVED[form](entry) for entry in objects]
    path.write_text(json.dumps({"object": "list", "data": saved}), encoding="utf-8")
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
        print(f"\nrecorded objects saved as {form}: {dict(compared)} back")  # noqa: T201
    assert compared == COUNTED
