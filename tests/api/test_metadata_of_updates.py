"""An update merges the metadata that it is given into that of an assistant, thread, message or run."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import Settings
from kit.doors import Door
from kit.legacy_code import dump_store, finish_run

NOUNS = ("assistant", "thread", "message", "run")
GIVEN = {"user": "u1", "stage": "draft"}


@pytest.fixture
def paths(door: Door, client: Any) -> dict[str, str]:
    """The path of one object of each kind, with the metadata of `GIVEN`."""
    run = finish_run(door, client, assistant={"metadata": GIVEN}, metadata=GIVEN)
    thread = f"/threads/{run.thread_id}"
    message = door.all(client.beta.threads.messages.list(run.thread_id))[0]
    paths = {
        "assistant": f"/assistants/{run.assistant_id}",
        "thread": thread,
        "message": f"{thread}/messages/{message.id}",
        "run": f"{thread}/runs/{run.id}",
    }
    for path in paths.values():
        post(door, client, path, metadata=GIVEN)
    return paths


def post(door: Door, client: Any, path: str, **body: Any) -> Any:
    """Update an object and return its metadata as the store has it afterwards."""
    answer = door(client.post(path, body=body, cast_to=dict[str, Any]))
    served = door(client.get(path, cast_to=dict[str, Any]))
    assert answer["metadata"] == served["metadata"]
    return served["metadata"]


@pytest.mark.parametrize("noun", NOUNS)
def test_an_update_merges_metadata(door: Door, client: Any, paths: dict[str, str], noun: str) -> None:
    """Keys that an update does not name keep their values; an empty object and no object change nothing."""
    path = paths[noun]
    assert post(door, client, path, metadata={"stage": "final", "by": "ann"}) == {
        "user": "u1",
        "stage": "final",
        "by": "ann",
    }
    assert post(door, client, path, metadata={"by": ""}) == {"user": "u1", "stage": "final", "by": ""}
    assert post(door, client, path, metadata={}) == {"user": "u1", "stage": "final", "by": ""}
    assert post(door, client, path) == {"user": "u1", "stage": "final", "by": ""}


@pytest.mark.parametrize("noun", NOUNS)
def test_null_empties_metadata(door: Door, client: Any, paths: dict[str, str], noun: str) -> None:
    """Null removes all keys, and a null value of one key is refused, because the spec takes strings alone."""
    with pytest.raises(openai.BadRequestError, match=r"Invalid type for 'metadata\.user': expected a string"):
        post(door, client, paths[noun], metadata={"user": None})
    assert post(door, client, paths[noun]) == GIVEN
    assert post(door, client, paths[noun], metadata=None) == {}
    assert post(door, client, paths[noun], metadata={"new": "1"}) == {"new": "1"}


@pytest.mark.parametrize("noun", NOUNS)
def test_merged_metadata_has_the_old_limit(
    door: Door, client: Any, settings: Settings, paths: dict[str, str], noun: str
) -> None:
    """An update that would leave more than 16 keys is refused and changes nothing."""
    post(door, client, paths[noun], metadata={f"k{number}": "" for number in range(14)})
    before = dump_store(settings)
    with pytest.raises(openai.BadRequestError, match="at most 16 properties, but got an object with 17 properties"):
        post(door, client, paths[noun], metadata={"one": "1"})
    assert dump_store(settings) == before
    assert post(door, client, paths[noun], metadata={"k1": "changed"})["k1"] == "changed"
