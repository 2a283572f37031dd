"""The stand-in's answers fit the OpenAPI description."""

from __future__ import annotations

import pytest

from assistants_compat.testing import Turn
from assistants_compat.testing.exchange import Refusal
from assistants_compat.testing.openapi_spec import Spec
from kit.paths import SPEC

PLAIN = {"model": "gpt-4o", "input": "Hello"}
AUTO = {"type": "code_interpreter", "container": {"type": "auto"}}
FUNCTION = {"type": "function", "name": "f", "parameters": {}, "strict": False}
RICH = Turn(
    "See [a](sandbox:/mnt/data/a.csv).",
    files={"a.csv": b"1"},
    images=[b"png"],
    code="plot()",
    logs="1",
    function_calls=[{"name": "f"}],
)
TURNS = [Turn(), RICH, Turn(status="failed"), Turn("half", status="incomplete"), Turn(status="cancelled")]


# Keys that the service sends as null in every recorded response and file, although the description forbids it.
NULLS = {"prompt_cache_key", "safety_identifier", "user", "status_details", "expires_at", "expires_after", "usage"}
# Event types recorded with nested fields, or without the `name` that the description requires.
RECORDED_OTHERWISE = {"error", "response.function_call_arguments.done"}


def as_described(value):
    """Remove what the recordings have but the description forbids: nulls. Add one counter that older models lack."""
    if isinstance(value, list):
        return [as_described(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {key: field for key, field in value.items() if field is not None or key not in NULLS}
    if "cached_tokens" in fields:
        # Models of 2026 count it, the gpt-4 recordings lack it, and the description requires it.
        fields.setdefault("cache_write_tokens", 0)
    return {key: as_described(field) for key, field in fields.items()}


@pytest.fixture(scope="module")
def check_schema():
    """Return a function that checks an object against a component schema of the description."""
    pytest.importorskip("jsonschema", reason="checking against the description needs jsonschema")
    if not SPEC.exists():
        pytest.skip("the OpenAPI description (../shared) is not there")
    spec = Spec(SPEC)

    def check(component, value) -> None:
        try:
            spec.check(component, as_described(value), is_closed=False)
        except Refusal as refusal:
            pytest.fail(f"{component}: {refusal.body}")

    return check


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: f"{turn.status} {turn.text}")
def test_responses_fit_the_description(turn, check_schema, call) -> None:
    """Every form of a response fits the description: inline, queued, polled, with and without outputs."""
    request = {**PLAIN, "model": "gpt-5", "tools": [AUTO, FUNCTION], "reasoning": {"effort": "low"}}
    call.upstream.script(turn, turn)
    check_schema("Response", call("POST /responses", {**request, "include": ["code_interpreter_call.outputs"]}).json)
    posted = call("POST /responses", {**request, "background": True}).json
    check_schema("Response", posted)
    for _ in range(2):
        check_schema("Response", call(f"GET /responses/{posted['id']}").json)
    check_schema("ResponseItemList", call(f"GET /responses/{posted['id']}/input_items").json)


@pytest.mark.parametrize("turn", TURNS[:4], ids=lambda turn: f"{turn.status} {turn.text}")
@pytest.mark.parametrize("background", [False, True])
def test_events_fit_the_description(turn, background, check_schema, call) -> None:
    """Every event of a stream fits the description, except two that were recorded otherwise."""
    call.upstream.script(turn)
    request = {**PLAIN, "tools": [AUTO, FUNCTION], "stream": True, "background": background}
    for event in call("POST /responses", request).events:
        if event["type"] not in RECORDED_OTHERWISE:
            check_schema("ResponseStreamEvent", event)


def test_the_other_objects_fit_the_description(check_schema, call) -> None:
    """Files, containers, vector stores, their lists and pages fit the description."""
    file = call.upload("POST /files", "a.txt", b"Paris", purpose="assistants").json
    container = call("POST /containers", {"name": "c", "file_ids": [file["id"]]}).json
    store = call("POST /vector_stores", {"name": "s", "file_ids": [file["id"]]}).json
    base = f"/vector_stores/{store['id']}"
    check_schema("OpenAIFile", file)
    check_schema("ListFilesResponse", call("GET /files").json)
    check_schema("ContainerResource", container)
    check_schema("ContainerListResource", call("GET /containers").json)
    check_schema("ContainerFileListResource", call(f"GET /containers/{container['id']}/files").json)
    check_schema("VectorStoreObject", store)
    check_schema("ListVectorStoresResponse", call("GET /vector_stores").json)
    check_schema("VectorStoreFileObject", call(f"POST {base}/files", {"file_id": file["id"]}).json)
    check_schema("VectorStoreFileObject", call(f"POST {base}/files/{file['id']}", {"attributes": {"a": "b"}}).json)
    check_schema("ListVectorStoreFilesResponse", call(f"GET {base}/files").json)
    check_schema("VectorStoreFileContentResponse", call(f"GET {base}/files/{file['id']}/content").json)
    batch = call(f"POST {base}/file_batches", {"file_ids": [file["id"]]}).json
    check_schema("VectorStoreFileBatchObject", batch)
    cancelled = call(f"POST {base}/file_batches/{batch['id']}/cancel").json
    check_schema("VectorStoreFileBatchObject", cancelled)
    assert (cancelled["status"], cancelled["file_counts"]["cancelled"]) == ("cancelled", 1)
    check_schema(
        "ListVectorStoreFilesResponse", call(f"GET {base}/file_batches/{batch['id']}/files?filter=cancelled").json
    )
    page = call(f"POST {base}/search", {"query": ["paris"]}).json
    check_schema("VectorStoreSearchResultsPage", page)
    assert call(f"DELETE {base}/files/{file['id']}").json["object"] == "vector_store.file.deleted"
    assert call(f"GET {base}/files/{file['id']}").status == 404
    assert call(f"GET {base}/file_batches/vsfb_x").status == 404
