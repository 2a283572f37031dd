"""What upstreams have refused is remembered for the process, and said once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from assistants_compat import Settings
from assistants_compat.runtime.upstream_memory import UpstreamMemory, forget_store, memory_of


def test_a_refusal_is_remembered_for_its_upstream_and_key(caplog: pytest.LogCaptureFixture) -> None:
    """Another upstream or another model knows nothing of it, and the row's line is logged once."""
    caplog.set_level(logging.INFO, logger="assistants_compat")
    memory = UpstreamMemory()
    here, there = memory.of("https://a/v1"), memory.of("https://b/v1")
    assert here.remember("sampling_unsupported", "gpt-5")
    assert not here.remember("sampling_unsupported", "gpt-5")
    assert here.knows("sampling_unsupported", "gpt-5")
    assert not here.knows("sampling_unsupported", "gpt-4o")
    assert not there.knows("sampling_unsupported", "gpt-5")
    assert [record.getMessage() for record in caplog.records] == [
        "the model takes no such parameter; it is left out for this model (gpt-5)"
    ]


def test_what_was_saved_earlier_is_known_to_every_key(caplog: pytest.LogCaptureFixture) -> None:
    """A verdict that was read from the store holds for each credential, and is not logged."""
    memory = UpstreamMemory([("https://a/v1", "background_refused", "")])
    memory.add("https://a/v1", "stream_unverified", "o3")
    for credential in ("", "sk-one", "sk-two"):
        assert memory.of("https://a/v1", credential).knows("background_refused")
        assert memory.of("https://a/v1", credential).knows("stream_unverified", "o3")
    assert not caplog.records


def test_one_key_learns_nothing_from_another() -> None:
    """What one organization is refused, clients with the key of another one still send."""
    memory = UpstreamMemory()
    memory.of("https://a/v1", "sk-one").remember("stream_unverified", "o3")
    assert memory.of("https://a/v1", "sk-one").knows("stream_unverified", "o3")
    assert not memory.of("https://a/v1", "sk-two").knows("stream_unverified", "o3")
    assert "sk-one" not in repr(vars(memory))


def test_notes_are_no_verdicts() -> None:
    """A note is kept for the process, beside the verdicts."""
    here = UpstreamMemory().of("https://a/v1")
    assert not here.has_note("seen")
    here.note("seen")
    assert here.has_note("seen")
    assert not here.knows("seen")


def test_only_the_newest_responses_are_kept() -> None:
    """A process that creates runs for others to poll does not grow."""
    memory = UpstreamMemory()
    here = memory.of("https://a/v1")
    for number in range(3000):
        here.note_created(f"resp_{number}")
    assert here.has_created("resp_2999")
    assert not here.has_created("resp_0")
    assert len(memory._responses) == 1000


def test_clients_of_a_store_and_namespace_share_a_memory(tmp_path: Path) -> None:
    """A program that makes a client for each request learns once."""
    store = str(tmp_path / "store.db")
    shared = memory_of(Settings(store=store))
    assert memory_of(Settings(store=store)) is shared
    assert memory_of(Settings(store=store, namespace="b")) is not shared
    forget_store(store)
    assert memory_of(Settings(store=store)) is not shared
