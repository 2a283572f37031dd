"""Settings are taken from arguments, then from environment variables, then from defaults."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from assistants_compat import Settings, SettingsError
from assistants_compat.settings import variables

VALUES = {
    "store": ("sqlite://", "sqlite://"),
    "files": ("/some/where", "/some/where"),
    "namespace": ("tenant", "tenant"),
    "mode": ("inline", "inline"),
    "stream": ("background", "background"),
    "run_ttl": ("60", 60),
    "poll_after_ms": ("20", 20),
    "models": ("gpt-4-turbo=gpt-4.1, gpt-4=gpt-4o", {"gpt-4-turbo": "gpt-4.1", "gpt-4": "gpt-4o"}),
    "store_responses": ("no", False),
    "memory_limit": ("4g", "4g"),
    "network_policy": ("a.org, b.org", {"type": "allowlist", "allowed_domains": ["a.org", "b.org"]}),
    "thread_files": ("delete", "delete"),
    "azure_api_version": ("preview", "preview"),
    "unknown_threads": ("create", "create"),
    "assistants": ("/some/where.toml", "/some/where.toml"),
    "on_file": ("builtins:print", print),
    "only": ("asst_a, asst_b", {"asst_a", "asst_b"}),
    "report": ("/var/log/calls.jsonl", "/var/log/calls.jsonl"),
}


@pytest.mark.parametrize("name", VALUES)
def test_every_setting_has_a_variable_and_an_argument_wins(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting can be set by its environment variable, and an argument overrides it."""
    default = getattr(Settings(), name)
    text, value = VALUES[name]
    monkeypatch.setenv(variables()[name], text)
    assert getattr(Settings(), name) == value
    assert value != default
    monkeypatch.setenv(variables()[name], {"models": "9=9", "store_responses": "1"}.get(name, "9"))
    assert getattr(Settings(**{name: value}), name) == value  # type: ignore[arg-type]


def test_the_table_of_values_covers_every_setting() -> None:
    """The table `VALUES` above has a row for every setting."""
    assert set(VALUES) == set(variables())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mode", "sideways"),
        ("unknown_threads", "sideways"),
        ("stream", "sideways"),
        ("run_ttl", "soon"),
        ("run_ttl", "0"),
        ("poll_after_ms", "-5"),
        ("models", "gpt-4"),
        ("models", "gpt-4=,a=b"),
        ("store_responses", "perhaps"),
        ("memory_limit", "2g"),
        ("network_policy", "a.org,,b.org"),
        ("thread_files", "sometimes"),
        ("azure_api_version", "preview&x=y"),
        ("on_file", "print"),
        ("on_file", "no_such_module:f"),
        ("on_file", "builtins:no_such_function"),
    ],
)
def test_an_invalid_variable_is_named(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid value in a variable raises an error that names variable, value and what is expected."""
    monkeypatch.setenv(variables()[name], text)
    with pytest.raises(SettingsError, match=rf"{variables()[name]}='{text}' is not valid; expected \S"):
        Settings()


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "sideways"},
        {"stream": "sideways"},
        {"run_ttl": 0},
        {"run_ttl": True},
        {"poll_after_ms": 1.5},
        {"namespace": ""},
        {"namespace": None},
        {"mode": ["auto"]},
        {"store": 1},
        {"files": b"here"},
        {"models": "a=b"},
        {"models": {"a": None}},
        {"models": None},
        {"store_responses": "no"},
        {"store_responses": 0},
        {"memory_limit": "2g"},
        {"network_policy": "disabled"},
        {"network_policy": {"type": "everything"}},
        {"network_policy": {"type": "disabled", "allowed_domains": ["a.org"]}},
        {"network_policy": {"type": "allowlist"}},
        {"network_policy": {"type": "allowlist", "allowed_domains": []}},
        {"network_policy": {"type": "allowlist", "allowed_domains": ["a.org"], "domain_secrets": [{}]}},
        {"thread_files": None},
        {"on_file": "builtins:print"},
        {"on_file": asyncio.sleep},
    ],
)
def test_an_invalid_argument_is_refused_at_once(arguments: dict[str, Any]) -> None:
    """An invalid argument of `Settings` is refused at once with its name, even a string such as "no" for a flag."""
    [name] = arguments
    with pytest.raises(SettingsError, match=rf"Settings\({name}=.*\) is not valid; expected .*\."):
        Settings(**arguments)


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("my.db", "{here}/my.db"),
        ("sqlite:///my.db", "sqlite:///{here}/my.db"),
        ("sqlite:////else/where.db", "sqlite:////else/where.db"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql+psycopg://host/db", "postgresql+psycopg://host/db"),
    ],
)
def test_a_relative_store_is_resolved_once(
    store: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative store path is resolved once, so a later change of directory does not move the store."""
    monkeypatch.chdir(tmp_path)
    assert Settings(store=store).store == expected.format(here=tmp_path)


def test_settings_cannot_be_changed_afterwards() -> None:
    """Settings are frozen."""
    settings = Settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.namespace = "other"  # type: ignore[misc]


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable means the default."""
    monkeypatch.setenv("ASSISTANTS_COMPAT_MODE", "")
    assert Settings().mode == "auto"


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///prefix",
        "s3://key:secret@bucket/x",
        "az://c/x?sig=secret",
        "gs://b/x#secret",
        "http://secret",
        "file:///x",
    ],
)
def test_an_invalid_url_for_files_is_refused_and_not_shown(url: str) -> None:
    """A URL for files of another kind, or with credentials, is refused by an error that does not repeat it."""
    with pytest.raises(SettingsError, match="without credentials") as caught:
        Settings(files=url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "az://con-tainer/a/b", "gs://some.bucket/ü b/c"])
def test_an_object_storage_url_is_kept(url: str) -> None:
    """An object storage URL is kept unchanged."""
    pytest.importorskip("obstore", reason="obstore is not installed")
    assert Settings(files=url).files == url
