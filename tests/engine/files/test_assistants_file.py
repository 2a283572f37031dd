"""A file of assistants is loaded when a program starts and serves them under their old ids."""

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
from kit.legacy_code import dump_store

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
    """Return a client of a process that has just started and reads this file."""
    path.write_text(text, encoding="utf-8")
    assistants_file._loaded_files.clear()
    return door.client(upstream, dataclasses.replace(settings, assistants=str(path)))


@pytest.mark.parametrize("suffix", ["toml", "yaml", "json"])
def test_assistants_of_a_file_exist_from_the_first_request(
    door: Door, upstream: StandIn, settings: Settings, tmp_path: Path, suffix: str
) -> None:
    """A TOML, YAML or JSON file serves an assistant under its old id, like one that a program created."""
    if suffix == "toml":
        pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
    if suffix == "yaml":
        pytest.importorskip("yaml", reason="PyYAML is not installed")
    text = {"toml": TOML, "yaml": YAML, "json": json.dumps({ID: FIELDS})}[suffix]
    client = _client(door, upstream, settings, tmp_path / f"assistants.{suffix}", text)
    from_file = door(client.beta.assistants.retrieve(ID))
    created = door(client.beta.assistants.create(**FIELDS))
    ignored = {"id": None, "created_at": None}
    assert from_file.model_dump() | ignored == created.model_dump() | ignored


def test_only_a_changed_file_is_applied_at_the_next_start(
    door: Door, upstream: StandIn, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An unchanged file keeps a program's update and logs a warning; a changed file is applied at the next start."""
    path = tmp_path / "assistants.json"
    client = _client(door, upstream, settings, path, json.dumps({ID: FIELDS}))
    door(client.beta.assistants.update(ID, name="Changed"))
    before = dump_store(settings)["assistants"]
    with caplog.at_level(logging.WARNING, "assistants_compat"):
        client = _client(door, upstream, settings, path, json.dumps({ID: FIELDS}, indent=1))
        assert door(client.beta.assistants.retrieve(ID)).name == "Changed"
    assert caplog.messages == [
        f"assistant {ID} was changed since assistants.json was applied; the changed fields are kept: name"
    ]
    assert dump_store(settings)["assistants"] == before
    client = _client(door, upstream, settings, path, json.dumps({ID: {**FIELDS, "model": "gpt-4o"}}))
    served = door(client.beta.assistants.retrieve(ID))
    assert (served.name, served.model) == ("Analyst", "gpt-4o")
    path.write_text("{", encoding="utf-8")  # the file is read once per process
    assert door(client.beta.assistants.retrieve(ID)).model == "gpt-4o"


def test_a_deleted_assistant_stays_deleted(door: Door, upstream: StandIn, settings: Settings, tmp_path: Path) -> None:
    """A changed file does not recreate an assistant that a program has deleted."""
    path = tmp_path / "assistants.json"
    client = _client(door, upstream, settings, path, json.dumps({ID: FIELDS}))
    door(client.beta.assistants.delete(ID))
    client = _client(door, upstream, settings, path, json.dumps({ID: {**FIELDS, "name": "New"}}))
    with pytest.raises(openai.NotFoundError):
        door(client.beta.assistants.retrieve(ID))


INVALID_FILES = {
    "a field": ({ID: {**FIELDS, "temperature": "hot"}}, f"{ID}: Invalid type for 'temperature': expected a decimal"),
    "a key": ({ID: {**FIELDS, "colour": "red"}}, f"{ID}: Unknown parameter: 'colour'."),
    "no model": ({ID: {"name": "x"}}, f"{ID}: Missing required parameter: 'model'."),
    "an id": ({"thread_x": FIELDS}, "'thread_x' is not an assistant id"),
    "a list": ([FIELDS], "expected a table that maps ids (asst_...) to assistants, not list"),
    "no table": ({ID: "x"}, f"{ID}: expected a table of fields, not str"),
    "stores": (
        {ID: {**FIELDS, "tools": [{"type": "file_search"}],
              "tool_resources": {"file_search": {"vector_stores": [{"file_ids": []}]}}}},
        f"{ID}: it requests a new vector store: create the store first",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID_FILES)
def test_an_error_in_a_file_names_the_assistant_and_the_field(
    door: Door, upstream: StandIn, settings: Settings, tmp_path: Path, name: str
) -> None:
    """An invalid file fails every request with a message that names the field, until the file is fixed."""
    value, expected = INVALID_FILES[name]
    path = tmp_path / "assistants.json"
    client = _client(door, upstream, settings, path, json.dumps(value))
    with pytest.raises(openai.APIStatusError) as caught:
        door(client.beta.assistants.list())
    body: Any = caught.value.body
    assert expected in body["message"]
    assert (caught.value.status_code, body["code"]) == (500, "settings_error")
    assert dump_store(settings)["assistants"] == []
    path.write_text(json.dumps({ID: FIELDS}), encoding="utf-8")
    assert door(client.beta.assistants.retrieve(ID)).name == "Analyst"


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.toml", "[asst_x"), ("a.yaml", "a: [b"), ("a.json", "{"), ("a.ini", "x"),
     ("a.yaml", f"{ID}:\n  model: 2020-01-01"),
     ("a.toml", f"[{ID}]\nmodel = nan"), ("a.json", "\ud800".encode("utf-8", "surrogatepass"))],
)  # fmt: skip
def test_an_unreadable_file_is_a_settings_error(tmp_path: Path, name: str, text: str | bytes) -> None:
    """A file that cannot be parsed or read raises a `SettingsError` of one line."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError, match=r"^[^\n]+$"):
        assistants_file.read_assistants_file(path)
    path.unlink()
    with pytest.raises(SettingsError, match=r"cannot be read: No such file"):
        assistants_file.read_assistants_file(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", f'[{ID}]\nmodel = "a"\n[{ID}]\nmodel = "b"'),
        ("a.yaml", f"{ID}: {{model: a}}\n{ID}: {{model: b}}"),
        ("a.json", f'{{"{ID}": {{"model": "a"}}, "{ID}": {{"model": "b"}}}}'),
    ],
)
def test_an_assistant_id_that_occurs_twice_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """A file that defines one assistant id twice cannot be parsed, in each of the three formats."""
    pytest.importorskip({"toml": "tomllib", "yaml": "yaml", "json": "json"}[name[2:]])
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"a\.[a-z]+ cannot be parsed: "):
        assistants_file.read_assistants_file(tmp_path / name)
