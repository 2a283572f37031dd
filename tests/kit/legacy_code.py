"""Legacy calls that many tests make, and a dump of everything in the store."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from assistants_compat import Settings
from assistants_compat.store import tables
from assistants_compat.store.database import Connection, transact
from assistants_compat.store.locations import database_url
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door

CODE = [{"type": "code_interpreter"}]
FUNCTION = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CSV = b"region,sales\nnorth,10\n"
LINK = "Done: [the table](sandbox:/mnt/data/sales.csv)"


def make_assistant(door: Door, client: Any, **options: Any) -> Any:
    """Make an assistant that a run can use."""
    options = {"model": "gpt-4o", "instructions": "Help.", **options}
    return door(client.beta.assistants.create(**options))


def make_thread(door: Door, client: Any, *texts: str) -> Any:
    """Make a thread with these user messages, or with one that says hello."""
    messages = [{"role": "user", "content": text} for text in texts or ("Hello.",)]
    return door(client.beta.threads.create(messages=messages))


def start_run(door: Door, client: Any, **options: Any) -> Any:
    """Create a run on a new thread of a new assistant; `assistant` holds the assistant's options."""
    assistant = make_assistant(door, client, **options.pop("assistant", {}))
    thread = make_thread(door, client)
    return door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **options))


def finish_run(door: Door, client: Any, **options: Any) -> Any:
    """Create such a run and poll it to its end."""
    run = start_run(door, client, **options)
    return door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))


def function_call_turn(*call_ids: str, **options: Any) -> Turn:
    """Return a turn in which the model calls the function `look` once for each id."""
    calls = [{"name": "look", "arguments": {"at": call_id}, "call_id": call_id} for call_id in call_ids]
    return Turn(**{"function_calls": calls, "polls": 0, **options})


def waiting_run(door: Door, client: Any, upstream: StandIn, *call_ids: str, **options: Any) -> Any:
    """Return a run that waits for the outputs of these calls."""
    upstream.script(function_call_turn(*call_ids or ("call_1",)))
    run = finish_run(door, client, **{"tools": [FUNCTION], **options})
    assert run.status == "requires_action"
    return run


def submit_outputs(door: Door, client: Any, run: Any, *call_ids: str, **options: Any) -> Any:
    """Submit an output for each of these calls: its id in capitals."""
    outputs = [{"tool_call_id": call_id, "output": call_id.upper()} for call_id in call_ids or ("call_1",)]
    runs = client.beta.threads.runs
    return door(runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs, **options))


def retrieve_run(door: Door, client: Any, run: Any) -> Any:
    """Poll a run once."""
    return door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))


def run_again(door: Door, client: Any, run: Any, text: str | None = None, **options: Any) -> Any:
    """Run the assistant again on the same thread, after a message with this text if there is one."""
    if text is not None:
        door(client.beta.threads.messages.create(run.thread_id, role="user", content=text))
    runs = client.beta.threads.runs
    return door(runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id, **options))


def make_file(door: Door, client: Any, upstream: StandIn, turn: Any) -> str:
    """Run this scripted turn and return the id of the first file that it links."""
    upstream.script(turn)
    run = finish_run(door, client, assistant={"tools": CODE})
    message = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))[0]
    text = next(block.text for block in message.content if block.type == "text")
    return str(text.annotations[0].file_path.file_id)


def delete_message(door: Door, client: Any, message_id: str, thread_id: str) -> Any:
    """Delete a message and return the JSON of the answer, by its route where the SDK has no method (openai 1.21)."""
    messages = client.beta.threads.messages
    if hasattr(messages, "delete"):
        return door(messages.delete(message_id, thread_id=thread_id)).to_dict()
    return door(client.delete(f"/threads/{thread_id}/messages/{message_id}", cast_to=object))


def get_raw(door: Door, client: Any, path: str) -> Any:
    """GET a path and return the JSON as served, without the SDK's models."""
    return door(client.get(path, cast_to=object))


def dump_store(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table in the namespace of `settings`."""

    def work(db: Connection) -> dict[str, list[dict[str, Any]]]:
        return {
            table.name: [
                dict(row)
                for row in db.execute(
                    select(table).where(table.c.namespace == settings.namespace).order_by(table.c.seq)
                ).mappings()
            ]
            for table in tables.metadata.sorted_tables
            if "namespace" in table.c
        }

    return transact(database_url(settings.store), work, write=False)


def upstream_calls(upstream: StandIn, *methods_and_paths: str) -> list[str]:
    """Return the upstream's requests as "METHOD /path" with `*` for ids, or only the given ones of them."""
    calls = []
    for request in upstream.requests:
        parts = request.path.strip("/").split("/")
        path = "/".join("*" if "_" in part and part != "vector_stores" else part for part in parts)
        calls.append(f"{request.method} /{path}")
    return [call for call in calls if not methods_and_paths or call in methods_and_paths]
