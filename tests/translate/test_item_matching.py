"""An item of a finished response is recognized among the streamed items, whatever a gateway did to its id and place."""

from __future__ import annotations

from typing import Any

import pytest

from assistants_compat.translate.item_matching import StreamedItem, indexes_of_output
from assistants_compat.translate.response_events import events_from_response
from assistants_compat.translate.run import run_from_request
from assistants_compat.translate.run_events import RunEvents
from kit.response_streams import counting_ids

Json = dict[str, Any]


def message(id_: str | None, text: str) -> Json:
    """Return a message as an output item."""
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": id_, "status": "completed", "content": [part]}


def call(id_: str, call_id: str) -> Json:
    """Return a function call as an output item."""
    return {"type": "function_call", "id": id_, "call_id": call_id, "name": "f", "arguments": "{}"}


REASONING = {"type": "reasoning", "id": "rs_1"}
HELLO, MORE = StreamedItem("message", "msg_1", "Hello."), StreamedItem("message", "msg_2", "More.")
CALL = StreamedItem("function_call", "fc_1", "call_1")
CASES: dict[str, tuple[list[Json], dict[int, StreamedItem], list[int]]] = {
    "as the API": ([message("msg_1", "Hello."), call("fc_1", "call_1")], {0: HELLO, 1: CALL}, [0, 1]),
    "another place": ([message("msg_1", "Hello.")], {3: HELLO}, [3]),
    "exchanged": ([message("msg_2", "More."), message("msg_1", "Hello.")], {0: HELLO, 1: MORE}, [1, 0]),
    "other ids": ([message("a", "Hello."), message("b", "More.")], {0: HELLO, 1: MORE}, [0, 1]),
    "other ids, exchanged": ([message("a", "More."), message("b", "Hello.")], {0: HELLO, 1: MORE}, [1, 0]),
    "other id and text": ([message("a", "Bye.")], {0: HELLO}, [0]),
    "nothing but the type": ([message("a", "Bye.")], {4: HELLO}, [4]),
    "still open": ([REASONING, message("a", "Hello.")], {0: StreamedItem("message", None, "Hel")}, [-1, 0]),
    "a second one before": ([message("a", "Bye."), message("msg_1", "Hello.")], {0: HELLO}, [-1, 0]),
    "a second one after": ([message("msg_1", "Hello."), message("a", "Bye.")], {0: HELLO}, [0, 1]),
    "another type": ([call("fc_1", "call_1")], {0: HELLO}, [-1]),
    "another call": ([call("fc_2", "call_2")], {0: CALL}, [-1]),
    "the same call": ([REASONING, call("fc_2", "call_1")], {0: CALL}, [-1, 0]),
    "equal texts": ([message("a", "Hello."), message("b", "Hello.")], {0: HELLO, 1: HELLO}, [0, 1]),
    "nothing streamed": ([REASONING, message("a", "Hello.")], {}, [0, 1]),
}


@pytest.mark.parametrize("name", CASES)
def test_items_are_matched_by_id_then_content_then_place(name: str) -> None:
    """Each output item gets the index of the streamed item that it is, or one that is free."""
    output, streamed, expected = CASES[name]
    indexes = indexes_of_output(output, streamed)
    assert [indexes[position] for position in range(len(output))] == expected


def test_files_without_a_link_go_to_the_last_message_of_a_response() -> None:
    """In a response that is told at its end, the last message gets the files that no text links, as in a polled run."""
    code = {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "code": "1", "container_id": "c"}
    output = [code, message("msg_1", "First."), message("msg_2", "Last.")]
    run = run_from_request("run_1", "thread_1", 100, {"assistant_id": "asst_1"}, {"model": "gpt-4o"}, ttl=600)
    translator = RunEvents(run, counting_ids())
    translator.reader.container_files = [{"id": "cfile_1", "container_id": "c", "path": "/mnt/data/a.csv", "bytes": 1}]
    for event in events_from_response({"id": "resp_1", "status": "completed", "output": output}):
        translator.feed(event, 200)
    assert [len(message["attachments"]) for message in translator.reader.outcome.messages] == [0, 1]


@pytest.mark.parametrize(
    ("response", "names"),
    [
        ({"status": "queued"}, ["created"]),
        ({"status": "in_progress"}, ["created", "in_progress"]),
        ({"status": "incomplete"}, ["created", "in_progress", "incomplete"]),
        ({"output": [message("a", "Hello.")]}, ["created", "in_progress", "completed"]),
        ({"output": [message("a", "Hello.")], "background": True}, ["created", "in_progress"]),
        ({"status": "new"}, ["created", "in_progress"]),
    ],
)
def test_a_response_is_told_as_far_as_it_has_come(response: Json, names: list[str]) -> None:
    """The events of a response are those of its status; one with output and no status is complete."""
    assert [event["type"] for event in events_from_response(response)] == [f"response.{name}" for name in names]
