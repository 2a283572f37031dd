"""Translates the event stream of a response into the event stream of its run.

The order and the payloads of the events follow the recorded legacy streams (recordings.md section 4). The objects built
here are also the ones that are stored, so a completed message equals the sum of its deltas. No I/O and no bytes here:
`sse.py` decodes and encodes the frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..wire.ids import IdFactory
from ..wire.objects import Json, Message, Run, RunStep, Thread, Usage, as_object, as_object_list
from . import run as run_status
from .citations import file_citation_from_annotation, is_file_citation, marker_from_citation
from .item_matching import StreamedItem, content_of_item, indexes_of_output
from .message_parts import (
    OpenItem,
    OpenPart,
    call_delta,
    final_text,
    finished_parts,
    message_delta,
    part_deltas,
    remaining_deltas,
)
from .output import INCOMPLETE_REASONS, ZERO_USAGE, ItemDraft, OutputReader, incomplete_reason, is_hosted_tool_call
from .sse import DONE, Event
from .step import set_step_status, without_search_content
from .uncited_files import container_ids_from_output


class RunEvents:
    """Translates one response of a run; call `feed` with each of its events.

    `run` is the run after the events so far. `reader` holds the messages, steps and files to store. `items_changed` is
    set whenever an item begins or ends; the caller resets it after saving. `response` is the upstream response, once it
    has ended, and `usage` its token counts. `response_id` and `sequence_number` (of the last event) let the caller
    resume the stream after a lost connection.
    """

    def __init__(
        self, run: Run, new_id: IdFactory, *, earlier_usage: Usage | None = None, content: bool = True
    ) -> None:
        """Begin before the first event.

        `run` is the stored run. `new_id` makes ids. `earlier_usage` is the usage of the run's earlier rounds. Without
        `content`, steps omit the text of search results.
        """
        self._present_step = dict if content else without_search_content
        self.run = run
        self.earlier_usage = earlier_usage
        self.reader = OutputReader(run, new_id, streamed=True)
        self.items_changed = False
        self.response: Json | None = None
        self.response_id: str | None = None
        self.response_created_at: object = None
        self.sequence_number = -1
        self.usage: Usage | None = None
        self._upstream_error: Json = {}
        # These three are keyed by the item's index in the output.
        self._open_items: dict[int, OpenItem] = {}
        self._ended_items: dict[int, Json] = {}
        self._upstream_item_ids: dict[int, str] = {}
        self._listed_call_ids: set[Any] = set()  # calls whose containers were listed after they ended
        # The step of the last message. Its completion waits because only the end of the response has its usage.
        self._held_step: RunStep | None = None

    # --- the first events, and the end of a run that its response does not end

    def begin(self, *, thread: Thread | None = None, completed_step: RunStep | None = None) -> list[Event]:
        """Return the first events: for a new thread, and for a new run or the step that tool outputs completed."""
        events: list[Event] = []
        if thread is not None:
            events.append(("thread.created", thread))
        if completed_step is not None:
            events.append(("thread.run.step.completed", self._streamed_step(completed_step)))
        else:
            events.append(("thread.run.created", self._streamed_run()))
        return [*events, ("thread.run.queued", self._streamed_run())]

    def stop(self, status: str, now: int, *, run: Run | None = None, error: Json | None = None) -> list[Event]:
        """Return the last events of a run that ends without the end of its response.

        Pass `run` when another request has already ended it, and `error` as the `last_error` of a failed run.
        """
        events = self._release_held_step()
        events += self._close_open_items(INCOMPLETE_REASONS.get(status, "run_failed"), now, step_status=status)
        for step in (self._held_step, self.reader.function_step):
            if step is not None:
                step["completed_at"] = None
                set_step_status(step, status, now)
                events.append((f"thread.run.step.{status}", self._streamed_step(step)))
        self._held_step = None
        if run is None:
            changes = {"usage": self.earlier_usage, **({"last_error": error} if error else {})}
            run = run_status.run_with_status(self.run, status, now, **changes)
        self.run = run
        return [*events, (f"thread.run.{status}", self._streamed_run()), DONE]

    # --- events

    def feed(self, event: Mapping[str, Any], now: int) -> list[Event]:
        """Return the run's events for one event of the response; none if it has no legacy counterpart."""
        number = event.get("sequence_number")
        if isinstance(number, int):
            self.sequence_number = number
        # The last id is the response's: some gateways announce another one first (gateways.md F10).
        if self.response is None and isinstance(id_ := as_object(event.get("response")).get("id"), str):
            self.response_id = id_
        self.response_created_at = as_object(event.get("response")).get("created_at", self.response_created_at)
        handle = _HANDLERS.get(event["type"])
        if handle is None or self.response is not None:
            return []
        return handle(self, event, now)

    def _mark_in_progress(self, _event: Mapping[str, Any], now: int) -> list[Event]:
        if self.run["status"] != "queued":
            return []
        self.run = run_status.run_with_status(self.run, "in_progress", now)
        return [("thread.run.in_progress", self._streamed_run())]

    def _handle_error(self, event: Mapping[str, Any], _now: int) -> list[Event]:
        # The fields of an `error` event are nested, or flat in older types (recordings.md section 4). Some gateways
        # send the message alone.
        error = event.get("error")
        flat = {"code": event.get("code"), "message": event.get("message") or error}
        self._upstream_error = error if isinstance(error, dict) else flat
        return []

    @property
    def error(self) -> Json | None:
        """The upstream's `error` event as the run's `last_error`; None if there was none."""
        return run_status.last_error_from_upstream(self._upstream_error) if self._upstream_error else None

    def containers_to_list(self, event: Mapping[str, Any]) -> list[str]:
        """Return the ids of the containers to list (into `reader.container_files`) before this event is fed.

        An event that ends a message needs the containers of the calls that ended since the previous listing.
        """
        is_response_end = event["type"] in END_EVENTS
        if not is_response_end and as_object(event.get("item")).get("type") != "message":
            return []
        items = list(self._ended_items.values())
        if is_response_end:
            items = as_object_list(as_object(event.get("response")).get("output"))
        calls = {str(call.get("id") or id(call)): call for call in items if is_hosted_tool_call(call)}
        new_calls = [call for key, call in calls.items() if key not in self._listed_call_ids]
        self._listed_call_ids.update(calls)
        return container_ids_from_output(new_calls)

    # --- items

    def _handle_item_added(self, event: Mapping[str, Any], now: int) -> list[Event]:
        item = as_object(event.get("item"))
        return self._begin_item(_index_from_event(event, "output_index"), item, now) if _is_translated(item) else []

    def _streamed_items(self) -> dict[int, StreamedItem]:
        """Return the items that have begun, by their index in the output."""
        items = {index: (item["type"], content_of_item(item)) for index, item in self._ended_items.items()}
        for index, item in self._open_items.items():
            items[index] = (item.kind, item.content())
        return {
            index: StreamedItem(kind, self._upstream_item_ids.get(index), content)
            for index, (kind, content) in items.items()
        }

    def _begin_item(self, index: Any, item: Json, now: int) -> list[Event]:
        if index in self._open_items or index in self._ended_items:
            return []
        self.items_changed = True
        if isinstance(item.get("id"), str):
            self._upstream_item_ids[index] = item["id"]
        events = [*self._mark_in_progress(item, now), *self._release_held_step()]
        return [*events, *_BEGIN_METHODS[item["type"]](self, index, item, now)]

    def _begin_message(self, output_index: Any, _item: Json, now: int) -> list[Event]:
        draft = self.reader.begin_message(now)
        self._open_items[output_index] = OpenItem("message", draft)
        message = self._draft_message(draft)
        empty: Json = {**message, "content": []}
        images = [message_delta(message, {"index": index, **block}) for index, block in enumerate(message["content"])]
        events = self._step_begun_events(draft.step)
        return [*events, ("thread.message.created", empty), ("thread.message.in_progress", empty), *images]

    def _begin_call(self, index: Any, item: Json, now: int) -> list[Event]:
        draft = self.reader.begin_call(item, now)
        self._open_items[index] = OpenItem(item["type"], draft, step=draft.step)
        return [*self._step_begun_events(draft.step), call_delta(draft.step, 0, as_object(draft.call))]

    def _begin_function(self, index: Any, item: Json, now: int) -> list[Event]:
        is_first = self.reader.function_step is None
        step, call_index = self.reader.begin_function(item, now)
        self._open_items[index] = OpenItem("function_call", call_index=call_index, step=step)
        call = step["step_details"]["tool_calls"][call_index]
        empty: RunStep = {**step, "step_details": {"type": "tool_calls", "tool_calls": []}}
        begin_events = self._step_begun_events(empty) if is_first else []
        return [*begin_events, call_delta(step, call_index, call)]

    def _handle_item_done(self, event: Mapping[str, Any], now: int) -> list[Event]:
        item, index = as_object(event.get("item")), _index_from_event(event, "output_index")
        if item.get("type") == "message" and item.get("status") == "incomplete" and index not in self._ended_items:
            begin_events = self._begin_item(index, item, now)
            # Only the end of the response tells why the message is incomplete.
            self._open_items[index].incomplete_item = item
            return begin_events
        return self._end_item(index, item, now) if _is_translated(item) else []

    def _end_item(
        self, index: Any, item: Json, now: int, reason: str = "run_failed", *, takes_unlinked: bool = True
    ) -> list[Event]:
        """End an item: first its beginning if that was not streamed, then the rest of it, then its end.

        A message that `takes_unlinked` cites the container files that no text links.
        """
        if index in self._ended_items:
            return []
        begin_events = self._begin_item(index, item, now)
        if self._open_items[index].kind != item["type"]:  # the other item ends with the response
            return []
        open_item = self._open_items.pop(index)
        self._ended_items[index] = item
        self.items_changed = True
        if item["type"] == "message":
            return [*begin_events, *self._end_message(open_item, item, reason, now, takes_unlinked=takes_unlinked)]
        if is_hosted_tool_call(item):
            return [*begin_events, *self._end_call(open_item, item, now)]
        return [*begin_events, *self._end_function(open_item, item)]

    # --- messages

    def _handle_text_delta(self, event: Mapping[str, Any], now: int, kind: str = "text") -> list[Event]:
        piece = event.get("delta")
        item, begin_events = self._open_message(event, now)
        if item is None or not isinstance(piece, str) or not piece:
            return begin_events
        part = self._get_part(item, _index_from_event(event, "content_index"), kind)
        part.write(piece)
        deltas = part_deltas(self._draft_message(item.draft), item.parts.values(), part, piece)
        return [*begin_events, *deltas] if begin_events else deltas

    def _handle_refusal_delta(self, event: Mapping[str, Any], now: int) -> list[Event]:
        return self._handle_text_delta(event, now, "refusal")

    def _handle_annotation(self, event: Mapping[str, Any], now: int) -> list[Event]:
        # A citation of a searched file gets its marker now. One of a container file waits for the end of the text,
        # because only the whole text shows where its link is.
        citation, index = as_object(event.get("annotation")), event.get("annotation_index")
        item, begin_events = self._open_message(event, now)
        if item is None or not is_file_citation(citation) or not isinstance(index, int):
            return begin_events
        part = self._get_part(item, _index_from_event(event, "content_index"), "text")
        if index in part.citations:
            return begin_events
        part.citations[index] = (part.raw.length, item.marker_count), citation
        return [*begin_events, *self._citation_deltas(item, part, citation)]

    def _citation_deltas(self, item: OpenItem, part: OpenPart, citation: Json) -> list[Event]:
        text, start = marker_from_citation(item.marker_count, citation), part.length
        item.marker_count += 1
        part.markers.append((part.raw.length, text))
        added = [file_citation_from_annotation(citation, text, start)]
        return part_deltas(self._draft_message(item.draft), item.parts.values(), part, text, added)

    def _open_message(self, event: Mapping[str, Any], now: int) -> tuple[OpenItem | None, list[Event]]:
        index = _index_from_event(event, "output_index")
        item = self._open_items.get(index)
        if item is not None:
            return (item if item.is_message else None), []
        if index in self._ended_items:
            return None, []
        begin_events = self._begin_item(index, {"type": "message"}, now)
        return self._open_items[index], begin_events

    @staticmethod
    def _get_part(item: OpenItem, content_index: Any, kind: str) -> OpenPart:
        part = item.parts.get(content_index)
        if part is None:
            image_count = item.draft.image_count if item.draft else 0
            part = item.parts[content_index] = OpenPart(kind, image_count + len(item.parts))
        return part

    def _end_message(
        self, open_item: OpenItem, item: Json, reason: str, now: int, *, takes_unlinked: bool
    ) -> list[Event]:
        draft, message = open_item.draft, self._draft_message(open_item.draft)
        assert draft is not None  # noqa: S101 - a message was begun
        item = self.reader.with_missing_citations(item, include_unlinked=takes_unlinked)
        parts = finished_parts(item, open_item.parts)
        content, positions = [part.content for part in parts], [part.marker_positions for part in parts]
        self.reader.end_message(draft, {**item, "content": content}, reason, now, positions=positions)
        events: list[Event] = []
        for number, block in enumerate(message["content"][draft.image_count :]):
            if number < len(parts):
                part = self._get_part(open_item, parts[number].content_index, block["type"])
                events += remaining_deltas(message, open_item.parts.values(), part, block)
            else:  # an image that became known only at the end of the message
                events.append(message_delta(message, {"index": draft.image_count + number, **block}))
        events += self._release_held_step()
        self._held_step = draft.step
        name = "completed" if message["status"] == "completed" else "incomplete"
        return [*events, (f"thread.message.{name}", dict(message))]

    # --- calls

    def _handle_code_delta(self, event: Mapping[str, Any], now: int) -> list[Event]:
        return self._call_text_deltas(event, now, "code_interpreter", "input")

    def _handle_arguments_delta(self, event: Mapping[str, Any], now: int) -> list[Event]:
        return self._call_text_deltas(event, now, "function", "arguments")

    def _call_text_deltas(self, event: Mapping[str, Any], _now: int, kind: str, key: str) -> list[Event]:
        piece, item = event.get("delta"), self._open_items.get(_index_from_event(event, "output_index"))
        if item is None or item.step is None or item.kind != f"{kind}_call" or not isinstance(piece, str) or not piece:
            return []
        item.sent_text.write(piece)
        return [call_delta(item.step, item.call_index, {"type": kind, kind: {key: piece}})]

    def _end_call(self, open_item: OpenItem, item: Json, now: int) -> list[Event]:
        draft = open_item.draft
        assert draft is not None  # noqa: S101 - a call was begun
        sent = open_item.sent_text.getvalue()
        self.reader.end_call(draft, {**item, "code": final_text(item.get("code"), sent)}, now)
        call = as_object(draft.call)
        events: list[Event] = []
        if call["type"] == "code_interpreter":
            code = call["code_interpreter"]
            unsent: Json = {"input": code["input"][len(sent) :]} if len(code["input"]) > len(sent) else {}
            if code["outputs"]:
                unsent["outputs"] = [{"index": index, **output} for index, output in enumerate(code["outputs"])]
            if unsent:
                events.append(call_delta(draft.step, 0, {"type": "code_interpreter", "code_interpreter": unsent}))
        return [*events, (f"thread.run.step.{draft.step['status']}", self._streamed_step(draft.step))]

    def _end_function(self, open_item: OpenItem, item: Json) -> list[Event]:
        step, sent = open_item.step, open_item.sent_text.getvalue()
        assert step is not None  # noqa: S101 - a function was begun
        arguments = final_text(item.get("arguments"), sent)
        self.reader.end_function(step, open_item.call_index, {**item, "arguments": arguments})
        unsent = arguments[len(sent) :]
        call = {"type": "function", "function": {"arguments": unsent}}
        return [call_delta(step, open_item.call_index, call)] if unsent else []

    # --- the end

    def _handle_response_end(self, event: Mapping[str, Any], now: int) -> list[Event]:
        # The status is not among the required keys of a response (spec); the event's name says it too.
        response = as_object(event.get("response"))
        response = {**response, "status": response.get("status") or event["type"].removeprefix("response.")}
        begin_events = self._mark_in_progress(event, now)
        reason = incomplete_reason(response)
        events: list[Event] = []
        output = as_object_list(response.get("output"))
        indexes = indexes_of_output(output, self._streamed_items())
        # Files that no text links go to the last of several messages that end together, as those of a polled run do.
        last = max((number for number, item in enumerate(output) if item.get("type") == "message"), default=-1)
        for position, item in enumerate(output):
            if _is_translated(item):
                events += self._end_item(indexes[position], item, now, reason, takes_unlinked=position == last)
        events += self._close_open_items(reason, now, step_status="failed")
        if not output:
            response = {**response, "output": [self._ended_items[index] for index in sorted(self._ended_items)]}
        if response.get("status") == "failed" and not as_object(response.get("error")).get("message"):
            response = {**response, "error": self._upstream_error}
        usage = run_status.usage_from_response(response)
        total = run_status.sum_usage(self.earlier_usage, usage)
        status, changes = run_status.transition_from_response(self.run, response, total)
        function_status = run_status.function_step_status(status)
        self.reader.end(usage, function_status, now)
        events += self._release_held_step()
        step = self.reader.function_step
        if step is not None and function_status != "in_progress":
            events.append((f"thread.run.step.{function_status}", self._streamed_step(step)))
        self.response, self.usage, self.items_changed = response, usage, True
        self.run = run_status.run_with_status(self.run, status, now, **changes)
        return [*begin_events, *events, (f"thread.run.{status}", self._streamed_run()), DONE]

    def _close_open_items(self, reason: str, now: int, *, step_status: str) -> list[Event]:
        """End every item that began and whose end the upstream will not send."""
        events: list[Event] = []
        for index in list(self._open_items):
            item = self._open_items[index]
            if item.is_message:
                events += self._end_item(index, item.incomplete_item, now, reason)
            elif item.draft is not None:
                del self._open_items[index]
                draft = item.draft
                call = as_object(draft.call)
                if call["type"] == "code_interpreter":
                    call["code_interpreter"]["input"] = item.sent_text.getvalue()
                draft.step["step_details"] = {"type": "tool_calls", "tool_calls": [call]}
                set_step_status(draft.step, step_status, now)
                events.append((f"thread.run.step.{step_status}", self._streamed_step(draft.step)))
            else:
                del self._open_items[index]
                assert item.step is not None  # noqa: S101 - a function was begun
                call = item.step["step_details"]["tool_calls"][item.call_index]
                call["function"]["arguments"] = item.sent_text.getvalue()
                function = {"name": call["function"]["name"], "arguments": item.sent_text.getvalue()}
                self._ended_items[index] = {"type": "function_call", "call_id": call["id"], **function}
        self.items_changed = True
        return events

    # --- the entries to store

    def entries(self) -> list[Json]:
        """Return the transcript entries so far; an open message has the content that was sent of it."""
        drafts = {}
        for item in self._open_items.values():
            if item.is_message:
                message = self._draft_message(item.draft)
                parts = sorted(item.parts.values(), key=lambda part: part.index)
                drafts[message["id"]] = {
                    **message,
                    "content": [*message["content"], *(block for part in parts for block in part.blocks())],
                }
        return [drafts.get(entry["id"], entry) for entry in self.reader.outcome.entries]

    # --- payloads

    def _streamed_run(self) -> Run:
        # A streamed run has the code interpreter's empty list, unlike a retrieved one (recorded).
        return {**self.run, "tool_resources": {"code_interpreter": {"file_ids": []}}}

    def _streamed_step(self, step: RunStep) -> Json:
        # A streamed step keeps `expires_at` (recorded). Only the last step has the response's usage; others get zeros.
        usage = step["usage"] if step["usage"] or step["status"] == "in_progress" else ZERO_USAGE
        return self._present_step({**step, "expires_at": self.reader.run["expires_at"], "usage": usage})

    def _step_begun_events(self, step: RunStep) -> list[Event]:
        return [(f"thread.run.step.{status}", self._streamed_step(step)) for status in ("created", "in_progress")]

    def _release_held_step(self) -> list[Event]:
        step, self._held_step = self._held_step, None
        return [] if step is None else [(f"thread.run.step.{step['status']}", self._streamed_step(step))]

    @staticmethod
    def _draft_message(draft: ItemDraft | None) -> Message:
        assert draft is not None  # noqa: S101 - called for messages only
        assert draft.message is not None  # noqa: S101 - as above
        return draft.message


def _index_from_event(event: Mapping[str, Any], key: str) -> int:
    """Return an index from an event, or 0 if the event lacks it."""
    index = event.get(key)
    return index if isinstance(index, int) else 0


def _is_translated(item: Json) -> bool:
    return str(item.get("type")) in _BEGIN_METHODS


_BEGIN_METHODS: dict[str, Callable[[RunEvents, Any, Json, int], list[Event]]] = {
    "message": RunEvents._begin_message,  # noqa: SLF001 - the table of this class's own methods, here and below
    "code_interpreter_call": RunEvents._begin_call,  # noqa: SLF001
    "file_search_call": RunEvents._begin_call,  # noqa: SLF001
    "function_call": RunEvents._begin_function,  # noqa: SLF001
}
END_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
"""The types of the events that end a response."""
LIST_FILES_BEFORE = END_EVENTS | {"response.output_item.done"}
"""The types of the events that may end a message: `RunEvents.containers_to_list` is asked before they are fed."""

_HANDLERS: dict[str, Callable[[RunEvents, Mapping[str, Any], int], list[Event]]] = {
    "response.in_progress": RunEvents._mark_in_progress,  # noqa: SLF001
    "response.output_item.added": RunEvents._handle_item_added,  # noqa: SLF001
    "response.output_item.done": RunEvents._handle_item_done,  # noqa: SLF001
    "response.output_text.delta": RunEvents._handle_text_delta,  # noqa: SLF001
    "response.output_text.annotation.added": RunEvents._handle_annotation,  # noqa: SLF001
    "response.refusal.delta": RunEvents._handle_refusal_delta,  # noqa: SLF001
    "response.code_interpreter_call_code.delta": RunEvents._handle_code_delta,  # noqa: SLF001
    "response.function_call_arguments.delta": RunEvents._handle_arguments_delta,  # noqa: SLF001
    "error": RunEvents._handle_error,  # noqa: SLF001
    "response.completed": RunEvents._handle_response_end,  # noqa: SLF001
    "response.incomplete": RunEvents._handle_response_end,  # noqa: SLF001
    "response.failed": RunEvents._handle_response_end,  # noqa: SLF001
    "response.cancelled": RunEvents._handle_response_end,  # noqa: SLF001
}
