"""Items that the upstream would have to look up go as text where it keeps nothing."""

from __future__ import annotations

from typing import Any

from assistants_compat.translate.code_outputs import lacks_code_outputs
from assistants_compat.translate.replay import replayable_items, without_reasoning

USER = {"role": "user", "content": "Hello."}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "1"}
CODE = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "x = 1", "outputs": []}


def reasoning(content: str | None = "gAAA") -> dict[str, Any]:
    """Return a reasoning item, encrypted or not."""
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": content}


def test_stored_items_stay_as_they_are() -> None:
    """Where the upstream keeps responses, everything is sent as it was."""
    items = [USER, reasoning(None), CODE, reasoning(), CALL, OUTPUT]
    assert replayable_items(items, stored=True) == items


def test_encrypted_reasoning_stays_before_its_item_only() -> None:
    """Before a function call or a message it is sent; before code, or at the end, it has lost its item."""
    assert replayable_items([reasoning(), CALL, OUTPUT], stored=False) == [reasoning(), CALL, OUTPUT]
    assert replayable_items([USER, reasoning(), CODE, reasoning()], stored=False) == [
        USER,
        {"role": "assistant", "content": "I ran this Python code:\n\n```python\nx = 1\n```"},
    ]


def test_reasoning_that_is_not_encrypted_goes_with_the_ids_after_it() -> None:
    """Nobody keeps it, and an id would ask for it."""
    without = {key: value for key, value in CALL.items() if key != "id"}
    assert replayable_items([reasoning(None), CALL, OUTPUT], stored=False) == [without, OUTPUT]
    assert without_reasoning([reasoning(), CALL, OUTPUT]) == [without, OUTPUT]


def test_what_a_search_found_goes_as_text() -> None:
    """Its results are sent with their file names; a search without results says nothing."""
    search = {"type": "file_search_call", "id": "fs_1", "queries": ["sales"], "results": None}
    found = {**search, "results": [{"filename": "a.txt", "text": "North 10."}]}
    assert replayable_items([search], stored=False) == []
    [text] = replayable_items([found], stored=False)
    assert text == {
        "role": "assistant",
        "content": 'I searched the files for "sales" and found:\n\na.txt:\nNorth 10.',
    }


def test_outputs_are_missing_only_if_code_says_that_there_are_some() -> None:
    """Code that prints nothing has none either, and outputs that nobody asked for are null."""
    assert lacks_code_outputs({"output": [{**CODE, "code": "print(1)"}]})
    assert lacks_code_outputs({"output": [{**CODE, "code": "plt.show()"}]})
    assert not lacks_code_outputs({"output": [{**CODE, "code": "print(1)", "outputs": None}]})
    assert not lacks_code_outputs({"output": [CODE]})
    assert not lacks_code_outputs(
        {"output": [{**CODE, "code": "print(1)", "outputs": [{"type": "logs", "logs": "1"}]}]}
    )
    assert not lacks_code_outputs({"output": []})
