"""What a response becomes, for any output that the Responses API may send."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.translate.output import Outcome, outcome_from_response
from assistants_compat.translate.run import outcome_of_response, run_from_request, usage_from_response

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()


def counting() -> Callable[[str], str]:
    """Ids that count up, so that a test can tell them apart."""
    numbers = itertools.count()
    return lambda kind: f"{kind}_{next(numbers)}"


def new_run() -> Any:
    """A queued run."""
    return run_from_request("run_1", "thread_1", 100, {"assistant_id": "asst_1"}, {"model": "gpt-4o"}, ttl=600)


def read(output: list[dict[str, Any]], **response: Any) -> Outcome:
    """Translate a completed response with this output."""
    body = {"status": "completed", "output": output, **response}
    return outcome_from_response(new_run(), body, usage_from_response(body), counting(), 200)


cite_linked = st.builds(
    lambda name: (f"[{name}](sandbox:/mnt/data/{name})", {"filename": name, "file_id": f"cfile_{name}"}),
    st.sampled_from(["a.csv", "b.csv", "c.png"]),
)
calls = st.builds(
    lambda images, logs: {
        "type": "code_interpreter_call",
        "status": "completed",
        "code": "1",
        "outputs": [*({"type": "image", "url": PNG} for _ in range(images)), *({"type": "logs", "logs": "1"},) * logs],
    },
    st.integers(0, 2),
    st.integers(0, 1),
)
others = st.sampled_from([{"type": "reasoning", "summary": []}, {"type": "mcp_call"}, {"type": "next_year"}, {}])


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    """A message item with linked files, and images that were shown."""
    text = ""
    annotations: list[dict[str, Any]] = [
        {"filename": f"cfile_{number}.png", "file_id": f"cfile_{number}", "start": 0, "end": 0}
        for number in range(draw(st.integers(0, 2)))
    ]
    for link, cited in draw(st.lists(cite_linked, max_size=3)):
        text += "😀 "
        start = len(text) + link.index("sandbox:")
        text += link
        annotations.append({**cited, "start": start, "end": start + len(f"sandbox:/mnt/data/{cited['filename']}")})
    parts = [
        {
            "type": "container_file_citation",
            "container_id": "cntr_1",
            "file_id": note["file_id"],
            "filename": note["filename"],
            "start_index": note["start"],
            "end_index": note["end"],
        }
        for note in annotations
    ]
    content = [{"type": "output_text", "text": text, "annotations": parts}]
    return {"type": "message", "role": "assistant", "status": "completed", "content": content}


@given(st.lists(messages() | calls | others, max_size=6))
def test_every_annotation_slices_its_text_and_every_file_is_known_once(output: list[dict[str, Any]]) -> None:
    """Spans slice, images come first, and the files are exactly those that something refers to."""
    outcome = read(output)
    referred = set()
    for message in outcome.messages:
        kinds = [block["type"] for block in message["content"]]
        assert kinds == sorted(kinds, key=["image_file", "text"].index)
        for block in message["content"]:
            if block["type"] == "image_file":
                referred.add(block["image_file"]["file_id"])
                continue
            value = block["text"]["value"]
            for note in block["text"]["annotations"]:
                assert value[note["start_index"] : note["end_index"]] == note["text"]
                referred.add(note["file_path"]["file_id"])
        referred.update(attachment["file_id"] for attachment in message["attachments"])
    for step in outcome.steps:
        for call in step["step_details"].get("tool_calls", []):
            shown = (entry for entry in call["code_interpreter"]["outputs"] if entry["type"] == "image")
            referred.update(entry["image"]["file_id"] for entry in shown)
    assert referred == set(outcome.files)


@given(st.lists(messages() | calls | others, max_size=6))
def test_there_is_a_step_for_each_call_and_each_message_and_none_for_the_rest(output: list[dict[str, Any]]) -> None:
    """Steps follow the output; what has no legacy counterpart is passed over."""
    wanted = {"message": "message_creation", "code_interpreter_call": "tool_calls"}
    expected = [wanted[item["type"]] for item in output if item.get("type") in wanted]
    outcome = read(output)
    assert [step["type"] for step in outcome.steps] == expected
    created = [
        step["step_details"]["message_creation"]["message_id"]
        for step in outcome.steps
        if step["type"] == "message_creation"
    ]
    assert created == [message["id"] for message in outcome.messages]


@given(st.lists(messages() | calls, min_size=1, max_size=4), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_usage_of_the_steps_adds_up_to_that_of_the_run(output: list[Any], prompt: int, completion: int) -> None:
    """The recorded rule: a run's usage is the sum of its steps'."""
    usage = {"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion}
    outcome = read(output, usage=usage)
    for key in ("prompt_tokens", "completion_tokens", "total_tokens"):
        total = sum(step["usage"][key] for step in outcome.steps if step["usage"])
        assert total == {"prompt_tokens": prompt, "completion_tokens": completion}.get(key, prompt + completion)


def test_an_image_that_was_shown_and_cited_is_one_file_with_the_bytes_of_the_output() -> None:
    """The k-th shown image and the k-th 0/0 citation are the same picture."""
    call = {"type": "code_interpreter_call", "code": "", "outputs": [{"type": "image", "url": PNG}]}
    note = {
        "type": "container_file_citation",
        "container_id": "cntr_1",
        "file_id": "cfile_1",
        "filename": "cfile_1.png",
        "start_index": 0,
        "end_index": 0,
    }
    message = {"type": "message", "content": [{"type": "output_text", "text": "", "annotations": [note]}]}
    outcome = read([call, message])
    [file] = outcome.files.values()
    assert (file.data, file.filename) == (b"\x89PNG", "cfile_1.png")
    assert outcome.messages[0]["content"][0] == {"type": "image_file", "image_file": {"file_id": file.id}}


def test_an_image_that_nobody_cited_is_kept_with_its_step() -> None:
    """An inline image without a citation is a file of its own (it was recorded that citations may be missing)."""
    call = {"type": "code_interpreter_call", "code": "", "outputs": [{"type": "image", "url": PNG}]}
    outcome = read([call])
    [file] = outcome.files.values()
    assert file.data == b"\x89PNG"
    assert file.container_id is None


def test_an_image_whose_url_says_more_than_its_type_is_one() -> None:
    """What stands between the type and the bytes of a data URL (RFC 2397) loses no image."""
    url = PNG.replace(";base64", ";charset=utf-8;base64")
    call = {"type": "code_interpreter_call", "code": "", "outputs": [{"type": "image", "url": url}]}
    [file] = read([call]).files.values()
    assert file.data == b"\x89PNG"


def test_a_broken_data_url_is_passed_over() -> None:
    """Bytes that cannot be decoded make no file."""
    call = {"type": "code_interpreter_call", "code": "", "outputs": [{"type": "image", "url": PNG + "!"}]}
    assert read([call]).files == {}


def test_refusals_stay_refusals() -> None:
    """A refusal becomes the legacy refusal block."""
    outcome = read([{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}])
    assert outcome.messages[0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_a_message_that_was_cut_says_why() -> None:
    """A message of a response that hit its limit is incomplete, with the legacy reason."""
    item = {"type": "message", "status": "incomplete", "content": [{"type": "output_text", "text": "Hal"}]}
    outcome = read([item], status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    [message] = outcome.messages
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "max_tokens"})
    assert (message["completed_at"], message["incomplete_at"]) == (None, 200)


def test_the_reasons_of_an_incomplete_response_become_the_legacy_ones() -> None:
    """`max_output_tokens` is `max_completion_tokens` in a run."""
    body = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    status, changes = outcome_of_response(new_run(), body, usage_from_response(body))
    assert (status, changes["incomplete_details"]) == ("incomplete", {"reason": "max_completion_tokens"})


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
words = st.sampled_from(
    ["type", "message", "code_interpreter_call", "output_text", "content", "text", "annotations", "outputs", "url",
     "container_file_citation", "start_index", "end_index", "filename", "file_id", "image", "usage", "error", "code",
     "function_call", "call_id", "name", "arguments"]
)  # fmt: skip
anything = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=6),
    max_leaves=25,
)


@given(
    st.sampled_from(["completed", "failed", "incomplete", "cancelled"]),
    st.dictionaries(st.sampled_from(["output", "usage", "error", "incomplete_details"]), anything),
    st.lists(st.fixed_dictionaries({"type": words, "content": anything, "outputs": anything}), max_size=3),
)
def test_no_response_breaks_the_translation(status: str, response: dict[str, Any], output: list[Any]) -> None:
    """Whatever the upstream sends next year, a run can end: what is not understood is passed over."""
    for body in ({**response, "status": status}, {**response, "status": status, "output": output}):
        usage = usage_from_response(body)
        ended, _ = outcome_of_response(new_run(), body, usage)
        assert ended in {status, "requires_action"}
        outcome_from_response(new_run(), body, usage, counting(), 200)
