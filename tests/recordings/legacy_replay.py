"""Recorded legacy calls sent again, to the shim; the upstream says what the recorded model said."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from legacy_calls import ID, REFUSED, UPLOAD, Call, reason_to_leave_out, recorded_calls
from legacy_differences import Difference, Ids, differences

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from assistants_compat.testing.samples import sample_bytes
from doors import KEY, Door

Json = dict[str, Any]

_FOREVER = 10**6  # looks at a run until the recorded one had ended
_RUN_FIELDS = ("max_prompt_tokens", "max_completion_tokens")
_ASSISTANT_FIELDS = ("name", "description", "instructions", "tools", "metadata")


@dataclass
class Replayed:
    """What came of all recordings: calls with our answers, calls left out by reason, differences with their era."""

    compared: list[tuple[Call, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    found: set[tuple[str, Difference]] = field(default_factory=set)


def replay_all(recordings: ModuleType, door: Door, upstream: StandIn, settings: Iterable[Settings]) -> Replayed:
    """Every recording of the four families, each in a store that is empty."""
    result = Replayed()
    for (name, era, calls), own in zip(recorded_calls(recordings), settings, strict=False):
        _Replay(name, era, calls, door, door.client(upstream, own), upstream, result).play()
    return result


@dataclass
class _Replay:
    name: str
    era: str
    calls: list[Call]
    door: Door
    client: Any
    upstream: StandIn
    result: Replayed
    ids: Ids = field(default_factory=Ids)
    refused: set[str] = field(default_factory=set)
    responses: dict[str, str] = field(default_factory=dict)  # of a recorded run, the upstream's id

    def play(self) -> None:
        self._prepare_what_lists_show()
        for call in self.calls:
            reason = reason_to_leave_out(call, self.refused)
            if reason is None:
                self._compare(call)
                continue
            self.result.left_out[reason] += 1
            if reason == UPLOAD:
                self._put_file(call.answer["id"], call.answer["filename"])
            elif reason in REFUSED:
                self._expect_refusal(call)

    # --- comparing

    def _compare(self, call: Call) -> None:
        self._prepare(call)
        self._set_the_stage(call)
        before = set(self.upstream.responses)
        status, text = self._send(call.method, call.path, call.body)
        assert status == call.status, f"{self.name}: {call.method} {call.path}: {text}"
        assert text == json.dumps(json.loads(text), indent=2), "REST answers are indented (recorded)"
        ours = json.loads(text)
        for new in set(self.upstream.responses) - before:
            self.responses[call.answer["id"]] = new
        self.result.compared.append((call, ours))
        for each in differences(call.answer, ours, self.ids):
            self.result.found.add((self.era, each))

    def _expect_refusal(self, call: Call) -> None:
        """A call that is left out is refused in so many words; what it would have made is not asked for later."""
        self._prepare(call)
        status, text = self._send(call.method, call.path, call.body)
        assert (status, json.loads(text)["error"]["code"]) == (400, "not_supported"), (
            f"{self.name}: {call.path}: {text}"
        )
        self.refused |= set(ID.findall(call.text)) - set(self.ids.ours)

    def _send(self, method: str, path: str, body: Any) -> tuple[int, str]:
        """Through the HTTP client below the SDK, so that neither side's types can tidy anything up."""
        headers = {"authorization": f"Bearer {KEY}", "openai-beta": "assistants=v2"}
        http = self.client._client
        url = f"{self.upstream.base_url}{self.ids.mapped(path)}"
        sent = None if body is None else json.loads(self.ids.mapped(json.dumps(body)))
        response = self.door(http.send(http.build_request(method, url, headers=headers, json=sent)))
        assert response.headers["content-type"] == "application/json"
        return response.status_code, response.text

    # --- what the recorded upstream did

    def _set_the_stage(self, call: Call) -> None:
        """Script the answer of a run that this call creates; let the run be as far as the recorded answer shows."""
        for run in call.objects():
            if run.get("object") != "thread.run":
                continue
            if call.creates:
                self._script(run)
            elif call.path.endswith("/submit_tool_outputs"):
                self._script_answer(run)
            elif run["id"] in self.responses:
                self._move(self.upstream.responses[self.responses[run["id"]]], run["status"])

    def _move(self, stored: Any, status: str) -> None:
        if status in {"completed", "requires_action"}:
            stored.polls_left = 0
        elif status == "queued":  # the stand-in is never queued for long, the service was
            body = {**stored.final, "status": "queued", "output": [], "usage": None}
            self.upstream.fault(Fault("GET /responses/*", status=200, body=body))

    def _script(self, run: Json) -> None:
        """What the model said to this run: the calls that it waits for where it ever does, else its answer."""
        waiting = next(
            (each for each in self._shown_of(run).get("thread.run", []) if each.get("required_action")), None
        )
        if waiting is None:
            self._script_answer(run)
            return
        calls = waiting["required_action"]["submit_tool_outputs"]["tool_calls"]
        said = [{"call_id": call["id"], **call["function"]} for call in calls]
        # No recording shows the tokens of a round: all of them are counted for the answer.
        nothing = _usage(dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0))
        self.upstream.script(Turn(function_calls=said, usage=nothing, polls=_FOREVER))

    def _shown_of(self, run: Json) -> dict[str, list[Json]]:
        shown = [
            each for call in self.calls for each in call.objects() if run["id"] in {each["id"], each.get("run_id")}
        ]
        by_kind: dict[str, list[Json]] = {}
        for each in shown:
            by_kind.setdefault(each["object"], []).append(each)
        return by_kind

    def _script_answer(self, run: Json) -> None:
        by_kind = self._shown_of(run)
        said = [block["text"]["value"] for each in by_kind.get("thread.message", []) for block in each["content"]]
        steps = list(reversed(by_kind.get("thread.run.step", [])))  # lists are newest first
        output = [_item(step) for step in steps] or [_message(text) for text in said or ["Hello."]]
        usage = next((each["usage"] for each in by_kind.get("thread.run", []) if each["usage"]), None)
        self.upstream.script(Turn(output=output, usage=usage and _usage(usage), polls=_FOREVER))

    # --- what was there before the recording began

    def _prepare_what_lists_show(self) -> None:
        """Make the assistants and runs that a list shows and no recorded call made, oldest first."""
        made = {call.creates for call in self.calls}
        lists = [call for call in self.calls if call.beta != "assistants=v1" and "data" in (call.answer or {})]
        entries = [each for call in lists for each in call.answer["data"] if each["id"] not in made]
        assistants = {each["id"]: each for each in entries if each["object"] == "assistant"}
        if lists and lists[-1].answer["has_more"]:
            self._make("/assistants", {"model": "gpt-4"})  # at least one more than is shown
        for each in reversed(assistants.values()):
            self._make_assistant(each["id"], each)
        for each in entries:
            if each["object"] == "thread.run":
                self._make_run(each["thread_id"], each["id"], each)

    def _prepare(self, call: Call) -> None:
        """Make what the call takes for granted."""
        for id_ in sorted(call.ids()):  # assistants, files, messages, runs, then threads
            if id_ in self.ids.ours:
                continue
            if id_.startswith("asst_"):
                self._make_assistant(id_, self._evidence(id_))
            elif id_.startswith("file-"):
                self._put_file(id_, f"{id_}.txt")
            elif id_.startswith("thread_"):
                self._make("/threads", {}, id_)
            elif id_.startswith("msg_"):
                self._make_thread_of(call)
                [text] = [block["text"]["value"] for each in call.objects() for block in each.get("content", [])] or [
                    "?"
                ]
                self._make(f"{call.path.rpartition('/')[0]}", {"role": "user", "content": text}, id_)
            elif id_.startswith("run_"):
                self._make_thread_of(call)
                self._make_run(call.path.split("/")[2], id_, next(iter(call.objects()), {}))

    def _make_thread_of(self, call: Call) -> None:
        thread_id = call.path.split("/")[2]
        if thread_id not in self.ids.ours:
            self._make("/threads", {}, thread_id)

    def _evidence(self, assistant_id: str) -> Json:
        """What the recording shows of an assistant that it did not make: itself, or a run of it."""
        objects = [each for call in self.calls for each in call.objects()]
        itself = [each for each in objects if each.get("id") == assistant_id and each["object"] == "assistant"]
        runs = [each for each in objects if each.get("assistant_id") == assistant_id and "model" in each]
        return next(iter(itself + runs), {})

    def _make_assistant(self, id_: str, shown: Json) -> None:
        fields = {key: shown[key] for key in _ASSISTANT_FIELDS if shown.get(key)}
        # Of a file search only what a caller gives: the rest of what is shown is the service's own addition.
        fields["tools"] = [_given(tool) for tool in fields.get("tools", [])]
        stores = (shown.get("tool_resources") or {}).get("file_search")
        if stores:
            fields["tool_resources"] = {"file_search": stores}
        self._make("/assistants", {"model": shown.get("model", "gpt-4"), **fields}, id_)

    def _make_run(self, thread_id: str, id_: str, shown: Json) -> None:
        if thread_id not in self.ids.ours:
            self._make("/threads", {}, thread_id)
        assistant_id = shown.get("assistant_id", "asst_" + "0" * 24)
        if assistant_id not in self.ids.ours:
            self._make_assistant(assistant_id, {"instructions": "Help.", **shown})
        self.upstream.script(Turn(text="Hello.", polls=_FOREVER))
        limits = {key: shown[key] for key in _RUN_FIELDS if shown.get(key)}
        self._make(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id, **limits}, id_)

    def _make(self, path: str, body: Json, id_: str | None = None) -> None:
        status, text = self._send("POST", path, body)
        assert status == 200, text
        if id_ is not None:
            self.ids.ours[id_] = json.loads(text)["id"]

    def _put_file(self, id_: str, filename: str) -> None:
        self.ids.ours[id_] = self.upstream.put_file(filename, b"x,y\n1,2\n", "assistants")


def _given(tool: Json) -> Json:
    return {"type": "file_search"} if tool["type"] == "file_search" else tool


def _item(step: Json) -> Json:
    """The output item that leads to a recorded step."""
    if step["type"] == "message_creation":
        return _message("Said between two calls.")
    [call] = step["step_details"]["tool_calls"]
    code = call["code_interpreter"]
    image = {"type": "image", "url": "data:image/png;base64," + base64.b64encode(sample_bytes("a.png")).decode()}
    outputs = [image if output["type"] == "image" else output for output in code["outputs"]]
    return {"type": "code_interpreter_call", "status": "completed", "code": code["input"], "outputs": outputs}


def _message(text: str) -> Json:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "status": "completed", "role": "assistant", "content": [part]}


def _usage(usage: Json) -> Json:
    """The recorded tokens of a run in the words of the Responses API."""
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": usage.get("prompt_token_details", {"cached_tokens": 0}),
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": usage.get("completion_tokens_details", {"reasoning_tokens": 0}),
        "total_tokens": usage["total_tokens"],
    }
