"""What is given up when the upstream refuses the request of a run, or fails its response: one remedy for each row.

The rows are in `service/refusal_table.py`; this module maps their names to remedies. Each remedy is tried once for a
request. Only those repeat of which every attempt leaves out something more: turns, images and objects that are gone.
`Recovery` applies them to a refusal; to the error of a failed response only if the run's whole input is at hand.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ... import errors
from ...service.refusal_table import CONTAINER_ROWS, TABLE
from ...service.refusals import Recognized, recognize
from ...store.queries import Row
from ...translate.replay import without_reasoning
from ...translate.request import INCLUDE_REASONING, container_of_request
from ...translate.request_files import (
    container_file_ids,
    may_concern_files,
    missing_object_of,
    names_file_ids,
    without_container_file,
    without_object,
)
from ...translate.transcript import RunInput, image_file_ids
from ...wire.objects import Json
from ..containers import ContainerChoice, with_replacement_container
from ..deleted_files import FILE_GONE, deleted_files_of, forget_copies
from ..io import IO

log = logging.getLogger("assistants_compat")

TOO_LONG = frozenset({"context_too_long", "input_array_too_long"})
ITEM_ROWS = frozenset(
    {
        "item_not_found",
        "item_without_pair",
        "function_output_missing",
        "duplicate_item",
        "call_id_too_long",
        "item_id_prefix",
        "encrypted_unverified",
    }
)
OBJECT_ROWS = frozenset({"image_unavailable", "image_file_gone", "container_file_gone", "vector_store_gone"})
NOT_CONTINUED = frozenset({"zero_retention_previous_response", "responses_not_kept", "conversation_forgotten"})
"""Upstreams of which one of these is known get the run's own items instead of `previous_response_id`."""

CONTINUATION_ROWS = NOT_CONTINUED | {"previous_response_gone"}
STREAM_UNVERIFIED = "stream_unverified"
RESPONSES_SERVED = "responses can be retrieved"
"""A note in `io.memory`."""

_LESS_INPUT_ROWS = TOO_LONG | ITEM_ROWS | OBJECT_ROWS | CONTINUATION_ROWS | frozenset(CONTAINER_ROWS)
_REFUSALS = (400, 404, 422)
_SAMPLING_KEYS = ("temperature", "top_p")
_TOOL_ITEM_PARAM = re.compile(r"input\[(\d+)\](?:\..*)?")
_INCLUDE = re.compile(r"include(?:\[(\d+)\])?")


@dataclass(frozen=True)
class Allowed:
    """What may be given up for a run when the upstream refuses its request.

    `is_mapped`: the settings replace the run's model, so its caller has not chosen parameters for the one that answers.
    """

    may_shorten: bool = False
    may_drop_tool_items: bool = False
    is_mapped: bool = False
    container_choice: ContainerChoice | None = None

    @classmethod
    def from_run(cls, io: IO, row: Row) -> Allowed:
        """Return what the run of this row allows when its whole input is sent."""
        may_shorten = row["body"]["truncation_strategy"]["type"] == "auto"
        return cls(may_shorten, True, is_mapped_model(io, row), ContainerChoice.from_run(row))  # noqa: FBT003


NOTHING_ALLOWED = Allowed()


def is_mapped_model(io: IO, row: Row) -> bool:
    """Whether `Settings(models=...)` names another model, or other values, for the model of a run."""
    return row["body"]["model"] in io.settings.models


def row_of_error(error: object, status: int | None = None) -> str:
    """Return the name of the row that recognizes the error of a response or request; empty if none does."""
    recognized = recognize(TABLE, status, error)
    return recognized.row.name if recognized else ""


def asks_for_less_input(request: Json, error: object, status: int | None = None) -> bool:
    """Whether the upstream may accept less than this request, or the run's own items, after this error."""
    is_known = row_of_error(error, status) in _LESS_INPUT_ROWS
    is_about_files = bool(container_file_ids(request)) and may_concern_files(status, error)
    return is_known or is_about_files or missing_object_of(request, status, error) is not None


def _effort_key(model: str, effort: str | None) -> str:
    """Return for whom a refusal is remembered that depends on the effort, as in effort `none`, which takes sampling."""
    return model if effort is None else f"{model} {effort}"


def without_known_refusals(io: IO, request: Json, *, is_mapped: bool) -> Json:
    """Return the request without what the upstream is known to refuse for its model."""
    model = request["model"]
    if io.memory.knows("encrypted_unsupported", model):
        request = _without_include(request, INCLUDE_REASONING)
    if not is_mapped:
        return request
    effort = (request.get("reasoning") or {}).get("effort")
    dropped = {
        *(_SAMPLING_KEYS if io.memory.knows("sampling_unsupported", _effort_key(model, effort)) else ()),
        *(("reasoning",) if io.memory.knows("effort_unsupported", model) else ()),
        *(("reasoning",) if io.memory.knows("effort_value_unsupported", f"{model} {effort}") else ()),
        *(("parallel_tool_calls",) if io.memory.knows("parallel_tool_calls_unsupported", model) else ()),
    }
    return {key: value for key, value in request.items() if key not in dropped} if dropped else request


class Recovery:
    """The remedies of one request: `adapt` applies the next one after a refusal."""

    def __init__(self, io: IO, request: Json, run_input: RunInput, allowed: Allowed) -> None:
        """Begin with the request as the run would send it."""
        self.request, self.input = request, run_input
        self._io, self._allowed = io, allowed
        self._tried: set[str] = set()
        self._verdicts: list[tuple[str, str]] = []
        self._is_repeated = self._is_later_round = False
        self.is_unstreamed = False  # the upstream has refused to stream this request

    @classmethod
    def of_repeated(cls, io: IO, row: Row, request: Json, run_input: RunInput, status: int | None) -> Recovery:
        """Begin after an error of the run's last request, or of its response (`status` is None).

        `run_input` is all that the run may send now, reduced as for its earlier requests.
        """
        recovery = cls(io, request, run_input, Allowed.from_run(io, row))
        recovery._is_repeated, recovery._is_later_round = True, row["state"]["usage"] is not None
        if run_input.tool_items_dropped:
            recovery._tried |= {"tool items", "container"}
        if run_input.image_resent or status is not None:  # a refused request was sent again already
            recovery._tried.add("image")
        return recovery

    async def adapt(self, error: errors.UpstreamError) -> bool:
        """Change the request after a refusal; returns False if nothing is left that may be given up for it."""
        return await self.adapt_to(error.status, error.details())

    async def adapt_to(self, status: int | None, details: Mapping[str, Any]) -> bool:
        """Change the request after a refusal, or after the error of a failed response, which has no status."""
        recognized = recognize(TABLE, status, details)
        name = recognized.row.name if recognized else ""
        is_reduced = (
            await self._drop_missing_object(status, details)
            # Before anything else where the parameter is named: its words may resemble those about a gone container.
            or (names_file_ids(details) and await self._drop_deleted_files(status, details))
            or self._give_up(name, recognized)
        )
        if is_reduced:
            return True
        if self._is_repeated and name in CONTINUATION_ROWS:
            return self._use_own_items(name, status, details)
        if await self._replace_container(name, status, details):
            return True
        if await self._drop_deleted_files(status, details):
            return True
        is_known = recognized is not None and recognized.row.outcome != "avoided"
        return not is_known and self._drop_own_addition(status, details)

    def leave_stream(self, request: Json) -> None:
        """Ask for the response without a stream, with this request."""
        self.request, self.is_unstreamed = request, True
        self._verdicts.append((STREAM_UNVERIFIED, request["model"]))

    def remember(self) -> None:
        """Keep what was learned, now that the upstream has accepted the request without it."""
        for name, key in self._verdicts:
            self._io.memory.remember(name, key)

    def _once(self, name: str) -> bool:
        """Whether this remedy has not been tried yet; it counts as tried from now on."""
        is_new = name not in self._tried
        self._tried.add(name)
        return is_new

    def _give_up(self, name: str, recognized: Recognized | None) -> bool:
        """Apply the remedy of a row that concerns the parameters or the input."""
        if recognized is None:
            return False
        if name in {"image_unavailable", "image_file_gone"}:
            return self._drop_image(name, recognized.groups)
        remedies = {
            **dict.fromkeys(ITEM_ROWS, self._drop_tool_items),
            **dict.fromkeys(TOO_LONG, self._shorten),
            # Tool items include the reasoning; that they are left out is remembered for the thread.
            "encrypted_unverified": self._drop_tool_items if self._is_repeated else self._drop_reasoning,
            "encrypted_unsupported": self._drop_include,
            "background_refused": self._use_inline,
        }
        return remedies[name]() if name in remedies else self._drop_parameter(name)

    def _shorten(self) -> bool:
        """Drop turns from the middle; repeats until one turn is left."""
        shorter = self.input.without_middle_turns() if self._allowed.may_shorten else None
        self.input = shorter or self.input
        return shorter is not None

    def _drop_image(self, name: str, groups: Mapping[str, str]) -> bool:
        """Send the same again after the first failure to load an image, which may pass; then leave the image out."""
        if name == "image_unavailable" and self._once("image"):
            self.input = replace(self.input, image_resent=True)
            return True
        file_id = groups.get("file")
        without_image = self.input.without_image_files([file_id]) if file_id else None
        without_image = without_image or self.input.without_images(groups.get("url") or file_id)
        self.input = without_image or self.input
        return without_image is not None

    def _drop_reasoning(self) -> bool:
        if not self._once("reasoning"):
            return False
        turns = [without_reasoning(turn) for turn in self.input.turns]
        is_changed = turns != self.input.turns
        self.input = replace(self.input, turns=turns)
        return is_changed

    def _drop_tool_items(self) -> bool:
        if not (self._allowed.may_drop_tool_items and self._once("tool items")):
            return False
        reduced = self.input.without_tool_items()
        if reduced is None and self._is_later_round:
            # `previous_response_id` stood for more than the transcript, which alone is already less input.
            reduced = replace(self.input, tool_items_dropped=True)
        self.input = reduced or self.input
        return reduced is not None

    def _use_own_items(self, name: str, status: int | None, details: Mapping[str, Any]) -> bool:
        """Send the run's own items instead of `previous_response_id`, which the request has lost by now."""
        if status is None:  # the response has failed after its request was accepted
            return self._drop_tool_items()
        if name not in NOT_CONTINUED:  # only this response is lost; the items of earlier runs may still be taken
            return self._once("own items")
        # A server that serves responses keeps them: without vLLM's `param`, this one was lost for another reason.
        is_kept = self._io.memory.has_note(RESPONSES_SERVED) and details.get("param") is None
        if name != "responses_not_kept" or not is_kept:
            self._verdicts.append((name, ""))
        return self._once("own items")

    def _use_inline(self) -> bool:
        # A stream works without `background` too. Otherwise mode `background` forbids the fallback.
        may_fall_back = bool(self.request.get("stream")) or self._io.settings.mode == "auto"
        if not (self.request.get("background") and may_fall_back):
            return False
        self._drop_keys("background")
        self._verdicts.append(("background_refused", ""))
        return True

    def _drop_include(self) -> bool:
        """Do without encrypted reasoning."""
        if INCLUDE_REASONING not in self.request.get("include", ()):
            return False
        self.request = _without_include(self.request, INCLUDE_REASONING)
        self._verdicts.append(("encrypted_unsupported", self.request["model"]))
        return True

    def _drop_parameter(self, name: str) -> bool:
        """Leave out a parameter that the run's own model took."""
        if not self._allowed.is_mapped:
            return False
        model, effort = self.request["model"], (self.request.get("reasoning") or {}).get("effort")
        keys: Mapping[str, tuple[tuple[str, ...], str]] = {
            "sampling_unsupported": (_SAMPLING_KEYS, _effort_key(model, effort)),
            "effort_unsupported": (("reasoning",), model),
            "effort_value_unsupported": (("reasoning",), f"{model} {effort}"),
            "parallel_tool_calls_unsupported": (("parallel_tool_calls",), model),
        }
        if name not in keys:
            return False
        dropped, memory_key = keys[name]
        if not any(key in self.request for key in dropped):
            return False
        self._drop_keys(*dropped)
        self._verdicts.append((name, memory_key))
        return True

    def _drop_keys(self, *keys: str) -> None:
        self.request = {key: value for key, value in self.request.items() if key not in keys}

    async def _drop_missing_object(self, status: int | None, details: Mapping[str, Any]) -> bool:
        """Leave out a file or vector store that the caller has deleted; repeats, since each attempt leaves out one."""
        missing = missing_object_of(self.request, status, details)
        if missing is None:
            return False
        self.request = without_object(self.request, missing)
        self._verdicts.append((FILE_GONE if missing.kind == "file" else "vector_store_gone", missing.id))
        if missing.kind == "file":
            await forget_copies(self._io, [missing.id])
        return True

    async def _drop_deleted_files(self, status: int | None, details: Mapping[str, Any]) -> bool:
        """Leave out all files that the Files API no longer has, where the words of an error do not tell; once."""
        if not self._once("deleted files"):
            return False
        in_container = container_file_ids(self.request)
        ids = [*in_container, *image_file_ids(self.input.turns)]
        gone = await deleted_files_of(self._io, ids, status, details, by_words=False)
        for file_id in set(gone) & set(in_container):
            self.request = without_container_file(self.request, file_id)
            self._verdicts.append((FILE_GONE, file_id))
        without_images = self.input.without_image_files(gone)
        self.input = without_images or self.input
        return without_images is not None or bool(set(gone) & set(in_container))

    async def _replace_container(self, name: str, status: int | None, details: Mapping[str, Any]) -> bool:
        """Use the next container, and leave out the calls of earlier ones.

        First a new one with the files of the thread; if that is refused too, the one that the upstream makes.
        """
        choice, container = self._allowed.container_choice, container_of_request(self.request)
        is_named = status in _REFUSALS and isinstance(container, str) and container in str(details.get("message"))
        if name not in CONTAINER_ROWS and not is_named:
            return False
        # Where `auto` is asked for, a call of an earlier round or run names a container that is gone.
        may_restore = self._is_repeated and container is not None and "container" not in self._tried
        if choice is None or not (isinstance(container, str) or may_restore):
            return self._drop_tool_items()
        use_auto = not self._once("container")
        if use_auto and not self._once("auto container"):
            return False
        self.request = await with_replacement_container(self._io, choice, self.request, use_auto=use_auto)
        # Marked as dropped even when there was nothing to drop, so that this fallback is not tried twice.
        self.input = replace(self.input.without_tool_items() or self.input, tool_items_dropped=True)
        return True

    def _drop_own_addition(self, status: int | None, details: Mapping[str, Any]) -> bool:
        """Leave out what the library itself has added or replayed, if an unknown refusal names it; once per request."""
        if status not in _REFUSALS or not self._once("unknown"):
            return False
        what = self._named_addition(str(details.get("param") or ""), str(details.get("message") or ""))
        if what == "include":
            for value in self._named_includes(details):
                self.request = _without_include(self.request, value)
        elif not (what and (self._drop_tool_items() or self._drop_reasoning())):
            return False
        # Without the message, which may quote the input.
        text = (
            "the upstream refused %s, which assistants-compat had added (status %d, code %s); the request was sent"
            " again without it. Please report this."
        )
        log.warning(text, what, status, details.get("code"))
        return True

    def _named_includes(self, details: Mapping[str, Any]) -> list[str]:
        """Return the values of `include` that a refusal names, by their index or in its text; all if it names none."""
        include, param = list(self.request["include"]), _INCLUDE.fullmatch(str(details.get("param") or ""))
        if param and param[1] and int(param[1]) < len(include):
            return [include[int(param[1])]]
        return [value for value in include if value in str(details.get("message"))] or include

    def _named_addition(self, param: str, message: str) -> str | None:
        """Return which part of the request that no caller chose a refusal names."""
        include = self.request.get("include", ())
        if include and (_INCLUDE.fullmatch(param) or any(value in message for value in include)):
            return "include"
        items = [item for turn in self.input.turns for item in turn]
        if (match := _TOOL_ITEM_PARAM.fullmatch(param)) and int(match[1]) < len(items):
            return None if "role" in items[int(match[1])] else "a replayed item"
        ids = (item.get(key) for item in items if "role" not in item for key in ("id", "call_id", "container_id"))
        return "a replayed item" if any(id_ and str(id_) in message for id_ in ids) else None


def _without_include(request: Json, value: str) -> Json:
    include = [entry for entry in request.get("include", ()) if entry != value]
    return {
        key: include if key == "include" else entry for key, entry in request.items() if key != "include" or include
    }
