"""Dispatches a request to its handler and turns errors into response bodies.

One line of `ROUTES` per endpoint. The clients' proxies call this module; it knows neither them nor an HTTP library.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from .. import errors
from ..engine.io import IO
from ..engine.saved import assistants_file
from ..engine.threads import create_thread_if_unknown
from ..runtime import logs
from ..wire.exchange import Call, Reply, forwarded_headers
from . import assistants, files, messages, runs, steps, takeover, threads, unknown_ids, vector_stores

Handler = Callable[[IO, Call], Awaitable["Reply | None"]]

_RUN = "/threads/{thread_id}/runs/{run_id}"
_MESSAGE = "/threads/{thread_id}/messages/{message_id}"
_STORE_FILE = "/vector_stores/{store_id}/files/{file_id}"
ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/assistants", assistants.create),
    ("GET", "/assistants", assistants.list_),
    ("GET", "/assistants/{assistant_id}", assistants.retrieve),
    ("POST", "/assistants/{assistant_id}", assistants.update),
    ("DELETE", "/assistants/{assistant_id}", assistants.delete),
    ("POST", "/threads", threads.create),
    ("POST", "/threads/runs", runs.create_thread_and_run),  # before "/threads/{thread_id}"
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
    ("GET", _STORE_FILE, vector_stores.file),
    ("POST", _STORE_FILE, vector_stores.file),
    ("DELETE", _STORE_FILE, vector_stores.file),
    ("GET", f"{_STORE_FILE}/content", vector_stores.file_content),
)

_PARSED_ROUTES = tuple(
    (method, tuple(route.strip("/").split("/")), handler, route) for method, route, handler in ROUTES
)


@dataclass(frozen=True)
class RouteMatch:
    """The route of a request, its handler, and the decoded ids in the path by name."""

    handler: Handler
    path_params: Mapping[str, str]
    route: str  # the template, as in `ROUTES`

    @property
    def is_assistants_api(self) -> bool:
        """Whether the route is part of the Assistants API; files and vector stores are not, and live on upstream."""
        return self.route.startswith(("/assistants", "/threads"))


def match_route(method: str, path: str) -> RouteMatch | None:
    """Return the route of a path below the API's base; None if there is none.

    The path is still percent-encoded, so that an id may contain a slash.
    """
    segments = path.strip("/").split("/")
    for route_method, template, handler, route in _PARSED_ROUTES:
        if route_method == method and len(template) == len(segments):
            path_params = _match_segments(template, segments)
            if path_params is not None:
                return RouteMatch(handler, path_params, route)
    return None


def _match_segments(template: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    path_params = {}
    for expected, segment in zip(template, segments, strict=True):
        if expected.startswith("{"):
            path_params[expected[1:-1]] = unquote(segment)
        elif expected != segment:
            return None
    return path_params


async def answer(matched: RouteMatch, call: Call, io: IO) -> Reply | None:
    """Answer a legacy call; returns None if the upstream must answer it, unchanged.

    Raises only `UnreachableError`, a real connection failure of the upstream. Every other error becomes a reply.
    """
    started = io.monotonic()
    try:
        await assistants_file.apply_from_settings(io)
        reply = await _dispatch(matched, call, io)
    except errors.UpstreamError as error:
        reply = _reply_from_upstream_error(error)
    except errors.UnreachableError:
        _log_call(matched, call, io, started, "no answer from the upstream")
        raise
    except errors.NotFoundError as error:
        await unknown_ids.warn_if_never_stored(io, error)
        reply = _reply_from_exception(error)
    except Exception as error:  # noqa: BLE001 - a bug here is a 500, never a lost connection
        reply = _reply_from_exception(error)
    if reply is not None:
        _add_recorded_headers(reply, io, started)
    _log_call(matched, call, io, started, "passed upstream" if reply is None else reply.status)
    return reply


def _log_call(matched: RouteMatch, call: Call, io: IO, started: float, outcome: int | str) -> None:
    if logs.calls.isEnabledFor(logging.DEBUG):
        path = logs.loggable_path(matched.route.format_map(call.path_params))
        milliseconds = round((io.monotonic() - started) * 1000)
        logs.calls.debug("%s %s -> %s in %s ms", call.method, path, outcome, milliseconds)


def note_passed_on(matched: RouteMatch, call: Call, io: IO, status: int) -> None:
    """Learn from the status that the upstream has given to a call for which `answer` returned None."""
    if matched.handler is files.delete:
        files.note_deletion(io, call, status)


async def _dispatch(matched: RouteMatch, call: Call, io: IO) -> Reply | None:
    is_selective = io.settings.only is not None  # some assistants are still answered upstream
    if is_selective and not await takeover.is_answered_here(io, call, matched.route):
        return None
    if "thread_id" in call.path_params:
        await create_thread_if_unknown(io, call.path_params["thread_id"])
    reply = await matched.handler(io, call)
    return None if is_selective and takeover.is_also_sent_upstream(call, matched.route) else reply


def _reply_from_upstream_error(error: errors.UpstreamError) -> Reply:
    return Reply(error.status, error.body, forwarded_headers(error.headers))


def _reply_from_exception(error: Exception) -> Reply:
    api_error = errors.api_error_from(error)
    body = json.dumps(api_error.body(), indent=2).encode()
    return Reply(api_error.status, body, {"content-type": "application/json", **api_error.headers})


def _add_recorded_headers(reply: Reply, io: IO, started: float) -> None:
    """Add the headers of every recorded response; the request id is the upstream's if there was an upstream request."""
    reply.headers.setdefault("x-request-id", io.request_id or io.new_id("req"))
    reply.headers.setdefault("openai-version", "2020-10-01")
    reply.headers.setdefault("openai-processing-ms", str(round((io.monotonic() - started) * 1000)))
