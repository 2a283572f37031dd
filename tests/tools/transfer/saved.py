"""Saved objects as the old API served them, and helpers for tests of import and export."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from assistants_compat import Settings
from assistants_compat.tools.transfer.export_objects import export
from assistants_compat.tools.transfer.import_objects import ImportResult, import_objects
from kit.files import directory_contents
from kit.legacy_code import dump_store

ASSISTANT = {
    "id": "asst_old", "object": "assistant", "created_at": 1_700_000_000, "name": "Old", "description": None,
    "model": "gpt-4o", "instructions": "Help.", "tools": [{"type": "code_interpreter"}], "top_p": 1.0,
    "temperature": 1.0, "reasoning_effort": None, "tool_resources": {"code_interpreter": {"file_ids": []}},
    "metadata": {"team": "a"}, "response_format": "auto",
}  # fmt: skip
THREAD = {
    "id": "thread_old", "object": "thread", "created_at": 1_700_000_001, "metadata": {"user": "7"},
    "tool_resources": {"code_interpreter": {"file_ids": ["file-old"]}},
}  # fmt: skip
RUN = {
    "id": "run_old", "object": "thread.run", "created_at": 1_700_000_003, "assistant_id": "asst_old",
    "thread_id": "thread_old", "status": "completed", "started_at": 1_700_000_003, "expires_at": None,
    "cancelled_at": None, "failed_at": None, "completed_at": 1_700_000_009, "required_action": None,
    "last_error": None, "model": "gpt-4o", "instructions": "Help.", "tools": [{"type": "code_interpreter"}],
    "tool_resources": {}, "metadata": {}, "temperature": 1.0, "top_p": 1.0, "reasoning_effort": None,
    "max_completion_tokens": None, "max_prompt_tokens": None,
    "truncation_strategy": {"type": "auto", "last_messages": None}, "incomplete_details": None,
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
              "prompt_token_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}},
    "response_format": "auto", "tool_choice": "auto", "parallel_tool_calls": True,
}  # fmt: skip
STEP = {
    "id": "step_old", "object": "thread.run.step", "created_at": 1_700_000_004, "run_id": "run_old",
    "assistant_id": "asst_old", "thread_id": "thread_old", "type": "message_creation", "status": "completed",
    "cancelled_at": None, "completed_at": 1_700_000_009, "expires_at": None, "failed_at": None, "last_error": None,
    "step_details": {"type": "message_creation", "message_creation": {"message_id": "msg_2"}},
    "usage": None, "expired_at": None, "metadata": {},
}  # fmt: skip


def message(number: int, **more: Any) -> dict[str, Any]:
    """Return a saved message of the thread `thread_old`; even numbers are the assistant's."""
    text = {"value": f"Text {number}.", "annotations": []}
    return {
        "id": f"msg_{number}", "object": "thread.message", "created_at": 1_700_000_002 + number,
        "assistant_id": None, "thread_id": "thread_old", "run_id": None, "status": "completed",
        "incomplete_details": None, "incomplete_at": None, "completed_at": None,
        "role": "user" if number % 2 else "assistant", "content": [{"type": "text", "text": text}],
        "attachments": [], "metadata": {}, **more,
    }  # fmt: skip


MESSAGES = [message(1), message(2, run_id="run_old", assistant_id="asst_old"), message(3)]
ALL = [ASSISTANT, THREAD, *MESSAGES, RUN, STEP]


def page(objects: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return a page as the old API served it, of objects that are newest first."""
    data = list(objects)
    return {"object": "list", "data": data, "first_id": data[0]["id"], "last_id": data[-1]["id"], "has_more": False}


def write_lines(path: Path, objects: Iterable[Any]) -> Path:
    """Write a file of JSON lines and return its path."""
    path.write_text("".join(json.dumps(saved_object) + "\n" for saved_object in objects), encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write a file with one JSON document and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    return path


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    """Return rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def import_paths(settings: Settings, *paths: Path, **options: Any) -> tuple[ImportResult, list[str]]:
    """Import paths; return the result, and the lines about objects that could not be imported."""
    problems: list[str] = []
    result = import_objects(
        settings, paths, lambda place, why: problems.append(f"{Path(place).name}: {why}"), **options
    )
    return result, problems


def stored_rows(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Return all stored rows in order, without the numbers of that order."""
    return {
        name: [{**row, "seq": 0, "namespace": ""} for row in stored_rows]
        for name, stored_rows in dump_store(settings).items()
    }


def export_files(settings: Settings, directory: Path) -> dict[str, bytes]:
    """Export a store and return all files of the export by name, those of generated files included."""
    export(settings, directory)
    files = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    return {**files, **directory_contents(directory / "files")}
