"""The upstream of a conversion: it answers what the shim asks from what the recording shows, and notes both."""

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
from .evidence import Evidence, Old
from .recorded_run import Plan, RecordedRun, counted
from .stream_events import pieces_of, stream_of

_TROUBLE = 400
_JSON, _EVENTS, _BYTES = "application/json", "text/event-stream; charset=utf-8", "application/octet-stream"


@dataclass
class Upstream:
    """Answers requests; `told` hears which ids what it says is to get."""

    evidence: Evidence
    told: Callable[[Plan], None]
    old: Old | None = None  # the call that is being answered
    wanted: tuple[str, int] | None = None  # the run and the round that its POST /responses is for
    sent: list[Exchange] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    runs: dict[str, RecordedRun] = field(default_factory=dict)
    _requests: dict[str, Json] = field(default_factory=dict)  # by the id of their response
    _planned: set[str] = field(default_factory=set)

    def run(self, id_: str) -> RecordedRun:
        """A run of the recording."""
        if id_ not in self.runs:
            self.runs[id_] = RecordedRun(self.evidence, id_)
        return self.runs[id_]

    def answer(self, request: Any, library: Any) -> Any:
        """The answer to a request of the shim's, in its own HTTP library."""
        body = request.read()
        status, kind, content = self._answer(request.method, str(request.url), body)
        self.sent.append(
            Exchange(
                method=request.method,
                uri=str(request.url),
                status=status,
                request_headers={
                    name: [request.headers[name]] for name in ("content-type", "accept") if name in request.headers
                },
                request_body=body,
                headers={"content-type": [kind]},
                body=content,
                message="OK" if status < _TROUBLE else "",
            )
        )
        return library.Response(status, headers={"content-type": kind}, content=content, request=request)

    def _answer(self, method: str, url: str, body: bytes) -> tuple[int, str, bytes]:
        path = urlsplit(url).path
        for wanted, pattern, answer in _ROUTES:
            match = re.search(pattern, path)
            if wanted == method and match:
                found = answer(self, [unquote(each) for each in match.groups()], _object(body))
                return found if isinstance(found, tuple) else (200, _JSON, json.dumps(found, indent=2).encode())
        self.troubles.append(f"{method} {path} is asked for now, and nothing in the recording answers it")
        return 404, _JSON, json.dumps({"error": {"message": "Not recorded.", "type": "invalid_request_error"}}).encode()

    # --- responses

    def _create(self, _ids: list[str], request: Json) -> Any:
        assert self.old is not None  # noqa: S101 - a call is being answered
        if not self.old.ok and self.old.exchange.status not in (400, 404):
            return self.old.exchange.status, _JSON, self.old.exchange.body
        if self.wanted is None:
            self.troubles.append("a response is asked for that no run of the recording needs")
            return 500, _JSON, b"{}"
        run_id, at = self.wanted
        run = self.run(run_id)
        self._requests[run.response_id(at)] = request
        if at > 0:
            self.told({"msg": [None]})  # what the transcript keeps of the calls that were answered comes first
        if request.get("stream"):
            return 200, _EVENTS, self._stream(run, at, request)
        return self._response(run, at, run.status_at(self.old.number, at), request)

    def _stream(self, run: RecordedRun, at: int, request: Json) -> bytes:
        assert self.old is not None  # noqa: S101 - as above
        status = run.end_of(at)
        if status not in TERMINAL and status != "requires_action":
            self.troubles.append(f"the stream of run {run.id} was left before its end, which is not known")
            status = "completed"
            response = {**self._response(run, at, status, request), "status": "in_progress"}
        else:
            response = self._response(run, at, status, request)
        return stream_of(response, pieces_of(self.old.events, response))

    def _look(self, ids: list[str], _body: Json) -> Any:
        assert self.old is not None  # noqa: S101 - as above
        for run in map(self.run, self.evidence.run_ids):
            for at in range(len(run.rounds)):
                if run.response_id(at) == ids[0]:
                    status = run.status_at(self.old.number, at)
                    return self._response(run, at, status, self._requests.get(ids[0], {}))
        return self._missing(ids, {})

    def _response(self, run: RecordedRun, at: int, status: str, request: Mapping[str, Any]) -> Json:
        response, plan = run.response(at, status, request)
        ended = response["status"] not in {"queued", "in_progress"}
        if ended and response["id"] not in self._planned:
            self._planned.add(response["id"])
            self.told(plan)
        return response

    def _cancel(self, ids: list[str], _body: Json) -> Json:
        return {"id": ids[0], "object": "response", "status": "cancelled", "output": [], "usage": None, "error": None}

    def _delete(self, ids: list[str], _body: Json) -> Json:
        kind = {"resp": "response", "cntr": "container.deleted", "vs": "vector_store.deleted"}
        return {"id": ids[0], "object": kind.get(ids[0].partition("_")[0], "file"), "deleted": True}

    def _missing(self, ids: list[str], _body: Json) -> Any:
        error = {"message": f"Response with id '{ids[0]}' not found.", "type": "invalid_request_error"}
        return 404, _JSON, json.dumps({"error": {**error, "param": None, "code": None}}).encode()

    # --- containers

    def _listed(self, ids: list[str], _body: Json) -> Json:
        files = [file for run in self.runs.values() if run.container == ids[0] for file in run.cited]
        first, last = (files[0]["id"], files[-1]["id"]) if files else (None, None)
        return {"object": "list", "data": files, "first_id": first, "last_id": last, "has_more": False}

    def _bytes(self, ids: list[str], _body: Json) -> Any:
        recorded = next((run.files[ids[1]] for run in self.runs.values() if ids[1] in run.files), "")
        return 200, _BYTES, self.evidence.contents.get(recorded, b"")

    def _container(self, _ids: list[str], body: Json) -> Json:
        id_ = counted("cntr", body.get("name"), len(self.sent))
        return {"id": id_, "object": "container", "name": body.get("name"), "status": "running"}

    def _put(self, ids: list[str], body: Json) -> Json:
        return {"id": counted("cfile", ids[0], body.get("file_id")), "object": "container.file", "container_id": ids[0]}

    # --- vector stores and files

    def _store(self, _ids: list[str], _body: Json) -> Json:
        assert self.old is not None  # noqa: S101 - as above
        resources = as_object(self.old.answer.get("tool_resources"))
        known = as_object(resources.get("file_search")).get("vector_store_ids") or self._later_stores()
        return {**_INDEXED, "id": known[0] if known else counted("vs", self.old.number)}

    def _later_stores(self) -> list[str]:
        """The stores of the thread that a message attached files to, as a later call shows it."""
        assert self.old is not None  # noqa: S101 - as above
        thread = self.evidence.last(str(self.old.parts.get("thread_id")), "thread") or {}
        found = as_object(as_object(thread.get("tool_resources")).get("file_search")).get("vector_store_ids")
        return list(found or ())

    def _indexed(self, ids: list[str], _body: Json) -> Json:
        return {**_INDEXED, "id": ids[0]}

    def _absent(self, ids: list[str], _body: Json) -> Any:
        error = {
            "message": f"No file found with id '{ids[1]}' in vector store '{ids[0]}'.",
            "type": "invalid_request_error",
        }
        return 404, _JSON, json.dumps({"error": {**error, "param": None, "code": None}}).encode()

    def _batch(self, ids: list[str], _body: Json) -> Json:
        return {
            "id": counted("vsfb", ids[0], len(self.sent)),
            "object": "vector_store.file_batch",
            "status": "completed",
        }

    def _upload(self, _ids: list[str], _body: Json) -> Json:
        return {"id": counted("file", len(self.sent)).replace("_", "-"), "object": "file", "status": "processed"}


_INDEXED: Json = {
    "object": "vector_store",
    "status": "completed",
    "file_counts": {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0},
}
_ROUTES: tuple[tuple[str, str, Callable[[Upstream, list[str], Json], Any]], ...] = (
    ("POST", r"/responses\Z", Upstream._create),  # noqa: SLF001 - the table of this class
    ("GET", r"/responses/([^/]+)\Z", Upstream._look),  # noqa: SLF001
    ("POST", r"/responses/([^/]+)/cancel\Z", Upstream._cancel),  # noqa: SLF001
    ("GET", r"/containers/([^/]+)/files\Z", Upstream._listed),  # noqa: SLF001
    ("GET", r"/containers/([^/]+)/files/([^/]+)/content\Z", Upstream._bytes),  # noqa: SLF001
    ("POST", r"/containers\Z", Upstream._container),  # noqa: SLF001
    ("POST", r"/containers/([^/]+)/files\Z", Upstream._put),  # noqa: SLF001
    ("POST", r"/vector_stores\Z", Upstream._store),  # noqa: SLF001
    ("GET", r"/vector_stores/([^/]+)\Z", Upstream._indexed),  # noqa: SLF001
    ("GET", r"/vector_stores/([^/]+)/files/([^/]+)\Z", Upstream._absent),  # noqa: SLF001
    ("POST", r"/vector_stores/([^/]+)/file_batches\Z", Upstream._batch),  # noqa: SLF001
    ("POST", r"/files\Z", Upstream._upload),  # noqa: SLF001
    ("DELETE", r"/(?:responses|containers|vector_stores|files)/([^/]+)(?:/files/[^/]+)?\Z", Upstream._delete),  # noqa: SLF001
)


def asked_round(old: Old, run: RecordedRun) -> int:
    """The round of a run that a call asks for: the first, or that after the outputs that it gives."""
    return next((at for at, each in enumerate(run.rounds) if each.begin == old.number), 0)


def _object(body: bytes) -> Json:
    try:
        return as_object(json.loads(body))
    except ValueError:
        return {}
