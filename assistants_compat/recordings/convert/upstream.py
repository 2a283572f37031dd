"""The upstream of a conversion: answers the library's requests from what the recording shows, and records both."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from ...translate.run import TERMINAL
from ...wire.objects import Json, as_object
from ..vcr_yaml import Exchange
from .evidence import Evidence, RecordedCall
from .recorded_run import IdPlan, RecordedRun, upstream_id
from .stream_events import encode_stream, pieces_from_events

_FIRST_ERROR_STATUS = 400
_JSON, _EVENTS, _BYTES = "application/json", "text/event-stream; charset=utf-8", "application/octet-stream"


@dataclass
class RecordedUpstream:
    """Answers requests; calls `plan_ids` with the ids that the library is to assign to the output of a response."""

    evidence: Evidence
    plan_ids: Callable[[IdPlan], None]
    call: RecordedCall | None = None  # the call that the library is answering
    expected_round: tuple[str, int] | None = None  # the id of the run, and the index of the round that the call starts
    exchanges: list[Exchange] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    runs: dict[str, RecordedRun] = field(default_factory=dict)
    _requests: dict[str, Json] = field(default_factory=dict)  # by the id of their response
    _planned_responses: set[str] = field(default_factory=set)

    def run(self, id_: str) -> RecordedRun:
        """Return a run of the recording."""
        if id_ not in self.runs:
            self.runs[id_] = RecordedRun(self.evidence, id_)
        return self.runs[id_]

    def answer(self, request: Any, http_library: Any) -> Any:
        """Return the response to a request of the library, as an object of its HTTP library."""
        body = request.read()
        status, content_type, content = self._answer(request.method, str(request.url), body)
        self.exchanges.append(
            Exchange(
                method=request.method,
                uri=str(request.url),
                status=status,
                request_headers={
                    name: [request.headers[name]] for name in ("content-type", "accept") if name in request.headers
                },
                request_body=body,
                headers={"content-type": [content_type]},
                body=content,
                message="OK" if status < _FIRST_ERROR_STATUS else "",
            )
        )
        return http_library.Response(status, headers={"content-type": content_type}, content=content, request=request)

    def _answer(self, method: str, url: str, body: bytes) -> tuple[int, str, bytes]:
        path = urlsplit(url).path
        for route_method, pattern, handler in _ROUTES:
            match = re.search(pattern, path)
            if route_method == method and match:
                answer = handler(self, [unquote(group) for group in match.groups()], _json_object(body))
                return answer if isinstance(answer, tuple) else (200, _JSON, json.dumps(answer, indent=2).encode())
        self.warnings.append(f"the library now requests {method} {path}, which nothing in the recording answers")
        return 404, _JSON, json.dumps({"error": {"message": "Not recorded.", "type": "invalid_request_error"}}).encode()

    # --- responses

    def _create_response(self, _ids: list[str], request: Json) -> Any:
        assert self.call is not None  # noqa: S101 - the library asks only while it answers a call
        if not self.call.ok and self.call.exchange.status not in (400, 404):
            return self.call.exchange.status, _JSON, self.call.exchange.body
        if self.expected_round is None:
            self.warnings.append("the library now requests a response that no run of the recording needs")
            return 500, _JSON, b"{}"
        run_id, index = self.expected_round
        run = self.run(run_id)
        self._requests[run.response_id(index)] = request
        if index > 0:
            # Before the output, the transcript gets a note of the tool calls that were answered.
            self.plan_ids({"msg": [None]})
        if request.get("stream"):
            return 200, _EVENTS, self._stream(run, index, request)
        return self._response(run, index, run.status_at(self.call.number, index), request)

    def _stream(self, run: RecordedRun, index: int, request: Json) -> bytes:
        assert self.call is not None  # noqa: S101 - as above
        status = run.final_status(index)
        if status not in TERMINAL and status != "requires_action":
            self.warnings.append(
                f"run {run.id}: its recorded stream stops before the end, and so does the converted one"
            )
            status = "completed"
            response = {**self._response(run, index, status, request), "status": "in_progress"}
        else:
            response = self._response(run, index, status, request)
        return encode_stream(response, pieces_from_events(self.call.events, response))

    def _retrieve_response(self, ids: list[str], _body: Json) -> Any:
        assert self.call is not None  # noqa: S101 - as above
        for run in map(self.run, self.evidence.run_ids):
            for index in range(len(run.rounds)):
                if run.response_id(index) == ids[0]:
                    status = run.status_at(self.call.number, index)
                    return self._response(run, index, status, self._requests.get(ids[0], {}))
        return self._response_not_found(ids, {})

    def _response(self, run: RecordedRun, index: int, status: str, request: Mapping[str, Any]) -> Json:
        response, plan = run.response(index, status, request)
        ended = response["status"] not in {"queued", "in_progress"}
        # The library assigns ids when it first sees a response's output, so a plan counts once.
        if ended and response["id"] not in self._planned_responses:
            self._planned_responses.add(response["id"])
            self.plan_ids(plan)
        return response

    def _cancel_response(self, ids: list[str], _body: Json) -> Json:
        return {"id": ids[0], "object": "response", "status": "cancelled", "output": [], "usage": None, "error": None}

    def _delete(self, ids: list[str], _body: Json) -> Json:
        kind = {"resp": "response", "cntr": "container.deleted", "vs": "vector_store.deleted"}
        return {"id": ids[0], "object": kind.get(ids[0].partition("_")[0], "file"), "deleted": True}

    def _response_not_found(self, ids: list[str], _body: Json) -> Any:
        error = {"message": f"Response with id '{ids[0]}' not found.", "type": "invalid_request_error"}
        return 404, _JSON, json.dumps({"error": {**error, "param": None, "code": None}}).encode()

    # --- containers

    def _list_container_files(self, ids: list[str], _body: Json) -> Json:
        files = [file for run in self.runs.values() if run.container_id == ids[0] for file in run.container_files]
        first, last = (files[0]["id"], files[-1]["id"]) if files else (None, None)
        return {"object": "list", "data": files, "first_id": first, "last_id": last, "has_more": False}

    def _download_container_file(self, ids: list[str], _body: Json) -> Any:
        recorded_ids = (run.recorded_file_ids for run in self.runs.values())
        file_id = next((by_file[ids[1]] for by_file in recorded_ids if ids[1] in by_file), "")
        return 200, _BYTES, self.evidence.file_contents.get(file_id, b"")

    def _create_container(self, _ids: list[str], body: Json) -> Json:
        id_ = upstream_id("cntr", body.get("name"), len(self.exchanges))
        return {"id": id_, "object": "container", "name": body.get("name"), "status": "running"}

    def _add_container_file(self, ids: list[str], body: Json) -> Json:
        id_ = upstream_id("cfile", ids[0], body.get("file_id"))
        return {"id": id_, "object": "container.file", "container_id": ids[0]}

    # --- vector stores and files

    def _create_vector_store(self, _ids: list[str], _body: Json) -> Json:
        assert self.call is not None  # noqa: S101 - as above
        resources = as_object(self.call.response_json.get("tool_resources"))
        recorded = as_object(resources.get("file_search")).get("vector_store_ids") or self._later_vector_stores()
        return {**_VECTOR_STORE, "id": recorded[0] if recorded else upstream_id("vs", self.call.number)}

    def _later_vector_stores(self) -> list[str]:
        """Return the vector stores of the thread that a message attached files to, as a later call shows it."""
        assert self.call is not None  # noqa: S101 - as above
        thread = self.evidence.last_seen(str(self.call.path_params.get("thread_id")), "thread") or {}
        ids = as_object(as_object(thread.get("tool_resources")).get("file_search")).get("vector_store_ids")
        return list(ids or ())

    def _retrieve_vector_store(self, ids: list[str], _body: Json) -> Json:
        return {**_VECTOR_STORE, "id": ids[0]}

    def _vector_store_file_not_found(self, ids: list[str], _body: Json) -> Any:
        error = {
            "message": f"No file found with id '{ids[1]}' in vector store '{ids[0]}'.",
            "type": "invalid_request_error",
        }
        return 404, _JSON, json.dumps({"error": {**error, "param": None, "code": None}}).encode()

    def _create_file_batch(self, ids: list[str], _body: Json) -> Json:
        return {
            "id": upstream_id("vsfb", ids[0], len(self.exchanges)),
            "object": "vector_store.file_batch",
            "status": "completed",
        }

    def _upload_file(self, _ids: list[str], _body: Json) -> Json:
        id_ = upstream_id("file", len(self.exchanges)).replace("_", "-")
        return {"id": id_, "object": "file", "status": "processed"}


_VECTOR_STORE: Json = {
    "object": "vector_store",
    "status": "completed",
    "file_counts": {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0},
}
# A vector store never has a file yet, so the library adds each file that a message attaches.
_ROUTES: tuple[tuple[str, str, Callable[[RecordedUpstream, list[str], Json], Any]], ...] = (
    ("POST", r"/responses\Z", RecordedUpstream._create_response),  # noqa: SLF001 - the table of this class
    ("GET", r"/responses/([^/]+)\Z", RecordedUpstream._retrieve_response),  # noqa: SLF001
    ("POST", r"/responses/([^/]+)/cancel\Z", RecordedUpstream._cancel_response),  # noqa: SLF001
    ("GET", r"/containers/([^/]+)/files\Z", RecordedUpstream._list_container_files),  # noqa: SLF001
    ("GET", r"/containers/([^/]+)/files/([^/]+)/content\Z", RecordedUpstream._download_container_file),  # noqa: SLF001
    ("POST", r"/containers\Z", RecordedUpstream._create_container),  # noqa: SLF001
    ("POST", r"/containers/([^/]+)/files\Z", RecordedUpstream._add_container_file),  # noqa: SLF001
    ("POST", r"/vector_stores\Z", RecordedUpstream._create_vector_store),  # noqa: SLF001
    ("GET", r"/vector_stores/([^/]+)\Z", RecordedUpstream._retrieve_vector_store),  # noqa: SLF001
    ("GET", r"/vector_stores/([^/]+)/files/([^/]+)\Z", RecordedUpstream._vector_store_file_not_found),  # noqa: SLF001
    ("POST", r"/vector_stores/([^/]+)/file_batches\Z", RecordedUpstream._create_file_batch),  # noqa: SLF001
    ("POST", r"/files\Z", RecordedUpstream._upload_file),  # noqa: SLF001
    ("DELETE", r"/(?:responses|containers|vector_stores|files)/([^/]+)(?:/files/[^/]+)?\Z", RecordedUpstream._delete),  # noqa: SLF001
)


def round_started_by(call: RecordedCall, run: RecordedRun) -> int:
    """Return the index of the round that a call starts: the first, or the one after the outputs that it submits."""
    return next((index for index, round_ in enumerate(run.rounds) if round_.begin == call.number), 0)


def _json_object(body: bytes) -> Json:
    try:
        return as_object(json.loads(body))
    except ValueError:
        return {}
