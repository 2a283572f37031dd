"""Checks of background responses: 8 and 9."""

from __future__ import annotations

from collections.abc import Sequence

from ...wire.objects import as_object_list
from .answers import Answers
from .bench import Bench
from .check import LiveCheck, Target
from .verdicts import REPORT, RUN_INLINE, SAVE, Point, assumed, expect_accepted, nothing_shown, other_way

_LOOKS = 5


async def _ask_background(bench: Bench) -> Answers:
    created = await bench.respond(name="background", background=True)
    if not created.accepted:
        return {"background": created}
    answers = {"background": created}
    for number in range(1, _LOOKS + 1):
        name = f"look {number}"
        answers[name] = await bench.get(f"/responses/{created.body['id']}", name=name)
        if not answers[name].accepted:
            break
    return answers


def _judge_background(answers: Answers, _target: Target) -> list[Point]:
    points = [
        expect_accepted(answers["background"], "a background response", ("background_refused",), RUN_INLINE, key="")
    ]
    looks = [answer for name, answer in answers.items() if name != "background"]
    lost = next((answer for answer in looks if not answer.accepted), None)
    if lost is not None:
        says = f"a background response is not found right after it was made ({lost.message})"
        points.append(other_way(says, f"{RUN_INLINE} (or {SAVE})", {("response_not_served", ""): True}))
    elif looks:
        points.append(assumed(f"it was found {len(looks)} times", {("response_not_served", ""): False}))
    return points


async def _ask_code_outputs(bench: Bench) -> Answers:
    return {"code": await bench.first_code_call()}


def _judge_code_outputs(answers: Answers, _target: Target) -> list[Point]:
    answer = answers["code"]
    if not answer.accepted:
        return [expect_accepted(answer, "code in the background", ("hosted_tool_unsupported",), REPORT)]
    calls = answer.items("code_interpreter_call")
    if not calls:
        return [nothing_shown("the model ran no code")]
    key = ("code_outputs_missing", "")
    if any(as_object_list(call.get("outputs")) for call in calls):
        return [assumed("the outputs of code are in a background response", {key: False})]
    says = "a background response has no outputs of its code, so the logs of its steps are lost"
    return [other_way(says, f"{SAVE}, and runs with code are made inline; or for all runs: {RUN_INLINE}", {key: True})]


CHECKS: Sequence[LiveCheck] = (
    LiveCheck(
        8,
        "background",
        "`background: true`, then five GETs at once",
        "whether a background response can be looked up right after it was made",
        _ask_background,
        _judge_background,
    ),
    LiveCheck(
        9,
        "code in the background",
        "code that prints, with `background: true` and its outputs",
        "whether the outputs of code arrive",
        _ask_code_outputs,
        _judge_code_outputs,
        cents=2,
        in_container=True,
    ),
)
