"""Runs `doctor` over the stand-in, with the variables of a healthy set-up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from assistants_compat import Settings
from assistants_compat.cli import app
from assistants_compat.settings import variables
from assistants_compat.testing import StandIn

KEY = "sk-the-secret-key"
_AZURE = ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_VERSION")


@dataclass(frozen=True)
class Doctor:
    """The command in an environment that names an upstream and a store."""

    monkeypatch: pytest.MonkeyPatch

    def use(self, upstream: StandIn, settings: Settings) -> Doctor:
        """Set the variables of a healthy set-up."""
        upstream.keys = [KEY]
        self.set(**dict.fromkeys(_AZURE), OPENAI_API_KEY=KEY, OPENAI_BASE_URL=upstream.base_url)
        self.set(**{variables()["store"]: str(settings.store), variables()["files"]: str(settings.files)})
        return self

    def set(self, **values: str | None) -> None:
        """Set variables; None unsets one."""
        for name, value in values.items():
            self.monkeypatch.delenv(name, raising=False)
            if value is not None:
                self.monkeypatch.setenv(name, value)

    def run(self, *arguments: str) -> Result:
        """Run the command, and show that it never prints the key."""
        result = CliRunner().invoke(app, ["doctor", *arguments], catch_exceptions=False)
        assert KEY not in result.output
        return result

    def report(self, *arguments: str) -> dict[str, Any]:
        """Run the command with --json and return what it prints."""
        return dict(json.loads(self.run("--json", *arguments).stdout))

    def finding(self, name: str, *arguments: str) -> tuple[str, str]:
        """Run the command; return the state of a check, and everything that it says and advises."""
        findings = [check for check in self.report(*arguments)["checks"] if check["check"] == name]
        states = [finding["state"] for finding in findings]
        worst = next(state for state in ("failed", "warning", "skipped", "ok") if state in states)
        return worst, " ".join(f"{finding['says']} {finding['do']}" for finding in findings)
