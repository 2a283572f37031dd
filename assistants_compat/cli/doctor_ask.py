"""The checks of `doctor --ask`: a short conversation, and what the saved assistants send.

The conversation shows what no single answer shows: whether a response can be looked up, and whether the upstream still
knows what was said when it is continued. Everything that the checks make is deleted.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from ..engine.io import IO, BlockingIO
from ..engine.runs.ask_upstream import with_input
from ..engine.runs.create import preview_run
from ..engine.uploads import NotUploadedError
from ..errors import ApiError, CompatError
from ..runtime.upstream_memory import UpstreamMemory
from ..service.refusal_table import row, says_not_served
from ..settings import Settings
from ..store import queries
from ..tools.upstream import run_with_client
from ..wire.objects import Json
from .doctor_checks import Check, CheckContext, Finding, models_in_use
from .live_checks.answers import Answer
from .live_checks.bench import Bench, StopCheckError
from .live_checks.verdicts import RUN_INLINE, STORE_NOTHING, add_scopes
from .terminal import quantity

MAX_ASSISTANTS = 5
_MODELS = "check the model, the quota and the key, or set ASSISTANTS_COMPAT_MODELS"
_SHORTEST_ANSWER = 16  # tokens
_WORD = "marmalade"
_CONVERSATION_TOKENS = 256  # a reasoning model thinks before it answers
_THREAD = "thread_doctor"  # exists in a transaction that is rolled back

Ask = Callable[[Bench], Awaitable[list[Finding]]]


def _model_to_ask(context: CheckContext) -> str | None:
    """Return the model of an assistant if there is one, else a model of the settings."""
    return next(reversed(models_in_use(context)), None)


def _why_skipped(context: CheckContext) -> str | None:
    """Why nothing is asked; None if something is."""
    if context.settings is None or context.client is None:
        return "no client was created"
    if not context.may_ask_model:
        return "doctor --ask tries it, for a few tokens"
    return "the store has no assistants yet" if _model_to_ask(context) is None else None


def _asked(context: CheckContext, name: str, ask: Ask) -> list[Finding]:
    """Return what a check finds; what it made is deleted. An answer that proves nothing is a failure of the check."""
    model = str(_model_to_ask(context))

    async def work(io: IO) -> list[Finding]:
        bench = Bench(io, model)
        try:
            findings = await ask(bench)
        except StopCheckError as stop:
            findings = [_failed(name, f"a request to {model} failed", answer) for answer in stop.answers.values()]
        finally:
            await bench.delete_all()
        left = bench.not_deleted()
        says = f"could not delete {', '.join(left)} upstream"
        return [*findings, *([Finding(name, "warning", says, "delete it by hand")] if left else [])]

    assert context.client is not None  # noqa: S101 - `_why_skipped` has said so
    findings: Any = run_with_client(context.client, work)
    return list(findings)


def _failed(name: str, what: str, answer: Answer) -> Finding:
    reason = str(answer.error.get("message") or "") or answer.why_undecidable or answer.message
    return Finding(name, "failed", f"{what}: {' '.join(reason.split())}", _advice(answer) or _MODELS)


def _advice(answer: Answer) -> str:
    """Return what to do about a refusal that is known; empty for any other."""
    if answer.missing_scopes:
        return add_scopes(answer.missing_scopes)
    if answer.refusal in ("zero_retention_previous_response", "previous_response_gone", "item_not_found"):
        return f"set {STORE_NOTHING}"
    if answer.refusal == "zero_retention_code":
        return f"leave Code Interpreter out: zero data retention excludes it; and set {STORE_NOTHING}"
    if answer.refusal == "stream_unverified":
        return "verify the organization, or do nothing: such runs are streamed from the finished response"
    return ""


# --- a short conversation


def _check_background(context: CheckContext) -> Iterator[Finding]:
    settings = context.settings
    if settings is not None and (not settings.store_responses or settings.mode == "inline"):
        yield Finding("background", "skipped", "the settings select inline runs")
    elif (reason := _why_skipped(context)) is not None or settings is None:
        yield Finding("background", "skipped", str(reason))
    else:
        yield from _asked(context, "background", lambda bench: _try_background(bench, settings))


async def _try_background(bench: Bench, settings: Settings) -> list[Finding]:
    created = await bench.respond(name="background", background=True)
    if not created.accepted:
        if created.refusal == "background_refused":
            if settings.mode == "background":
                do = "set ASSISTANTS_COMPAT_MODE=auto"
                return [Finding("background", "failed", "the upstream refuses background responses", do)]
            return [Finding("background", "ok", "the upstream refuses background responses; runs will be inline")]
        return [_failed("background", f"a request to {bench.model} failed", created)]
    looked_up = await _look_up(bench, created)
    if looked_up.accepted:
        return [Finding("background", "ok", f"{bench.model} answers in the background")]
    says = f"the upstream takes background responses, but does not serve them afterwards ({looked_up.message})"
    return [Finding("background", "failed", says, f"set {RUN_INLINE}")]


async def _look_up(bench: Bench, created: Answer) -> Answer:
    """GET a response; a server error that says so counts as a route that is not there (LiteLLM answers 500)."""
    try:
        return await bench.get(f"/responses/{created.body.get('id')}", name="look-up")
    except StopCheckError as stop:
        answer = stop.answers["look-up"]
        if says_not_served(answer.status, answer.error):
            return answer
        raise


def _check_conversation(context: CheckContext) -> Iterator[Finding]:
    if context.settings is not None and not context.settings.store_responses:
        yield Finding("conversation", "skipped", "the settings store no responses, so none is continued")
    elif (reason := _why_skipped(context)) is not None:
        yield Finding("conversation", "skipped", reason)
    else:
        yield from _asked(context, "conversation", _try_conversation)


async def _try_conversation(bench: Bench) -> list[Finding]:
    first = await bench.respond(
        name="first", input=f"Remember this word: {_WORD}. Say ok.", max_output_tokens=_CONVERSATION_TOKENS
    )
    if not first.accepted:
        return [_failed("conversation", f"a request to {bench.model} failed", first)]
    second = await bench.respond(
        name="second",
        input="Which word did I tell you to remember? Say only this word.",
        previous_response_id=first.body.get("id"),
        max_output_tokens=_CONVERSATION_TOKENS,
    )
    if not second.accepted:
        finding = _failed("conversation", "a response cannot be continued by its id", second)
        return [dataclasses.replace(finding, do=_advice(second) or f"set {STORE_NOTHING}")]
    if _WORD in second.text.lower():
        return [Finding("conversation", "ok", "a response can be continued, and the upstream knows what was said")]
    if not second.text.strip():
        says, do = "the continued response has no text, so it shows nothing", "run doctor --ask with another model"
        return [Finding("conversation", "warning", says, do)]
    says = "the upstream took a continuation, but no longer knew what was said before: tool rounds would go wrong"
    return [Finding("conversation", "failed", says, f"set {STORE_NOTHING}")]


def _check_stream(context: CheckContext) -> Iterator[Finding]:
    if (reason := _why_skipped(context)) is not None:
        yield Finding("stream", "skipped", reason)
    else:
        yield from _asked(context, "stream", _try_stream)


async def _try_stream(bench: Bench) -> list[Finding]:
    answer = await bench.respond(name="stream", stream=True)
    if answer.accepted:
        return [Finding("stream", "ok", f"{bench.model} streams")]
    if answer.refusal == "stream_unverified":
        says = f"the organization is not verified to stream {bench.model}"
        return [Finding("stream", "warning", says, _advice(answer))]
    return [_failed("stream", f"a stream of {bench.model} failed", answer)]


# --- what the saved assistants send


def _check_requests(context: CheckContext) -> Iterator[Finding]:
    assistants = {str(a.get("id")): a for a in (*context.declared_assistants, *(context.stored_assistants or ()))}
    if (reason := _why_skipped(context)) is not None:
        yield Finding("requests", "skipped", reason)
    elif not assistants:
        yield Finding("requests", "skipped", "the store has no assistants yet")
    else:
        yield from _asked(context, "requests", lambda bench: _try_requests(bench, context))


async def _try_requests(bench: Bench, context: CheckContext) -> list[Finding]:
    findings: list[Finding] = []
    requests: dict[str, tuple[str, Json]] = {}  # each request once, by what it sends
    for assistant, io in await _assistants(bench.io, context):
        for stream in (False, True) if not requests else (False,):
            try:
                request = await _request_of(io, assistant, stream=stream)
            except NotUploadedError:
                says = f"{assistant['id']} uses generated files, which a run uploads first; its request was not sent"
                findings.append(Finding("requests", "skipped", says))
                continue
            except (ApiError, CompatError) as error:
                says = f"a run of {assistant['id']} would be refused: {error}"
                findings.append(Finding("requests", "failed", says, "correct the assistant"))
                continue
            key = json.dumps({**request, "instructions": None}, sort_keys=True)
            if len(requests) <= MAX_ASSISTANTS:  # one of them is the streamed one
                requests.setdefault(key, (str(assistant["id"]), request))
    accepted = 0
    for id_, request in requests.values():
        try:
            answer = await bench.send_response(request, name="request")
        except StopCheckError as stop:
            answer = stop.answers["request"]
        if answer.accepted:
            accepted += 1
        else:
            findings.append(_refused_request(id_, request, answer))
    if accepted:
        says = f"{quantity(accepted, 'request')} of saved assistants, one of them streamed, are accepted"
        findings.insert(0, Finding("requests", "ok", says if accepted > 1 else "1 request of an assistant is accepted"))
    return findings


def _refused_request(id_: str, request: Json, answer: Answer) -> Finding:
    """Return the finding of a refused request; a run recovers from some refusals."""
    what = f"a{' streamed' if request.get('stream') else ''} run of {id_} ({request['model']})"
    says = f"{what} would be refused: {' '.join(str(answer.error.get('message') or answer.message).split())}"
    known = None if answer.refusal is None else row(answer.refusal)
    if known is not None and known.outcome == "recovered":
        return Finding("requests", "warning", f"{says}; the run recovers", f"nothing, or: {known.remedy}")
    return Finding("requests", "failed", says, _advice(answer) or _MODELS)


async def _assistants(io: IO, context: CheckContext) -> list[tuple[Json, IO]]:
    """Return each assistant with the I/O of a store that has it; those declared in a file only get one in memory."""
    stored = {str(assistant["id"]): assistant for assistant in context.stored_assistants or ()}
    declared = [a for a in context.declared_assistants if str(a.get("id")) not in stored]
    if not declared:
        return [(assistant, io) for assistant in stored.values()]
    settings = dataclasses.replace(io.settings, store="sqlite://", assistants=None)
    memory = BlockingIO(settings, io.upstream, UpstreamMemory())
    namespace, now = io.settings.namespace, io.now()
    rows = [
        {"namespace": namespace, "id": a["id"], "created_at": now, "body": {key: a[key] for key in a if key != "id"}}
        for a in declared
    ]
    await memory.write(lambda db: queries.insert_rows(db, "assistants", rows))
    return [*((assistant, io) for assistant in stored.values()), *((assistant, memory) for assistant in declared)]


async def _request_of(io: IO, assistant: Json, *, stream: bool) -> Json:
    """Return what a run of this assistant on a new thread would send; only the answer is kept short."""
    thread: Json = {"messages": [{"role": "user", "content": "Say ok; in JSON if you have to."}]}
    params: Json = {"assistant_id": assistant["id"], "stream": stream}
    reservation = await preview_run(io, params, thread_id=_THREAD, thread=thread, stream=stream)
    body = with_input(reservation.row["request"], reservation.input)
    return {**body, "max_output_tokens": _SHORTEST_ANSWER}


CHECKS: tuple[tuple[str, Check], ...] = (
    ("background", _check_background),
    ("conversation", _check_conversation),
    ("stream", _check_stream),
    ("requests", _check_requests),
)
