"""Checks of the parameters of a model: 1 to 4, 20 and 21."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ...translate.request import INCLUDE_REASONING
from .answers import Answer, Answers
from .bench import Bench
from .check import LiveCheck, Target
from .verdicts import SAVE, Point, either, expect_accepted, expect_refused, other_way

_EFFORT = ("effort_value_unsupported", "effort_unsupported")
_SAMPLING, _PARALLEL = "sampling_unsupported", "parallel_tool_calls_unsupported"
_VERIFY = "verify the organization, or do nothing: such runs are then streamed from the finished response"


async def _ask_temperature(bench: Bench) -> Answers:
    return {"temperature": await bench.respond(name="temperature", temperature=0.2)}


def _judge_temperature(answers: Answers, target: Target) -> list[Point]:
    return [_sampling(answers["temperature"], target, "temperature")]


async def _ask_top_p(bench: Bench) -> Answers:
    return {"top_p": await bench.respond(name="top_p", top_p=1)}


def _judge_top_p(answers: Answers, target: Target) -> list[Point]:
    return [_sampling(answers["top_p"], target, "top_p")]


def _sampling(answer: Answer, target: Target, param: str) -> Point:
    what = f"{param} with {target.model}"
    if target.family is None or target.family.takes_sampling(None):
        effort_none = f"ASSISTANTS_COMPAT_MODELS='OLD={target.model} effort none', where OLD is your assistants' model"
        do = f"{SAVE}; a model that takes the effort none may keep {param}: {effort_none}"
        return expect_accepted(answer, what, (_SAMPLING,), do, key=target.model)
    do = f"name {target.model} in the assistant itself, and {param} is sent"
    return expect_refused(answer, what, (_SAMPLING,), do, key=target.model)


async def _ask_effort_none(bench: Bench) -> Answers:
    answer = await bench.respond(name="effort none", reasoning={"effort": "none"}, temperature=0.2)
    return {"effort none": answer}


def _judge_effort_none(answers: Answers, target: Target) -> list[Point]:
    what, answer = f"effort none with temperature for {target.model}", answers["effort none"]
    if target.family is None or "none" in target.family.efforts:
        do = f"do not map a model to {target.model} with the effort none; {SAVE}"
        point = expect_accepted(answer, what, _EFFORT, do, key=f"{target.model} none")
        if answer.refusal == _EFFORT[1]:  # which is remembered for the model alone
            point = dataclasses.replace(point, known={(_EFFORT[1], target.model): True})
        return [point]
    do = f"ASSISTANTS_COMPAT_MODELS='OLD={target.model} effort none' keeps temperature"
    return [expect_refused(answer, what, (*_EFFORT, _SAMPLING), do)]


async def _ask_encrypted(bench: Bench) -> Answers:
    return {
        "encrypted reasoning": await bench.respond(name="encrypted reasoning", store=False, include=[INCLUDE_REASONING])
    }


def _judge_encrypted(answers: Answers, target: Target) -> list[Point]:
    what, rows, key = f"encrypted reasoning with {target.model}", ("encrypted_unsupported",), target.model
    answer = answers["encrypted reasoning"]
    if target.family is None or target.family.reasons:
        return [expect_accepted(answer, what, rows, SAVE, key=key)]
    return [expect_refused(answer, what, rows, key=key)]


async def _ask_stream(bench: Bench) -> Answers:
    return {"stream": await bench.respond(name="stream", stream=True)}


def _judge_stream(answers: Answers, target: Target) -> list[Point]:
    do = f"{_VERIFY} ({SAVE})"
    return [
        expect_accepted(answers["stream"], f"a stream of {target.model}", ("stream_unverified",), do, key=target.model)
    ]


async def _ask_without_tools(bench: Bench) -> Answers:
    return {
        "parallel_tool_calls": await bench.respond(name="parallel_tool_calls", parallel_tool_calls=False),
        "tool_choice": await bench.respond(name="tool_choice", tool_choice="required"),
    }


def _judge_without_tools(answers: Answers, target: Target) -> list[Point]:
    parallel = answers["parallel_tool_calls"]
    what = f"parallel_tool_calls without tools for {target.model}"
    takes_it = target.family is None or target.family.takes_parallel_tool_calls
    if parallel.refusal == _PARALLEL and takes_it:
        says = f"{what} is refused ({parallel.message})"
        point = other_way(says, SAVE, {(_PARALLEL, target.model): True})
    else:  # the library leaves it out where there are no tools
        point = either(parallel, what, ("parallel_tool_calls_without_tools", _PARALLEL))
    choice = "tool_choice required without tools"
    return [point, expect_refused(answers["tool_choice"], choice, ("tool_choice_without_tools",))]


CHECKS: Sequence[LiveCheck] = (
    LiveCheck(
        1,
        "temperature",
        "`temperature: 0.2`",
        "whether the model takes sampling parameters; reasoning models refuse them",
        _ask_temperature,
        _judge_temperature,
        per_model=True,
    ),
    LiveCheck(
        2,
        "top_p",
        "`top_p: 1`",
        "whether even the default value is refused",
        _ask_top_p,
        _judge_top_p,
        per_model=True,
    ),
    LiveCheck(
        3,
        "effort none",
        "`reasoning.effort: none` with `temperature: 0.2`",
        "whether a mapped model can keep its sampling parameters",
        _ask_effort_none,
        _judge_effort_none,
        per_model=True,
    ),
    LiveCheck(
        4,
        "encrypted reasoning",
        "`store: false` with `include: reasoning.encrypted_content`",
        "whether the model gives encrypted reasoning, which `STORE_RESPONSES=false` asks for",
        _ask_encrypted,
        _judge_encrypted,
        per_model=True,
    ),
    LiveCheck(
        20,
        "stream",
        "`stream: true`",
        "whether the organization is verified to stream the model",
        _ask_stream,
        _judge_stream,
        per_model=True,
    ),
    LiveCheck(
        21,
        "without tools",
        "`parallel_tool_calls: false`, then `tool_choice: required`, both without tools",
        "whether parameters of tools are refused where there are none",
        _ask_without_tools,
        _judge_without_tools,
        per_model=True,
    ),
)
