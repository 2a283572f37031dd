"""Checks of tools and their calls: 22 to 24."""

from __future__ import annotations

from collections.abc import Sequence

from ...wire.objects import Json
from .answers import Answer, Answers
from .bench import Bench
from .check import LiveCheck, Target
from .verdicts import Point, either, expect_accepted, expect_refused, is_refused_itself, nothing_shown, other_way

_ONE_OF_EACH = ("tool_choice_hosted", "hosted_tool_unsupported")


def _function(name: str) -> Json:
    properties = {"city": {"type": "string"}}
    parameters = {"type": "object", "properties": properties, "required": ["city"]}
    description = "Returns the weather of one city; call it once for each city."
    return {"type": "function", "name": name, "description": description, "parameters": parameters, "strict": False}


async def _ask_leniency(bench: Bench) -> Answers:
    code = {"type": "code_interpreter", "container": await bench.container()}
    twice = [_function("weather"), _function("weather")]
    return {
        "no schema": await bench.respond(name="no schema", tools=[{**_function("note"), "parameters": {}}]),
        "a.b": await bench.respond(name="a.b", tools=[_function("a.b")]),
        "one name twice": await bench.respond(name="one name twice", tools=twice),
        "code twice": await bench.respond(name="code twice", tools=[code, code]),
    }


def _judge_leniency(answers: Answers, _target: Target) -> list[Point]:
    points = [
        expect_accepted(answers["no schema"], "a function with empty parameters", ("function_schema_invalid",)),
        expect_refused(answers["a.b"], "a function called a.b", ("tool_name_invalid",)),
    ]
    # The library passes these on, and the caller sees what becomes of them.
    points.append(either(answers["one name twice"], "two functions of one name"))
    return [*points, either(answers["code twice"], "Code Interpreter twice")]


async def _ask_choice(bench: Bench) -> Answers:
    tools = [{"type": "code_interpreter", "container": await bench.container()}]
    return {
        "code": await bench.respond(name="code", tools=tools, tool_choice={"type": "code_interpreter"}),
        "none": await bench.respond(name="none", tools=tools, tool_choice="none"),
    }


def _judge_choice(answers: Answers, target: Target) -> list[Point]:
    do = "leave tool_choice out of the assistants' runs, or choose another model"
    points = []
    for name, what in (("code", "tool_choice code_interpreter"), ("none", "tool_choice none")):
        answer = answers[name]
        if is_refused_itself(answer) and str(answer.error.get("param")) == "tool_choice":
            points.append(other_way(f"{what} with {target.model} is refused ({answer.message})", do))
        else:
            points.append(expect_accepted(answer, f"{what} with {target.model}", _ONE_OF_EACH, do))
    return points


async def _ask_one_output(bench: Bench) -> Answers:
    first = await bench.respond(
        name="two calls",
        input="What is the weather in Oslo and in Rome? Call weather for both at once.",
        tools=[_function("weather")],
        tool_choice="required",
        max_output_tokens=1000,
    )
    calls = first.items("function_call")
    if len(calls) < 2:  # noqa: PLR2004 - one is answered, the other is not
        return {"two calls": first}
    output = {"type": "function_call_output", "call_id": calls[0]["call_id"], "output": "sunny"}
    second = await bench.respond(
        name="one output",
        input=[output],
        tools=[_function("weather")],
        previous_response_id=first.body["id"],
    )
    return {"two calls": first, "one output": second}


def _judge_one_output(answers: Answers, _target: Target) -> list[Point]:
    if "one output" not in answers:
        return [_no_two_calls(answers["two calls"])]
    return [expect_refused(answers["one output"], "the output of one of two calls", ("function_output_missing",))]


def _no_two_calls(answer: Answer) -> Point:
    says = "the model did not call the function twice"
    return nothing_shown(says if answer.accepted else f"{says} ({answer.message})")


CHECKS: Sequence[LiveCheck] = (
    LiveCheck(
        22,
        "lenient tools",
        "a function with `parameters: {}`, one called `a.b`, two of one name, `code_interpreter` twice",
        "what is left of the old service's leniency",
        _ask_leniency,
        _judge_leniency,
        cents=0.4,
        in_container=True,
    ),
    LiveCheck(
        23,
        "tool choice",
        "`tool_choice` of `code_interpreter` and `none`",
        "whether the model takes a tool choice with hosted tools",
        _ask_choice,
        _judge_choice,
        per_model=True,
        cents=0.2,
        in_container=True,
    ),
    LiveCheck(
        24,
        "one of two outputs",
        "two function calls, of which one is answered",
        "with which words a missing output is refused",
        _ask_one_output,
        _judge_one_output,
        cents=1.1,
    ),
)
