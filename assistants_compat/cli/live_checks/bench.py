"""All the I/O of the live checks: sends requests, records the exchanges, and deletes what the requests have made.

Nothing is retried. An answer that proves nothing ends its check, so that an upstream in trouble is not asked more.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import openai

from ...engine.io import IO, BufferedResponse, Request, Upload
from ...errors import ApiError, CompatError, UnreachableError, UpstreamError
from ...translate.request import INCLUDE_CODE_OUTPUTS
from ...wire.objects import Json
from .answers import BAD_REQUEST, Answer, as_json_object
from .verdicts import SETUP

POLL_SECONDS = 1.0
_MAX_POLLS = 120
_SHORTEST_ANSWER = 16  # tokens, the least that a request may ask for
_CODE_ANSWER = 1000  # tokens: reasoning models think before they call a tool
_UNFINISHED = ("queued", "in_progress")
CODE = "Run this with the python tool, exactly as it is, and then only say done: "


class StopCheckError(Exception):
    """A check cannot go on; its answers so far, with the one that stopped it."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        """Carry the answers to the runner."""
        super().__init__()
        self.answers = answers


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, for the cassette; `sent` is a text for a request with a file."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    sent: Json | str | None
    status: int | None
    headers: Mapping[str, str]
    body: bytes


class Bench:
    """What the functions of the checks work with: one upstream, one model, and what the checks share."""

    def __init__(
        self, io: IO, model: str, *, shared: dict[str, Any] | None = None, poll_seconds: float = POLL_SECONDS
    ) -> None:
        """Send nothing yet. `shared` holds what the checks of every model share."""
        self.io = io
        self.model = model
        self.exchanges: list[Exchange] = []
        self._poll_seconds = poll_seconds
        self._made: dict[str, None] = {}  # paths, in the order in which they were made
        self._shared: dict[str, Any] = {} if shared is None else shared

    # --- requests

    async def post(self, path: str, body: Json, *, name: str = SETUP, may_lack_scope: bool = False) -> Answer:
        """Send a POST and return its answer; `name` says which answer ends the check, if it does."""
        return await self._send(Request("POST", path, body), name, may_lack_scope=may_lack_scope)

    async def get(
        self, path: str, query: tuple[tuple[str, str], ...] = (), *, name: str = SETUP, may_lack_scope: bool = False
    ) -> Answer:
        """Send a GET and return its answer."""
        return await self._send(Request("GET", path, query=query), name, may_lack_scope=may_lack_scope)

    async def upload(self, path: str, filename: str, content: bytes, *, name: str = SETUP, **fields: str) -> Answer:
        """Upload a file and return the answer; a file of the Files API is deleted afterwards."""
        upload = Upload(filename, len(content), _one_chunk(content), tuple(fields.items()))
        answer = await self._send(Request("POST", path, upload=upload), name)
        if path == "/files":
            self._keep("/files", answer)
        return answer

    async def respond(self, *, name: str = SETUP, **fields: Any) -> Answer:
        """Ask for a short response, and return the answer; a field that is None is not sent."""
        body = {"model": self.model, "input": "Say ok.", "max_output_tokens": _SHORTEST_ANSWER, "store": True, **fields}
        return await self.send_response({key: value for key, value in body.items() if value is not None}, name=name)

    async def send_response(self, body: Json, *, name: str) -> Answer:
        """Send this request for a response, streamed if it says so."""
        answer = await (self._stream(body, name) if body.get("stream") else self.post("/responses", body, name=name))
        if body.get("store"):
            self._keep("/responses", answer)
        return answer

    async def finished(self, answer: Answer, *, name: str = SETUP) -> Answer:
        """Poll a background response until it has ended."""
        query = (("include[]", INCLUDE_CODE_OUTPUTS),)
        for _ in range(_MAX_POLLS):
            if answer.body.get("status") not in _UNFINISHED:
                return answer
            await self.io.sleep(self._poll_seconds)
            answer = await self.get(f"/responses/{_id(answer)}", query, name=name)
        return Answer(None, trouble=f"the response did not end within {_MAX_POLLS} polls")

    # --- what several checks need

    async def shared(self, name: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """Return what `make` gives; it is called once, also if it fails."""
        if name not in self._shared:
            try:
                self._shared[name] = await make()
            except StopCheckError as stop:
                self._shared[name] = stop
        made = self._shared[name]
        if isinstance(made, StopCheckError):
            raise made
        return made

    async def container(self) -> str:
        """Return the id of the one container in which all code runs."""
        answer = await self.container_answer()
        if answer.missing_scopes or not answer.accepted:
            raise StopCheckError({SETUP: answer})
        return _id(answer)

    async def container_answer(self) -> Answer:
        """Return the answer that made the container, or the refusal."""
        answer: Answer = await self.shared("container", self._make_container)
        return answer

    async def _make_container(self) -> Answer:
        answer = await self.post("/containers", {"name": "doctor-live"}, may_lack_scope=True)
        self._keep("/containers", answer)
        return answer

    async def run_code(self, code: str, *, name: str = SETUP, **fields: Any) -> Answer:
        """Let the model run code in the shared container; the answer is that of the ended response."""
        tools = [{"type": "code_interpreter", "container": await self.container()}, *fields.pop("more_tools", ())]
        answer = await self.respond(
            name=name,
            **{
                "input": CODE + code,
                "tools": tools,
                "include": [INCLUDE_CODE_OUTPUTS],
                "max_output_tokens": _CODE_ANSWER,
                **fields,
            },
        )
        return await self.finished(answer, name=name)

    async def first_code_call(self) -> Answer:
        """Return the response of check 9, which checks 10 and 11 replay."""
        response: Answer = await self.shared(
            f"code {self.model}", lambda: self.run_code("print('abc123')", name="code", background=True)
        )
        return response

    async def file(self, filename: str, content: bytes) -> str:
        """Upload a file for assistants and return its id."""
        answer = await self.upload("/files", filename, content, purpose="assistants")
        self._require(answer)
        return _id(answer)

    async def small_file(self) -> str:
        """Return the id of the one small text file that several checks use."""
        id_: str = await self.shared("small file", lambda: self.file("note.txt", b"The word is marmalade.\n"))
        return id_

    async def vector_store(self, file_ids: list[str], *, name: str = SETUP, is_required: bool = True) -> Answer:
        """Create a vector store, which would expire after a day if it could not be deleted."""
        expiry = {"anchor": "last_active_at", "days": 1}
        body: Json = {"name": "doctor-live", "file_ids": file_ids, "expires_after": expiry}
        return await self._create("/vector_stores", body, name=name, is_required=is_required)

    async def conversation(self, items: list[Json], *, name: str) -> Answer:
        """Create a conversation."""
        return await self._create("/conversations", {"items": items}, name=name, is_required=False)

    # --- what was made

    async def delete(self, path: str) -> bool:
        """Delete what was made; return whether it is gone. Raises nothing for an answer of the upstream."""
        answer = await self._exchange(Request("DELETE", path))
        is_gone = _is_gone(answer)
        if not is_gone and path.startswith("/responses/"):  # one that is still in progress may have to be cancelled
            await self._exchange(Request("POST", f"{path}/cancel", {}))
            is_gone = _is_gone(await self._exchange(Request("DELETE", path)))
        if is_gone:
            self._made.pop(path, None)
        return is_gone

    async def delete_first(self, path: str) -> None:
        """Delete what the check needs to be gone; end the check if that fails."""
        if not await self.delete(path):
            raise StopCheckError({SETUP: Answer(None, trouble="something could not be deleted")})

    async def delete_all(self) -> list[str]:
        """Delete everything that was made, newest first; return the paths of what could not be deleted."""
        for path in reversed(list(self._made)):
            await self.delete(path)
        return list(self._made)

    def not_deleted(self) -> list[str]:
        """Return the paths of what is still to be deleted."""
        return list(self._made)

    def _keep(self, path: str, answer: Answer) -> None:
        if isinstance(answer.body.get("id"), str) and answer.status is not None and answer.status < BAD_REQUEST:
            self._made[f"{path}/{_id(answer)}"] = None

    async def _create(self, path: str, body: Json, *, name: str = SETUP, is_required: bool = True) -> Answer:
        answer = await self.post(path, body, name=name)
        self._keep(path, answer)
        if is_required:
            self._require(answer)
        return answer

    def _require(self, answer: Answer) -> None:
        """End the check if what it needs was refused."""
        if not answer.accepted:
            raise StopCheckError({SETUP: answer})

    # --- the upstream

    async def _send(self, request: Request, name: str, *, may_lack_scope: bool = False) -> Answer:
        answer = await self._exchange(request)
        if answer.why_undecidable is not None and not (may_lack_scope and answer.missing_scopes):
            raise StopCheckError({name: answer})
        return answer

    async def _exchange(self, request: Request) -> Answer:
        try:
            response = await self.io.upstream.send(request)
        except _FAILURES as error:
            refused = _refused_response(error)
            if refused is None:
                self._record(request, None, {}, b"")
                return Answer(None, trouble=_kind_of_failure(error))
            response = refused
        self._record(request, response.status, response.headers, response.body)
        return Answer(response.status, as_json_object(response.body))

    async def _stream(self, body: Json, name: str) -> Answer:
        """Stream a response to its end; the answer has the final response as its body."""
        request = Request("POST", "/responses", body, accept="text/event-stream")
        try:
            response = await self.io.upstream.open(request)
            try:
                data = b"".join([chunk async for chunk in response.chunks()])
            finally:
                await response.aclose()
        except _FAILURES as error:
            refused = _refused_response(error)
            if refused is None:
                self._record(request, None, {}, b"")
                raise StopCheckError({name: Answer(None, trouble=_kind_of_failure(error))}) from None
            status, headers, data = refused.status, refused.headers, refused.body
        else:
            status, headers = response.status, response.headers
        self._record(request, status, headers, data)
        answer = Answer(status, as_json_object(data)) if status >= BAD_REQUEST else _answer_from_events(status, data)
        if answer.why_undecidable is not None:
            raise StopCheckError({name: answer})
        return answer

    def _record(self, request: Request, status: int | None, headers: Mapping[str, str], body: bytes) -> None:
        sent: Json | str | None = None if request.json is None else dict(request.json)
        if request.upload is not None:
            fields = ", ".join(f"{key}={value}" for key, value in request.upload.fields)
            sent = f"a form with a file of {request.upload.size} bytes: {request.upload.filename}; {fields}"
        self.exchanges.append(Exchange(request.method, request.path, request.query, sent, status, headers, body))


_FAILURES = (openai.OpenAIError, UpstreamError, UnreachableError, ApiError, CompatError)


def _kind_of_failure(error: Exception) -> str:
    """Return the kind of a failure without its text, which may name hosts."""
    original = error.original if isinstance(error, UnreachableError) else error
    return type(original).__name__


def _refused_response(error: Exception) -> BufferedResponse | None:
    """Return the response of a refusal that the SDK has raised; None if there was no response."""
    if isinstance(error, UpstreamError):
        return BufferedResponse(error.status, error.headers, error.body)
    response: Any = getattr(error, "response", None)
    if response is None:
        return None
    try:
        body = bytes(response.content)
    except Exception:  # noqa: BLE001 - the body was not read: what the SDK has parsed of it will do
        body = json.dumps({"error": getattr(error, "body", None)}).encode()
    return BufferedResponse(response.status_code, {key.lower(): value for key, value in response.headers.items()}, body)


def _answer_from_events(status: int, data: bytes) -> Answer:
    """Return the final response of a stream, or its error; without either, no answer has come."""
    for line in reversed(data.splitlines()):
        event = as_json_object(line.removeprefix(b"data:")) if line.startswith(b"data:") else {}
        if isinstance(event.get("response"), dict):
            return Answer(status, event["response"])
        if event.get("type") == "error" or isinstance(event.get("error"), dict):
            error = event["error"] if isinstance(event.get("error"), dict) else event
            return Answer(status, {"object": "response", "status": "failed", "error": error})
    return Answer(None, trouble="the stream had no response")


def _is_gone(answer: Answer) -> bool:
    return answer.accepted or answer.status == 404  # noqa: PLR2004


def _id(answer: Answer) -> str:
    return quote(str(answer.body.get("id") or ""), safe="")


async def _one_chunk(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content
