"""The application: one line an endpoint, errors to bodies.  Every door asks it, and it knows none of them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from .. import errors
from ..engine.io import IO
from ..engine.saved import assistants_file
from ..engine.threads import welcome
from ..wire.exchange import Call, Reply, passed_on
from . import assistants, files, messages, runs, steps, takeover, threads, vector_stores

Handler = Callable[[IO, Call], Awaitable["Reply | None"]]

_RUN = "/threads/{thread_id}/runs/{run_id}"
_MESSAGE = "/threads/{thread_id}/messages/{message_id}"
_IN_STORE = "/vector_stores/{store_id}/files/{file_id}"
ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/assistants", assistants.create),
    ("GET", "/assistants", assistants.list_),
    ("GET", "/assistants/{assistant_id}", assistants.retrieve),
    ("POST", "/assistants/{assistant_id}", assistants.update),
    ("DELETE", "/assistants/{assistant_id}", assistants.delete),
    ("POST", "/threads", threads.create),
    ("POST", "/threads/runs", runs.create_thread_and_run),  # before the thread that would be called "runs"
    ("GET", "/threads/{thread_id}", threads.retrieve),
    ("POST", "/threads/{thread_id}", threads.update),
    ("DELETE", "/threads/{thread_id}", threads.delete),
    ("POST", "/threads/{thread_id}/messages", messages.create),
    ("GET", "/threads/{thread_id}/messages", messages.list_),
    ("GET", _MESSAGE, messages.retrieve),
    ("POST", _MESSAGE, messages.update),
    ("DELETE", _MESSAGE, messages.delete),
    ("POST", "/threads/{thread_id}/runs", runs.create),
    ("GET", "/threads/{thread_id}/runs", runs.list_),
    ("GET", _RUN, runs.retrieve),
    ("POST", _RUN, runs.update),
    ("POST", f"{_RUN}/cancel", runs.cancel),
    ("POST", f"{_RUN}/submit_tool_outputs", runs.submit_tool_outputs),
    ("GET", f"{_RUN}/steps", steps.list_),
    ("GET", f"{_RUN}/steps/{{step_id}}", steps.retrieve),
    ("GET", "/files", files.list_),
    ("GET", "/files/{file_id}", files.retrieve),
    ("GET", "/files/{file_id}/content", files.content),
    ("DELETE", "/files/{file_id}", files.delete),
    ("POST", "/vector_stores", vector_stores.create),
    ("POST", "/vector_stores/{store_id}/files", vector_stores.add_file),
    ("POST", "/vector_stores/{store_id}/file_batches", vector_stores.add_batch),
    ("GET", _IN_STORE, vector_stores.file),
    ("POST", _IN_STORE, vector_stores.file),
    ("DELETE", _IN_STORE, vector_stores.file),
    ("GET", f"{_IN_STORE}/content", vector_stores.file_content),
)

_TABLE = tuple((method, tuple(route.strip("/").split("/")), handler, route) for method, route, handler in ROUTES)


@dataclass(frozen=True)
class Match:
    """A route that fits as the table has it, and the decoded ids of the path by their names."""

    handler: Handler
    parts: Mapping[str, str]
    route: str

    @property
    def legacy(self) -> bool:
        """Whether it is one of the Assistants API, and not of files or vector stores, which live on."""
        return self.route.startswith(("/assistants", "/threads"))


def match(method: str, path: str) -> Match | None:
    """The route of a path below the API's base (still percent-encoded, so that an id may hold a slash)."""
    segments = path.strip("/").split("/")
    for wanted, template, handler, route in _TABLE:
        if wanted == method and len(template) == len(segments):
            parts = _parts(template, segments)
            if parts is not None:
                return Match(handler, parts, route)
    return None


def _parts(template: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    parts = {}
    for name, segment in zip(template, segments, strict=True):
        if name.startswith("{"):
            parts[name[1:-1]] = unquote(segment)
        elif name != segment:
            return None
    return parts


async def answer(matched: Match, call: Call, io: IO) -> Reply | None:
    """Answer a legacy call; None when the upstream is to answer it untouched.

    Raises nothing but `UnreachableError` (a real connection failure of the upstream): every other trouble has a body.
    """
    started = io.monotonic()
    try:
        await assistants_file.load(io)
        reply = await _routed(matched, call, io)
    except errors.UpstreamError as error:
        reply = _upstream_reply(error)
    except errors.UnreachableError:
        raise
    except Exception as error:  # noqa: BLE001 - a bug of ours answers as an error, never as a lost connection
        reply = _error_reply(error)
    if reply is not None:
        _complete(reply, io, started)
    return reply


async def _routed(matched: Match, call: Call, io: IO) -> Reply | None:
    some = io.settings.only is not None
    if some and not await takeover.is_ours(io, call, matched.route):
        return None
    if "thread_id" in call.parts:
        await welcome(io, call.parts["thread_id"])
    reply = await matched.handler(io, call)
    return None if some and takeover.is_upstreams_too(call, matched.route) else reply


def _upstream_reply(error: errors.UpstreamError) -> Reply:
    return Reply(error.status, error.body, passed_on(error.headers))


def _error_reply(error: Exception) -> Reply:
    known = errors.api_error(error)
    body = json.dumps(known.body(), indent=2).encode()
    return Reply(known.status, body, {"content-type": "application/json", **known.headers})


def _complete(reply: Reply, io: IO, started: float) -> None:
    """The headers that the old service sent with every answer (recorded); the request id is the upstream's if any."""
    reply.headers.setdefault("x-request-id", io.request_id or io.mint("req"))
    reply.headers.setdefault("openai-version", "2020-10-01")
    reply.headers.setdefault("openai-processing-ms", str(round((io.monotonic() - started) * 1000)))
