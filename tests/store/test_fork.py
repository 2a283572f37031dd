"""A wrapped client works in forked processes, before and after the first use of its store."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import KEY
from kit.legacy_code import dump_store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

# The scripts fork in a new process, because pytest has threads whose locks a fork would copy.
PRELUDE = """
import asyncio, os, sys, threading, warnings
import openai
import assistants_compat
from assistants_compat.store import database
store, files, namespace, base_url, key = sys.argv[1:]
settings = assistants_compat.Settings(store=store, files=files, namespace=namespace, poll_after_ms=1)
warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads, which is tested here

def wrapped():
    return assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key, max_retries=0), settings)

def talk(client, text):
    assistant = client.beta.assistants.create(model="gpt-4o", instructions="Help.")
    thread = client.beta.threads.create(messages=[{"role": "user", "content": text}])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed", run
    return client.beta.threads.messages.list(thread.id).data[0].content[0].text.value

def fork(work):
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)

def wait(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

SCRIPTS = {
    "after wrap": """
client = wrapped()
children = [fork(lambda: talk(client, "child")) for _ in range(3)]
talk(client, "parent")
for child in children: wait(child)
""",
    # The open connections belong to the parent, so the child must not use them.
    "after the first use": """
client = wrapped()
client.beta.threads.create()
child = fork(lambda: [talk(client, "child") for _ in range(3)])
talk(client, "parent")
wait(child)
talk(client, "parent")
""",
    "a child of a child": """
client = wrapped()
client.beta.threads.create()
def child():
    client.beta.threads.create()
    wait(fork(lambda: talk(client, "child")))
    talk(client, "child")
wait(fork(child))
talk(client, "parent")
""",
    "the asynchronous client": """
client = assistants_compat.wrap(openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0), settings)
async def work():
    assistant = await client.beta.assistants.create(model="gpt-4o", instructions="Help.")
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": "child"}])
    run = await client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed"
async def first():
    await client.beta.threads.create()
asyncio.run(first())
wait(fork(lambda: asyncio.run(work())))
""",
    # At the fork the lock for opening stores is held by a thread that the child does not have.
    "while another thread opens a store": """
client = wrapped()
held, leave = threading.Event(), threading.Event()
def hold():
    with database._open_lock:
        held.set()
        leave.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = fork(lambda: talk(client, "child"))
wait(child)
leave.set()
thread.join()
talk(client, "parent")
""",
    "multiprocessing": """
import multiprocessing
client = wrapped()
client.beta.threads.create()
def work(number):
    return talk(client, f"child {number}")
with multiprocessing.get_context("fork").Pool(3) as pool:
    assert pool.map(work, range(6)) == [f"You said: child {number}" for number in range(6)]
talk(client, "parent")
""",
    "a process that only inherits": """
client = wrapped()
thread = client.beta.threads.create(messages=[{"role": "user", "content": "before"}])
def child():
    [message] = client.beta.threads.messages.list(thread.id)
    client.beta.threads.messages.create(thread.id, role="user", content="child")
wait(fork(child))
assert [m.content[0].text.value for m in client.beta.threads.messages.list(thread.id)] == ["child", "before"]
talk(client, "parent")
""",
}


def test_everything_works_in_the_child(upstream: StandIn, settings: Settings) -> None:
    """In each kind of fork, parent and children complete their runs over one store."""
    arguments = [settings.store, settings.files, settings.namespace, upstream.base_url, KEY]
    # One process runs all scripts in order, because the first one must come before any use of the store.
    program = PRELUDE + "".join(f"\nprint({name!r}, flush=True)\n{script}" for name, script in SCRIPTS.items())
    command: list[Any] = [sys.executable, "-c", program, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert process.returncode == 0, f"{process.stdout}\n{process.stderr}"
    assert process.stdout.splitlines() == list(SCRIPTS)
    rows = dump_store(settings)
    posted = [request for request in upstream.requests if request.method == "POST"]
    assert len(posted) == 23
    assert [row["status"] for row in rows["runs"]] == ["completed"] * len(posted)
    answers = [row for row in rows["messages"] if row["run_id"]]
    assert len(answers) == len(posted)
