"""The strict stand-in looks up the items, stores and conversations that a request names."""

from __future__ import annotations

from typing import Any

import pytest

from assistants_compat.service.refusal_table import TABLE
from assistants_compat.service.refusals import recognize
from assistants_compat.testing import Turn

PLAIN: dict[str, Any] = {"model": "gpt-5", "input": "Hello"}
USER = {"role": "user", "content": "And now?"}
CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAsecretsecret"}
ANSWER = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "4", "annotations": [], "logprobs": []}],
}
NOT_PERSISTED = (
    " Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item "
    "from your input."
)


def code_turn(call: Any, **params: Any) -> dict[str, Any]:
    """Return the code call of a new response whose output was reasoning, code and a message."""
    code = {"type": "code_interpreter_call", "id": "ci_1", "code": "2+2", "status": "completed", "outputs": None}
    call.upstream.script(Turn(output=[REASONING, code, ANSWER]))
    reply = call("POST /responses", {**PLAIN, "tools": [CODE], **params})
    assert reply.status == 200, reply.body
    item: dict[str, Any] = next(item for item in reply.json["output"] if item["id"] == "ci_1")
    return item


def refusal_of(reply: Any, status: int, row: str) -> str:
    """Return the message of a refusal after checking its status, and that the table recognizes it as this row."""
    assert reply.status == status, reply.body
    recognized = recognize(TABLE, reply.status, reply.json["error"])
    assert recognized is not None
    assert recognized.row.name == row
    return str(reply.json["error"]["message"])


def plain_reasoning() -> dict[str, Any]:
    """Return the reasoning without its encrypted content, which the service then looks up by id."""
    return {key: value for key, value in REASONING.items() if key != "encrypted_content"}


@pytest.mark.parametrize("stored", [True, False])
def test_hosted_items_are_looked_up_by_id(stored, call) -> None:
    """A code call of a stored response is taken, and one that the service does not keep is a 404."""
    item = code_turn(call, store=stored)
    body = {**PLAIN, "store": stored, "tools": [CODE], "input": [USER, REASONING, item, USER]}
    reply = call("POST /responses", body)
    if stored:
        assert reply.status == 200, reply.body
        return
    assert refusal_of(reply, 404, "item_not_found") == f"Item with id 'ci_1' not found.{NOT_PERSISTED}"


def test_items_that_nobody_kept_are_not_found(call) -> None:
    """An item of a response that was not stored or was deleted is not found, and neither is one of another server."""
    unstored = code_turn(call, store=False)
    body = {**PLAIN, "tools": [CODE]}
    for item_id, items in (("ci_1", [REASONING, unstored]), ("rs_2", [{**plain_reasoning(), "id": "rs_2"}, ANSWER])):
        reply = call("POST /responses", {**body, "input": [*items, USER]})
        assert refusal_of(reply, 404, "item_not_found") == f"Item with id '{item_id}' not found."
    stored = code_turn(call)
    assert call(f"DELETE /responses/{list(call.upstream.responses)[-1]}").status == 200
    reply = call("POST /responses", {**body, "input": [REASONING, stored, USER]})
    assert refusal_of(reply, 404, "item_not_found") == "Item with id 'ci_1' not found."


def test_reasoning_is_read_by_its_own_model_only(call) -> None:
    """Encrypted reasoning passes under `store: false`, and is refused by another model and when nobody wrote it."""
    code_turn(call, store=False)
    body = {**PLAIN, "store": False, "input": [USER, REASONING, ANSWER, USER], "tools": []}
    assert call("POST /responses", {**body, "input": [REASONING, ANSWER, USER]}).status == 200
    foreign = {**REASONING, "encrypted_content": "gAAAAforeign"}
    for reply in (
        call("POST /responses", {**body, "model": "gpt-5-mini"}),
        call("POST /responses", {**body, "input": [USER, foreign, ANSWER, USER]}),
    ):
        assert "could not be verified" in refusal_of(reply, 400, "encrypted_unverified")
    assert reply.json["error"]["code"] == "invalid_encrypted_content"


def test_an_item_stays_with_its_reasoning(call) -> None:
    """A code call without the reasoning before it is refused, and so is reasoning before a message of the caller."""
    item = code_turn(call)
    body = {**PLAIN, "tools": [CODE]}
    assert refusal_of(call("POST /responses", {**body, "input": [item, USER]}), 400, "item_without_pair") == (
        "Item 'ci_1' of type 'code_interpreter_call' was provided without its required 'reasoning' item: 'rs_1'."
    )
    # As recorded: an answer without its id is not the one that followed (thinking_with_modified_history).
    changed = [USER, REASONING, {"role": "assistant", "content": "5"}, USER]
    assert refusal_of(call("POST /responses", {**body, "input": changed}), 400, "item_without_pair") == (
        "Item 'rs_1' of type 'reasoning' was provided without its required following item."
    )
    assert call("POST /responses", {**body, "input": [REASONING, item, USER]}).status == 200


def test_the_same_item_is_refused_twice(call) -> None:
    """An item id is refused twice in one input, and beside the response that has it."""
    item = code_turn(call)
    response_id = next(iter(call.upstream.responses))
    body = {**PLAIN, "tools": [CODE]}
    twice = call("POST /responses", {**body, "input": [REASONING, item, REASONING, item, USER]})
    assert refusal_of(twice, 400, "duplicate_item").startswith("Duplicate item found with id rs_1")
    chained = {**body, "previous_response_id": response_id, "input": [REASONING, item, USER]}
    assert refusal_of(call("POST /responses", chained), 400, "duplicate_item").startswith(
        "Duplicate item found with id"
    )


def test_a_code_call_of_a_deleted_container_is_refused(call) -> None:
    """A replayed code call whose container was deleted is refused, and without the call a new one is made."""
    item = code_turn(call)
    assert call(f"DELETE /containers/{item['container_id']}").status == 200
    body = {**PLAIN, "tools": [CODE]}
    reply = call("POST /responses", {**body, "input": [REASONING, item, USER]})
    refusal_of(reply, 404, "container_gone")
    assert call("POST /responses", {**body, "input": [USER]}).status == 200


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Container is expired.", 400),
        ("Container not found", 404),
        ("Expected container_id: cntr_0", 400),
        ("Invalid container id.", 400),
    ],
)
def test_a_container_is_refused_in_any_known_words(text: str, status: int, upstream, call) -> None:
    """`container_gone` is the text for a container that expired or never was."""
    upstream.configure(container_gone=text)
    reply = call("POST /responses", {**PLAIN, "tools": [{"type": "code_interpreter", "container": "cntr_x"}]})
    assert (reply.status, reply.json["error"]["message"]) == (status, text)
    with pytest.raises(ValueError, match="is not a known refusal of a container"):
        upstream.configure(container_gone="Out of order.")


def test_encrypted_reasoning_of_a_stored_response_cannot_be_retrieved(call) -> None:
    """A GET that includes encrypted reasoning is refused for a stored response, and answered for another."""
    for stored in (True, False):
        response = call("POST /responses", {**PLAIN, "background": True, "store": stored}).json
        reply = call(f"GET /responses/{response['id']}?include[]=reasoning.encrypted_content")
        if stored:
            text = refusal_of(reply, 400, "encrypted_of_stored")
            assert text == "Encrypted content cannot be requested for persisted responses."
        else:
            assert reply.status == 200


def test_a_deleted_vector_store_is_not_searched(call) -> None:
    """A search of a deleted store is refused; the text is an assumption."""
    store_id = call("POST /vector_stores", {}).json["id"]
    body = {**PLAIN, "tools": [{"type": "file_search", "vector_store_ids": [store_id]}]}
    assert call("POST /responses", body).status == 200
    call(f"DELETE /vector_stores/{store_id}")
    assert call("POST /responses", body).status == 404


def test_zero_retention_keeps_a_background_response_for_ten_minutes(upstream, call) -> None:
    """With zero retention nothing can be retrieved but a background response, and that for ten minutes."""
    upstream.configure(zero_retention=True)
    plain = call("POST /responses", PLAIN).json
    assert call(f"GET /responses/{plain['id']}").status == 404
    background = call("POST /responses", {**PLAIN, "background": True}).json
    assert call(f"GET /responses/{background['id']}").status == 200
    upstream.advance(601)
    assert call(f"GET /responses/{background['id']}").status == 404
    code = call("POST /responses", {**PLAIN, "tools": [CODE]})
    assert refusal_of(code, 400, "zero_retention_code").startswith("Code interpreter tool cannot be used")


def test_the_order_of_refusals_is_the_measured_one(call) -> None:
    """Types come first, then an unknown response, then an empty input, then what the model cannot do."""
    wrong = {**PLAIN, "input": [], "temperature": 0.5, "previous_response_id": "resp_x", "truncation": "bogus"}
    order = ["truncation", "previous_response_id", None, "temperature"]
    for param, removed in zip(order, ["truncation", "previous_response_id", "input", None], strict=True):
        assert call("POST /responses", wrong).json["error"]["param"] == param
        wrong = {key: value for key, value in wrong.items() if key != removed} | (
            {"input": "x"} if removed == "input" else {}
        )


def test_the_history_of_an_assistant_is_output_text(call) -> None:
    """The official guide's way to move a thread works: user messages as `input_text`, answers as `output_text`."""
    messages = [("user", "2+2?"), ("assistant", "4"), ("user", "And 3+3?")]
    kinds = {"user": "input_text", "assistant": "output_text"}
    items = [{"role": role, "content": [{"type": kinds[role], "text": text}]} for role, text in messages]
    conversation = call("POST /conversations", {"items": items})
    assert conversation.status == 200, conversation.body
    listed = call(f"GET /conversations/{conversation.json['id']}/items?order=asc").json["data"]
    assert [(item["role"], item["content"][0]["text"]) for item in listed] == messages
    in_conversation = {"model": "gpt-4o", "input": "Go on.", "conversation": conversation.json["id"]}
    for body in (in_conversation, {"model": "gpt-4o", "input": items}):
        assert call("POST /responses", body).status == 200
    items[1]["content"] = [{"type": "input_text", "text": "4"}]
    for path, key in (("/conversations", "items"), ("/responses", "input")):
        reply = call(f"POST {path}", {**({"model": "gpt-4o"} if key == "input" else {}), key: items})
        assert (
            reply.json["error"]["message"]
            == "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'."
        )
        assert reply.json["error"]["param"] == f"{key}[1].content[0]"


def test_a_wrong_part_of_a_user_is_refused_as_measured(call) -> None:
    """A known part in the wrong message names the part, and an unknown one its type."""
    of_user = "'input_text', 'input_image', 'input_file', 'scoped_content', and 'input_audio'"
    known = (
        "'input_text', 'input_image', 'input_audio', 'output_text', 'refusal', 'input_file', 'computer_screenshot', "
        "'summary_text', and 'encrypted_content'"
    )
    part = "input[0].content[0]"
    for kind, param, names in (("output_text", part, of_user), ("text", f"{part}.type", known)):
        error = call(
            "POST /responses", {**PLAIN, "input": [{"role": "user", "content": [{"type": kind, "text": "x"}]}]}
        ).json["error"]
        assert (error["param"], error["code"]) == (param, "invalid_value")
        assert error["message"] == f"Invalid value: '{kind}'. Supported values are: {names}."


def test_a_dead_link_fails_a_background_response(call, upstream) -> None:
    """In the background the request is accepted, and its response fails with the code of the SDK's types."""
    upstream.configure(dead_links=["https://example.com/a.png"])
    upstream.script(Turn(text="Next."))
    part = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"}
    body = {"model": "gpt-4o", "input": [{"role": "user", "content": [part]}]}
    accepted = call("POST /responses", {**body, "background": True})
    assert (accepted.status, accepted.json["status"]) == (200, "queued")
    failed = call(f"GET /responses/{accepted.json['id']}").json
    assert (failed["status"], failed["error"]["code"]) == ("failed", "failed_to_download_image")
    recognized = recognize(TABLE, None, failed["error"])
    assert recognized is not None
    assert recognized.row.name == "image_unavailable"
    assert call("POST /responses", body).status == 400
    body["input"] = "Hello."
    assert call("POST /responses", body).json["output"][0]["content"][0]["text"] == "Next."
