"""Objects that were there before a recording began: found in it, and put into a store."""

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
from .evidence import Evidence, Old
from .recorded_run import counted

Seed = dict[str, list[Json]]
"""`assistants`, `threads`, `messages`, `runs` and `steps`, each as it was served, oldest first."""

_TTL = 600
_NOT_FOUND = 404
_FAR = 2**40  # seconds
_REFUSAL = re.compile(r"""(?:Runs in status |Cannot \w+ run with status )["'](\w+)["']""")
_GIVEN = (
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


def seed(settings: Settings, objects: Mapping[str, Any]) -> None:
    """Put the objects of a recording's `seed` into a store that has none of them."""
    url = locations.database_url(settings.store)

    def work(db: Connection) -> None:
        for noun, kind in _KINDS.items():
            queries.add(db, noun, [_row(settings.namespace, kind, each) for each in objects.get(noun) or ()])  # type: ignore[arg-type]  # one of five nouns

    transact(url, work, write=True)


def _row(namespace: str, kind: str, given: Json) -> Json:
    row: Json = {"namespace": namespace, **row_from_served(kind, {"created_at": 0, **given})}
    if kind != "thread.run":
        return row
    row["lease_until"] = 0
    if row["status"] not in TERMINAL:
        row["expires_at"] = given.get("expires_at") or row["created_at"] + _TTL
        row["response_id"] = counted("resp", given["id"], 0)
        row["request"] = {"model": given.get("model"), "store": True, "background": True, "input": []}
    return row


def found(evidence: Evidence) -> tuple[Seed, list[str]]:
    """What was there before the recording began, and what of that is not known."""
    return _Finding(evidence).all()


class _Finding:
    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.made = set(evidence.created)
        self.given = {id_ for ids in given_messages(evidence).values() for id_ in ids}
        self.troubles: list[str] = []

    def all(self) -> tuple[Seed, list[str]]:
        """Assistants, then what stands on threads."""
        runs = self._runs()
        seeded = {run["id"] for run in runs}
        messages = [each for each in self._shown("thread.message") if self._is_older(each, seeded)]
        steps = [each for each in self._shown("thread.run.step") if each.get("run_id") in seeded]
        threads = self._threads([*messages, *runs])
        there = {each["id"] for each in threads}
        objects = {
            "assistants": self._assistants(runs),
            "threads": threads,
            "messages": [each for each in messages if each.get("thread_id") in there],
            "runs": [each for each in runs if each["thread_id"] in there],
            "steps": steps,
        }
        return {noun: each for noun, each in objects.items() if each}, self.troubles

    def _shown(self, kind: str) -> list[Json]:
        """The objects of a kind that no call made, as they were shown first, oldest first."""
        others = [each for each in self.evidence.all(kind) if each["id"] not in self.made]
        return [first for each in others if (first := self.evidence.first(each["id"], kind))]

    def _asked(self, name: str) -> list[str]:
        """The ids that calls name in their paths or bodies before anything made them."""
        ids: list[str] = []
        made: set[str] = set()
        for old in self.evidence.ours:
            id_ = old.parts.get(name) or old.body.get(name)
            if isinstance(id_, str) and id_ not in made and old.exchange.status != _NOT_FOUND:
                ids.append(id_)
            made |= {each["id"] for each in old.objects} if old.creates else set()
        return [id_ for id_ in dict.fromkeys(ids) if id_ not in self.made]

    def _assistants(self, runs: list[Json]) -> list[Json]:
        found = {each["id"]: each for each in self._shown("assistant")}
        asked = [*self._asked("assistant_id"), *(str(run["assistant_id"]) for run in runs if run["assistant_id"])]
        for id_ in dict.fromkeys(asked):
            if id_ in found or id_ in self.made:
                continue
            theirs = self.evidence.all("thread.run", assistant_id=id_)
            if theirs:
                found[id_] = {key: value for key, value in theirs[0].items() if key in _GIVEN and key != "metadata"}
                found[id_] |= {"id": id_, "object": "assistant", "created_at": theirs[0]["created_at"]}
                self.troubles.append(
                    f"assistant {id_} was never read: it is taken to be as its run {theirs[0]['id']} shows"
                )
            else:
                found[id_] = {"id": id_, "object": "assistant", "created_at": 0, "model": "unknown"}
                self.troubles.append(f"assistant {id_} was made elsewhere: nothing shows more than that it was there")
        return list(found.values())

    def _threads(self, standing: list[Json]) -> list[Json]:
        found = {each["id"]: each for each in self._shown("thread")}
        asked = [*self._asked("thread_id"), *(str(each.get("thread_id")) for each in standing)]
        for id_ in dict.fromkeys([*asked, *found]):
            if made_here(self.evidence, id_):
                found.pop(id_, None)
                continue
            times = [each["created_at"] for each in standing if each.get("thread_id") == id_]
            created = min(times, default=0)
            if id_ not in found:
                found[id_] = {
                    "id": id_,
                    "object": "thread",
                    "created_at": created,
                    "metadata": {},
                    "tool_resources": {},
                }
            self.troubles.append(
                f"thread {id_} was made elsewhere: what was said in it before is known as far as it was read"
            )
        return list(found.values())

    def _runs(self) -> list[Json]:
        found = {each["id"]: {**each} for each in self._shown("thread.run")}
        for old in self.evidence.ours:
            run = found.get(str(old.parts.get("run_id")))
            if run is not None and str(old.route).endswith("/cancel") and run["status"] == "cancelling":
                run["status"] = "in_progress"
        for id_ in self._asked("run_id"):
            calls = [old for old in self.evidence.ours if old.parts.get("run_id") == id_]
            status = next((match[1] for old in calls if (match := _REFUSAL.search(old.refusal))), None)
            if id_ not in found and status is not None:
                begun = {"id": id_, "object": "thread.run", "created_at": 0, "assistant_id": "", "status": status}
                found[id_] = {**begun, "thread_id": calls[0].parts["thread_id"], "expires_at": _FAR}
                self.troubles.append(f"run {id_} was begun elsewhere: nothing shows more than that it was {status}")
            elif id_ not in found:
                self.troubles.append(f"run {id_} was begun elsewhere, and nothing in the recording shows it")
        return list(found.values())

    def _is_older(self, message: Json, seeded: set[str]) -> bool:
        """Whether a message was there before: no call made it, alone, with its thread or by a run."""
        run_id = message.get("run_id")
        return run_id in seeded if run_id else message["id"] not in self.given


def given_messages(evidence: Evidence) -> dict[int, list[str]]:
    """The ids of the messages that calls made beside something else, by the calls' numbers: with a thread, or a run.

    As far as lists show them.
    """
    given: dict[int, list[str]] = {}
    taken: set[str] = set()
    for old in evidence.ours:
        made = made_thread(old)
        thread_id = made or str(old.parts.get("thread_id"))
        entries = as_object(old.body.get("thread") if old.route == "/threads/runs" else old.body).get("messages") or ()
        count = len(entries if made else ()) + len(old.body.get("additional_messages") or ())
        if not count or not old.ok:
            continue
        since = 0 if made_here(evidence, thread_id) else int((old.objects or [{}])[0].get("created_at") or 0)
        theirs = [each for each in evidence.all("thread.message", thread_id=thread_id) if not each.get("run_id")]
        ids = [each["id"] for each in theirs if each["id"] not in evidence.created and each["created_at"] >= since]
        given[old.number] = [id_ for id_ in ids if id_ not in taken][:count]
        taken |= set(given[old.number])
    return given


def made_here(evidence: Evidence, thread_id: str) -> bool:
    """Whether the recording holds the call that made a thread."""
    return any(made_thread(old) == thread_id for old in evidence.ours)


def made_thread(old: Old) -> str | None:
    """The thread that a call made, alone or with a run."""
    if old.exchange.method != "POST" or not old.ok:
        return None
    if old.route == "/threads":
        return str(old.answer.get("id"))
    if old.route == "/threads/runs":
        runs = [each for each in old.objects if each["object"] == "thread.run"]
        return str(runs[0]["thread_id"]) if runs else None
    return None
