"""Tools that replace the SDK's methods by wrappers of their own, as tracing libraries do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import KEY

# A process of its own: `wrap` changes the SDK's classes once and for all.
PROGRAM = """
import asyncio, functools, inspect, sys, warnings
import openai
from openai.resources.beta.assistants import Assistants, AsyncAssistants
from openai.resources.beta.threads.threads import AsyncThreads, Threads
kind, store, base_url, key = sys.argv[1:]
warnings.simplefilter("ignore")  # what somebody else wrapped goes on to warn
seen = []

def instrument(class_, name):
    method = getattr(class_, name)
    @functools.wraps(method)
    def traced(self, *args, **kwargs):
        seen.append(f"{class_.__name__}.{name}")
        return method(self, *args, **kwargs)
    setattr(class_, name, traced)

for class_ in (Threads, AsyncThreads):
    instrument(class_, "create")
    instrument(class_, "retrieve")
instrument(Assistants, "create")
instrument(AsyncAssistants, "create")

import assistants_compat

async def value(given):
    return await given if inspect.isawaitable(given) else given

async def main():
    class_ = openai.OpenAI if kind == "sync" else openai.AsyncOpenAI
    settings = assistants_compat.Settings(store=store)
    client = assistants_compat.wrap(class_(base_url=base_url, api_key=key, max_retries=0), settings)
    plain = class_(base_url=base_url, api_key=key, max_retries=0)
    thread = await value(client.beta.threads.create())
    assert (await value(client.beta.threads.retrieve(thread.id))).id == thread.id
    await value(client.beta.assistants.create(model="gpt-4o"))
    await value(client.beta.threads.update(thread.id, metadata={}))  # not instrumented
    print(*seen)
    seen.clear()
    try:
        await value(plain.beta.threads.create())
    except openai.NotFoundError:
        print(*seen)
    for each in (client, plain):
        await value(each.close())

asyncio.run(main())
"""

# The same with nothing instrumented, where no warning may be left.
QUIET = """
import sys, warnings
import openai
import assistants_compat
store, base_url, key = sys.argv[1:]
warnings.simplefilter("error", DeprecationWarning)
settings = assistants_compat.Settings(store=store)
with assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key), settings) as client:
    client.beta.threads.retrieve(client.beta.threads.create().id)
    client.beta.assistants.create(model="gpt-4o")
    try:
        client.beta.threads.create(unknown=1)
    except TypeError:
        print("quiet")
"""


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_method_wrapped_by_a_tracer_is_still_called(upstream: StandIn, sqlite_settings: Settings, kind: str) -> None:
    """What was put around a method of the SDK before `wrap` sees each call, of wrapped clients and of others."""
    arguments = [kind, str(sqlite_settings.store), upstream.base_url, KEY]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    prefix = "" if kind == "sync" else "Async"
    names = ["Threads.create", "Threads.retrieve", "Assistants.create"]
    assert done.stdout.split() == [f"{prefix}{name}" for name in [*names, "Threads.create"]]


def test_without_a_tracer_nothing_warns(upstream: StandIn, sqlite_settings: Settings) -> None:
    """The SDK's own decorators are left out on wrapped clients: no DeprecationWarning, and its signatures hold."""
    arguments = [str(sqlite_settings.store), upstream.base_url, KEY]
    done = subprocess.run([sys.executable, "-c", QUIET, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "quiet\n"), done.stderr
    assert upstream.requests == []
