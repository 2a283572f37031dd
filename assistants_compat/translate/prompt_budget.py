"""Shortens the input of a run to what its `max_prompt_tokens` leaves, by whole turns from the middle.

The spec says that a run "will make a best effort to use only the number of prompt tokens specified, across multiple
turns of the run" (`CreateRunRequest`), and that with `auto` "messages in the middle of the thread will be dropped to
fit" `max_prompt_tokens` (`TruncationObject`). The guide gave the first completion the whole budget and each further one
what the earlier ones had left.

Nothing here counts tokens exactly: no tokenizer is installed, and the upstream adds instructions of its own for its
tools. Tokens are estimated from characters, and the estimate is corrected by what the upstream counted for earlier
requests of the thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..wire.objects import Json, Run
from .transcript import RunInput, Turns

# English has about four characters to a token, code about three. A token of other scripts has two bytes or more. The
# estimate is rather too high: a run that sends too little answers, one that sends too much ends incomplete.
_CHARACTERS_PER_TOKEN = 3.5
_BYTES_PER_TOKEN = 3  # of characters beyond ASCII
_TOKENS_PER_ITEM = 4  # that mark where an item begins and ends
_TOKENS_PER_IMAGE = 1100
_TOKENS_PER_LOW_IMAGE = 85

# Strings that are no part of what the model reads as text. `result` is a generated image.
_NOT_TEXT = frozenset(
    {
        *("id", "call_id", "type", "status", "file_id", "container_id", "image_url", "url", "detail"),
        *("encrypted_content", "result"),
    }
)
# A run that searched files counts what it found as its prompt. That says little about the next run.
_LEAST_FACTOR, _MOST_FACTOR = 0.5, 3.0


@dataclass(frozen=True)
class PromptBudget:
    """How many tokens of input a request may have; `factor` corrects the estimate of its tokens."""

    tokens: int
    factor: float = 1.0

    def has_room_for(self, estimated: float) -> bool:
        """Whether so many estimated tokens fit."""
        return estimated * self.factor <= self.tokens


def budget_of_run(run: Run, used_tokens: int, measured: Iterable[tuple[int, int]]) -> PromptBudget | None:
    """Return what is left of the run's `max_prompt_tokens` after `used_tokens`.

    None if the run has no limit, or if its input is what the caller chose with `last_messages`. `measured` is as in
    `token_factor`.
    """
    limit = run["max_prompt_tokens"]
    if limit is None or run["truncation_strategy"]["type"] != "auto":
        return None
    return PromptBudget(max(0, limit - used_tokens), token_factor(measured))


def token_factor(measured: Iterable[tuple[int, int]]) -> float:
    """Return what to multiply an estimate with: `measured` are the tokens of requests, as estimated and as counted."""
    known = [pair for pair in measured if min(pair) > 0]  # some upstreams report no usage
    if not known:
        return 1.0
    factor = sum(counted for _, counted in known) / sum(estimated for estimated, _ in known)
    return min(_MOST_FACTOR, max(_LEAST_FACTOR, factor))


def estimated_tokens(request: Mapping[str, Any], turns: Turns) -> int:
    """Return about how many tokens the upstream counts for a request with this input."""
    return _tokens_of_request(request) + sum(map(tokens_of_items, turns))


def tokens_of_items(items: Iterable[Mapping[str, Any]]) -> int:
    """Return about how many tokens the upstream counts for these input items."""
    return sum(_TOKENS_PER_ITEM + _tokens_of_value(item) for item in items)


def input_within_budget(run_input: RunInput, request: Mapping[str, Any], budget: PromptBudget | None) -> RunInput:
    """Return the input without as many middle turns as the budget requires; the last turn always stays.

    Turns are taken from both ends in alternation, the last one first, until the next one of an end does not fit.
    """
    turns = run_input.turns
    if budget is None or len(turns) <= 1:
        return run_input
    sizes = [tokens_of_items(turn) for turn in turns]
    total = _tokens_of_request(request) + sizes[-1]
    head, tail = 0, 1  # how many turns of each end are kept
    is_full_at = {"head": False, "tail": False}
    side = "head"
    while head + tail < len(turns) and not all(is_full_at.values()):
        size = sizes[head] if side == "head" else sizes[-tail - 1]
        if is_full_at[side] or not budget.has_room_for(total + size):
            is_full_at[side] = True
        else:
            total += size
            head, tail = (head + 1, tail) if side == "head" else (head, tail + 1)
        side = "tail" if side == "head" else "head"
    return run_input if head + tail == len(turns) else replace(run_input, turns=turns[:head] + turns[-tail:])


def _tokens_of_request(request: Mapping[str, Any]) -> int:
    functions = [tool for tool in request.get("tools") or () if tool.get("type") == "function"]
    described: list[Any] = [*functions, *([request["text"]] if request.get("text") else [])]
    shapes = "".join(json.dumps(each, ensure_ascii=False) for each in described)
    return _tokens_of_text(request.get("instructions") or "") + _tokens_of_text(shapes)


def _tokens_of_value(value: Any) -> int:
    if isinstance(value, str):
        return _tokens_of_text(value)
    if isinstance(value, list):
        return sum(map(_tokens_of_value, value))
    if not isinstance(value, dict):
        return 0
    if value.get("type") == "input_image":
        return _tokens_of_image(value)
    return sum(_tokens_of_value(entry) for key, entry in value.items() if key not in _NOT_TEXT)


def _tokens_of_image(part: Json) -> int:
    return _TOKENS_PER_LOW_IMAGE if part.get("detail") == "low" else _TOKENS_PER_IMAGE


def _tokens_of_text(text: str) -> int:
    # "surrogatepass": JSON may hold half of a pair.
    ascii_length = len(text.encode("ascii", "ignore"))
    other_length = len(text.encode("utf-8", "surrogatepass")) - ascii_length
    return round(ascii_length / _CHARACTERS_PER_TOKEN + other_length / _BYTES_PER_TOKEN)
