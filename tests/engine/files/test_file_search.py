"""Runs that search files: what is asked for, what is cited, and what steps show of it."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import finish_run, make_assistant, make_thread, raw, run_again
from kit.upstream_requests import bodies
from kit.streams import names, rest

SEARCH = [{"type": "file_search"}]
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"
FOUND = {"file_id": "file-1", "filename": "a.txt", "score": 0.5, "text": "Cake.", "attributes": {"of": "us"}}
SHOWN = {"file_id": "file-1", "file_name": "a.txt", "score": 0.5, "attributes": {"of": "us"}}
ITEM = {"type": "file_search_call", "status": "completed", "queries": ["cake"], "results": [FOUND]}


def said(text: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    """A message item."""
    part = {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}
    return {"type": "message", "status": "completed", "role": "assistant", "content": [part]}


def cites(index: int, name: str = "a.txt", file_id: str = "file-1") -> dict[str, Any]:
    """A citation as the Responses API gives it: an offset, and no marker in the text."""
    return {"type": "file_citation", "index": index, "file_id": file_id, "filename": name}


def streamed_run(door: Door, client: Any, thread_id: str, assistant_id: str, **options: Any) -> list[Any]:
    """All events of a run."""
    runs = client.beta.threads.runs
    return rest(door, door(runs.create(thread_id, assistant_id=assistant_id, stream=True, **options)))


def make_store(door: Door, client: Any, upstream: StandIn, **options: Any) -> str:
    """A vector store with one file, made by the caller."""
    file_id = upstream.put_file("a.txt", b"Cake.", "assistants")
    return str(door(client.post("/vector_stores", body={"file_ids": [file_id], **options}, cast_to=object))["id"])


def searching(store_id: str, *tools: Any) -> dict[str, Any]:
    """The options of an assistant that searches a store."""
    resources = {"file_search": {"vector_store_ids": [store_id]}}
    return {"tools": list(tools) or SEARCH, "tool_resources": resources}


def test_the_stores_of_assistant_and_thread_are_searched_together(door: Door, client: Any, upstream: StandIn) -> None:
    """One request names both stores, and what the tool was given; what was found is always asked for."""
    first, second = make_store(door, client, upstream), make_store(door, client, upstream)
    ranking = {"ranker": "default_2024_08_21", "score_threshold": 0.5}
    tool = {"type": "file_search", "file_search": {"max_num_results": 7, "ranking_options": ranking}}
    assistant = make_assistant(door, client, **searching(first, tool))
    resources = {"file_search": {"vector_store_ids": [second]}}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "Cake?"}], tool_resources=resources))
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    [body] = bodies(upstream)
    [searched] = body["tools"]
    assert searched == {
        "type": "file_search",
        "vector_store_ids": [first, second],
        "max_num_results": 7,
        "ranking_options": {"score_threshold": 0.5},
    }
    assert body["include"] == ["file_search_call.results"]
    assert run.status == "completed"
    [shown] = raw(door, client, f"/threads/{thread.id}/runs/{run.id}")["tools"]
    given = {"max_num_results": 7, "ranking_options": {**ranking, "hybrid_search": None}}
    assert shown == {"type": "file_search", "file_search": given}


def test_a_store_that_both_have_is_named_once(door: Door, client: Any, upstream: StandIn) -> None:
    """The same store on the assistant and on the thread is searched once."""
    store = make_store(door, client, upstream)
    assistant = make_assistant(door, client, **searching(store))
    resources = {"file_search": {"vector_store_ids": [store]}}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "?"}], tool_resources=resources))
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert bodies(upstream)[0]["tools"][0]["vector_store_ids"] == [store]


def test_a_search_without_a_store_is_not_sent_and_still_echoed(door: Door, client: Any, upstream: StandIn) -> None:
    """The Responses API wants a store for its tool; the run keeps the tool and is answered."""
    run = finish_run(door, client, tools=SEARCH, tool_choice="auto")
    assert run.status == "completed"
    assert [tool.type for tool in run.tools] == ["file_search"]
    [body] = bodies(upstream)
    assert {"tools", "include", "tool_choice"}.isdisjoint(body)


@pytest.mark.parametrize("choice", ["required", {"type": "file_search"}], ids=["required", "named"])
def test_a_search_that_is_forced_without_a_store_is_not_forced_upstream(
    door: Door, client: Any, upstream: StandIn, choice: Any
) -> None:
    """A choice among tools that are not sent would be refused: the run is answered, and echoes the choice."""
    run = finish_run(door, client, tools=SEARCH, tool_choice=choice)
    assert run.status == "completed"
    assert raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")["tool_choice"] == choice
    assert "tool_choice" not in bodies(upstream)[0]


def test_few_results_are_asked_for_where_the_model_is_small(door: Door, client: Any, upstream: StandIn) -> None:
    """The old service gave gpt-3.5 five results, unless it was told otherwise."""
    store = make_store(door, client, upstream)
    several = {"type": "file_search", "file_search": {"max_num_results": 9}}
    for tool in (SEARCH[0], several):
        finish_run(door, client, assistant={**searching(store, tool), "model": "gpt-3.5-turbo"})
    assert [body["tools"][0]["max_num_results"] for body in bodies(upstream)] == [5, 9]


def test_resources_that_are_changed_count_from_the_next_run(door: Door, client: Any, upstream: StandIn) -> None:
    """`threads.update` and `assistants.update` give other stores to the run after them."""
    first, second, third = (make_store(door, client, upstream) for _ in range(3))
    run = finish_run(door, client, assistant=searching(first))
    resources = {"file_search": {"vector_store_ids": [second]}}
    door(client.beta.threads.update(run.thread_id, tool_resources=resources))
    run_again(door, client, run)
    resources = {"file_search": {"vector_store_ids": [third]}}
    door(client.beta.assistants.update(run.assistant_id, tool_resources=resources))
    run_again(door, client, run)
    assert [body["tools"][0]["vector_store_ids"] for body in bodies(upstream)] == [
        [first],
        [first, second],
        [third, second],
    ]


@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
def test_steps_show_the_text_of_results_where_it_is_asked_for(
    door: Door, client: Any, upstream: StandIn, *, streamed: bool
) -> None:
    """What was found is in the step, its text only with `include[]`; the same for a list, one step and a stream."""
    store = make_store(door, client, upstream)
    upstream.script(Turn(output=[ITEM, said("Cake.", cites(4))]))
    if streamed:
        assistant = make_assistant(door, client, **searching(store))
        thread = make_thread(door, client)
        events = streamed_run(door, client, thread.id, assistant.id)
        run = next(each.data for each in events if each.event == "thread.run.completed")
        step = next(each.data for each in events if each.event == "thread.run.step.completed")
        assert step.to_dict()["step_details"]["tool_calls"][0]["file_search"]["results"] == [SHOWN]
    else:
        run = finish_run(door, client, assistant=searching(store))
    path = f"/threads/{run.thread_id}/runs/{run.id}/steps"
    steps = raw(door, client, f"{path}?order=asc")["data"]
    calls = steps[0]["step_details"]["tool_calls"]
    assert calls[0]["file_search"] == {
        "ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0},
        "results": [SHOWN],
    }
    [whole] = [{**SHOWN, "content": [{"type": "text", "text": "Cake."}]}]
    for place in (f"{path}?order=asc&include[]={CONTENT}", f"{path}/{steps[0]['id']}?include[]={CONTENT}"):
        answer = raw(door, client, place)
        step = answer["data"][0] if "data" in answer else answer
        assert step["step_details"]["tool_calls"][0]["file_search"]["results"] == [whole]
    assert raw(door, client, f"{path}/{steps[0]['id']}") == steps[0]


def test_a_stream_shows_the_text_of_results_where_it_is_asked_for(door: Door, client: Any, upstream: StandIn) -> None:
    """With `include[]` at its creation a streamed run tells the text in the step that is completed (recorded)."""
    store = make_store(door, client, upstream)
    upstream.script(Turn(output=[ITEM, said("Cake.")]))
    assistant, thread = make_assistant(door, client, **searching(store)), make_thread(door, client)
    events = streamed_run(door, client, thread.id, assistant.id, extra_query={"include[]": CONTENT})
    step = next(each.data for each in events if each.event == "thread.run.step.completed").to_dict()
    [result] = step["step_details"]["tool_calls"][0]["file_search"]["results"]
    assert result == {**SHOWN, "content": [{"type": "text", "text": "Cake."}]}


@pytest.mark.parametrize(
    ("text", "citations", "value", "cut"),
    [
        ("Cake.", [cites(4)], "Cake【4:0†a.txt】.", "Cake."),
        ("Cake.", [cites(4), cites(4, "b.txt", "file-2")], "Cake【4:0†a.txt】【4:1†b.txt】.", "Cake."),
        ("🎂🎂 Cake.", [cites(7)], "🎂🎂 Cake【4:0†a.txt】.", "🎂🎂 Cake."),
        ("Cake.", [cites(99)], "Cake.【4:0†a.txt】", "Cake."),
        ("Cake.", [cites(-1)], "【4:0†a.txt】Cake.", "Cake."),
        ("Cake.", [], "Cake.", "Cake."),
        ("", [cites(0)], "【4:0†a.txt】", ""),
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
    cut: str,
    *,
    streamed: bool,
) -> None:
    """A marker stands where the citation belongs, slices to its annotation, and is gone once it is replaced."""
    store = make_store(door, client, upstream)
    upstream.script(Turn(output=[ITEM, said(text, *citations)]))
    assistant, thread = make_assistant(door, client, **searching(store)), make_thread(door, client)
    if streamed:
        streamed_run(door, client, thread.id, assistant.id)
    else:
        door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    message = door.all(client.beta.threads.messages.list(thread.id))[0]
    shown = message.content[0].text
    # A streamed marker goes where the text had got to when its citation came, which is where it belongs.
    assert streamed or shown.value == value
    for note in shown.annotations:
        assert shown.value[note.start_index : note.end_index] == note.text
    files = [note.file_citation.file_id for note in shown.annotations]
    assert sorted(files) == sorted(each["file_id"] for each in citations)
    replaced = shown.value
    for note in shown.annotations:
        replaced = replaced.replace(note.text, "")
    assert replaced == cut
    # The next run is told what the model said, without our markers.
    door(client.beta.threads.messages.create(thread.id, role="user", content="And?"))
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    answers = [item["content"] for item in bodies(upstream)[-1]["input"] if item["role"] == "assistant"]
    assert answers == ([cut] if cut else [])


@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
def test_a_link_beside_a_citation_keeps_its_span(door: Door, client: Any, upstream: StandIn, *, streamed: bool) -> None:
    """Markers before a `sandbox:` link move its span; both slice their own text."""
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
    upstream.script(Turn(output=[ITEM, call, said(text, cites(4), link)], files={"a.csv": b"1\n"}))
    tools = [*SEARCH, {"type": "code_interpreter"}]
    assistant, thread = make_assistant(door, client, **searching(store, *tools)), make_thread(door, client)
    if streamed:
        streamed_run(door, client, thread.id, assistant.id)
    else:
        door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert bodies(upstream)[0]["include"] == ["code_interpreter_call.outputs", "file_search_call.results"]
    shown = door.all(client.beta.threads.messages.list(thread.id))[0].content[0].text
    by_type = {note.type: note for note in shown.annotations}
    assert sorted(by_type) == ["file_citation", "file_path"]
    for note in by_type.values():
        assert shown.value[note.start_index : note.end_index] == note.text
    assert by_type["file_path"].text == "sandbox:/mnt/data/a.csv"
    assert door(client.files.content(by_type["file_path"].file_path.file_id)).read() == b"1\n"


@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
@pytest.mark.parametrize("place", ["assistant", "thread"])
def test_an_expired_store_fails_the_run(
    door: Door, client: Any, upstream: StandIn, place: str, *, streamed: bool
) -> None:
    """The run is there and has failed with a message that names the store; the thread can go on without it."""
    store = make_store(door, client, upstream, expires_after={"anchor": "last_active_at", "days": 1})
    resources = {"file_search": {"vector_store_ids": [store]}}
    of_assistant = {"tool_resources": resources} if place == "assistant" else {}
    assistant = make_assistant(door, client, tools=SEARCH, **of_assistant)
    of_thread = {"tool_resources": resources} if place == "thread" else {}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "Cake?"}], **of_thread))
    upstream.advance(2 * 86_400)
    options = {"assistant_id": assistant.id}
    if streamed:
        events = streamed_run(door, client, thread.id, assistant.id)
        assert names(events) == ["run.created", "run.queued", "run.failed"]
        run = events[-1].data
    else:
        run = door(client.beta.threads.runs.create(thread.id, **options))
    assert (run.status, run.last_error.code) == ("failed", "server_error")
    assert run.last_error.message == f"Vector store {store} has expired."
    assert bodies(upstream) == []
    again = raw(door, client, f"/threads/{thread.id}/runs/{run.id}")
    assert (again["status"], again["expires_at"], again["failed_at"] is None) == ("failed", None, False)
    assert (
        door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, tools=[], **options)).status == "completed"
    )


def test_what_the_upstream_says_of_a_store_reaches_the_caller(door: Door, client: Any, upstream: StandIn) -> None:
    """A store that nobody knows is for the upstream to refuse, in its own words; no run is left."""
    assistant, thread = make_assistant(door, client, **searching("vs_unknown")), make_thread(door, client)
    error = {"message": "Vector store with id 'vs_unknown' not found.", "type": "invalid_request_error"}
    upstream.fault(Fault("POST /responses", status=404, body={"error": error}))
    with pytest.raises(openai.NotFoundError, match="vs_unknown"):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert door.all(client.beta.threads.runs.list(thread.id)) == []


def test_a_search_is_there_after_a_restart(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """Another client on the same store sees the marker and what was found."""
    store = make_store(door, client, upstream)
    upstream.script(Turn(output=[ITEM, said("Cake.", cites(4))]))
    run = finish_run(door, client, assistant=searching(store))
    other = door.client(upstream, settings)
    [answer, _] = door.all(other.beta.threads.messages.list(run.thread_id))
    assert answer.content[0].text.value == "Cake【4:0†a.txt】."
    steps = raw(door, other, f"/threads/{run.thread_id}/runs/{run.id}/steps")["data"]
    assert steps[-1]["step_details"]["tool_calls"][0]["file_search"]["results"][0]["file_id"] == "file-1"
