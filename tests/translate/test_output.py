"""Any output of the Responses API becomes consistent messages, steps and files."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.translate.output import Outcome, outcome_from_response
from assistants_compat.translate.run import run_from_request, transition_from_response, usage_from_response

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()


def counting() -> Callable[[str], str]:
    """Return a maker of ids that count up."""
    numbers = itertools.count()
    return lambda kind: f"{kind}_{next(numbers)}"


def new_run() -> Any:
    """Return a queued run."""
    return run_from_request("run_1", "thread_1", 100, {"assistant_id": "asst_1"}, {"model": "gpt-4o"}, ttl=600)


def outcome_of(output: list[dict[str, Any]], **response: Any) -> Outcome:
    """Translate a completed response with this output and return the outcome."""
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
    """Make a message item with linked files and shown images."""
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
def test_annotations_slice_their_text_and_every_file_has_a_reference(output: list[dict[str, Any]]) -> None:
    """Annotations slice their text, images come first, and the files are exactly those that something refers to."""
    outcome = outcome_of(output)
    file_ids = set()
    for message in outcome.messages:
        kinds = [block["type"] for block in message["content"]]
        assert kinds == sorted(kinds, key=["image_file", "text"].index)
        for block in message["content"]:
            if block["type"] == "image_file":
                file_ids.add(block["image_file"]["file_id"])
                continue
            value = block["text"]["value"]
            for note in block["text"]["annotations"]:
                assert value[note["start_index"] : note["end_index"]] == note["text"]
                file_ids.add(note["file_path"]["file_id"])
        file_ids.update(attachment["file_id"] for attachment in message["attachments"])
    for step in outcome.steps:
        for call in step["step_details"].get("tool_calls", []):
            shown = (entry for entry in call["code_interpreter"]["outputs"] if entry["type"] == "image")
            file_ids.update(entry["image"]["file_id"] for entry in shown)
    assert file_ids == set(outcome.files)


@given(st.lists(messages() | calls | others, max_size=6))
def test_each_call_and_each_message_has_a_step(output: list[dict[str, Any]]) -> None:
    """There is a step for each call and each message, in order; other items are skipped."""
    step_types = {"message": "message_creation", "code_interpreter_call": "tool_calls"}
    expected = [step_types[item["type"]] for item in output if item.get("type") in step_types]
    outcome = outcome_of(output)
    assert [step["type"] for step in outcome.steps] == expected
    created = [
        step["step_details"]["message_creation"]["message_id"]
        for step in outcome.steps
        if step["type"] == "message_creation"
    ]
    assert created == [message["id"] for message in outcome.messages]


@given(st.lists(messages() | calls, min_size=1, max_size=4), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_usage_of_the_steps_adds_up_to_that_of_the_run(output: list[Any], prompt: int, completion: int) -> None:
    """A run's usage is the sum of its steps' usages (recorded)."""
    usage = {"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion}
    outcome = outcome_of(output, usage=usage)
    for key in ("prompt_tokens", "completion_tokens", "total_tokens"):
        total = sum(step["usage"][key] for step in outcome.steps if step["usage"])
        assert total == {"prompt_tokens": prompt, "completion_tokens": completion}.get(key, prompt + completion)


def test_an_image_that_is_shown_and_cited_is_one_file() -> None:
    """An image that is shown and cited is one file: the n-th shown image belongs to the n-th citation at 0/0."""
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
    outcome = outcome_of([call, message])
    [file] = outcome.files.values()
    assert (file.data, file.filename) == (b"\x89PNG", "cfile_1.png")
    assert outcome.messages[0]["content"][0] == {"type": "image_file", "image_file": {"file_id": file.id}}


def test_an_uncited_image_is_kept_with_its_step() -> None:
    """A shown image without a citation is kept as a file of its step (citations may be missing, as recorded)."""
    call = {"type": "code_interpreter_call", "code": "", "outputs": [{"type": "image", "url": PNG}]}
    outcome = outcome_of([call])
    [file] = outcome.files.values()
    assert file.data == b"\x89PNG"
    assert file.container_id is None


def test_an_image_whose_url_has_parameters_is_kept() -> None:
    """An image whose data URL has parameters (RFC 2397) becomes a file."""
    url = PNG.replace(";base64", ";charset=utf-8;base64")
    call = {"type": "code_interpreter_call", "code": "", "outputs": [{"type": "image", "url": url}]}
    [file] = outcome_of([call]).files.values()
    assert file.data == b"\x89PNG"


def test_a_broken_data_url_is_skipped() -> None:
    """A data URL that cannot be decoded makes no file."""
    call = {"type": "code_interpreter_call", "code": "", "outputs": [{"type": "image", "url": PNG + "!"}]}
    assert outcome_of([call]).files == {}


def test_refusals_stay_refusals() -> None:
    """A refusal becomes a legacy refusal block."""
    outcome = outcome_of([{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}])
    assert outcome.messages[0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_a_message_that_was_cut_has_the_legacy_reason() -> None:
    """A message of a response that reached its token limit is incomplete, with the legacy reason."""
    item = {"type": "message", "status": "incomplete", "content": [{"type": "output_text", "text": "Hal"}]}
    outcome = outcome_of([item], status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    [message] = outcome.messages
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "max_tokens"})
    assert (message["completed_at"], message["incomplete_at"]) == (None, 200)


def test_the_reasons_of_an_incomplete_response_become_the_legacy_ones() -> None:
    """The reason `max_output_tokens` of a response becomes `max_completion_tokens` in the run."""
    body = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    status, changes = transition_from_response(new_run(), body, usage_from_response(body))
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
    """Any response ends the run; unknown content is skipped."""
    for body in ({**response, "status": status}, {**response, "status": status, "output": output}):
        usage = usage_from_response(body)
        final_status, _ = transition_from_response(new_run(), body, usage)
        assert final_status in {status, "requires_action"}
        outcome_from_response(new_run(), body, usage, counting(), 200)
