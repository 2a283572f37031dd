"""Sends recorded legacy calls to the library again, while the upstream answers what the recorded model answered."""

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
_FOREVER = 10**6  # polls, more than any recorded run needed
_RUN_FIELDS = ("max_prompt_tokens", "max_completion_tokens")
_ASSISTANT_FIELDS = ("name", "description", "instructions", "tools", "metadata")


@dataclass
class ReplayResult:
    """The result of replaying all recordings: calls with our answers, calls left out by reason, differences by era.

    Differences of streams have an era of their own.
    """

    compared: list[tuple[Call, Any]] = field(default_factory=list)
    streamed: list[tuple[Call, tuple[Event, ...]]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    differences_by_era: set[tuple[str, Difference]] = field(default_factory=set)


def replay_all(recordings: ModuleType, door: Door, upstream: StandIn, settings: Iterable[Settings]) -> ReplayResult:
    """Replay every recording of the four families, each in an empty store."""
    result = ReplayResult()
    for (name, era, calls), store_settings in zip(recorded_calls(recordings), settings, strict=False):
        _Replay(name, era, calls, door, door.client(upstream, store_settings), upstream, result).play()
    return result


def replay_by_hand(
    recordings: ModuleType, door: Door, upstream: StandIn, settings: Settings
) -> tuple[tuple[Event, ...], tuple[Event, ...]]:
    """Return the stream that was kept without its request and retouched, and ours to the request it must have had.

    Its run has a file search tool and does not search.
    """
    events = events_of(recordings, "assistants", BY_HAND)
    run = dict(events)["thread.run.created"]
    run_fields = {key: run[key] for key in ("assistant_id", "instructions", "temperature", "metadata")}
    tools = [tool for tool in run["tools"] if tool["type"] != "file_search"]
    thread = {"messages": [{"role": "user", "content": "Hi."}], "metadata": dict(events)["thread.created"]["metadata"]}
    body = {**run_fields, "tools": tools, "thread": thread, "stream": True}
    call = Call("POST", "/threads/runs", body, 200, "", None, None, _STREAM, events)
    replay = _Replay(BY_HAND, "2024", [call], door, door.client(upstream, settings), upstream, ReplayResult())
    return events, replay.streamed(call)


@dataclass
class _Replay:
    name: str
    era: str
    calls: list[Call]
    door: Door
    client: Any
    upstream: StandIn
    result: ReplayResult
    ids: Ids = field(default_factory=Ids)
    responses: dict[str, str] = field(default_factory=dict)  # of a recorded run, the upstream's id

    def play(self) -> None:
        self._prepare_listed_objects()
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
        self._script_upstream(call)
        before = set(self.upstream.responses)
        status, text = self._ask(call.method, call.path, call.body)
        assert status == call.status, f"{self.name}: {call.method} {call.path}: {text}"
        assert text == json.dumps(json.loads(text), indent=2), "REST answers are indented (recorded)"
        ours = json.loads(text)
        for new in set(self.upstream.responses) - before:
            self.responses[call.answer["id"]] = new
        self.result.compared.append((call, ours))
        for difference in differences(call.answer, ours, self.ids):
            self.result.differences_by_era.add((self.era, difference))

    def _compare_stream(self, call: Call) -> None:
        ours = self.streamed(call)
        self.result.streamed.append((call, ours))
        for difference in stream_differences(call.events, ours, self.ids):
            self.result.differences_by_era.add((f"{self.era} streamed", difference))

    def streamed(self, call: Call) -> tuple[Event, ...]:
        """Return the events of our answer when the model answers what it answered in the recording."""
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
        """Send a request through the HTTP client below the SDK, so that neither side's types can change anything."""
        headers = {"authorization": f"Bearer {KEY}", "openai-beta": "assistants=v2"}
        http = self.client._client
        url = f"{self.upstream.base_url}{self.ids.translate(path)}"
        sent = None if body is None else json.loads(self.ids.translate(json.dumps(body)))
        return self.door(http.send(http.build_request(method, url, headers=headers, json=sent)))

    # --- scripting the upstream

    def _script_upstream(self, call: Call) -> None:
        """Script the answer of a run that this call creates, or advance the run to the recorded status."""
        for run in call.objects():
            if run.get("object") != "thread.run":
                continue
            if call.creates:
                self._script(run)
            elif call.path.endswith("/submit_tool_outputs"):
                self._script_answer(run)
            elif run["id"] in self.responses:
                self._advance_response(self.upstream.responses[self.responses[run["id"]]], run["status"])

    def _advance_response(self, response: Any, status: str) -> None:
        if status in {"completed", "requires_action"}:
            response.polls_left = 0
        elif status == "queued":  # the stand-in leaves this status sooner than the service did
            body = {**response.final, "status": "queued", "output": [], "usage": None}
            self.upstream.fault(Fault("GET /responses/*", status=200, body=body))

    def _script(self, run: Json) -> None:
        """Script the model's answer to this run: the function calls if it ever waits for outputs, else its messages."""
        waiting = next(
            (
                shown_run
                for shown_run in self._objects_of_run(run).get("thread.run", [])
                if shown_run.get("required_action")
            ),
            None,
        )
        if waiting is None:
            self._script_answer(run)
            return
        calls = waiting["required_action"]["submit_tool_outputs"]["tool_calls"]
        function_calls = [{"call_id": call["id"], **call["function"]} for call in calls]
        # No recording shows the tokens of a round: all of them are counted for the answer.
        nothing = _response_usage(dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0))
        self.upstream.script(Turn(function_calls=function_calls, usage=nothing, polls=_FOREVER))

    def _objects_of_run(self, run: Json) -> dict[str, list[Json]]:
        objects = [
            entry for call in self.calls for entry in call.objects() if run["id"] in {entry["id"], entry.get("run_id")}
        ]
        by_kind: dict[str, list[Json]] = {}
        for entry in objects:
            by_kind.setdefault(entry["object"], []).append(entry)
        return by_kind

    def _script_answer(self, run: Json) -> None:
        by_kind = self._objects_of_run(run)
        texts = [
            block["text"]["value"] for message in by_kind.get("thread.message", []) for block in message["content"]
        ]
        steps = list(reversed(by_kind.get("thread.run.step", [])))  # lists are newest first
        output = [item for step in steps for item in _output_items(step, {})] or [
            _message(text) for text in texts or ["Hello."]
        ]
        usage = next((shown_run["usage"] for shown_run in by_kind.get("thread.run", []) if shown_run["usage"]), None)
        self.upstream.script(Turn(output=output, usage=usage and _response_usage(usage), polls=_FOREVER))

    def _script_stream(self, call: Call) -> None:
        """Script one stream: the messages and calls that began in it, and its tokens, which a later stream may show."""
        objects = call.objects()
        objects = json.loads(self.ids.translate(json.dumps(objects)))  # citations name our ids
        contents = {message["id"]: message["content"] for message in objects if message["object"] == "thread.message"}
        started_ids = [data["id"] for name, data in call.events if name == "thread.run.step.created"]
        steps = {step["id"]: step for step in json.loads(self.ids.translate(json.dumps(self._steps_with_usage())))}
        ended_steps = [step for step in map(steps.get, started_ids) if step]
        output = [item for step in ended_steps for item in _output_items(step, contents)]
        self.upstream.script(
            Turn(output=output, usage=_response_usage(_sum_usages(step["usage"] for step in ended_steps)))
        )

    def _steps_with_usage(self) -> list[Json]:
        """Return the recorded steps as they were at their end."""
        objects = [entry for call in self.calls for entry in call.objects()]
        return [entry for entry in objects if entry["object"] == "thread.run.step" and entry["usage"]]

    # --- creating what the recording presupposes

    def _prepare_listed_objects(self) -> None:
        """Create the listed assistants and runs that no recorded call created, oldest first."""
        created_ids = {call.creates for call in self.calls}
        lists = [call for call in self.calls if call.beta != "assistants=v1" and "data" in (call.answer or {})]
        entries = [entry for call in lists for entry in call.answer["data"] if entry["id"] not in created_ids]
        assistants = {entry["id"]: entry for entry in entries if entry["object"] == "assistant"}
        if lists and lists[-1].answer["has_more"]:
            self._make("/assistants", {"model": "gpt-4"})  # at least one more than is shown
        for entry in reversed(assistants.values()):
            self._make_assistant(entry["id"], entry)
        for entry in entries:
            if entry["object"] == "thread.run":
                self._make_run(entry["thread_id"], entry["id"], entry)

    def _prepare(self, call: Call) -> None:
        """Create the objects that the call names and that do not exist yet."""
        for id_ in sorted(call.ids()):  # assistants, files, messages, runs, then threads
            if id_ in self.ids.ours:
                continue
            if id_.startswith("asst_"):
                self._make_assistant(id_, self._recorded_assistant(id_))
            elif id_.startswith("file-"):
                self._put_file(id_, f"{id_}.txt")
            elif id_.startswith("thread_"):
                self._make("/threads", {}, id_)
            elif id_.startswith("msg_"):
                self._make_thread_of(call)
                [text] = [
                    block["text"]["value"]
                    for recorded_object in call.objects()
                    for block in recorded_object.get("content", [])
                ] or ["?"]
                self._make(f"{call.path.rpartition('/')[0]}", {"role": "user", "content": text}, id_)
            elif id_.startswith("run_"):
                self._make_thread_of(call)
                self._make_run(call.path.split("/")[2], id_, next(iter(call.objects()), {}))

    def _make_thread_of(self, call: Call) -> None:
        thread_id = call.path.split("/")[2]
        if thread_id not in self.ids.ours:
            self._make("/threads", {}, thread_id)

    def _recorded_assistant(self, assistant_id: str) -> Json:
        """Return what the recording shows of an assistant that it did not create: itself, or a run of it."""
        objects = [entry for call in self.calls for entry in call.objects()]
        itself = [entry for entry in objects if entry.get("id") == assistant_id and entry["object"] == "assistant"]
        runs = [entry for entry in objects if entry.get("assistant_id") == assistant_id and "model" in entry]
        return next(iter(itself + runs), {})

    def _make_assistant(self, id_: str, recorded_fields: Json) -> None:
        fields = {key: recorded_fields[key] for key in _ASSISTANT_FIELDS if recorded_fields.get(key)}
        # Of a file search only its type: the service added the other fields.
        fields["tools"] = [_request_tool(tool) for tool in fields.get("tools", [])]
        stores = (recorded_fields.get("tool_resources") or {}).get("file_search")
        if stores:
            fields["tool_resources"] = {"file_search": stores}
        self._make("/assistants", {"model": recorded_fields.get("model", "gpt-4"), **fields}, id_)

    def _make_run(self, thread_id: str, id_: str, recorded_fields: Json) -> None:
        if thread_id not in self.ids.ours:
            self._make("/threads", {}, thread_id)
        assistant_id = recorded_fields.get("assistant_id", "asst_" + "0" * 24)
        if assistant_id not in self.ids.ours:
            self._make_assistant(assistant_id, {"instructions": "Help.", **recorded_fields})
        self.upstream.script(Turn(text="Hello.", polls=_FOREVER))
        limits = {key: recorded_fields[key] for key in _RUN_FIELDS if recorded_fields.get(key)}
        self._make(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id, **limits}, id_)

    def _make(self, path: str, body: Json, id_: str | None = None) -> None:
        status, text = self._ask("POST", path, body)
        assert status == 200, text
        if id_ is not None:
            self.ids.ours[id_] = json.loads(text)["id"]

    def _put_file(self, id_: str, filename: str) -> None:
        self.ids.ours[id_] = self.upstream.put_file(filename, b"x,y\n1,2\n", "assistants")


def _request_tool(tool: Json) -> Json:
    return {"type": "file_search"} if tool["type"] == "file_search" else tool


def _output_items(step: Json, contents: dict[str, list[Json]]) -> list[Json]:
    """Return the output items that lead to a recorded step; `contents` are those of its stream's messages, by id."""
    details = step["step_details"]
    if step["type"] == "message_creation":
        content = contents.get(details["message_creation"]["message_id"])
        return [_cited_message(content[0]["text"]) if content else _message("Said between two calls.")]
    return [_output_item_from_call(call) for call in details["tool_calls"]]


def _output_item_from_call(call: Json) -> Json:
    if call["type"] == "function":
        function = {key: call["function"][key] for key in ("name", "arguments")}
        return {"type": "function_call", "status": "completed", "call_id": call["id"], **function}
    if call["type"] == "file_search":
        return {
            "type": "file_search_call",
            "status": "completed",
            "queries": [],
            "results": [_search_result(result) for result in call["file_search"]["results"]],
        }
    code = call["code_interpreter"]
    image = {"type": "image", "url": "data:image/png;base64," + base64.b64encode(sample_bytes("a.png")).decode()}
    outputs = [image if output["type"] == "image" else output for output in code["outputs"]]
    return {"type": "code_interpreter_call", "status": "completed", "code": code["input"], "outputs": outputs}


def _search_result(result: Json) -> Json:
    """Return a search result in the form of the Responses API."""
    text = "".join(part["text"] for part in result["content"])
    fields = {key: result[key] for key in ("file_id", "score", "attributes")}
    return {**fields, "filename": result["file_name"], "text": text}


def _cited_message(text: Json) -> Json:
    """Return a message whose markers are removed from the text and become annotations with an offset instead."""
    plain_text, position, annotations = "", 0, []
    for annotation in text["annotations"]:
        plain_text += text["value"][position : annotation["start_index"]]
        position = annotation["end_index"]
        name = annotation["text"].partition("†")[2].removesuffix("】")
        annotations.append(
            {"type": "file_citation", **annotation["file_citation"], "filename": name, "index": len(plain_text)}
        )
    return _message(plain_text + text["value"][position:], annotations)


def _message(text: str, annotations: Iterable[Json] = ()) -> Json:
    part = {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}
    return {"type": "message", "status": "completed", "role": "assistant", "content": [part]}


def _sum_usages(usages: Iterable[Json]) -> Json:
    first, *others = usages
    return functools.reduce(_add_usages, others, first)


def _add_usages(first: Json, second: Json) -> Json:
    """Add two counts of tokens, nested ones too."""
    return {
        key: _add_usages(value, second[key]) if isinstance(value, dict) else value + second[key]
        for key, value in first.items()
    }


def _response_usage(usage: Json) -> Json:
    """Return the recorded tokens of a run in the form of the Responses API."""
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": usage.get("prompt_token_details", {"cached_tokens": 0}),
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": usage.get("completion_tokens_details", {"reasoning_tokens": 0}),
        "total_tokens": usage["total_tokens"],
    }
