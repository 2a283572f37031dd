"""A run's input is shortened to its `max_prompt_tokens` by whole turns from the middle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.translate.prompt_budget import (
    PromptBudget,
    estimated_tokens,
    input_within_budget,
    token_factor,
)
from assistants_compat.translate.transcript import RunInput, Turns

REQUEST: dict[str, Any] = {"model": "gpt-4o", "store": True, "instructions": "Help."}


def turn(text: str) -> list[dict[str, Any]]:
    """Return a question with its answer."""
    question = {"role": "user", "content": [{"type": "input_text", "text": text}]}
    return [question, {"role": "assistant", "content": text}]


def fitted(turns: Turns, tokens: int, factor: float = 1.0) -> Turns:
    """Return the turns that fit a budget."""
    return input_within_budget(RunInput(turns), REQUEST, PromptBudget(tokens, factor)).turns


def test_input_that_fits_is_sent_whole() -> None:
    """An input that fits its budget, or has none, stays as it is."""
    run_input = RunInput([turn("word " * 20) for _ in range(4)])
    assert input_within_budget(run_input, REQUEST, PromptBudget(1000)) is run_input
    assert input_within_budget(run_input, REQUEST, None) is run_input


def test_the_middle_is_dropped_and_both_ends_stay() -> None:
    """Turns of the middle are dropped, the first and the last ones stay in their order."""
    turns = [turn(f"{number} " + "word " * 20) for number in range(9)]
    half = estimated_tokens(REQUEST, turns) // 2
    kept = fitted(turns, half)
    dropped = [each for each in turns if each not in kept]
    assert dropped
    assert kept == [each for each in turns if each not in dropped]
    assert kept[0] is turns[0]
    assert kept[-1] is turns[-1]
    first = turns.index(dropped[0])
    assert dropped == turns[first : first + len(dropped)], "one gap"


def test_a_long_first_turn_does_not_keep_the_newest_ones_out() -> None:
    """If the first turn does not fit, as many of the newest as fit are sent."""
    turns = [turn("word " * 2000), turn("two"), turn("three"), turn("four")]
    assert fitted(turns, 200) == turns[1:]


@given(
    lengths=st.lists(st.integers(0, 300), min_size=1, max_size=12),
    tokens=st.integers(0, 1000),
    factor=st.floats(0.5, 3),
)
def test_what_is_sent_fits_or_is_the_last_turn_alone(lengths: list[int], tokens: int, factor: float) -> None:
    """What is sent is the last turn alone, or fits the budget; never is a turn changed or moved."""
    turns = [turn(f"{index} {'x' * length}") for index, length in enumerate(lengths)]
    kept = fitted(turns, tokens, factor)
    assert kept[-1] is turns[-1]
    assert len(kept) == 1 or estimated_tokens(REQUEST, kept) * factor <= tokens
    assert [each for each in turns if each in kept] == kept


@pytest.mark.parametrize(
    ("measured", "factor"),
    [
        ([], 1.0),
        ([(100, 150)], 1.5),
        ([(100, 150), (300, 150)], 0.75),
        ([(100, 0), (0, 100)], 1.0),
        ([(10, 9000)], 3.0),
        ([(9000, 10)], 0.5),
    ],
)
def test_the_estimate_is_corrected_by_what_was_counted(measured: list[tuple[int, int]], factor: float) -> None:
    """What the upstream counted for earlier requests corrects the estimate, within bounds."""
    assert token_factor(measured) == factor


def test_the_instructions_and_the_tools_count() -> None:
    """Instructions, functions and an output's schema take tokens from the thread."""
    plain = estimated_tokens(REQUEST, [turn("Hello.")])
    function = {"type": "function", "name": "look", "parameters": {"type": "object", "description": "x" * 350}}
    schema = {"format": {"type": "json_schema", "schema": {"description": "x" * 350}}}
    for extra in ({"instructions": "x" * 350}, {"tools": [function]}, {"text": schema}):
        assert estimated_tokens({**REQUEST, **extra}, [turn("Hello.")]) > plain + 90, extra


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        # What OpenAI's tokenizers make of these texts lies within the bounds.
        ("The quick brown fox jumps over the lazy dog. " * 20, 180, 320),
        ("敏捷的棕色狐狸跳过了懒狗。" * 20, 160, 340),
        ("Съешь же ещё этих мягких французских булок. " * 20, 200, 640),
    ],
)
def test_the_estimate_is_of_the_right_size(text: str, least: int, most: int) -> None:
    """Without any correction the estimate is near the number of tokens in several scripts, and rather above it."""
    message = {"role": "user", "content": [{"type": "input_text", "text": text}]}
    assert least <= estimated_tokens({"model": "gpt-4o"}, [[message]]) <= most


def test_bytes_are_not_counted_as_text() -> None:
    """An image counts as an image, however long its data, and encrypted reasoning does not count as text."""
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{'A' * 100_000}", "detail": "auto"}
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "A" * 100_000}
    assert 500 < estimated_tokens({}, [[{"role": "user", "content": [image]}]]) < 3000
    assert estimated_tokens({}, [[{"role": "user", "content": [{**image, "detail": "low"}]}]]) < 200
    assert estimated_tokens({}, [[reasoning]]) < 100
