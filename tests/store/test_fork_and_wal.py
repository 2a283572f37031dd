"""A forked child shares neither SQLite's locks nor open transactions nor the memory store's connection."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import KEY
from kit.legacy_code import dump_store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

# The scripts fork in a new process, because pytest has threads whose locks a fork would copy.
PRELUDE = """
import os, sys, threading, traceback, warnings
import openai
import assistants_compat
from assistants_compat.store import database, locations
store, files, namespace, base_url, key = sys.argv[1:]
settings = assistants_compat.Settings(store=store, files=files, namespace=namespace, poll_after_ms=1)
url = locations.database_url(settings.store)
warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads, which is tested here
database.BUSY_SECONDS = 5  # waiting for a lock that nobody can release fails soon
client = assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key, max_retries=0), settings)

def create_thread(text):
    return client.beta.threads.create(messages=[{"role": "user", "content": text}])

def texts(thread):
    return [message.content[0].text.value for message in client.beta.threads.messages.list(thread.id, order="asc")]

def fork(work):
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

def wait(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def run_script(script: str, upstream: StandIn, settings: Settings) -> list[str]:
    """Run this script and return its lines; its children have ended too, because they hold its output."""
    arguments: list[Any] = [settings.store, settings.files, settings.namespace, upstream.base_url, KEY]
    process = subprocess.run(
        [sys.executable, "-c", PRELUDE + script, *arguments], capture_output=True, text=True, timeout=100, check=False
    )
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout.splitlines()


def stored_texts(settings: Settings) -> list[str]:
    """Return the text of every stored message, as a process reads it that wrote none."""
    return [row["body"]["content"][0]["text"]["value"] for row in dump_store(settings)["messages"]]


@pytest.mark.parametrize("early", [True, False])
def test_what_a_child_writes_after_its_parents_end_is_kept(
    upstream: StandIn, settings: Settings, *, early: bool
) -> None:
    """What a child writes after its parent's end is kept and can be read by a third process."""
    script = f"""
create_thread("parent")
ended, end = os.pipe()
ready, is_ready = os.pipe()
def child():
    os.close(end)
    if {early}:
        create_thread("early")
    os.write(is_ready, b"x")
    os.read(ended, 1)  # returns when the parent, which holds the other end, has ended
    create_thread("late")
    print("written", flush=True)
fork(child)
os.read(ready, 1)
"""
    assert run_script(script, upstream, settings) == ["written"]
    assert stored_texts(settings) == (["parent", "early", "late"] if early else ["parent", "late"])


def test_a_fork_waits_for_the_transactions_of_other_threads(upstream: StandIn, settings: Settings) -> None:
    """After a fork during another thread's transaction, the child's first call works and the transaction is kept."""
    script = """
create_thread("parent")
writing, leave = threading.Event(), threading.Event()
def work(db):
    writing.set()
    leave.wait(0.5)  # never set: the fork comes during this transaction, or waits for it
thread = threading.Thread(target=lambda: database.transact(url, work, write=True))
thread.start()
writing.wait()
child = fork(lambda: create_thread("child"))
wait(child)
thread.join()
create_thread("parent again")
"""
    assert run_script(script, upstream, settings) == []
    assert stored_texts(settings) == ["parent", "child", "parent again"]


def test_busy_threads_do_not_delay_a_fork(upstream: StandIn, sqlite_settings: Settings) -> None:
    """A fork is not delayed by threads that start one transaction after the other."""
    script = """
create_thread("parent")
busy, stop, begun = threading.Barrier(9), threading.Event(), []
def work(db):
    begun.append(1)
    stop.wait(0.005)
def read():
    busy.wait()
    while not stop.is_set():
        database.transact(url, work, write=False)
threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads: thread.start()
busy.wait()
while len(begun) < 50: pass
before = len(begun)
child = os.fork()
if not child:
    create_thread("child")
    os._exit(0)
print(len(begun) - before <= 16)  # at most the running transactions, and those about to start
while len(begun) < before + 50: pass  # the threads continue
stop.set()
for thread in threads: thread.join()
wait(child)
"""
    assert run_script(script, upstream, sqlite_settings) == ["True"]
    assert stored_texts(sqlite_settings) == ["parent", "child"]


def test_the_memory_store_is_copied_with_the_process(upstream: StandIn, sqlite_settings: Settings) -> None:
    """A child gets a copy of the memory store, and then parent and child have separate stores."""
    script = """
thread = create_thread("before")
def talk(text):
    client.beta.threads.messages.create(thread.id, role="user", content=text)
    assistant = client.beta.assistants.create(model="gpt-4o")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed", run
def child():
    assert texts(thread) == ["before"]
    talk("child")
    assert texts(thread) == ["before", "child", "You said: child"]
forked = fork(child)
talk("parent")
wait(forked)
assert texts(thread) == ["before", "parent", "You said: parent"]
"""
    assert run_script(script, upstream, replace(sqlite_settings, store="sqlite://")) == []
    assert [request.method for request in upstream.requests].count("POST") == 2
