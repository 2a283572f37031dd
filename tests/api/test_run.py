"""A legacy conversation with Code Interpreter works from the assistant to the downloaded file."""

from __future__ import annotations

from typing import Any

from assistants_compat.testing import StandIn, Turn
from kit.doors import Door

CSV = b"region,sales\nnorth,10\n"
TEXT = "Done: [the table](sandbox:/mnt/data/sales.csv)"


def test_a_legacy_conversation_ends_with_a_download(door: Door, client: Any, upstream: StandIn) -> None:
    """A legacy script asks for a CSV file and downloads it by the id in its `file_path` annotation."""
    upstream.script(Turn(text=TEXT, files={"sales.csv": CSV}, code="print(1)", logs="1\n"))
    assistant = door(
        client.beta.assistants.create(model="gpt-4o", instructions="Analyse.", tools=[{"type": "code_interpreter"}])
    )
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "A table, please."}]))
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    message = door.all(client.beta.threads.messages.list(thread.id))[0]
    [annotation] = message.content[0].text.annotations
    assert message.content[0].text.value[annotation.start_index : annotation.end_index] == annotation.text
    content = door(client.files.content(annotation.file_path.file_id))
    assert content.read() == CSV
