"""docs/azure.md: its code runs as it stands, and its tables match the samples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from page import Page

from assistants_compat.testing import StandIn, Turn
from kit.identity_endpoints import token_endpoint
from kit.paths import ROOT

PAGE = Page("docs/azure.md")
BLOCKS = PAGE.blocks()
RESOURCE = '"https://my-resource.openai.azure.com"'


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_each_block_makes_a_client_that_works(
    number: int, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The client of each block runs a legacy conversation below /openai/v1, with a key or a token."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", upstream.azure_endpoint)
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(tmp_path / "store.db"))
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    source = BLOCKS[number].replace(RESOURCE, repr(upstream.azure_endpoint))
    uses_key = source == BLOCKS[number]
    if uses_key:
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "the-key")
    else:
        pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    upstream.keys = ["the-key" if uses_key else "token-1"]
    upstream.script(Turn(text="Done.", polls=0))
    with token_endpoint() as tokens:
        for name, value in tokens.app_service.items():
            monkeypatch.setenv(name, value)
        with PAGE.execute(source)["client"] as client:
            assistant = client.beta.assistants.create(model="gpt-4.1")
            run = client.beta.threads.create_and_run_poll(
                assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Go."}]}
            )
    assert run.status == "completed"
    assert {request.full_path.partition("/responses")[0] for request in upstream.requests} == {"/openai/v1"}
    versions = {value for request in upstream.requests for name, value in request.query if name == "api-version"}
    assert versions == ({"preview"} if "azure_api_version" in source else set())


def test_the_page_has_blocks_for_keys_and_for_identities() -> None:
    """The page has five code blocks, two of them with tokens."""
    assert (len(BLOCKS), sum(RESOURCE in block for block in BLOCKS)) == (5, 2)


def test_the_table_of_samples_is_the_folder() -> None:
    """The table has a row for every sample in the folder, and no other."""
    rows = re.findall(r"^\| `([\w.-]+\.py)` \|", PAGE.text, re.MULTILINE)
    assert sorted(rows) == sorted(path.name for path in (ROOT / "examples" / "azure").glob("*.py"))


def test_every_trouble_has_its_cause_and_its_fix() -> None:
    """Every heading of the troubleshooting has causes, each with its fix."""
    troubles = PAGE.text.partition("## Troubleshooting\n")[2].split("### ")[1:]
    assert len(troubles) >= 4
    for trouble in troubles:
        for item in re.split(r"^- ", trouble, flags=re.MULTILINE)[1:]:
            assert item.startswith("Cause")
            assert "Fix" in item
        assert "\n- Cause" in trouble


def test_the_page_is_linked_from_the_readme() -> None:
    """The README links to the page."""
    assert PAGE.is_linked_from_the_readme()
