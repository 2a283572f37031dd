"""The stand-in answers as the service did in the recordings."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from assistants_compat.testing import StandIn, Turn
from assistants_compat.testing.exchange import Refusal
from assistants_compat.testing.openapi_spec import Spec
from assistants_compat.testing.sdk_schema import find_problem
from kit.paths import SHARED

RESPONSES = SHARED / "recordings" / "responses"
DOTNET = "openai__openai-dotnet"
PYDANTIC = "pydantic__pydantic-ai"
PLAIN = {"model": "gpt-4o", "input": "Hello"}
AUTO = {"type": "code_interpreter", "container": {"type": "auto"}}
OUTPUTS = ["code_interpreter_call.outputs"]
TERMINAL = {"response.completed", "response.failed", "response.incomplete"}


def recording_names(folder: Path = RESPONSES) -> list[Any]:
    """Return every recording of the Responses side by its path below the folder."""
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    skipped = pytest.param("", marks=pytest.mark.skip(reason="the recordings (../shared) are not there"))
    return paths or [skipped]


def types_of(events: list[dict[str, Any]]) -> list[str]:
    """Return the event types, with a run of equal deltas counted once."""
    kinds = (event["type"] for event in events)
    return [kind for kind, run in groupby(kinds) for _ in ([1] if kind.endswith(".delta") else run)]


def key_sets(events: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Return the keys of the first event of each type."""
    return {event["type"]: set(event) for event in reversed(events)}


def recorded_bodies(recordings, name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return every recorded request to create a response with its JSON answer."""
    pairs = []
    for exchange in recordings.read(name):
        if exchange.method == "POST" and exchange.url.endswith("/responses") and not exchange.is_stream:
            body = json.loads(exchange.body)
            if body.get("object") == "response":
                pairs.append((json.loads(exchange.request_body), body))
    return pairs


def recorded_streams(recordings, name: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return every recorded stream of a response with the request that started it."""
    pairs = []
    for number, exchange in enumerate(recordings.read(name)):
        events = recordings.events(name, number) if exchange.is_stream else []
        if events and events[0]["type"] == "response.created" and events[-1]["type"] in TERMINAL:
            pairs.append((json.loads(exchange.request_body or "{}"), events))
    return pairs


def test_the_recordings_hold_what_is_compared(recordings) -> None:
    """The recordings hold streams, bodies and cited files, so the comparisons below are not empty."""
    streams = [pair for name in recording_names() for pair in recorded_streams(recordings, name)]
    bodies = [body for name in recording_names() for _, body in recorded_bodies(recordings, name)]
    files = [file for body in bodies for file in cited_files(body)]
    assert len(streams) >= 15
    assert len(bodies) >= 30
    assert len(files) >= 7


def test_a_plain_answer_has_the_recorded_keys_in_the_recorded_order(call, recordings) -> None:
    """A finished response has the 34 keys of a recording of February 2026, in its order."""
    recorded = recordings.body("pydantic__logfire/test_file_search.yaml")
    answer = call("POST /responses", PLAIN).json
    assert list(answer) == list(recorded)
    assert {key: type(answer[key]) for key in answer} == {key: type(recorded[key]) for key in recorded}
    assert set(answer["usage"]) == set(recorded["usage"])
    assert list(answer["output"][0]) == list(recorded["output"][1])
    assert list(answer["output"][0]["content"][0]) == list(recorded["output"][1]["content"][0])


def test_a_background_response_has_the_recorded_statuses(call, recordings) -> None:
    """A background response is queued, in_progress and completed with the recorded keys and nulls."""
    exchanges = recordings.read(f"{PYDANTIC}/test_background_mode_vcr.yaml")
    posted = call("POST /responses", {**PLAIN, "background": True}).json
    polls = [posted, *(call(f"GET /responses/{posted['id']}").json for _ in range(2))]
    for ours, exchange in zip(polls, exchanges, strict=True):
        recorded = json.loads(exchange.body)
        assert set(ours) == set(recorded)
        for key in ("status", "background", "service_tier", "error", "incomplete_details"):
            assert ours[key] == recorded[key]
        for key in ("completed_at", "usage"):
            assert (ours[key] is None) == (recorded[key] is None)
        assert bool(ours["output"]) == bool(recorded["output"])


def test_a_cancelled_response_looks_as_recorded(call, recordings) -> None:
    """A cancelled background response has no output, usage or error, and stays the same when cancelled again."""
    recorded = recordings.body(f"{DOTNET}/CanCancelBackgroundResponses.json", 1)
    posted = call("POST /responses", {**PLAIN, "background": True}).json
    cancelled = call(f"POST /responses/{posted['id']}/cancel").json
    for key in ("status", "output", "usage", "error", "background", "service_tier"):
        assert cancelled[key] == recorded[key]
    assert call(f"POST /responses/{posted['id']}/cancel").json == cancelled
    assert call(f"GET /responses/{posted['id']}").json == cancelled


def test_a_streamed_text_has_the_recorded_events(call, recordings) -> None:
    """A streamed text sends the recorded events, each with the recorded keys in order, and no [DONE]."""
    sequence = recordings.events(f"{DOTNET}/StreamingResponses.json")
    newest = recordings.events(f"{DOTNET}/FileSearchCallStreaming.json", 2)
    reply = call("POST /responses", {**PLAIN, "stream": True})
    assert types_of(reply.events) == types_of(sequence)
    assert [event["sequence_number"] for event in reply.events] == list(range(len(reply.events)))
    for event in reply.events:
        if twin := next((recorded for recorded in newest if recorded["type"] == event["type"]), None):
            assert list(event) == list(twin)
    assert list(reply.events[-1]["response"]) == list(newest[-1]["response"])
    assert b"[DONE]" not in reply.body
    assert (
        reply.headers["content-type"] == recordings.read(f"{DOTNET}/StreamingResponses.json")[0].headers["content-type"]
    )


def test_a_background_stream_is_queued_first_and_resumes_as_recorded(call, recordings) -> None:
    """A background stream has a queued event and no obfuscation, and resumes after any sequence number."""
    name = f"{DOTNET}/CanStreamBackgroundResponses.json"
    recorded, resumed = recordings.events(name), recordings.events(name, 2)
    events = call("POST /responses", {**PLAIN, "stream": True, "background": True}).events
    assert types_of(events) == types_of(recorded)
    assert key_sets(events) == key_sets(recorded)
    assert (events[0]["response"]["status"], events[1]["response"]["status"]) == ("queued", "queued")
    path = f"GET /responses/{events[0]['response']['id']}?stream=true&starting_after=1"
    again = call(path).events
    assert again == events[2:]
    assert again[0]["type"] == resumed[0]["type"]


@pytest.mark.parametrize("name", recording_names())
def test_a_recorded_answer_streams_the_recorded_event_types(name: str, call, recordings) -> None:
    """Events made from a recorded final response come in the order in which the service sent them."""
    for request, events in recorded_streams(recordings, name):
        final = events[-1]["response"]
        body = {
            **PLAIN,
            "model": final["model"],  # the strict stand-in refuses some values of `include` with others
            "stream": True,
            "background": bool(final.get("background")),
            "include": request.get("include"),
        }
        script(call, Turn(response=final))
        ours = call("POST /responses", {key: value for key, value in body.items() if value is not None}).events
        assert types_of(ours) == types_of(events)
        assert ours[-1]["response"]["output"] == final["output"]
        recorded_keys = key_sets(events)
        for kind, keys in key_sets(ours).items():
            assert keys ^ recorded_keys[kind] <= {"obfuscation", "logprobs", "sequence_number"}


def script(call, *turns: Turn) -> None:
    """Script the stand-in that the caller calls."""
    call.upstream.script(*turns)


@pytest.mark.parametrize("name", recording_names())
def test_a_recorded_stream_is_played_as_it_was(name: str, call, recordings) -> None:
    """Recorded events are sent unchanged, and the response can be retrieved afterwards."""
    for _, events in recorded_streams(recordings, name):
        script(call, Turn(events=events))
        background = bool(events[0]["response"].get("background"))
        assert call("POST /responses", {**PLAIN, "stream": True, "background": background}).events == events
        assert call(f"GET /responses/{events[0]['response']['id']}").json["status"] == events[-1]["response"]["status"]


@pytest.mark.parametrize("name", recording_names())
def test_a_recorded_answer_is_served_and_its_files_exist(name: str, call, recordings) -> None:
    """A recorded body is served unchanged, inline and in background, and every cited file can be downloaded."""
    for request, body in recorded_bodies(recordings, name):
        include = request.get("include") or []
        plain = {**PLAIN, "model": request["model"], "include": include}
        script(call, Turn(response=body), Turn(response=body, polls=0))
        assert call("POST /responses", plain).json == body
        queued = call("POST /responses", {**plain, "background": True}).json
        assert queued["id"] == body["id"]
        # Encrypted reasoning cannot be requested of a stored response (row `encrypted_of_stored`).
        query = "&".join(f"include[]={value}" for value in include if value != "reasoning.encrypted_content")
        assert call(f"GET /responses/{body['id']}?{query}").json == {**body, "background": True}
        for container_id, file_id, filename in cited_files(body):
            file = call(f"GET /containers/{container_id}/files/{file_id}").json
            content = call(f"GET /containers/{container_id}/files/{file_id}/content").body
            assert (file["path"], file["bytes"], file["source"]) == (f"/mnt/data/{filename}", len(content), "assistant")
            assert content.startswith(b"\x89PNG") == filename.endswith(".png")


def cited_files(body: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the container, file and name of every container citation."""
    parts = [part for item in body["output"] for part in (item.get("content") or [])]
    annotations = [annotation for part in parts for annotation in part.get("annotations") or []]
    kind = "container_file_citation"
    return [
        (annotation["container_id"], annotation["file_id"], annotation["filename"])
        for annotation in annotations
        if annotation["type"] == kind
    ]


def test_citations_are_made_as_recorded(call, recordings) -> None:
    """A shown image is cited 0/0 and first, a linked file by the span of its URL, with the recorded keys."""
    name = f"{PYDANTIC}/test_openai_responses_code_execution_return_image.yaml"
    recorded = recordings.body(name)["output"]
    text = recorded[2]["content"][0]["text"]
    path = "y_equals_x_squared.png"
    script(call, Turn(text, images=[b"shown"], files={path: b"saved"}, code="plot()", logs="'saved'"))
    output = call("POST /responses", {**PLAIN, "tools": [AUTO], "include": OUTPUTS}).json["output"]
    recorded_notes, notes = recorded[2]["content"][0]["annotations"], output[1]["content"][0]["annotations"]
    assert [set(note) for note in notes] == [set(note) for note in recorded_notes]
    spans = [(note["start_index"], note["end_index"]) for note in notes]
    assert spans == [(note["start_index"], note["end_index"]) for note in recorded_notes]
    assert notes[0]["filename"] == f"{notes[0]['file_id']}.png"
    assert set(output[0]) == set(recorded[1])
    assert [set(shown) for shown in output[0]["outputs"]] == [set(shown) for shown in recorded[1]["outputs"]]


def test_outputs_are_null_without_include(call) -> None:
    """Code Interpreter outputs are null without `include`, in the answer, in a poll and in the stream."""
    body = {**PLAIN, "tools": [AUTO]}
    script(call, Turn("x", logs="1"), Turn("x", logs="1"), Turn("x", logs="1"))
    answer = call("POST /responses", body).json
    assert answer["output"][0]["outputs"] is None
    for query in ("include[]", "include"):
        polled = call(f"GET /responses/{answer['id']}?{query}={OUTPUTS[0]}").json
        assert polled["output"][0]["outputs"] == [{"type": "logs", "logs": "1"}]
    quiet = call("POST /responses", {**body, "stream": True}).events
    full = call("POST /responses", {**body, "stream": True, "include": OUTPUTS}).events
    assert [event["item"]["outputs"] for event in quiet if "item" in event and "outputs" in event["item"]] == [
        None,
        None,
    ]
    included = [event["item"]["outputs"] for event in full if "item" in event and "outputs" in event["item"]]
    assert included == [[], [{"type": "logs", "logs": "1"}]]


def test_ids_have_the_recorded_form(call, recordings) -> None:
    """Ids have the prefixes and lengths of recorded ones."""
    image = recordings.body(f"{PYDANTIC}/test_openai_responses_code_execution_return_image.yaml")
    function = recordings.body(f"{DOTNET}/FunctionCallWorks.json")
    text = recordings.body(f"{DOTNET}/CanDeleteResponse.json")
    script(call, Turn("x", images=[b"i"], function_calls=[{"name": "f"}]))
    ours = call("POST /responses", {**PLAIN, "tools": [AUTO]}).json
    code, message, called = ours["output"]
    pairs = [
        (ours["id"], text["id"]),
        (code["container_id"], image["output"][1]["container_id"]),
        (message["id"], text["output"][0]["id"]),
        (message["content"][0]["annotations"][0]["file_id"], cited_files(image)[0][1]),
        (called["id"], function["output"][0]["id"]),
        (called["call_id"], function["output"][0]["call_id"]),
    ]
    for own_id, recorded_id in pairs:
        assert (own_id.partition("_")[0], len(own_id)) == (recorded_id.partition("_")[0], len(recorded_id))


def test_containers_and_their_files_look_as_recorded(call, recordings) -> None:
    """Container objects, file objects, deletions and download headers are the recorded ones."""
    full = recordings.read(f"{DOTNET}/CanCreateContainer.json")
    container = call("POST /containers", json.loads(full[0].request_body)).json
    assert list(container) == list(json.loads(full[0].body))
    plain = recordings.body(f"{DOTNET}/CodeInterpreterToolWithContainerIdFromContainerApi.json")
    assert list(call("POST /containers", {"name": "n"}).json) == list(plain)
    upload, _, content, gone = recordings.read(f"{DOTNET}/CanUploadGetAndDeleteContainerFile.json")
    base = f"/containers/{container['id']}/files"
    file = call.upload(f"POST {base}", "test-get-file.txt", b"Test file content for get/delete operations.").json
    recorded = json.loads(upload.body)
    assert list(file) == list(recorded)
    assert (file["bytes"], file["source"], len(file["path"])) == (44, "user", len(recorded["path"]))
    download = call(f"GET {base}/{file['id']}/content")
    assert download.body.decode() == content.body
    for header in ("content-type", "content-length"):
        assert download.headers[header] == content.headers[header]
    expected = content.headers["content-disposition"].replace(recorded["path"][10:], file["path"][10:])
    assert download.headers["content-disposition"] == expected
    assert list(call(f"DELETE {base}/{file['id']}").json) == list(json.loads(gone.body))
    assert call(f"DELETE /containers/{container['id']}").json == {**json.loads(full[1].body), "id": container["id"]}
    container_list = recordings.body(f"{DOTNET}/CanEnumerateContainers.json")
    assert list(call("GET /containers").json) == list(container_list)


def test_file_objects_and_errors_are_the_recorded_ones(call, recordings) -> None:
    """Uploads have the recorded keys, and wrong purposes and unknown ids get the recorded error bodies."""
    upload = recordings.body(f"{DOTNET}/FileSearch.json")
    file = call.upload(
        "POST /files", "test_favorite_foods.txt", b"Travis's favorite food is pizza.", purpose="user_data"
    )
    changing = {"id": file.json["id"], "created_at": file.json["created_at"]}
    assert file.json == {**upload, **changing}
    assert list(file.json) == list(upload)
    wrong = call.upload("POST /files", "x", b"x", purpose="world_domination")
    assert (wrong.status, wrong.json) == (400, recordings.body(f"{DOTNET}/UploadFileCanParseServiceError.json"))
    missing = call("GET /files/fake_id/content")
    assert (missing.status, missing.json) == (404, recordings.body(f"{DOTNET}/DownloadFileCanParseServiceError.json"))
    assert call("DELETE /files/fake_id").json == recordings.body(f"{DOTNET}/DeleteFileCanParseServiceError.json")


def test_vector_stores_look_as_recorded(call, recordings) -> None:
    """Vector stores, their counts and expiry, and their files are the recorded ones."""
    exchanges = recordings.read(f"{DOTNET}/CanCreateGetAndDeleteVectorStores.json")
    empty = call("POST /vector_stores", {}).json
    assert empty == {**json.loads(exchanges[0].body), **changing_fields(empty)}
    assert list(empty) == list(json.loads(exchanges[0].body))
    file = call.upload("POST /files", "a.txt", b"Paris is the capital", purpose="assistants").json
    request = {**json.loads(exchanges[7].request_body), "file_ids": [file["id"]]}
    store, recorded = call("POST /vector_stores", request).json, json.loads(exchanges[7].body)
    lasting = recorded["expires_at"] - recorded["last_active_at"]
    assert store == {**recorded, **changing_fields(store), "expires_at": store["last_active_at"] + lasting}
    assert call(f"GET /vector_stores/{store['id']}").json["status"] == "completed"
    added = call(f"POST /vector_stores/{empty['id']}/files", {"file_id": file["id"]}).json
    recorded_file = recordings.body(f"{PYDANTIC}/test_openai_responses_model_file_search_tool.yaml", 2)
    changing = {key: added[key] for key in ("id", "created_at", "vector_store_id")}
    assert added == {**recorded_file, **changing}
    gone = call(f"DELETE /vector_stores/{empty['id']}").json
    assert gone == {**json.loads(exchanges[1].body), "id": empty["id"]}


def changing_fields(store: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that differ from recording to recording."""
    return {key: store[key] for key in ("id", "created_at", "last_active_at")}


def test_input_items_come_newest_first_and_in_pages(call, recordings) -> None:
    """Input items are listed as recorded: newest first, two a page, with the recorded keys."""
    post, first, second = recordings.read(f"{DOTNET}/GetInputItemsWithPagination.json")
    response = call("POST /responses", json.loads(post.request_body)).json
    page = call(f"GET /responses/{response['id']}/input_items?limit=2").json
    rest = call(f"GET /responses/{response['id']}/input_items?limit=2&after={page['last_id']}").json
    for ours, exchange in ((page, first), (rest, second)):
        recorded = json.loads(exchange.body)
        assert list(ours) == list(recorded)
        assert ours["has_more"] == recorded["has_more"]
        assert [list(item) for item in ours["data"]] == [list(item) for item in recorded["data"]]
        assert [item["content"] for item in ours["data"]] == [item["content"] for item in recorded["data"]]


def test_a_function_round_is_listed_as_recorded(call, recordings) -> None:
    """After a function round the input items are output, call and question, with the recorded keys."""
    first, second, listed = recordings.read(f"{DOTNET}/FunctionCallWorks.json")
    script(call, Turn(response=json.loads(first.body)), Turn("warm"))
    call("POST /responses", json.loads(first.request_body))
    answer = call("POST /responses", json.loads(second.request_body)).json
    items = call(f"GET /responses/{answer['id']}/input_items").json["data"]
    recorded = json.loads(listed.body)["data"]
    assert [list(item) for item in items] == [list(item) for item in recorded]
    assert [item["id"][:3] for item in items] == [item["id"][:3] for item in recorded]


def test_deleted_and_unstored_responses_are_not_found(call, recordings) -> None:
    """A deleted response and one made with `store` false are 404 with the recorded body."""
    stored = call("POST /responses", PLAIN).json["id"]
    assert call(f"DELETE /responses/{stored}").json == {
        **recordings.body(f"{DOTNET}/CanDeleteResponse.json", 2),
        "id": stored,
    }
    unstored = call("POST /responses", {**PLAIN, "store": False}).json["id"]
    recorded = recordings.body(f"{DOTNET}/CanOptOutOfStorage.json", 1)
    for response_id in (stored, unstored):
        reply = call(f"GET /responses/{response_id}")
        text = f"Response with id '{response_id}' not found."
        assert (reply.status, reply.json) == (404, {"error": {**recorded["error"], "message": text}})


def test_recorded_refusals_are_repeated(recordings, caller) -> None:
    """A negative temperature and a wrong key are refused with the recorded messages."""
    with StandIn(keys={"sk-good"}) as upstream:
        call = caller(upstream)
        cold = call("POST /responses", {**PLAIN, "temperature": -1}, headers={"authorization": "Bearer sk-good"})
        recorded = recordings.body(f"{PYDANTIC}/test_openai_responses_model_http_error.yaml")
        assert (cold.status, cold.json) == (400, recorded)
        wrong = call("POST /responses", PLAIN, headers={"authorization": "Bearer <not-a-real-key>"})
        recorded_refusal = recordings.body("DataDog__dd-trace-py/response_error.yaml")
        assert (wrong.status, wrong.json) == (401, recorded_refusal)


# Bodies that the service accepted although the OpenAPI description and the SDK's types forbid them.
TOLERATED = {
    "DataDog__dd-trace-py/response_function_call_streamed.yaml": "no `strict` on a function",
    "alexrudall__ruby-openai/responses_create_with_tool_call.yml": "no `strict` on a function",
    f"{PYDANTIC}/test_openai_responses_model_simple_response_with_tool_call.yaml": "`status` null on a function call",
    f"{PYDANTIC}/test_openai_responses_code_execution_return_image.yaml": "output text without `logprobs`",
    f"{PYDANTIC}/test_openai_responses_thinking_with_code_execution_tool.yaml": "output text without `logprobs`",
}


@pytest.mark.parametrize("name", recording_names())
def test_no_accepted_request_is_refused(name: str, recordings) -> None:
    """Requests that the service accepted pass the SDK's types and the description, except for a few named ones."""
    pytest.importorskip("jsonschema", reason="checking against the description needs jsonschema")
    spec = Spec(SHARED / "spec" / "openapi.json")
    refused: list[object] = []
    for exchange in recordings.read(name):
        if exchange.method == "POST" and exchange.url.endswith("/responses") and exchange.status == 200:
            body = json.loads(exchange.request_body)
            kind = "Streaming" if body.get("stream") else "NonStreaming"
            problem = find_problem(body, f"ResponseCreateParams{kind}")
            refused += [problem] if problem else []
            try:
                spec.check("CreateResponse", body)
            except Refusal as refusal:
                refused.append(refusal)
    assert bool(refused) == (name in TOLERATED)
