"""The objects that existed before a recording began: finds them in the recording, and inserts them into a store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...settings import Settings
from ...store import locations, queries
from ...store.database import Connection, transact
from ...translate.legacy_objects import row_from_served
from ...translate.run import TERMINAL
from ...wire.objects import Json, as_object
from .evidence import Evidence, RecordedCall
from .recorded_run import upstream_id

Seed = dict[str, list[Json]]
"""`assistants`, `threads`, `messages`, `runs` and `steps`, each as the service served it, oldest first."""

_RUN_LIFETIME = 600  # seconds
_NOT_FOUND = 404
_FAR_FUTURE = 2**40  # seconds: a run whose expiry is not known does not expire
_STATUS_IN_ERROR = re.compile(r"""(?:Runs in status |Cannot \w+ run with status )["'](\w+)["']""")
_ASSISTANT_FIELDS = (
    *("name", "description", "model", "instructions", "tools", "tool_resources", "metadata"),
    *("top_p", "temperature", "response_format", "reasoning_effort"),
)
_KINDS = {
    "assistants": "assistant",
    "threads": "thread",
    "messages": "thread.message",
    "runs": "thread.run",
    "steps": "thread.run.step",
}


def insert_seed(settings: Settings, objects: Mapping[str, Any]) -> None:
    """Insert the objects of a recording's `seed` into a store that has none of them."""
    url = locations.database_url(settings.store)

    def work(db: Connection) -> None:
        for noun, kind in _KINDS.items():
            rows = [_seed_row(settings.namespace, kind, served) for served in objects.get(noun) or ()]
            queries.insert_rows(db, noun, rows)  # type: ignore[arg-type]  # one of five nouns

    transact(url, work, write=True)


def _seed_row(namespace: str, kind: str, served: Json) -> Json:
    row: Json = {"namespace": namespace, **row_from_served(kind, {"created_at": 0, **served})}
    if kind != "thread.run":
        return row
    row["lease_until"] = 0
    # A poll of an unfinished run asks the upstream for its response, so the row needs what a started run has.
    if row["status"] not in TERMINAL:
        row["expires_at"] = served.get("expires_at") or row["created_at"] + _RUN_LIFETIME
        row["response_id"] = upstream_id("resp", served["id"], 0)
        row["request"] = {"model": served.get("model"), "store": True, "background": True, "input": []}
    return row


def find_seed(evidence: Evidence) -> tuple[Seed, list[str]]:
    """Return what existed before the recording began, and warnings about what is not known of it."""
    return _SeedFinder(evidence).find()


class _SeedFinder:
    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.created_ids = set(evidence.creating_calls)
        self.nested_ids = {id_ for ids in nested_message_ids(evidence).values() for id_ in ids}
        self.warnings: list[str] = []

    def find(self) -> tuple[Seed, list[str]]:
        """Return the objects, assistants first, and the warnings."""
        runs = self._runs()
        run_ids = {run["id"] for run in runs}
        messages = [message for message in self._existing("thread.message") if self._existed_before(message, run_ids)]
        steps = [step for step in self._existing("thread.run.step") if step.get("run_id") in run_ids]
        threads = self._threads([*messages, *runs])
        thread_ids = {thread["id"] for thread in threads}
        objects = {
            "assistants": self._assistants(runs),
            "threads": threads,
            "messages": [message for message in messages if message.get("thread_id") in thread_ids],
            "runs": [run for run in runs if run["thread_id"] in thread_ids],
            "steps": steps,
        }
        return {noun: served for noun, served in objects.items() if served}, self.warnings

    def _existing(self, kind: str) -> list[Json]:
        """Return the objects of a kind that no recorded call created, as they were shown first, oldest first."""
        others = [object_ for object_ in self.evidence.find(kind) if object_["id"] not in self.created_ids]
        return [first for object_ in others if (first := self.evidence.first_seen(object_["id"], kind))]

    def _named_ids(self, parameter: str) -> list[str]:
        """Return the ids that calls name in this parameter of their path or body before any call created them."""
        ids: list[str] = []
        created: set[str] = set()
        for call in self.evidence.answered_calls:
            id_ = call.path_params.get(parameter) or call.request_json.get(parameter)
            if isinstance(id_, str) and id_ not in created and call.exchange.status != _NOT_FOUND:
                ids.append(id_)
            created |= {object_["id"] for object_ in call.objects} if call.created_id else set()
        return [id_ for id_ in dict.fromkeys(ids) if id_ not in self.created_ids]

    def _assistants(self, runs: list[Json]) -> list[Json]:
        assistants = {assistant["id"]: assistant for assistant in self._existing("assistant")}
        of_runs = (str(run["assistant_id"]) for run in runs if run["assistant_id"])
        for id_ in dict.fromkeys([*self._named_ids("assistant_id"), *of_runs]):
            if id_ in assistants or id_ in self.created_ids:
                continue
            its_runs = self.evidence.find("thread.run", assistant_id=id_)
            if its_runs:
                run = its_runs[0]
                # A run's metadata is its own, and not that of its assistant.
                fields = {key: value for key, value in run.items() if key in _ASSISTANT_FIELDS and key != "metadata"}
                assistants[id_] = {**fields, "id": id_, "object": "assistant", "created_at": run["created_at"]}
                self.warnings.append(
                    f"assistant {id_}: the recording never shows it, so its fields are those of its run {run['id']}"
                )
            else:
                assistants[id_] = {"id": id_, "object": "assistant", "created_at": 0, "model": "unknown"}
                self.warnings.append(f"assistant {id_}: the recording does not create it and shows only its id")
        return list(assistants.values())

    def _threads(self, children: list[Json]) -> list[Json]:
        """Return the threads that calls name, that the recording shows, or that these messages and runs belong to."""
        threads = {thread["id"]: thread for thread in self._existing("thread")}
        named = [*self._named_ids("thread_id"), *(str(child.get("thread_id")) for child in children)]
        for id_ in dict.fromkeys([*named, *threads]):
            if recording_creates_thread(self.evidence, id_):
                threads.pop(id_, None)
                continue
            times = [child["created_at"] for child in children if child.get("thread_id") == id_]
            created = min(times, default=0)
            if id_ not in threads:
                threads[id_] = {
                    "id": id_,
                    "object": "thread",
                    "created_at": created,
                    "metadata": {},
                    "tool_resources": {},
                }
            self.warnings.append(
                f"thread {id_}: the recording does not create it; of its earlier messages only those shown are known"
            )
        return list(threads.values())

    def _runs(self) -> list[Json]:
        runs = {run["id"]: {**run} for run in self._existing("thread.run")}
        for call in self.evidence.answered_calls:
            run = runs.get(str(call.path_params.get("run_id")))
            # Such a run was first seen in the answer to its cancellation, which must be possible again.
            if run is not None and str(call.route).endswith("/cancel") and run["status"] == "cancelling":
                run["status"] = "in_progress"
        for id_ in self._named_ids("run_id"):
            calls = [call for call in self.evidence.answered_calls if call.path_params.get("run_id") == id_]
            status = next((match[1] for call in calls if (match := _STATUS_IN_ERROR.search(call.error_message))), None)
            if id_ not in runs and status is not None:
                # An error message is the only trace of such a run, but the same call must get the same error again.
                fields = {"id": id_, "object": "thread.run", "created_at": 0, "assistant_id": "", "status": status}
                runs[id_] = {**fields, "thread_id": calls[0].path_params["thread_id"], "expires_at": _FAR_FUTURE}
                self.warnings.append(f"run {id_}: the recording does not create it and shows only its status, {status}")
            elif id_ not in runs:
                self.warnings.append(f"run {id_}: the recording neither creates nor shows it")
        return list(runs.values())

    def _existed_before(self, message: Json, run_ids: set[str]) -> bool:
        """Return whether no recorded call created a message: alone, with its thread or by a run."""
        run_id = message.get("run_id")
        return run_id in run_ids if run_id else message["id"] not in self.nested_ids


def nested_message_ids(evidence: Evidence) -> dict[int, list[str]]:
    """Return the ids of the messages that calls created together with a thread or a run, by the calls' numbers.

    The responses of those calls do not show the messages, so only ids that a later list shows are known.
    """
    nested: dict[int, list[str]] = {}
    taken: set[str] = set()
    for call in evidence.answered_calls:
        new_thread_id = created_thread_id(call)
        thread_id = new_thread_id or str(call.path_params.get("thread_id"))
        thread = as_object(call.request_json.get("thread") if call.route == "/threads/runs" else call.request_json)
        messages = thread.get("messages") or ()
        count = len(messages if new_thread_id else ()) + len(call.request_json.get("additional_messages") or ())
        if not count or not call.ok:
            continue
        is_new = recording_creates_thread(evidence, thread_id)
        # In an older thread, messages from before the call are not its own.
        since = 0 if is_new else int((call.objects or [{}])[0].get("created_at") or 0)
        of_user = [
            message for message in evidence.find("thread.message", thread_id=thread_id) if not message.get("run_id")
        ]
        ids = [
            message["id"]
            for message in of_user
            if message["id"] not in evidence.creating_calls and message["created_at"] >= since
        ]
        nested[call.number] = [id_ for id_ in ids if id_ not in taken][:count]
        taken |= set(nested[call.number])
    return nested


def recording_creates_thread(evidence: Evidence, thread_id: str) -> bool:
    """Return whether a recorded call created this thread."""
    return any(created_thread_id(call) == thread_id for call in evidence.answered_calls)


def created_thread_id(call: RecordedCall) -> str | None:
    """Return the id of the thread that a call created, alone or with a run."""
    if call.exchange.method != "POST" or not call.ok:
        return None
    if call.route == "/threads":
        return str(call.response_json.get("id"))
    if call.route == "/threads/runs":
        runs = [object_ for object_ in call.objects if object_["object"] == "thread.run"]
        return str(runs[0]["thread_id"]) if runs else None
    return None
