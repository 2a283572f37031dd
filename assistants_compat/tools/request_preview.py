"""Shows the native request that a legacy run would send, so that it can be read, copied and sent directly.

The request is built by the code that builds a run's (`engine.runs.create`), so that the two cannot differ.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any, overload
from urllib.parse import quote

import openai

from ..engine.containers import ContainerChoice, find_reusable_container
from ..engine.images import with_image_data
from ..engine.io import IO, Request
from ..engine.runs import create
from ..engine.runs.ask_upstream import with_input
from ..engine.uploads import NotUploadedError
from ..engine.vector_stores import files_to_search
from ..errors import ApiError, CompatError
from ..store.queries import ThreadBusyError
from ..translate.assistant import vector_store_ids
from ..translate.request import request_in_container
from ..translate.v1_requests import v2_request_from_v1
from ..wire import request_schemas
from ..wire.objects import Json
from .upstream import run_with_client

# The types of the SDK's values for "not given"; which of the two exists depends on the SDK version.
_UNSET_TYPE_NAMES = ("NotGiven", "Omit")


class ResponsesRequest(dict[str, Any]):
    """The body of a `POST /responses`: what `responses_request` returns.

    `notes` has a sentence for each parameter that is left out or changed, because the model that
    `Settings(models=...)` requests instead of the assistant's refuses it. It is empty for a model that is not replaced.

    Example::

        request = assistants_compat.responses_request(
            client, assistant.id, thread.id
        )
        for note in request.notes:
            print(note)
    """

    def __init__(self, body: Mapping[str, Any], notes: tuple[str, ...] = ()) -> None:
        """Copy the body, and say what is left out of it."""
        super().__init__(body)
        self.notes = notes


@overload
def responses_request(client: openai.OpenAI, assistant_id: str, thread_id: str, **options: Any) -> ResponsesRequest: ...


@overload
def responses_request(
    client: openai.AsyncOpenAI, assistant_id: str, thread_id: str, **options: Any
) -> Coroutine[Any, Any, ResponsesRequest]: ...


def responses_request(
    client: openai.OpenAI | openai.AsyncOpenAI, assistant_id: str, thread_id: str, **options: Any
) -> ResponsesRequest | Coroutine[Any, Any, ResponsesRequest]:
    """Return the body of `POST /responses` that a run of this assistant on this thread would send now.

    `client.responses.create(**request)` is then the native call. `options` are those of `runs.create`
    (`instructions`, `tools`, `additional_messages`, `truncation_strategy`, `response_format`, `stream` and so on).
    Nothing is sent to the Responses API and nothing is stored. The request's `notes` say which parameters
    `Settings(models=...)` leaves out or changes.

    Code Interpreter gets the thread's container if that is still alive, otherwise `auto`. A real run would first copy
    files into the container, or create a new one with the thread's generated files. A real run also retries with less
    input if the service refuses it, for example as too long; the preview does not show that.

    `client` must be wrapped; with an asynchronous one, await the returned coroutine. Raises what `runs.create` raises
    for an unknown assistant or thread. Raises `CompatError` for options that `runs.create` refuses, and while another
    run of the thread is active. Also raises it if a run would first upload a generated file, copy it into a container
    or create a vector store: their ids are not known yet. Raises `StoreError` if the store cannot be used, and
    `TypeError` for a client that is not wrapped.

    Example::

        request = assistants_compat.responses_request(
            client, assistant.id, thread.id
        )
        response = client.responses.create(**request)
    """
    params = {"assistant_id": assistant_id, **options}
    return run_with_client(client, partial(_preview_request, thread_id=thread_id, params=params))


async def _preview_request(io: IO, thread_id: str, params: Json) -> ResponsesRequest:
    path = f"/threads/{quote(thread_id, safe='')}"
    thread = await io.ask(Request("GET", path))
    await io.ask(Request("GET", f"/assistants/{quote(params['assistant_id'], safe='')}"))
    # Listing refreshes an active run first, so one that has already ended upstream does not stand in the way.
    await io.ask(Request("GET", f"{path}/runs", query=(("limit", "1"),)))
    try:
        body = _validated_params(params)
        if files_to_search(body.get("additional_messages") or ()) and not vector_store_ids(
            thread.get("tool_resources")
        ):
            message = (
                "The run would create a vector store for the files that its messages attach, whose id is not known "
                "yet; give the thread a vector store first."
            )
            raise CompatError(message)
        reservation = await create.preview_run(io, body, thread_id=thread_id, stream=bool(body.get("stream")))
    except ApiError as error:
        raise CompatError(error.message) from None
    except ThreadBusyError as busy:
        message = f"{thread_id} has an active run, {busy.run_id}; wait until it has ended."
        raise CompatError(message) from None
    except NotUploadedError as missing:
        ids = ", ".join(dict.fromkeys(id_ for id_, _ in missing.uses))
        message = (
            f"The run would upload generated files first ({ids}), whose ids upstream are not known yet; "
            "call this again after the first run."
        )
        raise CompatError(message) from None
    # The request is complete except for what a run adds when it is sent: the container's id and the input.
    request = reservation.row["request"]
    choice = ContainerChoice.from_run(reservation.row)
    container = await find_reusable_container(io, choice)
    in_container = [] if container is None else container["body"].get("copied_files", ())
    if to_copy := [id_ for id_ in choice.copied_file_ids if id_ not in in_container]:
        message = (
            f"The run would copy generated files into a container first ({', '.join(to_copy)}), because the Files API "
            "does not take them; call this again after the first run."
        )
        raise CompatError(message)
    if container is not None:
        request = request_in_container(request, container["id"])
    run_input = await with_image_data(io, reservation.input)
    return ResponsesRequest(with_input(request, run_input), tuple(reservation.notes.values()))


def _validated_params(params: Json) -> Json:
    """Return the options of a run as the SDK would send them; raises `ApiError` for those that are refused."""
    set_params = {key: value for key, value in params.items() if type(value).__name__ not in _UNSET_TYPE_NAMES}
    try:
        # A JSON round trip gives exactly what the SDK would have sent, so the same checks apply.
        body: Json = json.loads(json.dumps(set_params, default=_json_default))
    except (TypeError, ValueError) as error:
        message = f"These options cannot be sent as JSON: {error}"
        raise CompatError(message) from None
    request_schemas.RUN_CREATE(body, "")
    return v2_request_from_v1(body)


def _json_default(value: Any) -> Any:
    """Return an SDK object as the JSON that it stands for, and any other iterable as a list."""
    to_dict = getattr(value, "to_dict", None)
    return list(value) if to_dict is None else to_dict()
