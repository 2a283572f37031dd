"""The stream of a response as the stream of its run.

Order and payloads are those of the recorded legacy streams (recordings.md section 4): whole runs, steps and messages
where the service sent whole objects, deltas in between.  What is built here event by event is what is stored: a message
that is completed equals the sum of its deltas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..wire.ids import Mint
from ..wire.objects import Json, Message, Run, RunStep, Thread, Usage, as_object, objects
from . import run as runs
from .citations import file_citation, is_file_citation, marker
from .message_parts import Growing, Part, as_streamed, longer, numbered
from .output import INCOMPLETE_REASONS, NOTHING, Begun, Reading, incomplete_reason, is_call
from .sse import DONE, Event, Words
from .step import stamp, without_content
from .uncited_files import containers_of


class _Item:
    """An output item that has begun and not ended."""

    def __init__(self, kind: str, begun: Begun | None = None, place: int = 0, step: RunStep | None = None) -> None:
        self.kind = kind  # the type of the output item
        self.begun, self.place, self.step = begun, place, step  # a call has its step here, a message only in `begun`
        self.parts: dict[int, Part] = {}
        self.said = Growing()  # the code of a call, or the arguments of a function
        self.markers = 0
        self.last_word: Json = {"type": "message", "status": "incomplete", "content": []}  # of a message that is cut

    @property
    def is_message(self) -> bool:
        """Whether this is a message, not a call."""
        return self.step is None


class RunEvents:
    """Translates one response of a run; `feed` takes its events one by one.

    `run` is the run as it is stored (a copy is kept), `mint` makes ids, `spent` is the usage of earlier rounds.
    `changed` says that something was begun or ended since it was last set to False: what is worth storing.
    `response` is the upstream's response once it has ended, `response_id` its id and `sequence_number` the last event's
    (for going on after a lost connection).
    """

    def __init__(self, run: Run, mint: Mint, *, spent: Usage | None = None, content: bool = True) -> None:
        """Begin before the first event; without `content` steps do not show the text of what was found."""
        self._shown = dict if content else without_content
        self.run = run
        self.spent = spent
        self.reading = Reading(run, mint, streamed=True)
        self.changed = False
        self.response: Json | None = None
        self.response_id: str | None = None
        self.sequence_number = -1
        self.usage: Usage | None = None
        self._error: Json = {}
        self._items: dict[int, _Item] = {}  # those that have begun, by their place in the output
        self._done: dict[int, Json] = {}  # those that have ended
        self._ids: dict[int, str] = {}  # the upstream's ids of items by their places
        self._listed: set[Any] = set()  # calls whose container was listed since
        self._held: RunStep | None = None  # a message's step: only the response's end knows its usage

    # --- the beginning, and an end that the upstream does not tell

    def begin(self, *, thread: Thread | None = None, answered: RunStep | None = None) -> list[Event]:
        """The first events: of a new thread, of a new run, or of the step whose outputs have come."""
        events: list[Event] = []
        if thread is not None:
            events.append(("thread.created", thread))
        if answered is not None:
            events.append(("thread.run.step.completed", self._step(answered)))
        else:
            events.append(("thread.run.created", self._run()))
        return [*events, ("thread.run.queued", self._run())]

    def stop(self, status: str, now: int, *, run: Run | None = None, error: Json | None = None) -> list[Event]:
        """The last events of a run that ends otherwise than by its response.

        `run` is given where somebody else has ended it; `error` is the `last_error` of one that failed.
        """
        events = self._release()
        events += self._close(INCOMPLETE_REASONS.get(status, "run_failed"), now, step_status=status)
        for step in (self._held, self.reading.function_step):
            if step is not None:
                step["completed_at"] = None
                stamp(step, status, now)
                events.append((f"thread.run.step.{status}", self._step(step)))
        self._held = None
        if run is None:
            changes = {"usage": self.spent, **({"last_error": error} if error else {})}
            run = runs.moved(self.run, status, now, **changes)
        self.run = run
        return [*events, (f"thread.run.{status}", self._run()), DONE]

    # --- events

    def feed(self, event: Mapping[str, Any], now: int) -> list[Event]:
        """What this event of the response is in the run's stream; nothing for one that has no counterpart there."""
        number = event.get("sequence_number")
        if isinstance(number, int):
            self.sequence_number = number
        handle = _HANDLERS.get(event["type"])
        if handle is None or self.response is not None:
            return []
        return handle(self, event, now)

    def _created(self, event: Mapping[str, Any], _now: int) -> list[Event]:
        id_ = as_object(event.get("response")).get("id")
        if isinstance(id_, str):
            self.response_id = id_
        return []

    def _in_progress(self, _event: Mapping[str, Any], now: int) -> list[Event]:
        if self.run["status"] != "queued":
            return []
        self.run = runs.moved(self.run, "in_progress", now)
        return [("thread.run.in_progress", self._run())]

    def _failing(self, event: Mapping[str, Any], _now: int) -> list[Event]:
        """An `error` event: its fields are nested, or flat in older types (recordings.md section 4)."""
        error = event.get("error")
        self._error = error if isinstance(error, dict) else {key: event.get(key) for key in ("code", "message")}
        return []

    @property
    def error(self) -> Json | None:
        """What an `error` event said, as a run's `last_error`, if one came."""
        return runs.last_error(self._error) if self._error else None

    def to_be_listed(self, event: Mapping[str, Any]) -> list[str]:
        """The containers whose files are to be listed (`reading.found`) before this event is fed: a message ends.

        Each is named once for all calls that have ended since.
        """
        is_end = event["type"] in _ENDS
        if not is_end and as_object(event.get("item")).get("type") != "message":
            return []
        ended = objects(as_object(event.get("response")).get("output")) if is_end else list(self._done.values())
        calls = {str(call.get("id") or id(call)): call for call in ended if is_call(call)}
        new = [call for key, call in calls.items() if key not in self._listed]
        self._listed.update(calls)
        return containers_of(new)

    # --- items

    def _item_added(self, event: Mapping[str, Any], now: int) -> list[Event]:
        item = as_object(event.get("item"))
        return self._begin(_place(event, "output_index"), item, now) if _is_known(item) else []

    def _where(self, item: Json, place: int, matched: set[int]) -> int:
        """Where an item of the whole output began: servers that leave others out there shift its place."""
        begun = [where for where, id_ in self._ids.items() if id_ == item.get("id") and where not in matched]
        if begun:
            return place if place in begun else begun[0]
        # One that nobody told of may stand at a place where another began.
        return -1 - place if place in self._ids and "id" in item else place

    def _begin(self, where: Any, item: Json, now: int) -> list[Event]:
        if where in self._items or where in self._done:
            return []
        self.changed = True
        if isinstance(item.get("id"), str):
            self._ids[where] = item["id"]
        return [*self._in_progress(item, now), *self._release(), *_BEGINNINGS[item["type"]](self, where, item, now)]

    def _begin_message(self, where: Any, _item: Json, now: int) -> list[Event]:
        begun = self.reading.begin_message(now)
        self._items[where] = _Item("message", begun)
        message = self._message(begun)
        empty: Json = {**message, "content": []}
        images = [
            self._message_delta(message, {"index": index, **block}) for index, block in enumerate(message["content"])
        ]
        events = self._begun(begun.step)
        return [*events, ("thread.message.created", empty), ("thread.message.in_progress", empty), *images]

    def _begin_call(self, where: Any, item: Json, now: int) -> list[Event]:
        begun = self.reading.begin_call(item, now)
        self._items[where] = _Item(item["type"], begun, step=begun.step)
        return [*self._begun(begun.step), self._call_delta(begun.step, 0, as_object(begun.call))]

    def _begin_function(self, where: Any, item: Json, now: int) -> list[Event]:
        is_first = self.reading.function_step is None
        step, place = self.reading.begin_function(item, now)
        self._items[where] = _Item("function_call", place=place, step=step)
        call = step["step_details"]["tool_calls"][place]
        empty: RunStep = {**step, "step_details": {"type": "tool_calls", "tool_calls": []}}
        begun = self._begun(empty) if is_first else []
        return [*begun, self._call_delta(step, place, call)]

    def _item_done(self, event: Mapping[str, Any], now: int) -> list[Event]:
        item, where = as_object(event.get("item")), _place(event, "output_index")
        if item.get("type") == "message" and item.get("status") == "incomplete" and where not in self._done:
            begun = self._begin(where, item, now)
            self._items[where].last_word = item  # why it is incomplete is known when the response ends
            return begun
        return self._end(where, item, now) if _is_known(item) else []

    def _end(self, where: Any, item: Json, now: int, reason: str = "run_failed") -> list[Event]:
        """An item has ended: what was not streamed of it, then its end."""
        if where in self._done:
            return []
        begun = self._begin(where, item, now)  # of an item whose beginning nobody told
        if self._items[where].kind != item["type"]:  # another thing began here; it ends with the response
            return []
        open_ = self._items.pop(where)
        self._done[where] = item
        self.changed = True
        if item["type"] == "message":
            return [*begun, *self._end_message(open_, item, reason, now)]
        if is_call(item):
            return [*begun, *self._end_call(open_, item, now)]
        return [*begun, *self._end_function(open_, item)]

    # --- messages

    def _text(self, event: Mapping[str, Any], now: int, kind: str = "text") -> list[Event]:
        piece = event.get("delta")
        item, begun = self._message_at(event, now)
        if item is None or not isinstance(piece, str) or not piece:
            return begun
        part = self._part(item, _place(event, "content_index"), kind)
        part.raw.write(piece)
        return [*begun, self._said(item, part, piece)] if begun else [self._said(item, part, piece)]

    def _refusal(self, event: Mapping[str, Any], now: int) -> list[Event]:
        return self._text(event, now, "refusal")

    def _annotation(self, event: Mapping[str, Any], now: int) -> list[Event]:
        """A citation of a searched file gets its marker here and now; one of a container waits for the text's end."""
        note, place = as_object(event.get("annotation")), event.get("annotation_index")
        item, begun = self._message_at(event, now)
        if item is None or not is_file_citation(note) or not isinstance(place, int):
            return begun
        part = self._part(item, _place(event, "content_index"), "text")
        if place in part.cited:
            return begun
        part.cited[place] = (part.raw.length, item.markers), note
        return [*begun, self._cited(item, part, note)]

    def _cited(self, item: _Item, part: Part, note: Json) -> Event:
        words, start = marker(item.markers, note), part.length
        item.markers += 1
        part.markers.append((part.raw.length, words))
        return self._said(item, part, words, [file_citation(note, words, start)])

    def _message_at(self, event: Mapping[str, Any], now: int) -> tuple[_Item | None, list[Event]]:
        where = _place(event, "output_index")
        item = self._items.get(where)
        if item is not None:
            return (item if item.is_message else None), []
        if where in self._done:
            return None, []
        begun = self._begin(where, {"type": "message"}, now)
        return self._items[where], begun

    @staticmethod
    def _part(item: _Item, content_index: Any, kind: str) -> Part:
        part = item.parts.get(content_index)
        if part is None:
            images = item.begun.images if item.begun else 0
            part = item.parts[content_index] = Part(kind, images + len(item.parts))
        return part

    def _said(self, item: _Item, part: Part, words: str, notes: list[Json] | None = None) -> Event:
        """A piece of a text or refusal; the first delta of a text has its annotations, others only if there are any."""
        message, is_first, part.begun = self._message(item.begun), not part.begun, True
        if part.kind == "refusal":
            return self._message_delta(message, {"index": part.index, "type": "refusal", "refusal": words})
        if notes is None and not is_first:
            return "thread.message.delta", Words(message["id"], part.index, words)
        annotations = [numbered(note, n) for n, note in enumerate(notes or [], len(part.notes))]
        part.notes += notes or []
        text: Json = {"value": words, "annotations": annotations}
        return self._message_delta(message, {"index": part.index, "type": "text", "text": text})

    def _end_message(self, open_: _Item, item: Json, reason: str, now: int) -> list[Event]:
        begun, message = open_.begun, self._message(open_.begun)
        assert begun is not None  # noqa: S101 - a message was begun
        item = self.reading.with_found(item, rest=True)
        parts = as_streamed(item, open_.parts)
        content, offsets = [told.part for told in parts], [told.offsets for told in parts]
        self.reading.end_message(begun, {**item, "content": content}, reason, now, offsets=offsets)
        events: list[Event] = []
        for number, block in enumerate(message["content"][begun.images :]):
            if number < len(parts):
                events += self._rest_of(open_, parts[number].place, block)
            else:  # an image that is known only now
                events.append(self._message_delta(message, {"index": begun.images + number, **block}))
        events += self._release()
        self._held = begun.step
        name = "completed" if message["status"] == "completed" else "incomplete"
        return [*events, (f"thread.message.{name}", dict(message))]

    def _rest_of(self, open_: _Item, place: int, block: Json) -> list[Event]:
        """What the deltas of a block have not said yet; each citation of a container in a delta without text."""
        part = self._part(open_, place, block["type"])
        if block["type"] == "refusal":
            rest = block["refusal"][part.length :]
            return [self._said(open_, part, rest)] if rest or not part.begun else []
        notes = block["text"]["annotations"][len(part.notes) :]
        marks = [note for note in notes if note["type"] == "file_citation"]
        rest = block["text"]["value"][part.length :]
        events = [self._said(open_, part, rest, marks or None)] if rest or marks or not part.begun else []
        return [*events, *(self._said(open_, part, "", [note]) for note in notes[len(marks) :])]

    # --- calls

    def _code(self, event: Mapping[str, Any], now: int) -> list[Event]:
        return self._call_said(event, now, "code_interpreter", "input")

    def _arguments(self, event: Mapping[str, Any], now: int) -> list[Event]:
        return self._call_said(event, now, "function", "arguments")

    def _call_said(self, event: Mapping[str, Any], _now: int, kind: str, key: str) -> list[Event]:
        piece, item = event.get("delta"), self._items.get(_place(event, "output_index"))
        if item is None or item.step is None or item.kind != f"{kind}_call" or not isinstance(piece, str) or not piece:
            return []
        item.said.write(piece)
        return [self._call_delta(item.step, item.place, {"type": kind, kind: {key: piece}})]

    def _end_call(self, open_: _Item, item: Json, now: int) -> list[Event]:
        begun = open_.begun
        assert begun is not None  # noqa: S101 - a call was begun
        said = open_.said.getvalue()
        self.reading.end_call(begun, {**item, "code": longer(item.get("code"), said)}, now)
        call = as_object(begun.call)
        events: list[Event] = []
        if call["type"] == "code_interpreter":
            code = call["code_interpreter"]
            rest: Json = {"input": code["input"][len(said) :]} if len(code["input"]) > len(said) else {}
            if code["outputs"]:
                rest["outputs"] = [{"index": number, **output} for number, output in enumerate(code["outputs"])]
            if rest:
                events.append(self._call_delta(begun.step, 0, {"type": "code_interpreter", "code_interpreter": rest}))
        return [*events, (f"thread.run.step.{begun.step['status']}", self._step(begun.step))]

    def _end_function(self, open_: _Item, item: Json) -> list[Event]:
        step, said = open_.step, open_.said.getvalue()
        assert step is not None  # noqa: S101 - a function was begun
        arguments = longer(item.get("arguments"), said)
        self.reading.end_function(step, open_.place, {**item, "arguments": arguments})
        rest = arguments[len(said) :]
        call = {"type": "function", "function": {"arguments": rest}}
        return [self._call_delta(step, open_.place, call)] if rest else []

    # --- the end

    def _ended(self, event: Mapping[str, Any], now: int) -> list[Event]:
        response = as_object(event.get("response"))
        begun = self._in_progress(event, now)
        reason = incomplete_reason(response)
        events: list[Event] = []
        output = objects(response.get("output"))
        matched: set[int] = set()
        for place, item in enumerate(output):
            if _is_known(item):
                where = self._where(item, place, matched)
                matched.add(where)
                events += self._end(where, item, now, reason)
        events += self._close(reason, now, step_status="failed")
        if not output:
            response = {**response, "output": [self._done[where] for where in sorted(self._done)]}
        if response.get("status") == "failed" and not as_object(response.get("error")).get("message"):
            response = {**response, "error": self._error}
        usage = runs.usage_from_response(response)
        total = runs.added(self.spent, usage)
        status, changes = runs.outcome_of_response(self.run, response, total)
        calls_are = runs.status_of_calls(status)
        self.reading.end(usage, calls_are, now)
        events += self._release()
        step = self.reading.function_step
        if step is not None and calls_are != "in_progress":
            events.append((f"thread.run.step.{calls_are}", self._step(step)))
        self.response, self.usage, self.changed = response, usage, True
        self.run = runs.moved(self.run, status, now, **changes)
        return [*begun, *events, (f"thread.run.{status}", self._run()), DONE]

    def _close(self, reason: str, now: int, *, step_status: str) -> list[Event]:
        """End what has begun and will not be told to its end."""
        events: list[Event] = []
        for where in list(self._items):
            item = self._items[where]
            if item.is_message:
                events += self._end(where, item.last_word, now, reason)
            elif item.begun is not None:
                del self._items[where]
                begun = item.begun
                call = as_object(begun.call)
                if call["type"] == "code_interpreter":
                    call["code_interpreter"]["input"] = item.said.getvalue()
                begun.step["step_details"] = {"type": "tool_calls", "tool_calls": [call]}
                stamp(begun.step, step_status, now)
                events.append((f"thread.run.step.{step_status}", self._step(begun.step)))
            else:
                del self._items[where]
                assert item.step is not None  # noqa: S101 - a function was begun
                call = item.step["step_details"]["tool_calls"][item.place]
                call["function"]["arguments"] = item.said.getvalue()
                said = {"name": call["function"]["name"], "arguments": item.said.getvalue()}
                self._done[where] = {"type": "function_call", "call_id": call["id"], **said}
        self.changed = True
        return events

    # --- what is stored

    def entries(self) -> list[Json]:
        """The messages so far, and what stands between them; one that is being said as far as it was said."""
        drafts = {}
        for item in self._items.values():
            if item.is_message:
                message = self._message(item.begun)
                parts = sorted(item.parts.values(), key=lambda part: part.index)
                drafts[message["id"]] = {**message, "content": [*message["content"], *(part.block() for part in parts)]}
        return [drafts.get(entry["id"], entry) for entry in self.reading.outcome.entries]

    # --- payloads

    def _run(self) -> Run:
        """The run as a stream shows it: with the code interpreter's empty list (recorded)."""
        return {**self.run, "tool_resources": {"code_interpreter": {"file_ids": []}}}

    def _step(self, step: RunStep) -> Json:
        """The step as a stream shows it: it keeps `expires_at` (recorded); the usage is in the response's last step."""
        usage = step["usage"] if step["usage"] or step["status"] == "in_progress" else NOTHING
        return self._shown({**step, "expires_at": self.reading.run["expires_at"], "usage": usage})

    def _begun(self, step: RunStep) -> list[Event]:
        return [("thread.run.step.created", self._step(step)), ("thread.run.step.in_progress", self._step(step))]

    def _release(self) -> list[Event]:
        step, self._held = self._held, None
        return [] if step is None else [(f"thread.run.step.{step['status']}", self._step(step))]

    @staticmethod
    def _message(begun: Begun | None) -> Message:
        assert begun is not None  # noqa: S101 - asked of messages only
        assert begun.message is not None  # noqa: S101 - as above
        return begun.message

    @staticmethod
    def _message_delta(message: Message, delta: Json) -> Event:
        return "thread.message.delta", {
            "id": message["id"],
            "object": "thread.message.delta",
            "delta": {"content": [delta]},
        }

    @staticmethod
    def _call_delta(step: RunStep, place: int, call: Json) -> Event:
        return "thread.run.step.delta", {
            "id": step["id"],
            "object": "thread.run.step.delta",
            "delta": {"step_details": {"type": "tool_calls", "tool_calls": [{"index": place, **call}]}},
        }


def _place(event: Mapping[str, Any], key: str) -> int:
    """A place that an event names; the first where it names none."""
    place = event.get(key)
    return place if isinstance(place, int) else 0


def _is_known(item: Json) -> bool:
    return str(item.get("type")) in _BEGINNINGS


_BEGINNINGS: dict[str, Callable[[RunEvents, Any, Json, int], list[Event]]] = {
    "message": RunEvents._begin_message,  # noqa: SLF001 - the table of this class's own methods, here and below
    "code_interpreter_call": RunEvents._begin_call,  # noqa: SLF001
    "file_search_call": RunEvents._begin_call,  # noqa: SLF001
    "function_call": RunEvents._begin_function,  # noqa: SLF001
}
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
LISTED_BEFORE = _ENDS | {"response.output_item.done"}
_HANDLERS: dict[str, Callable[[RunEvents, Mapping[str, Any], int], list[Event]]] = {
    "response.created": RunEvents._created,  # noqa: SLF001
    "response.in_progress": RunEvents._in_progress,  # noqa: SLF001
    "response.output_item.added": RunEvents._item_added,  # noqa: SLF001
    "response.output_item.done": RunEvents._item_done,  # noqa: SLF001
    "response.output_text.delta": RunEvents._text,  # noqa: SLF001
    "response.output_text.annotation.added": RunEvents._annotation,  # noqa: SLF001
    "response.refusal.delta": RunEvents._refusal,  # noqa: SLF001
    "response.code_interpreter_call_code.delta": RunEvents._code,  # noqa: SLF001
    "response.function_call_arguments.delta": RunEvents._arguments,  # noqa: SLF001
    "error": RunEvents._failing,  # noqa: SLF001
    "response.completed": RunEvents._ended,  # noqa: SLF001
    "response.incomplete": RunEvents._ended,  # noqa: SLF001
    "response.failed": RunEvents._ended,  # noqa: SLF001
    "response.cancelled": RunEvents._ended,  # noqa: SLF001
}
