"""Hundreds of streams at once over one client all complete their runs."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from assistants_compat import Settings
from assistants_compat.doors import stream_readers
from assistants_compat.testing import StandIn
from kit.doors import Door
from kit.legacy_code import dump_store
from kit.streams import eventually

STREAM_COUNT, THREAD_COUNT = 200, 20


def test_two_hundred_asynchronous_streams_complete(upstream: StandIn, sqlite_settings: Settings) -> None:
    """Two hundred streams over one client complete with their own text, although a quarter are closed early."""
    door = Door("async", asyncio.new_event_loop())
    client = door.client(upstream, sqlite_settings, timeout=60)

    async def stream_one(assistant_id: str, number: int) -> str | None:
        thread = {"messages": [{"role": "user", "content": f"number {number}"}]}
        stream = await client.beta.threads.create_and_run(assistant_id=assistant_id, thread=thread, stream=True)
        text = ""
        async for event in stream:
            if event.event == "thread.message.delta":
                text += event.data.delta.content[0].text.value
                if number % 4 == 0:
                    await stream.close()
                    return None
        return text

    async def stream_all() -> list[str | None]:
        assistant = await client.beta.assistants.create(model="gpt-4o", instructions="Help.")
        texts = await asyncio.gather(*(stream_one(assistant.id, number) for number in range(STREAM_COUNT)))
        await client.close()
        return list(texts)

    started = time.monotonic()
    texts = door(stream_all())
    assert time.monotonic() - started < 45
    assert texts == [None if number % 4 == 0 else f"You said: number {number}" for number in range(STREAM_COUNT)]
    check_rows(sqlite_settings, [f"You said: number {number}" for number in range(STREAM_COUNT)])
    assert len(upstream.requests) == STREAM_COUNT
    assert door.loop is not None
    assert asyncio.all_tasks(door.loop) == set()
    door.close()


def test_twenty_threads_over_one_client_complete(upstream: StandIn, sqlite_settings: Settings) -> None:
    """Twenty threads stream twice over one synchronous client; all runs complete, although every other loop breaks."""
    door = Door("sync")
    client = door.client(upstream, sqlite_settings, timeout=60)
    assistant = client.beta.assistants.create(model="gpt-4o", instructions="Help.")
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(2):
                thread = {"messages": [{"role": "user", "content": f"{number} {turn}"}]}
                stream = client.beta.threads.create_and_run(assistant_id=assistant.id, thread=thread, stream=True)
                for event in stream:
                    if number % 2 and event.event == "thread.message.created":
                        break
        except BaseException as error:  # noqa: BLE001 - asserted in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREAD_COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert errors == []
    inner: Any = client._client
    client.close()
    assert stream_readers._registry.owned_by(inner.__wrapped__) == []
    check_rows(sqlite_settings, [f"You said: {number} {turn}" for number in range(THREAD_COUNT) for turn in range(2)])
    assert len(upstream.requests) == 2 * THREAD_COUNT


def check_rows(settings: Settings, texts: list[str]) -> None:
    """Check that every run has completed and stored its message."""
    eventually(lambda: {row["status"] for row in dump_store(settings)["runs"]} == {"completed"})
    rows = dump_store(settings)
    answers = [row["body"]["content"][0]["text"]["value"] for row in rows["messages"] if row["run_id"]]
    assert sorted(answers) == sorted(texts)
    assert {row["lease_until"] for row in rows["runs"]} == {0}
