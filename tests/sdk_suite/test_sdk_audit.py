"""An audit of the SDK's own tests, from its source distribution, finds what a search for the words finds."""

from __future__ import annotations

import os
import re
from pathlib import Path

import openai
import pytest
import sdk_suite_source as source

from assistants_compat.tools.audit import audit

WORDS = re.compile(r"\.beta\.(?:threads|assistants)\.[\w.]+\(|\.beta\.(?:threads|assistants)\.with_\w+\.[\w.]+\(")
# Calls of `beta.assistants` and `beta.threads`, by the SDK's version.
EXPECTED = {"1.109": 254, "2.54": 256, "3.54": 264}
WITHOUT_PATCH = openai.__version__.rpartition(".")[0]


@pytest.fixture
def suite(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of the installed SDK's own tests, downloaded once; skipped where it cannot be had (CI fails)."""
    cache = getattr(request.config, "cache", None)  # absent with `-p no:cacheprovider`
    folder = tmp_path if cache is None else cache.mkdir("openai-sdist")
    try:
        return source.suite_of(openai.__version__, folder)
    except source.UnavailableError as error:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"the source distribution of openai {openai.__version__} is not to be had: {error}")


@pytest.mark.timeout(300)  # the download
@pytest.mark.skipif(WITHOUT_PATCH not in EXPECTED, reason=f"no numbers for the tests of openai {WITHOUT_PATCH}")
def test_every_call_in_the_sdks_own_tests_is_found(suite: Path) -> None:
    """As many calls as the text has, all of them answered, and every file is read."""
    done = audit([suite / "tests"], everything=True)
    assert done.unread == {}
    calls = [each for each in done.uses if each.kind == "call" and each.what.startswith(("beta.threads", "beta.ass"))]
    assert {each.verdict for each in calls} <= {"works", "differs"}
    written = sum(len(WORDS.findall(path.read_text(encoding="utf-8"))) for path in (suite / "tests").rglob("*.py"))
    assert len(calls) == EXPECTED[WITHOUT_PATCH]
    assert 0 <= len(calls) - written <= 1  # one goes by another name
