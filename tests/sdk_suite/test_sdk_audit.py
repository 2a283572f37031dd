"""An audit of the SDK's own tests finds every call that a text search finds."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import openai
import pytest
import sdk_suite_source as source

from assistants_compat.tools.audit import audit

CALL = re.compile(r"\.beta\.(?:threads|assistants)\.[\w.]+\(|\.beta\.(?:threads|assistants)\.with_\w+\.[\w.]+\(")
# Calls of `beta.assistants` and `beta.threads`, by the SDK's version. The tests of other versions are read too.
EXPECTED = {"1.109": 254, "2.54": 256, "3.54": 264, "3.57": 264}
WITHOUT_PATCH = openai.__version__.rpartition(".")[0]


@pytest.fixture
def suite(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of the installed SDK's own tests, downloaded once; skips where that fails (CI fails)."""
    return source.cached_suite(request.config, openai.__version__, tmp_path)


@pytest.mark.timeout(300)  # the download
def test_every_call_in_the_sdks_own_tests_is_found(suite: Path, record_property: Callable[[str, object], None]) -> None:
    """The audit reads every file, finds as many calls as a text search, and knows all of them."""
    result = audit([suite / "tests"], include_ignored=True)
    assert result.unread == {}
    calls = [use for use in result.uses if use.kind == "call" and use.what.startswith(("beta.threads", "beta.ass"))]
    assert {use.verdict for use in calls} <= {"works", "differs"}
    matches = sum(len(CALL.findall(path.read_text(encoding="utf-8"))) for path in (suite / "tests").rglob("*.py"))
    record_property("sdk_calls", len(calls))  # for docs/versions.md
    assert len(calls) == EXPECTED.get(WITHOUT_PATCH, len(calls))
    assert 0 <= len(calls) - matches <= 1  # one call uses an alias
