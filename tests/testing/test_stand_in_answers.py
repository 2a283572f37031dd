"""What the stand-in answers, held against the OpenAPI description."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistants_compat.testing import Turn
from assistants_compat.testing.exchange import Refusal
from assistants_compat.testing.openapi_spec import Spec

SPEC = Path(__file__).resolve().parents[3] / "shared" / "spec" / "openapi.json"
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


# Keys that the service sends as null although the description knows no null there (every recorded response and file).
NULLS = {"prompt_cache_key", "safety_identifier", "user", "status_details", "expires_at", "expires_after", "usage"}
# Recorded with nested fields, and recorded without the `name` that the description demands.
RECORDED_OTHERWISE = {"error", "response.function_call_arguments.done"}


def as_described(value):
    """The value without what the recordings have otherwise than the description: nulls, and one younger counter."""
    if isinstance(value, list):
        return [as_described(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {key: each for key, each in value.items() if each is not None or key not in NULLS}
    if "cached_tokens" in kept:
        # Models of 2026 count it, the gpt-4 recordings do not have it, the description demands it.
        kept.setdefault("cache_write_tokens", 0)
    return {key: as_described(each) for key, each in kept.items()}


@pytest.fixture(scope="module")
def fits():
    """Checks an object against a component schema of the description."""
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
def test_responses_fit_the_description(turn, fits, call) -> None:
    """Every form of a response fits the description: inline, queued, looked at, with and without outputs."""
    asked = {**PLAIN, "tools": [AUTO, FUNCTION], "reasoning": {"effort": "low"}}
    call.upstream.script(turn, turn)
    fits("Response", call("POST /responses", {**asked, "include": ["code_interpreter_call.outputs"]}).json)
    posted = call("POST /responses", {**asked, "background": True}).json
    fits("Response", posted)
    for _ in range(2):
        fits("Response", call(f"GET /responses/{posted['id']}").json)
    fits("ResponseItemList", call(f"GET /responses/{posted['id']}/input_items").json)


@pytest.mark.parametrize("turn", TURNS[:4], ids=lambda turn: f"{turn.status} {turn.text}")
@pytest.mark.parametrize("background", [False, True])
def test_events_fit_the_description(turn, background, fits, call) -> None:
    """Every event of a stream fits the description, but for two that the recordings show otherwise."""
    call.upstream.script(turn)
    asked = {**PLAIN, "tools": [AUTO, FUNCTION], "stream": True, "background": background}
    for event in call("POST /responses", asked).events:
        if event["type"] not in RECORDED_OTHERWISE:
            fits("ResponseStreamEvent", event)


def test_the_other_objects_fit_the_description(fits, call) -> None:
    """Files, containers, vector stores, their lists and pages fit the description."""
    file = call.upload("POST /files", "a.txt", b"Paris", purpose="assistants").json
    container = call("POST /containers", {"name": "c", "file_ids": [file["id"]]}).json
    store = call("POST /vector_stores", {"name": "s", "file_ids": [file["id"]]}).json
    base = f"/vector_stores/{store['id']}"
    fits("OpenAIFile", file)
    fits("ListFilesResponse", call("GET /files").json)
    fits("ContainerResource", container)
    fits("ContainerListResource", call("GET /containers").json)
    fits("ContainerFileListResource", call(f"GET /containers/{container['id']}/files").json)
    fits("VectorStoreObject", store)
    fits("ListVectorStoresResponse", call("GET /vector_stores").json)
    fits("VectorStoreFileObject", call(f"POST {base}/files", {"file_id": file["id"]}).json)
    fits("VectorStoreFileObject", call(f"POST {base}/files/{file['id']}", {"attributes": {"a": "b"}}).json)
    fits("ListVectorStoreFilesResponse", call(f"GET {base}/files").json)
    fits("VectorStoreFileContentResponse", call(f"GET {base}/files/{file['id']}/content").json)
    batch = call(f"POST {base}/file_batches", {"file_ids": [file["id"]]}).json
    fits("VectorStoreFileBatchObject", batch)
    cancelled = call(f"POST {base}/file_batches/{batch['id']}/cancel").json
    fits("VectorStoreFileBatchObject", cancelled)
    assert (cancelled["status"], cancelled["file_counts"]["cancelled"]) == ("cancelled", 1)
    fits("ListVectorStoreFilesResponse", call(f"GET {base}/file_batches/{batch['id']}/files?filter=cancelled").json)
    page = call(f"POST {base}/search", {"query": ["paris"]}).json
    fits("VectorStoreSearchResultsPage", page)
    assert call(f"DELETE {base}/files/{file['id']}").json["object"] == "vector_store.file.deleted"
    assert call(f"GET {base}/files/{file['id']}").status == 404
    assert call(f"GET {base}/file_batches/vsfb_x").status == 404
