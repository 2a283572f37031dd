"""Tracing libraries that replace the SDK's methods keep working on wrapped clients."""

from __future__ import annotations

import subprocess
import sys

import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import KEY

# Run in a separate process, because `wrap` changes the SDK's classes for good.
PROGRAM = """
import asyncio, functools, inspect, sys, warnings
import openai
from openai.resources.beta.assistants import Assistants, AsyncAssistants
from openai.resources.beta.threads.threads import AsyncThreads, Threads
kind, store, base_url, key = sys.argv[1:]
warnings.simplefilter("ignore")  # instrumented methods still raise the SDK's warnings
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

async def value(result):
    return await result if inspect.isawaitable(result) else result

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
    for either in (client, plain):
        await value(either.close())

asyncio.run(main())
"""

# The same without instrumentation, where no warning may be raised.
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
    """A method that a tracer wrapped before `wrap` sees each call of wrapped and unwrapped clients."""
    arguments = [kind, str(sqlite_settings.store), upstream.base_url, KEY]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    prefix = "" if kind == "sync" else "Async"
    names = ["Threads.create", "Threads.retrieve", "Assistants.create"]
    assert done.stdout.split() == [f"{prefix}{name}" for name in [*names, "Threads.create"]]


def test_without_a_tracer_no_warning_is_raised(upstream: StandIn, sqlite_settings: Settings) -> None:
    """A wrapped client raises no DeprecationWarning, and unknown arguments still raise a `TypeError`."""
    arguments = [str(sqlite_settings.store), upstream.base_url, KEY]
    done = subprocess.run([sys.executable, "-c", QUIET, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "quiet\n"), done.stderr
    assert upstream.requests == []
