"""docs/api.md describes every public name with its signature and an example, and the examples run."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import openai
import pytest
from interface import GROUPS, public
from page import Page

import assistants_compat
from assistants_compat.testing import StandIn, Turn
from kit.doors import KEY
from kit.identity_endpoints import token_endpoint

PAGE = Page("docs/api.md")
NAMES = [name for names in GROUPS.values() for name in names]
EXAMPLES = {
    name: example
    for name, text in re.findall(r"^### (\S+)\n(.*?)(?=^#|\Z)", PAGE.text, re.DOTALL | re.MULTILINE)
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
}


def test_the_page_has_every_public_name() -> None:
    """The page describes all of `__all__`, and the two functions of `assistants_compat.azure`."""
    assert sorted(NAMES) == sorted([*assistants_compat.__all__, "azure.client", "azure.async_client"])


def test_every_public_name_but_the_version_has_an_example() -> None:
    """The docstring of each function, class and error ends with an example."""
    assert sorted(EXAMPLES) == sorted(set(NAMES) - {"__version__"})


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isfunction(public(name))])
def test_every_function_says_what_it_raises(name: str) -> None:
    """The docstring of each function names its errors; `uninstall` raises none."""
    assert name == "uninstall" or "Raises `" in public(name).__doc__


@pytest.mark.parametrize("name", [name for name in EXAMPLES if not name.startswith("azure.")])
def test_an_example_runs(
    name: str, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each example runs as it stands, on a wrapped client and a thread whose run has generated a file."""
    request.addfinalizer(assistants_compat.uninstall)
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", "sqlite://")
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    upstream.script(
        Turn(text="[primes](sandbox:/mnt/data/primes.csv)", files={"primes.csv": b"2,3,5\n"}), Turn(text="Yes.")
    )
    with openai.OpenAI() as client:
        names = _prepared(assistants_compat.wrap(client))
        with _documented_error(name):
            exec(compile(EXAMPLES[name], name, "exec"), names)  # noqa: S102 - our own docstring
        if names["client"] is not client:
            names["client"].close()


def _documented_error(name: str) -> contextlib.AbstractContextManager[Any]:
    """Expect the error of `file_url` for files in a local directory; every other example succeeds."""
    if name == "file_url":
        return pytest.raises(assistants_compat.CompatError, match="local directory")
    return contextlib.nullcontext()


def _prepared(client: Any) -> dict[str, Any]:
    """Return the names that the examples take for granted."""
    assistant = client.beta.assistants.create(model="gpt-4.1", tools=[{"type": "code_interpreter"}])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Make a CSV."}])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    [message] = client.beta.threads.messages.list(thread.id, run_id=run.id)
    return {
        "assistants_compat": assistants_compat,
        "openai": openai,
        "client": client,
        "assistant": assistant,
        "thread": thread,
        "run": run,
        "file_id": message.content[0].text.annotations[0].file_path.file_id,
        "conversation_id": assistants_compat.to_conversation(client, thread.id).id,
    }


@pytest.mark.parametrize("name", ["azure.client", "azure.async_client"])
def test_an_azure_example_makes_a_client(name: str, upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Azure example makes a client that gets its token from azure-identity and whose calls are answered."""
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", upstream.azure_endpoint)
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", "sqlite://")
    example = EXAMPLES[name].replace("https://my-resource.openai.azure.com", upstream.azure_endpoint)
    body = textwrap.indent(example, "    ")
    names: dict[str, Any] = {"assistants_compat": assistants_compat}
    exec(f"async def example():\n{body}\n    return client, assistant", names)  # noqa: S102 - our own docstring

    async def run() -> str:
        client, assistant = await names["example"]()
        closed = client.close()
        if inspect.isawaitable(closed):
            await closed
        return str(assistant.model)

    with token_endpoint() as tokens:
        for variable, value in tokens.app_service.items():
            monkeypatch.setenv(variable, value)
        assert asyncio.run(run()) == "my-deployment"
    assert tokens.requested_scopes == ["https://cognitiveservices.azure.com"]
