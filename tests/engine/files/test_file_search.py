"""Runs search the stores of assistant and thread, and serve citations and steps as the old service did."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import finish_run, get_raw, make_assistant, make_thread, run_again
from kit.streams import event_names, read_rest
from kit.upstream_requests import request_bodies

SEARCH = [{"type": "file_search"}]
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"
RESULT = {"file_id": "file-1", "filename": "a.txt", "score": 0.5, "text": "Cake.", "attributes": {"of": "us"}}
SERVED_RESULT = {"file_id": "file-1", "file_name": "a.txt", "score": 0.5, "attributes": {"of": "us"}}
SEARCH_CALL = {"type": "file_search_call", "status": "completed", "queries": ["cake"], "results": [RESULT]}


def message_item(text: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    """Return a message as an output item."""
    part = {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}
    return {"type": "message", "status": "completed", "role": "assistant", "content": [part]}


def citation(index: int, name: str = "a.txt", file_id: str = "file-1") -> dict[str, Any]:
    """Return a citation as the Responses API sends it: an offset, and no marker in the text."""
    return {"type": "file_citation", "index": index, "file_id": file_id, "filename": name}


def run_streamed(door: Door, client: Any, thread_id: str, assistant_id: str, **options: Any) -> list[Any]:
    """Run a stream to its end and return its events."""
    runs = client.beta.threads.runs
    return read_rest(door, door(runs.create(thread_id, assistant_id=assistant_id, stream=True, **options)))


def make_store(door: Door, client: Any, upstream: StandIn, **options: Any) -> str:
    """Create the caller's own vector store with one file."""
    file_id = upstream.put_file("a.txt", b"Cake.", "assistants")
    return str(door(client.post("/vector_stores", body={"file_ids": [file_id], **options}, cast_to=object))["id"])


def search_options(store_id: str, *tools: Any) -> dict[str, Any]:
    """Return the options of an assistant that searches a store."""
    resources = {"file_search": {"vector_store_ids": [store_id]}}
    return {"tools": list(tools) or SEARCH, "tool_resources": resources}


def test_the_stores_of_assistant_and_thread_are_searched_together(door: Door, client: Any, upstream: StandIn) -> None:
    """One request names both stores and the tool's options, and always includes the results."""
    first, second = make_store(door, client, upstream), make_store(door, client, upstream)
    ranking = {"ranker": "default_2024_08_21", "score_threshold": 0.5}
    tool = {"type": "file_search", "file_search": {"max_num_results": 7, "ranking_options": ranking}}
    assistant = make_assistant(door, client, **search_options(first, tool))
    resources = {"file_search": {"vector_store_ids": [second]}}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "Cake?"}], tool_resources=resources))
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    [body] = request_bodies(upstream)
    [searched] = body["tools"]
    assert searched == {
        "type": "file_search",
        "vector_store_ids": [first, second],
        "max_num_results": 7,
        "ranking_options": {"score_threshold": 0.5},
    }
    assert body["include"] == ["file_search_call.results"]
    assert run.status == "completed"
    [served] = get_raw(door, client, f"/threads/{thread.id}/runs/{run.id}")["tools"]
    expected_options = {"max_num_results": 7, "ranking_options": {**ranking, "hybrid_search": None}}
    assert served == {"type": "file_search", "file_search": expected_options}


def test_a_store_that_both_have_is_named_once(door: Door, client: Any, upstream: StandIn) -> None:
    """A store of both the assistant and the thread is named once upstream."""
    store = make_store(door, client, upstream)
    assistant = make_assistant(door, client, **search_options(store))
    resources = {"file_search": {"vector_store_ids": [store]}}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "?"}], tool_resources=resources))
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert request_bodies(upstream)[0]["tools"][0]["vector_store_ids"] == [store]


def test_a_search_tool_without_a_store_is_not_sent_upstream(door: Door, client: Any, upstream: StandIn) -> None:
    """A search tool without a store is not sent, because the Responses API requires one; the run still shows it."""
    run = finish_run(door, client, tools=SEARCH, tool_choice="auto")
    assert run.status == "completed"
    assert [tool.type for tool in run.tools] == ["file_search"]
    [body] = request_bodies(upstream)
    assert {"tools", "include", "tool_choice"}.isdisjoint(body)


@pytest.mark.parametrize("choice", ["required", {"type": "file_search"}], ids=["required", "named"])
def test_a_search_that_is_forced_without_a_store_is_not_forced_upstream(
    door: Door, client: Any, upstream: StandIn, choice: Any
) -> None:
    """A tool choice that forces a search without a store is not sent upstream, and the run still shows it."""
    run = finish_run(door, client, tools=SEARCH, tool_choice=choice)
    assert run.status == "completed"
    assert get_raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")["tool_choice"] == choice
    assert "tool_choice" not in request_bodies(upstream)[0]


def test_small_models_get_five_results_by_default(door: Door, client: Any, upstream: StandIn) -> None:
    """gpt-3.5 gets five results unless the tool sets a number, as in the old service."""
    store = make_store(door, client, upstream)
    with_limit = {"type": "file_search", "file_search": {"max_num_results": 9}}
    for tool in (SEARCH[0], with_limit):
        finish_run(door, client, assistant={**search_options(store, tool), "model": "gpt-3.5-turbo"})
    assert [body["tools"][0]["max_num_results"] for body in request_bodies(upstream)] == [5, 9]


def test_changed_tool_resources_apply_from_the_next_run(door: Door, client: Any, upstream: StandIn) -> None:
    """Stores set by `threads.update` or `assistants.update` are searched by the next run."""
    first, second, third = (make_store(door, client, upstream) for _ in range(3))
    run = finish_run(door, client, assistant=search_options(first))
    resources = {"file_search": {"vector_store_ids": [second]}}
    door(client.beta.threads.update(run.thread_id, tool_resources=resources))
    run_again(door, client, run)
    resources = {"file_search": {"vector_store_ids": [third]}}
    door(client.beta.assistants.update(run.assistant_id, tool_resources=resources))
    run_again(door, client, run)
    assert [body["tools"][0]["vector_store_ids"] for body in request_bodies(upstream)] == [
        [first],
        [first, second],
        [third, second],
    ]


@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
def test_steps_include_the_text_of_results_on_request(
    door: Door, client: Any, upstream: StandIn, *, streamed: bool
) -> None:
    """A step has its results, and their text only with `include[]`, in a list, a single step and a stream."""
    store = make_store(door, client, upstream)
    upstream.script(Turn(output=[SEARCH_CALL, message_item("Cake.", citation(4))]))
    if streamed:
        assistant = make_assistant(door, client, **search_options(store))
        thread = make_thread(door, client)
        events = run_streamed(door, client, thread.id, assistant.id)
        run = next(event.data for event in events if event.event == "thread.run.completed")
        step = next(event.data for event in events if event.event == "thread.run.step.completed")
        assert step.to_dict()["step_details"]["tool_calls"][0]["file_search"]["results"] == [SERVED_RESULT]
    else:
        run = finish_run(door, client, assistant=search_options(store))
    path = f"/threads/{run.thread_id}/runs/{run.id}/steps"
    steps = get_raw(door, client, f"{path}?order=asc")["data"]
    calls = steps[0]["step_details"]["tool_calls"]
    assert calls[0]["file_search"] == {
        "ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0},
        "results": [SERVED_RESULT],
    }
    [with_text] = [{**SERVED_RESULT, "content": [{"type": "text", "text": "Cake."}]}]
    for full_path in (f"{path}?order=asc&include[]={CONTENT}", f"{path}/{steps[0]['id']}?include[]={CONTENT}"):
        answer = get_raw(door, client, full_path)
        step = answer["data"][0] if "data" in answer else answer
        assert step["step_details"]["tool_calls"][0]["file_search"]["results"] == [with_text]
    assert get_raw(door, client, f"{path}/{steps[0]['id']}") == steps[0]


def test_a_stream_includes_the_text_of_results_on_request(door: Door, client: Any, upstream: StandIn) -> None:
    """A stream created with `include[]` has the results' text in the completed step (recorded)."""
    store = make_store(door, client, upstream)
    upstream.script(Turn(output=[SEARCH_CALL, message_item("Cake.")]))
    assistant, thread = make_assistant(door, client, **search_options(store)), make_thread(door, client)
    events = run_streamed(door, client, thread.id, assistant.id, extra_query={"include[]": CONTENT})
    step = next(event.data for event in events if event.event == "thread.run.step.completed").to_dict()
    [result] = step["step_details"]["tool_calls"][0]["file_search"]["results"]
    assert result == {**SERVED_RESULT, "content": [{"type": "text", "text": "Cake."}]}


@pytest.mark.parametrize(
    ("text", "citations", "value", "without_markers"),
    [
        ("Cake.", [citation(4)], "Cake【4:0†a.txt】.", "Cake."),
        ("Cake.", [citation(4), citation(4, "b.txt", "file-2")], "Cake【4:0†a.txt】【4:1†b.txt】.", "Cake."),
        ("🎂🎂 Cake.", [citation(7)], "🎂🎂 Cake【4:0†a.txt】.", "🎂🎂 Cake."),
        ("Cake.", [citation(99)], "Cake.【4:0†a.txt】", "Cake."),
        ("Cake.", [citation(-1)], "【4:0†a.txt】Cake.", "Cake."),
        ("Cake.", [], "Cake.", "Cake."),
        ("", [citation(0)], "【4:0†a.txt】", ""),
    ],
    ids=["one", "two at one offset", "astral", "past the end", "before the start", "none", "no text"],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
def test_citations_can_be_replaced(
    door: Door,
    client: Any,
    upstream: StandIn,
    text: str,
    citations: list[dict[str, Any]],
    value: str,
    without_markers: str,
    *,
    streamed: bool,
) -> None:
    """Each annotation slices its marker out of the text, and replacing all markers gives the model's text."""
    store = make_store(door, client, upstream)
    upstream.script(Turn(output=[SEARCH_CALL, message_item(text, *citations)]))
    assistant, thread = make_assistant(door, client, **search_options(store)), make_thread(door, client)
    if streamed:
        run_streamed(door, client, thread.id, assistant.id)
    else:
        door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    message = door.all(client.beta.threads.messages.list(thread.id))[0]
    text_block = message.content[0].text
    # A streamed marker stands where the text ended when its citation arrived, so `value` can differ.
    assert streamed or text_block.value == value
    for note in text_block.annotations:
        assert text_block.value[note.start_index : note.end_index] == note.text
    files = [note.file_citation.file_id for note in text_block.annotations]
    assert sorted(files) == sorted(cited["file_id"] for cited in citations)
    replaced = text_block.value
    for note in text_block.annotations:
        replaced = replaced.replace(note.text, "")
    assert replaced == without_markers
    # The next run sends the model's text without our markers.
    door(client.beta.threads.messages.create(thread.id, role="user", content="And?"))
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    answers = [item["content"] for item in request_bodies(upstream)[-1]["input"] if item["role"] == "assistant"]
    assert answers == ([without_markers] if without_markers else [])


@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
def test_a_link_beside_a_citation_keeps_its_span(door: Door, client: Any, upstream: StandIn, *, streamed: bool) -> None:
    """Markers before a `sandbox:` link shift its span, and every annotation still slices its own text."""
    store = make_store(door, client, upstream)
    text = "Cake, see [it](sandbox:/mnt/data/a.csv)."
    call = {"type": "code_interpreter_call", "status": "completed", "code": "1", "outputs": []}
    start = text.index("sandbox:")
    link = {
        "type": "container_file_citation",
        "filename": "a.csv",
        "start_index": start,
        "end_index": start + len("sandbox:/mnt/data/a.csv"),
    }
    upstream.script(Turn(output=[SEARCH_CALL, call, message_item(text, citation(4), link)], files={"a.csv": b"1\n"}))
    tools = [*SEARCH, {"type": "code_interpreter"}]
    assistant, thread = make_assistant(door, client, **search_options(store, *tools)), make_thread(door, client)
    if streamed:
        run_streamed(door, client, thread.id, assistant.id)
    else:
        door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert request_bodies(upstream)[0]["include"] == ["code_interpreter_call.outputs", "file_search_call.results"]
    text_block = door.all(client.beta.threads.messages.list(thread.id))[0].content[0].text
    by_type = {note.type: note for note in text_block.annotations}
    assert sorted(by_type) == ["file_citation", "file_path"]
    for note in by_type.values():
        assert text_block.value[note.start_index : note.end_index] == note.text
    assert by_type["file_path"].text == "sandbox:/mnt/data/a.csv"
    assert door(client.files.content(by_type["file_path"].file_path.file_id)).read() == b"1\n"


@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
@pytest.mark.parametrize("owner", ["assistant", "thread"])
def test_an_expired_store_fails_the_run(
    door: Door, client: Any, upstream: StandIn, owner: str, *, streamed: bool
) -> None:
    """A run with an expired store fails with an error that names the store; the thread can run again without it."""
    store = make_store(door, client, upstream, expires_after={"anchor": "last_active_at", "days": 1})
    resources = {"file_search": {"vector_store_ids": [store]}}
    of_assistant = {"tool_resources": resources} if owner == "assistant" else {}
    assistant = make_assistant(door, client, tools=SEARCH, **of_assistant)
    of_thread = {"tool_resources": resources} if owner == "thread" else {}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "Cake?"}], **of_thread))
    upstream.advance(2 * 86_400)
    options = {"assistant_id": assistant.id}
    if streamed:
        events = run_streamed(door, client, thread.id, assistant.id)
        assert event_names(events) == ["run.created", "run.queued", "run.failed"]
        run = events[-1].data
    else:
        run = door(client.beta.threads.runs.create(thread.id, **options))
    assert (run.status, run.last_error.code) == ("failed", "server_error")
    assert run.last_error.message == f"Vector store {store} has expired."
    assert request_bodies(upstream) == []
    served = get_raw(door, client, f"/threads/{thread.id}/runs/{run.id}")
    assert (served["status"], served["expires_at"], served["failed_at"] is None) == ("failed", None, False)
    assert (
        door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, tools=[], **options)).status == "completed"
    )


def test_an_unknown_store_is_refused_by_the_upstream(door: Door, client: Any, upstream: StandIn) -> None:
    """The upstream's 404 for an unknown store reaches the caller unchanged, and no run is left."""
    assistant, thread = make_assistant(door, client, **search_options("vs_unknown")), make_thread(door, client)
    error = {"message": "Vector store with id 'vs_unknown' not found.", "type": "invalid_request_error"}
    upstream.fault(Fault("POST /responses", status=404, body={"error": error}))
    with pytest.raises(openai.NotFoundError, match="vs_unknown"):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert door.all(client.beta.threads.runs.list(thread.id)) == []


def test_another_client_serves_the_markers_and_results(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """Another client of the same store serves the citation markers and the results."""
    store = make_store(door, client, upstream)
    upstream.script(Turn(output=[SEARCH_CALL, message_item("Cake.", citation(4))]))
    run = finish_run(door, client, assistant=search_options(store))
    other = door.client(upstream, settings)
    [answer, _] = door.all(other.beta.threads.messages.list(run.thread_id))
    assert answer.content[0].text.value == "Cake【4:0†a.txt】."
    steps = get_raw(door, other, f"/threads/{run.thread_id}/runs/{run.id}/steps")["data"]
    assert steps[-1]["step_details"]["tool_calls"][0]["file_search"]["results"][0]["file_id"] == "file-1"
