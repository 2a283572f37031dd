"""The native call in the place of a legacy one: the request that a run would send, to be looked at and copied."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from functools import partial
from typing import Any, overload
from urllib.parse import quote

import openai

from ..engine.containers import Place, living
from ..engine.io import IO, Request
from ..engine.runs import create
from ..engine.runs.ask_upstream import with_input
from ..engine.uploads import NotUploadedError
from ..engine.vector_stores import searched_files
from ..errors import ApiError, CompatError
from ..store.queries import ThreadBusyError
from ..translate.assistant import store_ids
from ..translate.request import in_container
from ..translate.v1_requests import understood
from ..wire import request_schemas
from ..wire.objects import Json
from .upstream import served

_UNSET = ("NotGiven", "Omit")  # of the SDK: which of them it has depends on its version


@overload
def responses_request(client: openai.OpenAI, assistant_id: str, thread_id: str, **options: Any) -> dict[str, Any]: ...


@overload
def responses_request(
    client: openai.AsyncOpenAI, assistant_id: str, thread_id: str, **options: Any
) -> Coroutine[Any, Any, dict[str, Any]]: ...


def responses_request(
    client: openai.OpenAI | openai.AsyncOpenAI, assistant_id: str, thread_id: str, **options: Any
) -> dict[str, Any] | Coroutine[Any, Any, dict[str, Any]]:
    """The body of `POST /responses` that a run of this assistant on this thread would send now, ready to be copied.

    `client.responses.create(**request)` is then the native call.  `options` are those of `runs.create`
    (`instructions`, `tools`, `additional_messages`, `truncation_strategy`, `response_format`, `stream` and so on).
    Nothing is sent to the Responses API and nothing is stored.

    Where the code works is the thread's container while that lives, else `auto`; a run would give a container its
    files before, and make one anew of the thread's generated files.  When the service refuses the input (too long,
    say), a run asks once more with less, which is not shown.

    `client` is a wrapped one; an asynchronous one gives a coroutine to await.  Raises what `runs.create` raises for an
    unknown assistant or thread, `CompatError` for options that it refuses, while another run of the thread is active,
    and where a run would first have to upload a generated file or make a vector store, whose ids nobody knows yet; and
    `StoreError` and `TypeError` as the other functions do.
    """
    given = {"assistant_id": assistant_id, **options}
    return served(client, partial(_request, thread_id=thread_id, given=given))


async def _request(io: IO, thread_id: str, given: Json) -> Json:
    path = f"/threads/{quote(thread_id, safe='')}"
    thread = await io.ask(Request("GET", path))
    await io.ask(Request("GET", f"/assistants/{quote(given['assistant_id'], safe='')}"))
    await io.ask(Request("GET", f"{path}/runs", query=(("limit", "1"),)))  # an active run moves by it
    try:
        asked = _checked(given)
        if searched_files(asked.get("additional_messages") or ()) and not store_ids(thread.get("tool_resources")):
            message = "The run would make a vector store for what its messages attach; give the thread one before."
            raise CompatError(message)
        reserved = await create.planned(io, asked, thread_id=thread_id, stream=bool(asked.get("stream")))
    except ApiError as error:
        raise CompatError(error.message) from None
    except ThreadBusyError as busy:
        message = f"{thread_id} has an active run, {busy.run_id}; wait until it has ended."
        raise CompatError(message) from None
    except NotUploadedError as needed:
        ids = ", ".join(dict.fromkeys(id_ for id_, _ in needed.uses))
        message = (
            f"The run would upload generated files first ({ids}); their ids upstream are known after the first run."
        )
        raise CompatError(message) from None
    request = reserved.row["request"]
    container = await living(io, Place.of(reserved.row))
    if container is not None:
        request = in_container(request, container["id"])
    return with_input(request, reserved.input)


def _checked(given: Json) -> Json:
    """The options of a run as they go over the wire; raises `ApiError` for what is refused."""
    said = {key: value for key, value in given.items() if type(value).__name__ not in _UNSET}
    try:
        body: Json = json.loads(json.dumps(said, default=_plain))
    except (TypeError, ValueError) as error:
        message = f"These options are no JSON: {error}"
        raise CompatError(message) from None
    request_schemas.RUN_CREATE(body, "")
    return understood(body)


def _plain(value: Any) -> Any:
    """An SDK object as what it is on the wire, any other iterable as a list."""
    to_dict = getattr(value, "to_dict", None)
    return list(value) if to_dict is None else to_dict()
