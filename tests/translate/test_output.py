"""Any output of the Responses API becomes consistent messages, steps and files."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.translate.outcome import Outcome
from assistants_compat.translate.output import outcome_from_response
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


def listed_file(id_: str, path: str, size: int = 1, created_at: int = 100) -> dict[str, Any]:
    """Return a file that the model made, as its container lists it."""
    container = {"container_id": "cntr_1", "source": "assistant"}
    return {"id": id_, "path": path, "bytes": size, "created_at": created_at, **container}


def cite(file_id: str, name: str, start: int | None = None, end: int | None = None) -> dict[str, Any]:
    """Return a citation of a container file."""
    span = {"start_index": start, "end_index": end}
    return {
        "type": "container_file_citation",
        "container_id": "cntr_1",
        "file_id": file_id,
        "filename": name,
        **span,
    }


def message_with(text: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    """Return a message item with one text."""
    return {"type": "message", "content": [{"type": "output_text", "text": text, "annotations": list(annotations)}]}


def linked_files(outcome: Outcome) -> dict[str, str]:
    """Return the container's ids of the files that the annotations of all messages link, by their text."""
    blocks = [block for message in outcome.messages for block in message["content"] if block["type"] == "text"]
    notes = [note for block in blocks for note in block["text"]["annotations"]]
    return {note["text"]: str(outcome.files[note["file_path"]["file_id"]].container_file_id) for note in notes}


def outcome_with_listing(items: list[dict[str, Any]], files: list[dict[str, Any]]) -> Outcome:
    """Translate a completed response whose container lists these files."""
    body = {"status": "completed", "output": items}
    usage = usage_from_response(body)
    return outcome_from_response(new_run(), body, usage, counting(), 200, container_files=files)


@given(order=st.permutations(["a", "b", "c"]), start=st.none() | st.integers(0, 99), end=st.none() | st.integers(0, 99))
def test_files_of_one_name_are_told_by_their_paths(order: list[str], start: int | None, end: int | None) -> None:
    """Cited files of one base name have their own links in whatever order, if their spans are missing or wrong."""
    links = {f"sandbox:/mnt/data/{folder}/d.csv": f"cfile_{folder}" for folder in "abc"}
    text = "😀" * 3 + " and ".join(f"[d]({link})" for link in links)
    starts = [text.index(link) for link in links]
    if start in {*starts, *(position + 3 for position in starts)}:  # in code points, and in UTF-16 units
        start = None
    notes = [cite(f"cfile_{folder}", "d.csv", start, end) for folder in order]
    files = [listed_file(f"cfile_{folder}", f"/mnt/data/{folder}/d.csv") for folder in "abc"]
    outcome = outcome_with_listing([message_with(text, *notes)], files)
    assert linked_files(outcome) == links
    assert {file.filename for file in outcome.files.values()} == {str(file["path"]) for file in files}


@given(times=st.lists(st.integers(100, 102), min_size=1, max_size=5))
def test_the_newest_file_of_a_path_has_the_uncited_link(times: list[int]) -> None:
    """Of all files of a path, the link without a citation means the newest; of one second, the last in the list."""
    files = [listed_file(f"cfile_{number}", "/mnt/data/d.csv", created_at=time) for number, time in enumerate(times)]
    outcome = outcome_with_listing([message_with("[d](sandbox:/mnt/data/d.csv)")], files)
    newest = max(range(len(times)), key=lambda number: (times[number], number))
    assert linked_files(outcome) == {"sandbox:/mnt/data/d.csv": f"cfile_{newest}"}
    assert len(outcome.messages[0]["attachments"]) == len(files) == len(outcome.files)


@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=4, unique=True), data=st.data())
def test_a_citation_means_the_shown_image_of_its_size(lengths: list[int], data: st.DataObject) -> None:
    """If some shown images are not cited, each citation at 0/0 names the image that has the listed size."""
    images = [b"x" * length for length in lengths]
    cited = data.draw(st.lists(st.sampled_from(range(len(images))), unique=True))
    urls = ["data:image/png;base64," + base64.b64encode(image).decode() for image in images]
    outputs = [{"type": "image", "url": url} for url in urls]
    call = {"type": "code_interpreter_call", "code": "", "outputs": outputs}
    files = [
        listed_file(f"cfile_{number}", f"/mnt/data/cfile_{number}.png", size) for number, size in enumerate(lengths)
    ]
    notes = [cite(f"cfile_{number}", f"cfile_{number}.png", 0, 0) for number in cited]
    outcome = outcome_with_listing([call, message_with("See.", *notes)], files)
    names = {file.data: file.filename for file in outcome.files.values()}
    assert len(outcome.files) == len(images)
    assert outcome.messages[0]["attachments"] == []
    assert [names[images[number]] for number in cited] == [f"cfile_{number}.png" for number in cited]


def test_a_file_of_exactly_the_spelling_of_its_link_comes_first() -> None:
    """Of two files whose names differ in their normal form only, a link means the one that it spells."""
    names = ["\u00e9.csv", "e\u0301.csv"]
    files = [listed_file(f"cfile_{number}", f"/mnt/data/{name}") for number, name in enumerate(names)]
    for number, name in enumerate(names):
        outcome = outcome_with_listing([message_with(f"[d](sandbox:/mnt/data/{name})")], files)
        assert linked_files(outcome) == {f"sandbox:/mnt/data/{name}": f"cfile_{number}"}


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
