"""The plugin's fixtures wrap the suite's own client and offer the stand-in to tests without a recording."""

from __future__ import annotations

from pathlib import Path

from kit.legacy_suites import Run

STAND_IN = """
import openai
import pytest
from assistants_compat.testing import Turn

def conversation(client):
    assistant = client.beta.assistants.create(model="gpt-4o")
    run = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "How many?"}]}
    )
    messages = client.beta.threads.messages.list(thread_id=run.thread_id)
    return [message.content[0].text.value for message in messages]

def test_stand_in(assistants_compat_upstream, assistants_compat_client):
    assistants_compat_upstream.script(Turn(text="Three.", polls=0))
    assert conversation(assistants_compat_client) == ["Three.", "How many?"]

def test_stand_in_by_environment(assistants_compat_upstream):
    assistants_compat_upstream.script(Turn(text="Four.", polls=0))
    import assistants_compat
    assert conversation(assistants_compat.wrap(openai.OpenAI())) == ["Four.", "How many?"]

@pytest.mark.anyio
async def test_stand_in_async(assistants_compat_upstream, assistants_compat_async_client):
    assistant = await assistants_compat_async_client.beta.assistants.create(model="gpt-4o")
    listed = await assistants_compat_async_client.beta.assistants.list()
    assert [each.id for each in listed.data] == [assistant.id]  # nothing of the tests before
"""

OWN = """
import openai
import pytest

@pytest.fixture(scope="session")
def my_client():
    return openai.OpenAI(max_retries=0)

@pytest.fixture
def assistant(my_client):
    return my_client.beta.assistants.create(model="gpt-4o")

def test_named(assistants_compat_client, my_client):
    assert assistants_compat_client is my_client
    assert type(my_client._client).__name__ == "SyncClientProxy"

def test_not_ours(my_client):
    assert type(my_client._client).__name__ != "SyncClientProxy"

@pytest.mark.assistants_compat("my_client")
def test_marked(assistant, my_client):
    assert my_client.beta.assistants.list().data == [assistant]

@pytest.mark.assistants_compat("another_client")
def test_another(my_client):
    assert type(my_client._client).__name__ != "SyncClientProxy"
"""


def test_the_stand_in_needs_no_recording(suite_folder: Path, run: Run) -> None:
    """Tests without a recording script the stand-in, and clients made by the tested code find it by the environment."""
    (suite_folder / "conftest.py").write_text("import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n")
    (suite_folder / "test_it.py").write_text(STAND_IN)
    run("-q").assert_outcomes(passed=3)


def test_the_suites_own_client_is_wrapped(suite_folder: Path, run: Run) -> None:
    """A client fixture that the ini option or the marker names is wrapped for these tests only, whatever its scope."""
    (suite_folder / "pytest.ini").write_text("[pytest]\nassistants_compat_clients = my_client\n")
    (suite_folder / "test_it.py").write_text(OWN)
    run("-q").assert_outcomes(passed=4)


def test_a_missing_client_fixture_is_an_error_with_names(suite_folder: Path, run: Run) -> None:
    """A suite without a client fixture gets an error that lists the names tried and the option for others."""
    (suite_folder / "test_it.py").write_text("def test_it(assistants_compat_client): pass\n")
    result = run("-q")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*None of the fixtures openai_client, client, * in the ini option assistants_compat_clients*"]
    )
