"""The input of a request has nothing that the service is known to refuse, whatever the thread holds."""

from __future__ import annotations

from typing import Any

import pytest

from assistants_compat.service.refusal_table import TABLE
from assistants_compat.service.refusals import recognize
from assistants_compat.translate.request_input import body_with_input
from assistants_compat.translate.transcript import RunInput, drop_middle_turns, turns_from_entries

JSON_MODE = {"text": {"format": {"type": "json_object"}}}
INSTRUCTIONS = "Answer in JSON."
DEVELOPER = {"role": "developer", "content": INSTRUCTIONS}
GONE = {"type": "input_text", "text": "[image no longer available]"}


def user(*parts: Any) -> dict[str, Any]:
    """Return a user's message of texts and image parts."""
    texts = [{"type": "input_text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": texts}


def call(call_id: str, arguments: str = "{}") -> list[dict[str, Any]]:
    """Return a function call and its output."""
    return [
        {"type": "function_call", "call_id": call_id, "name": "look", "arguments": arguments},
        {"type": "function_call_output", "call_id": call_id, "output": "Seen."},
    ]


def image(url: str) -> dict[str, Any]:
    """Return an image part."""
    return {"type": "input_image", "image_url": url, "detail": "auto"}


# --- JSON mode


def test_instructions_with_the_word_json_become_a_message() -> None:
    """In JSON mode, instructions that alone have the word "json" are sent as a message of the input (refusals.md 1)."""
    body = body_with_input({"instructions": INSTRUCTIONS, **JSON_MODE}, [user("Hi.")])
    assert body == {**JSON_MODE, "input": [DEVELOPER, user("Hi.")]}


def test_in_a_continued_round_the_message_follows_the_outputs() -> None:
    """In a later round the instructions come behind the outputs, which stay next to their calls."""
    output = call("call_1")[1]
    request = {"instructions": INSTRUCTIONS, "previous_response_id": "resp_1", **JSON_MODE}
    assert body_with_input(request, [output])["input"] == [output, DEVELOPER]


@pytest.mark.parametrize(
    ("request_", "items"),
    [
        ({"instructions": INSTRUCTIONS, **JSON_MODE}, [user("As Json, please.")]),
        ({"instructions": "Help.", **JSON_MODE}, [user("Hi.")]),
        ({"instructions": INSTRUCTIONS}, [user("Hi.")]),
        ({"instructions": INSTRUCTIONS, "text": {"format": {"type": "text"}}}, [user("Hi.")]),
        (JSON_MODE, [user("Hi.")]),
    ],
)
def test_other_instructions_stay(request_: dict[str, Any], items: list[Any]) -> None:
    """Instructions stay where the input has the word, where they have not, and in every other format."""
    assert body_with_input(request_, items) == {**request_, "input": items}


def test_the_word_in_an_answer_or_an_output_does_not_count() -> None:
    """Only messages of users and developers are known to be read for the word "json"."""
    items = [{"role": "assistant", "content": "JSON"}, *call("call_1", '{"json": 1}')]
    assert body_with_input({"instructions": INSTRUCTIONS, **JSON_MODE}, items)["input"] == [DEVELOPER, *items]


# --- empty input


def test_an_empty_input_is_one_empty_message() -> None:
    """A run without any message sends one empty user message, because an empty input is refused (refusals.md 4)."""
    assert body_with_input({"instructions": "Help."}, [])["input"] == [{"role": "user", "content": ""}]


# --- function calls


def test_a_call_with_too_long_arguments_is_left_out() -> None:
    """A call with more than 1 MiB of arguments is left out with its output (refusals.md 32)."""
    items = [user("Hi."), *call("call_1", "x" * 1_048_577), *call("call_2", "x" * 1_048_576)]
    assert body_with_input({}, items)["input"] == [items[0], *items[3:]]


def test_a_long_call_id_is_shortened_alike_for_call_and_output() -> None:
    """Call ids over 64 characters are shortened, alike for call and output and in each request (refusals.md 33)."""
    ids = ["c" * 65, "c" * 66, "c" * 64]
    items = [item for id_ in ids for item in call(id_)]
    sent = [item["call_id"] for item in body_with_input({}, items)["input"]]
    assert sent == [item["call_id"] for item in body_with_input({}, items)["input"]]
    assert sent[::2] == sent[1::2]
    assert len(set(sent)) == 3
    assert max(map(len, sent)) == 64
    assert sent[-1] == ids[-1]


def test_an_output_that_continues_a_response_keeps_its_id() -> None:
    """The id of an output whose call is in the previous response stays, however long it is."""
    output = call("c" * 100)[1]
    assert body_with_input({"previous_response_id": "resp_1"}, [output])["input"] == [output]


# --- the number of items


def test_an_input_over_the_limit_loses_middle_turns() -> None:
    """An input of more than 16,384 items loses whole turns from the middle (refusals.md 39)."""
    turns = [[user(str(number)), *call(f"call_{number}")] for number in range(6000)]
    run_input = RunInput(turns).within_item_limit()
    assert sum(map(len, run_input.turns)) <= 16384
    assert (run_input.turns[0], run_input.turns[-1], run_input.cuts) == (turns[0], turns[-1], 1)
    assert run_input.turns == drop_middle_turns(turns)


def test_an_input_within_the_limit_is_unchanged() -> None:
    """An input within the limit is sent whole, and so is a single turn that cannot be shortened."""
    short, single = RunInput([[user("Hi.")]] * 10), RunInput([[user("Hi.")] * 20000])
    assert short.within_item_limit() is short
    assert single.within_item_limit() is single


# --- images


HISTORY = [
    [user("One.", image("https://a.test/1.png")), {"role": "assistant", "content": "Seen."}],
    [user(image("https://a.test/2.png"), {"type": "input_image", "file_id": "file-1", "detail": "low"})],
    [user("Now?", image("https://a.test/3.png"))],
]


def images(run_input: RunInput | None) -> list[str]:
    """Return the images that are left, in their order."""
    assert run_input is not None
    parts = [part for turn in run_input.turns for item in turn if item["role"] == "user" for part in item["content"]]
    return [str(part.get("image_url") or part["file_id"]) for part in parts if part["type"] == "input_image"]


@pytest.mark.parametrize("named", ["https://a.test/1.png", "file-1"])
def test_the_named_image_is_replaced(named: str) -> None:
    """The image that a refusal names is replaced by a text, and the others stay (refusals.md 29)."""
    run_input = RunInput(HISTORY).without_images(named)
    assert images(run_input) == [image for image in images(RunInput(HISTORY)) if image != named]
    assert run_input is not None
    assert run_input.gone_images == (named,)
    assert str(run_input.turns).count(GONE["text"]) == 1


def test_without_a_name_all_images_before_the_last_message_go() -> None:
    """A refusal that names no image of the thread costs all images but those of the last message."""
    for reference in (None, "https://elsewhere.test/x.png"):
        assert images(RunInput(HISTORY).without_images(reference)) == ["https://a.test/3.png"]


def test_a_second_refusal_costs_all_images_and_a_third_is_told() -> None:
    """If leaving out the named image did not help, all others go; then there is nothing left to try."""
    once = RunInput(HISTORY).without_images("https://a.test/1.png")
    assert once is not None
    twice = once.without_images("https://a.test/2.png")
    assert images(twice) == ["https://a.test/3.png"]
    assert twice is not None
    assert twice.gone_images == ("https://a.test/1.png", "file-1", "https://a.test/2.png")
    assert twice.without_images(None) is None


def test_a_long_url_that_a_refusal_cuts_off_names_its_image() -> None:
    """The table searches the start of a message, so the URL of a signed link is cut off; no other image goes for it."""
    links = [f"https://{name}.test/a.png?{'s' * 900}{name}" for name in ("a", "b", "c")]
    history = [[{"role": "user", "content": [{"type": "input_image", "image_url": link}]}] for link in links]
    error = {"message": f"Error while downloading {links[1]}.", "param": "url"}
    recognized = recognize(TABLE, 400, error)
    assert recognized is not None
    run_input = RunInput(history).without_images(recognized.groups["url"])
    assert run_input is not None
    assert (images(run_input), run_input.gone_images) == ([links[0], links[2]], (links[1],))
    newest = {"message": f"Error while downloading {links[2]}.", "param": "url"}
    recognized = recognize(TABLE, 400, newest)
    assert recognized is not None
    assert RunInput(history).without_images(recognized.groups["url"]) is None


def test_an_image_of_the_last_message_is_never_replaced() -> None:
    """A refusal of an image that the caller has just sent has no remedy."""
    assert RunInput(HISTORY).without_images("https://a.test/3.png") is None
    assert RunInput(HISTORY[2:]).without_images() is None


def test_a_remembered_image_is_not_sent_again() -> None:
    """Images that a thread is known to have lost are replaced at once, except in its last message."""
    url = "https://a.test/1.png"
    block = {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}
    message = {"role": "user", "run_id": None, "content": [block]}
    memory = {"items": [], "until": None, "run_id": None, "gone_images": [url]}
    assert turns_from_entries([message, memory, message], 0) == [
        [{"role": "user", "content": [GONE]}],
        [{"role": "user", "content": [image(url)]}],
    ]
