"""Recorded legacy calls sent again, to the shim; the upstream says what the recorded model said."""

from __future__ import annotations

import base64
import functools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from legacy_calls import UPLOAD, Call, reason_to_leave_out, recorded_calls
from legacy_differences import Difference, Ids, differences
from legacy_streams import stream_differences
from recorded_streams import BY_HAND, Event, events_of, frames_of

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from assistants_compat.testing.sample_files import sample_bytes
from kit.doors import KEY, Door

Json = dict[str, Any]

_STREAM = "text/event-stream; charset=utf-8"
_FOREVER = 10**6  # looks at a run until the recorded one had ended
_RUN_FIELDS = ("max_prompt_tokens", "max_completion_tokens")
_ASSISTANT_FIELDS = ("name", "description", "instructions", "tools", "metadata")


@dataclass
class Replayed:
    """What came of all recordings: calls with our answers, calls left out by reason, differences with their era.

    Those of streams have an era of their own.
    """

    compared: list[tuple[Call, Any]] = field(default_factory=list)
    streamed: list[tuple[Call, tuple[Event, ...]]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    found: set[tuple[str, Difference]] = field(default_factory=set)


def replay_all(recordings: ModuleType, door: Door, upstream: StandIn, settings: Iterable[Settings]) -> Replayed:
    """Every recording of the four families, each in a store that is empty."""
    result = Replayed()
    for (name, era, calls), own in zip(recorded_calls(recordings), settings, strict=False):
        _Replay(name, era, calls, door, door.client(upstream, own), upstream, result).play()
    return result


def replay_by_hand(
    recordings: ModuleType, door: Door, upstream: StandIn, settings: Settings
) -> tuple[tuple[Event, ...], tuple[Event, ...]]:
    """The stream that was kept without its request and retouched, and ours to the request that it must have had.

    Its run has a file search tool and does not search.
    """
    events = events_of(recordings, "assistants", BY_HAND)
    run = dict(events)["thread.run.created"]
    kept = {key: run[key] for key in ("assistant_id", "instructions", "temperature", "metadata")}
    tools = [tool for tool in run["tools"] if tool["type"] != "file_search"]
    thread = {"messages": [{"role": "user", "content": "Hi."}], "metadata": dict(events)["thread.created"]["metadata"]}
    body = {**kept, "tools": tools, "thread": thread, "stream": True}
    call = Call("POST", "/threads/runs", body, 200, "", None, None, _STREAM, events)
    replay = _Replay(BY_HAND, "2024", [call], door, door.client(upstream, settings), upstream, Replayed())
    return events, replay.streamed(call)


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
    responses: dict[str, str] = field(default_factory=dict)  # of a recorded run, the upstream's id

    def play(self) -> None:
        self._prepare_what_lists_show()
        for call in self.calls:
            reason = reason_to_leave_out(call)
            if reason is None and call.events:
                self._compare_stream(call)
                continue
            if reason is None:
                self._compare(call)
                continue
            self.result.left_out[reason] += 1
            if reason == UPLOAD:
                self._put_file(call.answer["id"], call.answer["filename"])

    # --- comparing

    def _compare(self, call: Call) -> None:
        self._prepare(call)
        self._set_the_stage(call)
        before = set(self.upstream.responses)
        status, text = self._ask(call.method, call.path, call.body)
        assert status == call.status, f"{self.name}: {call.method} {call.path}: {text}"
        assert text == json.dumps(json.loads(text), indent=2), "REST answers are indented (recorded)"
        ours = json.loads(text)
        for new in set(self.upstream.responses) - before:
            self.responses[call.answer["id"]] = new
        self.result.compared.append((call, ours))
        for each in differences(call.answer, ours, self.ids):
            self.result.found.add((self.era, each))

    def _compare_stream(self, call: Call) -> None:
        ours = self.streamed(call)
        self.result.streamed.append((call, ours))
        for each in stream_differences(call.events, ours, self.ids):
            self.result.found.add((f"{self.era} streamed", each))

    def streamed(self, call: Call) -> tuple[Event, ...]:
        """The events of our answer, when the model says what it said in the recorded ones."""
        self._prepare(call)
        self._script_stream(call)
        response = self._send(call.method, call.path, call.body)
        assert response.status_code == call.status, f"{self.name}: {call.path}: {response.text}"
        assert response.headers["content-type"] == call.content_type == _STREAM
        assert response.text.isascii()
        return frames_of(response.text)

    def _ask(self, method: str, path: str, body: Any) -> tuple[int, str]:
        response = self._send(method, path, body)
        assert response.headers["content-type"] == "application/json"
        return response.status_code, response.text

    def _send(self, method: str, path: str, body: Any) -> Any:
        """Through the HTTP client below the SDK, so that neither side's types can tidy anything up."""
        headers = {"authorization": f"Bearer {KEY}", "openai-beta": "assistants=v2"}
        http = self.client._client
        url = f"{self.upstream.base_url}{self.ids.mapped(path)}"
        sent = None if body is None else json.loads(self.ids.mapped(json.dumps(body)))
        return self.door(http.send(http.build_request(method, url, headers=headers, json=sent)))

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
        output = [item for step in steps for item in _items(step, {})] or [
            _message(text) for text in said or ["Hello."]
        ]
        usage = next((each["usage"] for each in by_kind.get("thread.run", []) if each["usage"]), None)
        self.upstream.script(Turn(output=output, usage=usage and _usage(usage), polls=_FOREVER))

    def _script_stream(self, call: Call) -> None:
        """What the model said in one stream: what began in it, and its tokens, which a later stream may show."""
        shown = call.objects()
        shown = json.loads(self.ids.mapped(json.dumps(shown)))  # what is cited has our ids
        said = {each["id"]: each["content"] for each in shown if each["object"] == "thread.message"}
        begun = [data["id"] for name, data in call.events if name == "thread.run.step.created"]
        steps = {each["id"]: each for each in json.loads(self.ids.mapped(json.dumps(self._steps_with_usage())))}
        ended = [each for each in map(steps.get, begun) if each]
        output = [item for step in ended for item in _items(step, said)]
        self.upstream.script(Turn(output=output, usage=_usage(_sum(step["usage"] for step in ended))))

    def _steps_with_usage(self) -> list[Json]:
        """The recorded steps as they were at their end."""
        shown = [each for call in self.calls for each in call.objects()]
        return [each for each in shown if each["object"] == "thread.run.step" and each["usage"]]

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
        status, text = self._ask("POST", path, body)
        assert status == 200, text
        if id_ is not None:
            self.ids.ours[id_] = json.loads(text)["id"]

    def _put_file(self, id_: str, filename: str) -> None:
        self.ids.ours[id_] = self.upstream.put_file(filename, b"x,y\n1,2\n", "assistants")


def _given(tool: Json) -> Json:
    return {"type": "file_search"} if tool["type"] == "file_search" else tool


def _items(step: Json, said: dict[str, list[Json]]) -> list[Json]:
    """The output items that lead to a recorded step; `said` is what its message may say."""
    details = step["step_details"]
    if step["type"] == "message_creation":
        content = said.get(details["message_creation"]["message_id"])
        return [_cited(content[0]["text"]) if content else _message("Said between two calls.")]
    return [_call(call) for call in details["tool_calls"]]


def _call(call: Json) -> Json:
    if call["type"] == "function":
        function = {key: call["function"][key] for key in ("name", "arguments")}
        return {"type": "function_call", "status": "completed", "call_id": call["id"], **function}
    if call["type"] == "file_search":
        return {
            "type": "file_search_call",
            "status": "completed",
            "queries": [],
            "results": [_result(each) for each in call["file_search"]["results"]],
        }
    code = call["code_interpreter"]
    image = {"type": "image", "url": "data:image/png;base64," + base64.b64encode(sample_bytes("a.png")).decode()}
    outputs = [image if output["type"] == "image" else output for output in code["outputs"]]
    return {"type": "code_interpreter_call", "status": "completed", "code": code["input"], "outputs": outputs}


def _result(found: Json) -> Json:
    """What a search found, as the Responses API tells it."""
    text = "".join(part["text"] for part in found["content"])
    kept = {key: found[key] for key in ("file_id", "score", "attributes")}
    return {**kept, "filename": found["file_name"], "text": text}


def _cited(text: Json) -> Json:
    """A message whose text has lost its markers, each of them an annotation with its offset instead."""
    said, done, notes = "", 0, []
    for note in text["annotations"]:
        said += text["value"][done : note["start_index"]]
        done = note["end_index"]
        name = note["text"].partition("†")[2].removesuffix("】")
        notes.append({"type": "file_citation", **note["file_citation"], "filename": name, "index": len(said)})
    return _message(said + text["value"][done:], notes)


def _message(text: str, annotations: Iterable[Json] = ()) -> Json:
    part = {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}
    return {"type": "message", "status": "completed", "role": "assistant", "content": [part]}


def _sum(usages: Iterable[Json]) -> Json:
    first, *others = usages
    return functools.reduce(_added, others, first)


def _added(one: Json, other: Json) -> Json:
    """Two counts of tokens as one, with what is nested in them."""
    return {
        key: _added(value, other[key]) if isinstance(value, dict) else value + other[key] for key, value in one.items()
    }


def _usage(usage: Json) -> Json:
    """The recorded tokens of a run in the words of the Responses API."""
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": usage.get("prompt_token_details", {"cached_tokens": 0}),
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": usage.get("completion_tokens_details", {"reasoning_tokens": 0}),
        "total_tokens": usage["total_tokens"],
    }
