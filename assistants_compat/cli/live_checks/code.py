"""Checks of Code Interpreter: 10 to 14. They share one container with check 9."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...service.refusal_table import CONTAINER_ROWS, FILE_ROWS
from ...translate.request import INCLUDE_REASONING
from ...wire.objects import Json, as_object_list
from .answers import Answer, Answers
from .bench import CODE, Bench
from .check import LiveCheck, Target
from .verdicts import REPORT, Point, assumed, either, expect_accepted, expect_refused, nothing_shown, other_way

_STALE = ("item_not_found", "item_without_pair", *CONTAINER_ROWS, "encrypted_unverified")
_NOTHING_TO_SET = "nothing to set: a run that meets it is sent again without its earlier code calls"
_FUNCTION: Json = {
    "type": "function",
    "name": "note",
    "description": "Keeps a note.",
    "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "strict": False,
}
_FILE = "/mnt/data/doctor.csv"


async def _ask_replay(bench: Bench) -> Answers:
    first = await bench.first_code_call()
    items = _tool_items(first)
    if not items:
        return {"code": first}
    answers = {"code": first, "replayed": await _replay(bench, items, "replayed")}
    without_reasoning = [item for item in items if item.get("type") != "reasoning"]
    if without_reasoning != items:
        answers["without reasoning"] = await _replay(bench, without_reasoning, "without reasoning")
    return answers


async def _replay(bench: Bench, items: list[Json], name: str, **fields: Any) -> Answer:
    """Send items of an earlier response as the history of a new one."""
    tools = [{"type": "code_interpreter", "container": await bench.container()}]
    history = [{"role": "user", "content": f"{CODE}print('abc123')"}, *items, {"role": "user", "content": "Say ok."}]
    return await bench.respond(name=name, input=history, tools=tools, **fields)


def _judge_replay(answers: Answers, _target: Target) -> list[Point]:
    if "replayed" not in answers:
        return [_no_code(answers["code"])]
    points = [expect_accepted(answers["replayed"], "an earlier code call", _STALE, _NOTHING_TO_SET)]
    if "without reasoning" in answers:
        what = "an earlier code call without its reasoning"
        points.append(expect_refused(answers["without reasoning"], what, ("item_without_pair",)))
    return points


async def _ask_unstored_replay(bench: Bench) -> Answers:
    first = await bench.first_code_call()
    items = [item for item in _tool_items(first) if item.get("type") != "reasoning"]
    if not items:
        return {"code": first}
    return {"code": first, "replayed": await _replay(bench, items, "replayed", store=False)}


def _judge_unstored_replay(answers: Answers, _target: Target) -> list[Point]:
    if "replayed" not in answers:
        return [_no_code(answers["code"])]
    # The library sends no such item under `store: false`, so both ways are covered.
    return [expect_refused(answers["replayed"], "an earlier code call under store: false", _STALE)]


async def _ask_unstored_round(bench: Bench) -> Answers:
    question = f"{CODE}print(1)\nThen call note with the text hi."
    container = await bench.container()
    request: Json = {
        "tools": [{"type": "code_interpreter", "container": container}, _FUNCTION],
        "store": False,
        "max_output_tokens": 1000,
    }
    # A model that does not reason refuses this `include`: then it is asked without.
    first = await bench.respond(name="code", input=question, include=[INCLUDE_REASONING], **request)
    if first.refusal == "encrypted_unsupported":
        first = await bench.respond(name="code", input=question, **request)
    items = [item for item in as_object_list(first.body.get("output")) if item.get("type") != "message"]
    if not any(item.get("type") == "code_interpreter_call" for item in items):
        return {"code": first}
    outputs: list[Json] = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "kept"}
        for item in items
        if item.get("type") == "function_call"
    ]
    start: list[Json] = [{"role": "user", "content": question}]
    end = outputs or [{"role": "user", "content": "Say ok."}]
    without_code = _without_code(items)
    return {
        "code": first,
        "with the code call": await bench.respond(name="with the code call", input=[*start, *items, *end], **request),
        "without the code call": await bench.respond(
            name="without the code call", input=[*start, *without_code, *end], **request
        ),
    }


def _without_code(items: list[Json]) -> list[Json]:
    """Leave out code calls, and the reasoning that led to one, which may not stand without it."""
    followers = [*items[1:], {}]
    return [
        item
        for item, follower in zip(items, followers, strict=True)
        if item.get("type") != "code_interpreter_call"
        and not (item.get("type") == "reasoning" and follower.get("type") == "code_interpreter_call")
    ]


def _judge_unstored_round(answers: Answers, _target: Target) -> list[Point]:
    if "with the code call" not in answers:
        return [_no_code(answers["code"])]
    return [
        expect_refused(answers["with the code call"], "a round under store: false with its code call", _STALE),
        expect_accepted(answers["without the code call"], "such a round without its code call", _STALE),
    ]


_UPLOADS: dict[str, bytes] = {"x.parquet": b"PAR1", "notes": b"text", "empty.txt": b"", "two words.txt": b"text"}


async def _ask_container_files(bench: Bench) -> Answers:
    path = f"/containers/{await bench.container()}/files"
    return {name: await bench.upload(path, name, content, name=name) for name, content in _UPLOADS.items()}


def _judge_container_files(answers: Answers, _target: Target) -> list[Point]:
    points = []
    for name, answer in answers.items():
        if name == "empty.txt":  # the library skips empty files
            points.append(either(answer, "an empty file in a container", FILE_ROWS))
            continue
        points.append(expect_accepted(answer, f"{name} in a container", FILE_ROWS))
        place = str(answer.body.get("path") or "")
        if answer.accepted and not (place.startswith("/mnt/data/") and place.endswith(name)):
            points.append(other_way(f"{name} lies at {place!r}", REPORT))
    return points


async def _ask_versions(bench: Bench) -> Answers:
    path = f"/containers/{await bench.container()}/files"
    answers = {}
    for number in ("first", "second"):
        code = f"open('{_FILE}', 'w').write('{number}')"
        answers[f"{number} code"] = await bench.run_code(code, name=f"{number} code")
        answers[f"{number} list"] = await bench.get(path, (("limit", "100"),), name=f"{number} list")
    return answers


def _judge_versions(answers: Answers, _target: Target) -> list[Point]:
    first, second = (_ids_of_file(answers[f"{number} list"]) for number in ("first", "second"))
    if not first or not second:
        return [_no_code(answers["first code"])]
    if second <= first:
        says = "a file that code writes again keeps its id"
        return [other_way(says, "let code give each version of a file its own name")]
    return [assumed("a file that code writes again gets a new id")]


def _ids_of_file(answer: Answer) -> set[str]:
    files = as_object_list(answer.body.get("data"))
    return {str(file.get("id")) for file in files if str(file.get("path")) == _FILE}


def _tool_items(answer: Answer) -> list[Json]:
    """Return the code calls of a response with the reasoning that led to them."""
    items = as_object_list(answer.body.get("output"))
    kept = {"reasoning", "code_interpreter_call"}
    while items and items[-1].get("type") != "code_interpreter_call":
        items.pop()
    return [item for item in items if item.get("type") in kept]


def _no_code(answer: Answer) -> Point:
    if answer.accepted:
        return nothing_shown("the model ran no code")
    return expect_accepted(answer, "code", ("hosted_tool_unsupported",), "choose a model that has Code Interpreter")


CHECKS: Sequence[LiveCheck] = (
    LiveCheck(
        10,
        "replayed code",
        "the code call of check 9 as history; on a reasoning model also without its reasoning",
        "whether a thread's earlier code calls are accepted",
        _ask_replay,
        _judge_replay,
        cents=1,
        in_container=True,
    ),
    LiveCheck(
        11,
        "replayed code, unstored",
        "the same under `store: false`",
        "whether items that nobody stored are looked up",
        _ask_unstored_replay,
        _judge_unstored_replay,
        cents=1,
        in_container=True,
    ),
    LiveCheck(
        12,
        "round with code, unstored",
        "code and a function call under `store: false`, then the function's output with and without the code call",
        "whether tool rounds work when the service stores nothing",
        _ask_unstored_round,
        _judge_unstored_round,
        cents=4,
        in_container=True,
    ),
    LiveCheck(
        13,
        "files in a container",
        "`x.parquet`, `notes`, an empty file and a name with a space",
        "whether a container accepts what the Files API does not, and where the files lie",
        _ask_container_files,
        _judge_container_files,
        in_container=True,
    ),
    LiveCheck(
        14,
        "two versions of a file",
        "code that writes one file twice, in two responses",
        "whether the second version has an id of its own",
        _ask_versions,
        _judge_versions,
        cents=3,
        in_container=True,
    ),
)
