"""A stream that is interrupted while it waits for a container loses no file, and gives none to the next run."""

from __future__ import annotations

import pytest

from assistants_compat import Settings
from assistants_compat.engine.io import BlockingIO
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door

LINK = "[d](sandbox:/mnt/data/d.csv)"


@pytest.mark.parametrize("route", ["/containers/*/files", "/containers/*/files/*/content"])
def test_an_interrupt_while_a_stream_waits_loses_no_file(
    upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    """The file of a run that Ctrl-C ended while its container was listed or read stays the file of that run."""
    upstream.fault(Fault(f"GET {route}", status=429, headers={"retry-after": "15"}))
    upstream.script(
        Turn(code="1", text=LINK, files={"d.csv": b"1"}), Turn(code="2", text="More.", files={"e.csv": b"2"})
    )
    door = Door("sync")
    client = door.client(upstream, sqlite_settings)
    assistant = client.beta.assistants.create(model="gpt-4o", tools=[{"type": "code_interpreter"}])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hello"}])

    async def interrupt(_io: BlockingIO, _seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BlockingIO, "sleep", interrupt)
        stream = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)
        with pytest.raises(KeyboardInterrupt):
            list(stream)
        stream.close()
    client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    answers = [message for message in client.beta.threads.messages.list(thread.id, order="asc") if message.run_id]
    contents = [[client.files.content(each.file_id).read() for each in message.attachments] for message in answers]
    door.close()
    assert contents == [[b"1"], [b"2"]]
