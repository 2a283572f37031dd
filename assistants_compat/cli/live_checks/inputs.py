"""Checks of the input: JSON mode and empty input, 5 to 7."""

from __future__ import annotations

from collections.abc import Sequence

from ...wire.objects import Json
from .answers import Answer, Answers
from .bench import Bench
from .check import LiveCheck, Target
from .verdicts import Point, expect_accepted, expect_refused, nothing_shown

_JSON_MODE: Json = {"format": {"type": "json_object"}}
_NOTE: Json = {
    "type": "function",
    "name": "note",
    "description": "Keeps a note.",
    "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "strict": False,
}
_WITH_THE_WORD = [
    {"role": "developer", "content": "Answer in JSON."},
    {"role": "user", "content": "Call note with the text hi."},
]


async def _json_response(bench: Bench) -> Answer:
    answer: Answer = await bench.respond(
        name="JSON with the word in the input",
        input=_WITH_THE_WORD,
        text=_JSON_MODE,
        tools=[_NOTE],
        tool_choice="required",
        max_output_tokens=1000,
    )
    return answer


async def _ask_json(bench: Bench) -> Answers:
    return {
        "JSON": await bench.respond(name="JSON", input="hi", instructions="JSON only.", text=_JSON_MODE),
        "JSON with the word in the input": await bench.shared(f"JSON {bench.model}", lambda: _json_response(bench)),
    }


def _judge_json(answers: Answers, _target: Target) -> list[Point]:
    rows = ("json_word_missing",)
    return [
        expect_refused(answers["JSON"], "JSON mode with the word JSON only in the instructions", rows),
        expect_accepted(answers["JSON with the word in the input"], "JSON mode with the word in the input", rows),
    ]


async def _ask_json_round(bench: Bench) -> Answers:
    first: Answer = await bench.shared(f"JSON {bench.model}", lambda: _json_response(bench))
    calls = first.items("function_call")
    if not first.accepted or not calls:
        return {"function call": first}
    outputs = [{"type": "function_call_output", "call_id": call["call_id"], "output": "done"} for call in calls]
    continued = await bench.respond(
        name="second round",
        input=outputs,
        text=_JSON_MODE,
        tools=[_NOTE],
        previous_response_id=first.body["id"],
    )
    return {"function call": first, "second round": continued}


def _judge_json_round(answers: Answers, _target: Target) -> list[Point]:
    if "second round" not in answers:
        return [nothing_shown(f"the model called no function ({answers['function call'].message})")]
    what = "JSON mode with the word only in the round before"
    return [expect_refused(answers["second round"], what, ("json_word_missing",))]


async def _ask_empty(bench: Bench) -> Answers:
    return {
        "no input": await bench.respond(name="no input", input=[], instructions="Say ok."),
        "empty message": await bench.respond(
            name="empty message", input=[{"role": "user", "content": ""}], instructions="Say ok."
        ),
    }


def _judge_empty(answers: Answers, _target: Target) -> list[Point]:
    rows = ("input_empty",)
    return [
        expect_refused(answers["no input"], "an empty input with instructions", rows),
        expect_accepted(answers["empty message"], "one empty message", rows),
    ]


CHECKS: Sequence[LiveCheck] = (
    LiveCheck(
        5,
        "JSON mode",
        "`json_object` with the word JSON only in `instructions`, then in a developer message",
        "whether the word has to be in the input, and whether it helps there",
        _ask_json,
        _judge_json,
        cents=1.1,
    ),
    LiveCheck(
        6,
        "JSON mode, second round",
        "`json_object` with `previous_response_id` and only a function's output",
        "whether the word in an earlier round counts",
        _ask_json_round,
        _judge_json_round,
        cents=1.1,
    ),
    LiveCheck(
        7,
        "empty input",
        "`input: []` with instructions, then one empty message",
        "whether a thread without messages can run, and how",
        _ask_empty,
        _judge_empty,
    ),
)
