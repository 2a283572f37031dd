"""The SDK's own tests of assistants, threads, messages, runs and steps pass over the wrapped client."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import openai
import pytest
import sdk_suite_cases as cases
import sdk_suite_source as source

from kit.paths import SPEC

HERE = Path(__file__).parent
PASSED = "passed"
WITHOUT_PATCH = openai.__version__.rpartition(".")[0]


@dataclass(frozen=True)
class Case:
    """One case of the suite with its outcome: `passed`, or the reason why it did not pass."""

    function: str
    client: cases.Client
    outcome: str
    detail: str


@pytest.fixture
def suite(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of the installed SDK's own suite, downloaded once; skips where that fails (CI fails)."""
    pytest.importorskip("rich", reason="the SDK's tests import rich, which is not installed")
    return source.cached_suite(request.config, openai.__version__, tmp_path)


@pytest.mark.timeout(900)  # some 600 cases in a process of their own, and before them the download
def test_all_of_the_sdks_own_cases_pass(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    """Every case passes, but for a missing aiohttp client and cases that the service or the SDK itself fails."""
    results = _run(suite, tmp_path / "junit.xml")
    counts = Counter(case.outcome for case in results)
    with capsys.disabled():
        # On stderr, because that also reaches the terminal from a pytest-xdist worker.
        outcomes = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
        summary = (
            f"The test suite of openai {openai.__version__} over the wrapped client, {len(results)} cases: {outcomes}"
        )
        print(f"\n{summary}", file=sys.stderr, flush=True)  # noqa: T201 - the number is part of the result

    record_property("sdk_suite", outcomes)  # for docs/versions.md
    has_aiohttp = cases.aiohttp_client() is not None
    own = {cases.THREE_OUTPUTS_REASON, cases.OWN_SIGNATURES_REASON}
    allowed = {PASSED, *own, *(() if has_aiohttp else (cases.AIOHTTP_MISSING,))}
    assert [case for case in results if case.outcome not in allowed] == []
    assert len(results) >= cases.FEWEST
    for client, expected in cases.EXPECTED.get(WITHOUT_PATCH, {}).items():
        if client == "ordinary" or has_aiohttp:
            assert sum(case.client == client and case.outcome == PASSED for case in results) == expected


def _run(suite: Path, report: Path) -> list[Case]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "sdk_suite_plugin", "-p", "no:cacheprovider", "--noconftest"]
    command += [f"--rootdir={suite}", f"-c={HERE / 'sdk_suite.ini'}", f"--junitxml={report}"]
    command += [name for name in cases.FILES if (suite / name).is_file()]
    result = subprocess.run(
        command, cwd=suite, env=_environment(), capture_output=True, text=True, timeout=800, check=False
    )
    if not report.is_file():
        pytest.fail(f"the suite did not run:\n{result.stdout}\n{result.stderr}")
    tree = ET.parse(report)  # noqa: S314 - pytest has just written it
    return [_case(element) for element in tree.iter("testcase")]


def _environment() -> Mapping[str, str]:
    # Absolute, because the suite runs in its own folder.
    paths = [HERE, *(Path(entry).absolute() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the plugins of our own tests are not needed there
        "SDK_SUITE_SPEC": str(SPEC) if SPEC.is_file() and importlib.util.find_spec("jsonschema") else "",
    }
    environment.pop("PYTEST_ADDOPTS", None)
    return environment


def _case(element: ET.Element) -> Case:
    function, _, variant = element.get("name", "").partition("[")
    client: cases.Client = "aiohttp" if variant.startswith("aiohttp") else "ordinary"
    outcome, detail = PASSED, ""
    for child in element:
        if child.tag in {"failure", "error", "skipped"}:
            message = child.get("message", "")
            outcome, detail = (message, "") if child.tag == "skipped" else (child.tag, f"{message}\n{child.text}")
    if cases.THREE_OUTPUTS in detail and detail.count("', '") >= 2:
        outcome, detail = cases.THREE_OUTPUTS_REASON, ""
    if cases.OWN_SIGNATURES in detail and function.endswith("_method_definition_in_sync"):
        outcome, detail = cases.OWN_SIGNATURES_REASON, ""
    return Case(function, client, outcome, detail)


def test_only_regular_files_below_tests_are_extracted(tmp_path: Path) -> None:
    """Links, absolute paths, `..` and everything outside `tests/` are not extracted."""
    archive = tmp_path / "sdk.tar.gz"
    names = ["sdk-1/tests/a.py", "sdk-1/tests/deep/b.py", "sdk-1/src/c.py", "sdk-1/tests/../../d.py", "/e/tests/e.py"]
    with tarfile.open(archive, "w:gz") as opened:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 1
            opened.addfile(member, io.BytesIO(b"#"))
        link = tarfile.TarInfo("sdk-1/tests/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "../../outside"
        opened.addfile(link)

    source.extract(archive, tmp_path / "out" / "sdk")

    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.py")) == [
        "out/sdk/tests/a.py",
        "out/sdk/tests/deep/b.py",
    ]


def test_a_distribution_without_tests_says_so(tmp_path: Path) -> None:
    """The source distribution of an early SDK, which has no tests, is told from one that cannot be downloaded."""
    archive = tmp_path / "sdk.tar.gz"
    with tarfile.open(archive, "w:gz") as opened:
        opened.addfile(tarfile.TarInfo("sdk-1/src/a.py"), io.BytesIO())
    with pytest.raises(source.NotIncludedError, match="holds no tests"):
        source.extract(archive, tmp_path / "sdk")


def test_without_an_index_the_suite_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a package index the error quotes pip, and nothing incomplete is left."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(source.UnavailableError, match="pip could not download it"):
        source.download_suite("3.57.0", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
