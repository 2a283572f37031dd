"""What a fork must not share: SQLite's locks, transactions that are under way, and the memory store's connection."""

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
from kit.legacy_code import dump

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

# A process of its own: pytest's has threads, whose locks a fork would copy.
PRELUDE = """
import os, sys, threading, traceback, warnings
import openai
import assistants_compat
from assistants_compat.store import engine, places
store, files, namespace, base_url, key = sys.argv[1:]
settings = assistants_compat.Settings(store=store, files=files, namespace=namespace, poll_after_ms=1)
url = places.database_url(settings.store)
warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads, which is the point here
engine.BUSY_SECONDS = 5  # whoever waits for a lock that nobody can give back fails soon
client = assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key, max_retries=0), settings)

def say(text):
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


def program(script: str, upstream: StandIn, settings: Settings) -> list[str]:
    """The lines that a process with this script printed; its children have ended too, as they hold its output."""
    arguments: list[Any] = [settings.store, settings.files, settings.namespace, upstream.base_url, KEY]
    process = subprocess.run(
        [sys.executable, "-c", PRELUDE + script, *arguments], capture_output=True, text=True, timeout=100, check=False
    )
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout.splitlines()


def said(settings: Settings) -> list[str]:
    """Every message in the store, as this process reads it: another than those that wrote."""
    return [row["body"]["content"][0]["text"]["value"] for row in dump(settings)["messages"]]


@pytest.mark.parametrize("early", [True, False])
def test_what_a_child_writes_after_its_parents_end_is_kept(
    upstream: StandIn, settings: Settings, *, early: bool
) -> None:
    """A parent that ends first takes nothing of its child's with it: a third process reads all that was written."""
    script = f"""
say("parent")
ended, end = os.pipe()
ready, is_ready = os.pipe()
def child():
    os.close(end)
    if {early}:
        say("early")
    os.write(is_ready, b"x")
    os.read(ended, 1)  # until the parent, which holds the other end, is gone
    say("late")
    print("written", flush=True)
fork(child)
os.read(ready, 1)
"""
    assert program(script, upstream, settings) == ["written"]
    assert said(settings) == (["parent", "early", "late"] if early else ["parent", "late"])


def test_a_fork_waits_for_the_transactions_of_other_threads(upstream: StandIn, settings: Settings) -> None:
    """Forked while another thread writes, the child's first call works, and what that thread wrote is there."""
    script = """
say("parent")
writing, leave = threading.Event(), threading.Event()
def work(db):
    writing.set()
    leave.wait(0.5)  # nobody sets it: the fork comes before the end of this transaction, or waits for it
thread = threading.Thread(target=lambda: engine.transact(url, work, write=True))
thread.start()
writing.wait()
child = fork(lambda: say("child"))
wait(child)
thread.join()
say("parent again")
"""
    assert program(script, upstream, settings) == []
    assert said(settings) == ["parent", "child", "parent again"]


def test_busy_threads_do_not_hold_a_fork_back(upstream: StandIn, sqlite_settings: Settings) -> None:
    """Threads that leave no moment without a transaction wait for the fork, not the fork for them."""
    script = """
say("parent")
busy, stop, begun = threading.Barrier(9), threading.Event(), []
def work(db):
    begun.append(1)
    stop.wait(0.005)
def read():
    busy.wait()
    while not stop.is_set():
        engine.transact(url, work, write=False)
threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads: thread.start()
busy.wait()
while len(begun) < 50: pass
before = len(begun)
child = os.fork()
if not child:
    say("child")
    os._exit(0)
print(len(begun) - before <= 16)  # at most those that run, and those that were about to begin
while len(begun) < before + 50: pass  # they go on
stop.set()
for thread in threads: thread.join()
wait(child)
"""
    assert program(script, upstream, sqlite_settings) == ["True"]
    assert said(sqlite_settings) == ["parent", "child"]


def test_the_memory_store_is_copied_with_the_process(upstream: StandIn, sqlite_settings: Settings) -> None:
    """The child sees what the parent had before, and from then on each has a store of its own that works."""
    script = """
thread = say("before")
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
    assert program(script, upstream, replace(sqlite_settings, store="sqlite://")) == []
    assert [request.method for request in upstream.requests].count("POST") == 2
