"""Checks of conversations, of the key's scopes and of what Azure lacks: 25 to 27."""

from __future__ import annotations

from collections.abc import Sequence

from ...wire.objects import Json
from .answers import Answers
from .bench import Bench
from .check import LiveCheck, Target
from .verdicts import (
    REPORT,
    RUN_INLINE,
    Point,
    add_scopes,
    assumed,
    either,
    expect_accepted,
    expect_refused,
    nothing_shown,
    other_way,
)

_IMAGE = "https://upload.wikimedia.org/wikipedia/commons/4/47/PNG_transparency_demonstration_1.png"
_BATCH = 20  # items that one request may add to a conversation


async def _ask_conversations(bench: Bench) -> Answers:
    call: Json = {"type": "function_call", "call_id": "call_doctor", "name": "note", "arguments": "{}"}
    items = [{"type": "message", "role": "user", "content": f"Line {number}."} for number in range(1, _BATCH)]
    answers = {"split pair, first": await bench.conversation([*items, call], name="split pair, first")}
    if answers["split pair, first"].accepted:
        output: Json = {"type": "function_call_output", "call_id": "call_doctor", "output": "done"}
        path = f"/conversations/{answers['split pair, first'].body['id']}/items"
        answers["split pair, second"] = await bench.post(path, {"items": [output]}, name="split pair, second")
    container = await bench.container()
    code: Json = {
        "type": "code_interpreter_call",
        "id": "ci_0123456789abcdef0123456789abcdef0123456789abcdef01",
        "code": "print(1)",
        "container_id": container,
        "outputs": None,
        "status": "completed",
    }
    answers["code call"] = await bench.conversation([code], name="code call")
    return answers


def _judge_conversations(answers: Answers, _target: Target) -> list[Point]:
    do = "nothing to set: `to_conversation` leaves the pair out and says so"
    rows = ("function_output_missing", "item_not_found", "item_without_pair")
    points = [
        expect_accepted(answer, "a function call and its output in two batches", rows, do)
        for name, answer in answers.items()
        if name != "code call"
    ]
    return [*points, either(answers["code call"], "a code call in a conversation")]


async def _ask_scopes(bench: Bench) -> Answers:
    answers = {"vector stores": await bench.get("/vector_stores", name="vector stores", may_lack_scope=True)}
    made = await bench.container_answer()
    if not made.accepted:
        return {**answers, "containers": made}
    files = f"/containers/{made.body['id']}/files"
    return {**answers, "containers": made, "files": await bench.get(files, name="files", may_lack_scope=True)}


def _judge_scopes(answers: Answers, _target: Target) -> list[Point]:
    scopes = dict.fromkeys(scope for answer in answers.values() for scope in answer.missing_scopes)
    if scopes:
        says = f"the key lacks scopes that file search and generated files need: {', '.join(scopes)}"
        return [other_way(says, add_scopes(scopes))]
    if all(answer.accepted for answer in answers.values()):
        return [assumed("the key may list vector stores and the files of containers")]
    refused = next(answer for answer in answers.values() if not answer.accepted)
    return [nothing_shown(f"a list was refused ({refused.message})")]


async def _ask_service(bench: Bench) -> Answers:
    part = {"type": "input_image", "image_url": _IMAGE, "detail": "low"}
    content = [{"type": "input_text", "text": "Say ok."}, part]
    return {
        "plain": await bench.respond(name="plain"),
        "background": await bench.respond(name="background", background=True),
        "image": await bench.respond(name="image", input=[{"role": "user", "content": content}]),
    }


def _judge_service(answers: Answers, target: Target) -> list[Point]:
    plain, image = answers["plain"], answers["image"]
    what = f"the Responses API with {target.model}"
    if plain.accepted:
        points = [assumed(f"{what} is there")]
    elif plain.refusal == "model_unknown" and target.is_azure:
        says = f"{what} is not there ({plain.message}): Azure has none for gpt-3.5-turbo, gpt-4 and gpt-4-turbo"
        points = [other_way(says, f"ASSISTANTS_COMPAT_MODELS={target.model}=NEW, where NEW is another deployment")]
    else:
        points = [expect_accepted(plain, what, (), REPORT)]
    points.append(expect_accepted(answers["background"], "a background response", ("background_refused",), RUN_INLINE))
    picture = "an image by its address"
    if target.is_azure:
        points.append(expect_refused(image, picture, ("image_unavailable",)))
    else:
        do = "send images as files: an image that cannot be downloaded fails every run of its thread"
        points.append(expect_accepted(image, picture, ("image_unavailable",), do))
    return points


CHECKS: Sequence[LiveCheck] = (
    LiveCheck(
        25,
        "conversations",
        "a function call as item 20 of a conversation and its output in the next batch; a code call",
        "whether `to_conversation` can move such items",
        _ask_conversations,
        _judge_conversations,
        cents=0,
        in_container=True,
    ),
    LiveCheck(
        26,
        "scopes",
        "the lists of vector stores and of a container's files",
        "whether a restricted key lacks a scope, before a file is lost",
        _ask_scopes,
        _judge_scopes,
        cents=0,
        in_container=True,
        asks_about_scopes=True,
    ),
    LiveCheck(
        27,
        "service",
        "a plain request, `background: true`, and an image by its address",
        "what Azure lacks: the Responses API of older models, images by address",
        _ask_service,
        _judge_service,
        cents=0.2,
    ),
)
