"""An audit of the SDK's own tests finds every call that a text search finds."""

from __future__ import annotations

import os
import re
from pathlib import Path

import openai
import pytest
import sdk_suite_source as source

from assistants_compat.tools.audit import audit

CALL = re.compile(r"\.beta\.(?:threads|assistants)\.[\w.]+\(|\.beta\.(?:threads|assistants)\.with_\w+\.[\w.]+\(")
# Calls of `beta.assistants` and `beta.threads`, by the SDK's version.
EXPECTED = {"1.109": 254, "2.54": 256, "3.54": 264}
WITHOUT_PATCH = openai.__version__.rpartition(".")[0]


@pytest.fixture
def suite(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of the installed SDK's own tests, downloaded once; skips where that fails (CI fails)."""
    cache = getattr(request.config, "cache", None)  # absent with `-p no:cacheprovider`
    folder = tmp_path if cache is None else cache.mkdir("openai-sdist")
    try:
        return source.download_suite(openai.__version__, folder)
    except source.UnavailableError as error:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"the source distribution of openai {openai.__version__} cannot be downloaded: {error}")


@pytest.mark.timeout(300)  # the download
@pytest.mark.skipif(WITHOUT_PATCH not in EXPECTED, reason=f"no numbers for the tests of openai {WITHOUT_PATCH}")
def test_every_call_in_the_sdks_own_tests_is_found(suite: Path) -> None:
    """The audit reads every file, finds as many calls as a text search, and knows all of them."""
    result = audit([suite / "tests"], include_ignored=True)
    assert result.unread == {}
    calls = [use for use in result.uses if use.kind == "call" and use.what.startswith(("beta.threads", "beta.ass"))]
    assert {use.verdict for use in calls} <= {"works", "differs"}
    matches = sum(len(CALL.findall(path.read_text(encoding="utf-8"))) for path in (suite / "tests").rglob("*.py"))
    assert len(calls) == EXPECTED[WITHOUT_PATCH]
    assert 0 <= len(calls) - matches <= 1  # one call uses an alias
