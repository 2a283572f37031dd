"""Maps each request to its handler; one line for each endpoint."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from . import containers, conversations, files, models, responses, vector_stores
from .exchange import Answer, Refusal

if TYPE_CHECKING:
    from .exchange import Request
    from .state import State

Handler = Callable[..., Answer]

_ROUTES: list[tuple[str, str, Handler]] = [
    ("POST", "/responses", responses.create),
    ("GET", "/responses/{}", responses.retrieve),
    ("DELETE", "/responses/{}", responses.delete),
    ("POST", "/responses/{}/cancel", responses.cancel),
    ("GET", "/responses/{}/input_items", responses.input_items),
    ("POST", "/conversations", conversations.create),
    ("GET", "/conversations/{}", conversations.retrieve),
    ("POST", "/conversations/{}", conversations.update),
    ("DELETE", "/conversations/{}", conversations.delete),
    ("POST", "/conversations/{}/items", conversations.add_items),
    ("GET", "/conversations/{}/items", conversations.list_items),
    ("GET", "/conversations/{}/items/{}", conversations.retrieve_item),
    ("DELETE", "/conversations/{}/items/{}", conversations.delete_item),
    ("POST", "/containers", containers.create),
    ("GET", "/containers", containers.list_containers),
    ("GET", "/containers/{}", containers.retrieve),
    ("DELETE", "/containers/{}", containers.delete),
    ("POST", "/containers/{}/files", containers.create_file),
    ("GET", "/containers/{}/files", containers.list_files),
    ("GET", "/containers/{}/files/{}", containers.retrieve_file),
    ("DELETE", "/containers/{}/files/{}", containers.delete_file),
    ("GET", "/containers/{}/files/{}/content", containers.file_content),
    ("POST", "/files", files.create),
    ("GET", "/files", files.list_files),
    ("GET", "/files/{}", files.retrieve),
    ("DELETE", "/files/{}", files.delete),
    ("GET", "/files/{}/content", files.content),
    ("GET", "/models", models.list_models),
    ("POST", "/vector_stores", vector_stores.create),
    ("GET", "/vector_stores", vector_stores.list_stores),
    ("GET", "/vector_stores/{}", vector_stores.retrieve),
    ("POST", "/vector_stores/{}", vector_stores.update),
    ("DELETE", "/vector_stores/{}", vector_stores.delete),
    ("POST", "/vector_stores/{}/files", vector_stores.create_file),
    ("GET", "/vector_stores/{}/files", vector_stores.list_files),
    ("GET", "/vector_stores/{}/files/{}", vector_stores.retrieve_file),
    ("POST", "/vector_stores/{}/files/{}", vector_stores.update_file),
    ("DELETE", "/vector_stores/{}/files/{}", vector_stores.delete_file),
    ("GET", "/vector_stores/{}/files/{}/content", vector_stores.file_content),
    ("POST", "/vector_stores/{}/file_batches", vector_stores.create_batch),
    ("GET", "/vector_stores/{}/file_batches/{}", vector_stores.retrieve_batch),
    ("POST", "/vector_stores/{}/file_batches/{}/cancel", vector_stores.cancel_batch),
    ("GET", "/vector_stores/{}/file_batches/{}/files", vector_stores.list_batch_files),
    ("POST", "/vector_stores/{}/search", vector_stores.search),
]
_COMPILED_ROUTES = [
    (method, re.compile(pattern.replace("{}", "([^/]+)")), pattern, handler) for method, pattern, handler in _ROUTES
]


def route(request: Request) -> tuple[str, Callable[[State], Answer]]:
    """Return the route's pattern and a function that answers the request, or refuse an unknown route (404)."""
    for method, path, pattern, handler in _COMPILED_ROUTES:
        if method == request.method and (match := path.fullmatch(request.path)):
            return f"{method} {pattern}", partial(_call_handler, handler, request, match.groups())
    if re.match(r"/(assistants|threads)(/|$)", request.path):
        # The Assistants API was shut down. Source: platform.md section 1 (status); the body is unknown (section 14).
        raise Refusal(404, "Not found.")
    raise Refusal(404, f"Invalid URL ({request.method} {request.full_path.partition('?')[0]})")


def _call_handler(handler: Handler, request: Request, ids: tuple[str, ...], state: State) -> Answer:
    return handler(state, request, *ids)
