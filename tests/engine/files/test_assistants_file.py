"""Assistants as code: a file of them, loaded when a program begins."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import openai
import pytest

from assistants_compat import Settings, SettingsError
from assistants_compat.engine.saved import assistants_file
from assistants_compat.testing import StandIn
from kit.doors import Door
from kit.legacy_code import dump

ID = "asst_abc123"
FIELDS = {"name": "Analyst", "model": "gpt-4.1", "tools": [{"type": "code_interpreter"}], "temperature": 0.5}
TOML = f"""
[{ID}]
name = "Analyst"
model = "gpt-4.1"
temperature = 0.5
tools = [{{type = "code_interpreter"}}]
"""
YAML = f"""
{ID}:
  name: Analyst
  model: gpt-4.1
  temperature: 0.5
  tools:
    - type: code_interpreter
"""


def _client(door: Door, upstream: StandIn, settings: Settings, path: Path, text: str) -> Any:
    """A client of a process that has just begun, with this file."""
    path.write_text(text, encoding="utf-8")
    assistants_file._loaded.clear()
    return door.client(upstream, dataclasses.replace(settings, assistants=str(path)))


@pytest.mark.parametrize("suffix", ["toml", "yaml", "json"])
def test_a_file_of_assistants_is_there_from_the_first_request(
    door: Door, upstream: StandIn, settings: Settings, tmp_path: Path, suffix: str
) -> None:
    """With its old id, in each of three formats, and served like one that was created."""
    if suffix == "toml":
        pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
    if suffix == "yaml":
        pytest.importorskip("yaml", reason="PyYAML is not installed")
    text = {"toml": TOML, "yaml": YAML, "json": json.dumps({ID: FIELDS})}[suffix]
    client = _client(door, upstream, settings, tmp_path / f"assistants.{suffix}", text)
    given = door(client.beta.assistants.retrieve(ID))
    made = door(client.beta.assistants.create(**FIELDS))
    same = {"id": None, "created_at": None}
    assert given.model_dump() | same == made.model_dump() | same


def test_a_change_of_the_file_is_applied_at_the_next_start_and_nothing_else_is(
    door: Door, upstream: StandIn, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a program changed stays while the file says the same, with a warning; then the file counts again."""
    path = tmp_path / "assistants.json"
    client = _client(door, upstream, settings, path, json.dumps({ID: FIELDS}))
    door(client.beta.assistants.update(ID, name="Changed"))
    before = dump(settings)["assistants"]
    with caplog.at_level(logging.WARNING, "assistants_compat"):
        client = _client(door, upstream, settings, path, json.dumps({ID: FIELDS}, indent=1))
        assert door(client.beta.assistants.retrieve(ID)).name == "Changed"
    assert caplog.messages == [f"assistant {ID} is not as assistants.json says, somebody changed: name"]
    assert dump(settings)["assistants"] == before
    client = _client(door, upstream, settings, path, json.dumps({ID: {**FIELDS, "model": "gpt-4o"}}))
    now = door(client.beta.assistants.retrieve(ID))
    assert (now.name, now.model) == ("Analyst", "gpt-4o")
    path.write_text("{", encoding="utf-8")  # it is read once
    assert door(client.beta.assistants.retrieve(ID)).model == "gpt-4o"


def test_a_deleted_assistant_stays_deleted(door: Door, upstream: StandIn, settings: Settings, tmp_path: Path) -> None:
    """The file does not bring back what a program has deleted."""
    path = tmp_path / "assistants.json"
    client = _client(door, upstream, settings, path, json.dumps({ID: FIELDS}))
    door(client.beta.assistants.delete(ID))
    client = _client(door, upstream, settings, path, json.dumps({ID: {**FIELDS, "name": "New"}}))
    with pytest.raises(openai.NotFoundError):
        door(client.beta.assistants.retrieve(ID))


WRONG = {
    "a field": ({ID: {**FIELDS, "temperature": "hot"}}, f"{ID}: Invalid type for 'temperature': expected a decimal"),
    "a key": ({ID: {**FIELDS, "colour": "red"}}, f"{ID}: Unknown parameter: 'colour'."),
    "no model": ({ID: {"name": "x"}}, f"{ID}: Missing required parameter: 'model'."),
    "an id": ({"thread_x": FIELDS}, "'thread_x' is no id of an assistant"),
    "a list": ([FIELDS], "a table of assistants by their ids is needed"),
    "no table": ({ID: "x"}, f"{ID}: it is no table"),
    "stores": (
        {ID: {**FIELDS, "tools": [{"type": "file_search"}],
              "tool_resources": {"file_search": {"vector_stores": [{"file_ids": []}]}}}},
        f"{ID}: it wants a vector store that has still to be made",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_file_is_said_with_its_assistant_and_field(
    door: Door, upstream: StandIn, settings: Settings, tmp_path: Path, name: str
) -> None:
    """Every request of ours is refused in these words, nothing of the file is applied, and mending it is enough."""
    value, words = WRONG[name]
    path = tmp_path / "assistants.json"
    client = _client(door, upstream, settings, path, json.dumps(value))
    with pytest.raises(openai.APIStatusError) as caught:
        door(client.beta.assistants.list())
    body: Any = caught.value.body
    assert words in body["message"]
    assert (caught.value.status_code, body["code"]) == (500, "settings_error")
    assert dump(settings)["assistants"] == []
    path.write_text(json.dumps({ID: FIELDS}), encoding="utf-8")
    assert door(client.beta.assistants.retrieve(ID)).name == "Analyst"


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.toml", "[asst_x"), ("a.yaml", "a: [b"), ("a.json", "{"), ("a.ini", "x"),
     ("a.yaml", f"{ID}:\n  model: 2020-01-01"),
     ("a.toml", f"[{ID}]\nmodel = nan"), ("a.json", "\ud800".encode("utf-8", "surrogatepass"))],
)  # fmt: skip
def test_a_file_that_cannot_be_understood_is_said_so(tmp_path: Path, name: str, text: str | bytes) -> None:
    """With its name, in one line."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError, match=r"^[^\n]+$"):
        assistants_file.read(path)
    path.unlink()
    with pytest.raises(SettingsError, match=r"cannot be read: No such file"):
        assistants_file.read(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", f'[{ID}]\nmodel = "a"\n[{ID}]\nmodel = "b"'),
        ("a.yaml", f"{ID}: {{model: a}}\n{ID}: {{model: b}}"),
        ("a.json", f'{{"{ID}": {{"model": "a"}}, "{ID}": {{"model": "b"}}}}'),
    ],
)
def test_an_assistant_that_stands_there_twice_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """Nobody could say which of them was meant."""
    pytest.importorskip({"toml": "tomllib", "yaml": "yaml", "json": "json"}[name[2:]])
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"a\.[a-z]+ cannot be understood: "):
        assistants_file.read(tmp_path / name)
