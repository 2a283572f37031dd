"""`doctor` reports each fault with advice, never hangs and never shows a key."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from typer.testing import CliRunner

from assistants_compat import Settings
from assistants_compat.cli import app, doctor, doctor_ask, doctor_checks
from assistants_compat.settings import variables
from assistants_compat.testing import Fault, StandIn
from kit.doors import Door
from kit.identity_endpoints import token_endpoint
from kit.legacy_code import make_assistant

KEY = "sk-the-secret-key"
AZURE = ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_VERSION")
REFUSED = {"error": {"message": "Not so.", "type": "invalid_request_error", "param": None, "code": None}}


@pytest.fixture
def set_variables(monkeypatch: pytest.MonkeyPatch, upstream: StandIn, sqlite_settings: Settings) -> Callable[..., None]:
    """Set the variables of a healthy set-up, and return a function that changes some; None unsets one."""

    def change(**values: str | None) -> None:
        for name, value in values.items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)

    upstream.keys = [KEY]
    store = str(sqlite_settings.store)
    change(**dict.fromkeys(AZURE), OPENAI_API_KEY=KEY, OPENAI_BASE_URL=upstream.base_url)
    change(**{variables()["store"]: store, variables()["files"]: str(sqlite_settings.files)})
    return change


@pytest.fixture
def run_doctor(set_variables: object) -> Callable[..., dict[str, Any]]:
    """Return a function that runs doctor and gives the findings of each check."""

    def run(*arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(app, ["doctor", "--json", *arguments], catch_exceptions=False)
        assert KEY not in result.output
        report = json.loads(result.stdout)
        assert result.exit_code == (0 if report["ok"] else 1)
        assert report["ok"] == all(check["state"] != "failed" for check in report["checks"])
        for check in report["checks"]:
            assert bool(check["do"]) == (check["state"] in ("failed", "warning"))
        names = dict.fromkeys(check["check"] for check in report["checks"])
        return {name: [finding for finding in report["checks"] if finding["check"] == name] for name in names}

    return run


def worst_state(findings: dict[str, Any], name: str) -> str:
    """Return the worst state of a check."""
    states = [finding["state"] for finding in findings[name]]
    return next(state for state in ("failed", "warning", "skipped", "ok") if state in states)


def text_of(findings: dict[str, Any], name: str) -> str:
    """Return everything that a check reports and advises."""
    return " ".join(f"{finding['says']} {finding['do']}" for finding in findings[name])


def test_a_healthy_set_up_passes(
    run_doctor: Callable[..., Any], sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """In a healthy set-up every check is ok or skipped as not applicable, and nothing is written."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    upstream.requests.clear()
    findings = run_doctor()
    assert {name: worst_state(findings, name) for name in findings} == {
        "sdk": "ok",
        "extras": "ok",
        "switch": "ok",
        "settings": "ok",
        "assistants": "skipped",
        "report": "skipped",
        "store": "ok",
        "files": "ok",
        "azure": "skipped",
        "key": "ok",
        "upstream": "ok",
        "models": "ok",
        "background": "skipped",
        "conversation": "skipped",
        "stream": "skipped",
        "requests": "skipped",
    }
    assert list(findings) == [name for name, _ in (*doctor_checks.CHECKS, *doctor_ask.CHECKS)]
    assert [(request.method, request.path) for request in upstream.requests] == [("GET", "/models")]
    assert [path for path in Path(str(sqlite_settings.files)).rglob("*") if path.is_file()] == []


def test_a_missing_store_is_not_created(run_doctor: Callable[..., Any], set_variables: Any, tmp_path: Path) -> None:
    """A missing store is reported as creatable and not created, and the check of models is skipped."""
    findings = run_doctor()
    assert "does not exist yet and can be created" in text_of(findings, "store")
    assert not (tmp_path / "store.db").exists()
    assert worst_state(findings, "models") == "skipped"


def test_each_invalid_setting_is_named(run_doctor: Callable[..., Any], set_variables: Any) -> None:
    """Each invalid setting is named, and checks that depend on the settings are skipped."""
    set_variables(ASSISTANTS_COMPAT_MODE="often", ASSISTANTS_COMPAT_RUN_TTL="x")
    findings = run_doctor()
    assert "correct or unset ASSISTANTS_COMPAT_MODE" in text_of(findings, "settings")
    assert "correct or unset ASSISTANTS_COMPAT_RUN_TTL" in text_of(findings, "settings")
    assert {worst_state(findings, name) for name in ("store", "files", "key", "upstream", "models")} == {"skipped"}


@pytest.mark.parametrize("name", ["ASSISTANTS_COMPAT_STOER", "ASSISTANT_COMPAT_STORE"])
def test_a_misspelled_variable_gets_a_suggestion(run_doctor: Callable[..., Any], set_variables: Any, name: str) -> None:
    """A variable with a misspelled name is a warning with the probable name."""
    set_variables(**{name: "x"})
    findings = run_doctor()
    assert (
        worst_state(findings, "settings"),
        "did you mean ASSISTANTS_COMPAT_STORE?" in text_of(findings, "settings"),
    ) == (
        "warning",
        True,
    )


def test_a_switch_that_is_off_is_a_failure(run_doctor: Callable[..., Any], set_variables: Any) -> None:
    """A switch that is off fails its check and skips what needs a wrapped client; an unknown value is reported too."""
    set_variables(ASSISTANTS_COMPAT="off")
    findings = run_doctor()
    assert {name: worst_state(findings, name) for name in ("switch", "settings", "key", "upstream")} == {
        "switch": "failed",
        "settings": "ok",
        "key": "skipped",
        "upstream": "skipped",
    }
    assert "unset ASSISTANTS_COMPAT" in text_of(findings, "switch")
    set_variables(ASSISTANTS_COMPAT="sideways")
    assert "ASSISTANTS_COMPAT='sideways' is not valid" in text_of(run_doctor(), "switch")


def test_an_invalid_file_of_assistants_is_a_failure(
    run_doctor: Callable[..., Any], set_variables: Any, tmp_path: Path
) -> None:
    """An invalid file of assistants is reported with assistant and field; the models of a valid one are checked."""
    path = tmp_path / "assistants.json"
    set_variables(ASSISTANTS_COMPAT_ASSISTANTS=str(path))
    assert "cannot be read" in text_of(run_doctor(), "assistants")
    path.write_text(json.dumps({"asst_x": {"model": 7}}), encoding="utf-8")
    findings = run_doctor()
    assert (
        worst_state(findings, "assistants"),
        "asst_x: Invalid type for 'model'" in text_of(findings, "assistants"),
    ) == (
        "failed",
        True,
    )
    path.write_text(json.dumps({"asst_x": {"model": "gpt-gone"}}), encoding="utf-8")
    findings = run_doctor()
    assert worst_state(findings, "assistants") == "ok"
    assert "gpt-gone" in text_of(findings, "models")


@pytest.mark.parametrize(("name", "expected"), [("new/report.jsonl", "ok"), ("file/report.jsonl", "warning")])
def test_an_unwritable_report_is_a_warning(
    run_doctor: Callable[..., Any], set_variables: Any, tmp_path: Path, name: str, expected: str
) -> None:
    """A report that cannot be written is only a warning, because programs run without it; no folder is created."""
    (tmp_path / "file").touch()
    set_variables(ASSISTANTS_COMPAT_REPORT=str(tmp_path / name))
    assert worst_state(run_doctor(), "report") == expected
    assert not (tmp_path / "new").exists()


def test_an_unknown_setting_is_reported(run_doctor: Callable[..., Any], set_variables: Any) -> None:
    """A variable that is like no setting is reported as unused."""
    set_variables(ASSISTANTS_COMPAT_QQQQQQQQ="x")
    assert "no setting has this name" in text_of(run_doctor(), "settings")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no mode bits")
def test_a_store_that_others_can_read_is_a_warning(
    run_doctor: Callable[..., Any], sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """A store that other users can read is a warning with the command that protects it."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    os.chmod(str(sqlite_settings.store), 0o644)  # noqa: PTH101 - a string
    findings = run_doctor()
    assert worst_state(findings, "store") == "warning"
    assert f"chmod 600 {sqlite_settings.store}" in text_of(findings, "store")


def test_a_nearly_full_disk_is_reported(
    run_doctor: Callable[..., Any],
    sync: Door,
    upstream: StandIn,
    sqlite_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk with little free space is reported before a run fails on it."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    assert "only 0 MB are free" in text_of(run_doctor(), "store")


def test_a_store_of_a_newer_version_is_a_failure(run_doctor: Callable[..., Any], sqlite_settings: Settings) -> None:
    """A store of a newer version fails with the store's own message."""
    with sqlite3.connect(str(sqlite_settings.store)) as db:
        db.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        db.execute("INSERT INTO schema_version VALUES (99)")
    os.chmod(str(sqlite_settings.store), 0o600)  # noqa: PTH101 - a string
    findings = run_doctor()
    assert worst_state(findings, "store") == "failed"
    assert "install a newer assistants_compat" in text_of(findings, "store")


def test_locations_that_cannot_be_created_are_failures(
    run_doctor: Callable[..., Any], set_variables: Any, tmp_path: Path
) -> None:
    """A store and a folder of files that cannot be created fail their checks."""
    (tmp_path / "file").write_text("x")
    set_variables(
        ASSISTANTS_COMPAT_STORE=str(tmp_path / "file" / "store.db"), ASSISTANTS_COMPAT_FILES=str(tmp_path / "file")
    )
    findings = run_doctor()
    assert (worst_state(findings, "store"), worst_state(findings, "files")) == ("failed", "failed")
    assert "cannot be created" in text_of(findings, "store")


def test_a_store_in_memory_is_a_warning(run_doctor: Callable[..., Any], set_variables: Any) -> None:
    """A store in memory is a warning, because it ends with the process."""
    set_variables(ASSISTANTS_COMPAT_STORE="sqlite://")
    assert worst_state(run_doctor(), "store") == "warning"


def test_a_locked_database_ends_its_check_at_the_timeout(
    run_doctor: Callable[..., Any], sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """The check of a locked database ends at its timeout, and the other checks run."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    with sqlite3.connect(str(sqlite_settings.store), isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        findings = run_doctor("--timeout", "0.4")
        holder.execute("ROLLBACK")
    assert "no answer within 0.4 seconds" in text_of(findings, "store")
    assert worst_state(findings, "upstream") == "ok"


def test_a_password_in_a_url_is_not_shown(run_doctor: Callable[..., Any], set_variables: Any) -> None:
    """The password in a database URL is never printed, not even inside the driver's message."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    set_variables(ASSISTANTS_COMPAT_STORE="postgresql+psycopg://me:the-password@127.0.0.1:9/db")
    findings = run_doctor()
    assert worst_state(findings, "store") == "failed"
    assert "the-password" not in json.dumps(findings)


def test_a_missing_key_is_reported(run_doctor: Callable[..., Any], set_variables: Any) -> None:
    """A missing key is reported with the name of its variable."""
    set_variables(OPENAI_API_KEY=None)
    findings = run_doctor()
    assert (worst_state(findings, "key"), worst_state(findings, "upstream")) == ("failed", "skipped")
    assert "set OPENAI_API_KEY" in text_of(findings, "key")


def test_a_refused_key_is_reported_without_the_key(run_doctor: Callable[..., Any], upstream: StandIn) -> None:
    """A refused key is reported without the service's message, which quotes parts of the key."""
    upstream.keys = ["another"]
    findings = run_doctor()
    assert worst_state(findings, "upstream") == "failed"
    assert "rejected the key (401) check OPENAI_API_KEY" in text_of(findings, "upstream")


@pytest.mark.parametrize(
    ("fault", "expected", "words"),
    [
        (Fault(match="GET /models", status=403, body=REFUSED), "warning", "does not list its models (403): Not so."),
        (Fault(match="GET /models", status=404, body=REFUSED), "failed", "check OPENAI_BASE_URL"),
        (Fault(match="GET /models", status=500, body=REFUSED), "failed", "answered 500: Not so."),
        (Fault(match="GET /models", drop=True), "failed", "cannot be reached"),
        (Fault(match="GET /models", html=True, status=200), "failed", "gave no JSON object"),
    ],
)
def test_each_upstream_fault_has_its_advice(
    run_doctor: Callable[..., Any], upstream: StandIn, fault: Fault, expected: str, words: str
) -> None:
    """Each kind of upstream fault is reported with its own advice after one request."""
    upstream.fault(fault)
    findings = run_doctor()
    assert worst_state(findings, "upstream") == expected
    assert words in text_of(findings, "upstream")
    assert len(upstream.requests) == 1


def test_a_hanging_upstream_ends_its_check_at_the_timeout(run_doctor: Callable[..., Any], upstream: StandIn) -> None:
    """The check of a hanging upstream ends at its timeout."""
    upstream.fault(Fault(match="GET /models", stall=3))
    findings = run_doctor("--timeout", "0.5")
    assert worst_state(findings, "upstream") == "failed"


def test_an_unlisted_model_is_named(
    run_doctor: Callable[..., Any], set_variables: Any, sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """A model of an assistant or of the model map that the upstream does not list is named, and a valid map passes."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY), model="gpt-3.5-turbo-1106")
    assert "ASSISTANTS_COMPAT_MODELS=gpt-3.5-turbo-1106=NEW" in text_of(run_doctor(), "models")
    set_variables(ASSISTANTS_COMPAT_MODELS="gpt-3.5-turbo-1106=gpt-4o")
    assert worst_state(run_doctor(), "models") == "ok"
    set_variables(ASSISTANTS_COMPAT_MODELS="gpt-3.5-turbo-1106=gpt-4o,gpt-4=gpt-9")
    found = text_of(run_doctor(), "models")
    assert "the upstream does not list gpt-9, which ASSISTANTS_COMPAT_MODELS names" in found
    assert "set ASSISTANTS_COMPAT_MODELS=gpt-3.5-turbo-1106=gpt-4o,gpt-4=gpt-9,gpt-9=NEW, where" in found


def test_ask_sends_one_background_response(
    run_doctor: Callable[..., Any], set_variables: Any, sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """--ask sends a short background response and deletes it; a refusal fails only where background is forced."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    assert "gpt-4o answers in the background" in text_of(run_doctor("--ask"), "background")
    assert upstream.responses == {}
    with StandIn(background_refused=True) as refusing:
        set_variables(OPENAI_BASE_URL=refusing.base_url)
        assert "runs will be inline" in text_of(run_doctor("--ask"), "background")
        set_variables(ASSISTANTS_COMPAT_MODE="background")
        assert "set ASSISTANTS_COMPAT_MODE=auto" in text_of(run_doctor("--ask"), "background")
        set_variables(ASSISTANTS_COMPAT_MODE="inline")
        assert worst_state(run_doctor("--ask"), "background") == "skipped"


def test_a_failed_request_to_the_model_is_reported(
    run_doctor: Callable[..., Any], sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """A failed --ask is reported with the service's message."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    upstream.fault(Fault(match="POST /responses", status=429, body=REFUSED))
    assert "a request to gpt-4o failed: Not so." in text_of(run_doctor("--ask"), "background")


@pytest.mark.parametrize(
    ("endpoint", "expected", "words"),
    [
        ("https://name.openai.azure.com", "ok", ""),
        ("https://name.services.ai.azure.com/", "ok", ""),
        ("https://name.openai.azure.com/openai/v1", "ok", "read as https://name.openai.azure.com"),
        ("https://name.azure-api.net/team", "ok", ""),
        ("https://name.openai.azure.com/team", "failed", "set it to https://name.openai.azure.com"),
        ("name.openai.azure.com", "failed", "is not a URL"),
        ("https://gateway.example.org", "warning", "unless this is your gateway"),
    ],
)
def test_the_form_of_an_azure_endpoint_is_checked(set_variables: Any, endpoint: str, expected: str, words: str) -> None:
    """An Azure endpoint is a resource or a project in any form; another host may be a gateway and is a warning."""
    set_variables(AZURE_OPENAI_ENDPOINT=endpoint)
    [finding] = doctor_checks._check_azure_endpoint(doctor_checks.CheckContext(may_ask_model=False, timeout=1))
    assert finding.state == expected
    assert words in f"{finding.says} {finding.do}"


def test_azure_with_a_key_is_checked_at_v1(
    run_doctor: Callable[..., Any], set_variables: Any, upstream: StandIn
) -> None:
    """An Azure resource is checked at /openai/v1, a missing route is named, and models are deployments there."""
    set_variables(OPENAI_BASE_URL=None, AZURE_OPENAI_ENDPOINT=upstream.azure_endpoint, AZURE_OPENAI_API_KEY=KEY)
    set_variables(ASSISTANTS_COMPAT_MODELS="gpt-4=my-deployment")
    findings = run_doctor()
    assert (worst_state(findings, "upstream"), worst_state(findings, "models")) == ("ok", "skipped")
    assert [request.full_path.partition("?")[0] for request in upstream.requests] == ["/openai/v1/models"]
    assert "my-deployment answers" in text_of(run_doctor("--ask"), "background")
    upstream.fault(Fault(match="GET /models", status=404, body=REFUSED))
    assert "has the route /openai/v1" in text_of(run_doctor(), "upstream")


def test_azure_without_a_key_needs_an_identity(
    run_doctor: Callable[..., Any], set_variables: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key the check uses an identity's token, and without an identity it says how to sign in."""
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    set_variables(OPENAI_BASE_URL=None, AZURE_OPENAI_ENDPOINT=upstream.azure_endpoint)
    with token_endpoint() as signed_in:
        upstream.keys = ["token-1"]
        set_variables(**signed_in.app_service)
        assert worst_state(run_doctor(), "upstream") == "ok"
    set_variables(IDENTITY_ENDPOINT="http://127.0.0.1:9/msi/token", IDENTITY_HEADER="x")
    findings = run_doctor("--timeout", "15")
    assert worst_state(findings, "upstream") == "failed"
    assert "run `az login`" in text_of(findings, "upstream")
    with monkeypatch.context() as patch:
        patch.setattr(doctor_checks, "_is_installed", lambda module: module != "azure.identity")
        assert "pip install azure-identity" in text_of(run_doctor("--timeout", "3"), "extras")


@pytest.mark.parametrize("version", ["3.58.0", "9.1.0", "1.20.0"])
def test_an_untested_sdk_is_said_and_is_no_warning(
    run_doctor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """An SDK that was not tested is information, because nothing is known to be wrong with it."""
    monkeypatch.setattr(openai, "__version__", version)
    findings = run_doctor()
    assert worst_state(findings, "sdk") == "ok"
    assert f"openai {version} on Python" in text_of(findings, "sdk")
    assert "not tested with this version of assistants_compat" in text_of(findings, "sdk")


def test_the_installed_sdk_and_python_are_tested_ones(run_doctor: Callable[..., Any]) -> None:
    """With an SDK and a Python of the tables in docs/versions.md doctor names them and says no more."""
    python = ".".join(map(str, sys.version_info[:2]))
    assert text_of(run_doctor(), "sdk").strip() == f"openai {openai.__version__} on Python {python}"


def test_an_sdk_that_does_not_fit_the_installed_httpx_is_a_failure(
    run_doctor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SDK before 1.55.3 beside httpx 0.28 cannot make a client, and doctor says which httpx it needs."""

    def broken(*_arguments: Any, **_options: Any) -> None:
        message = "Client.__init__() got an unexpected keyword argument 'proxies'"
        raise TypeError(message)

    monkeypatch.setattr(openai.OpenAI, "__init__", broken)
    findings = run_doctor()
    assert worst_state(findings, "key") == "failed"
    assert f"openai {openai.__version__} cannot create a client with the installed httpx" in text_of(findings, "key")
    assert "httpx<0.28" in text_of(findings, "key")


def test_an_sdk_without_threads_is_a_failure(run_doctor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An SDK without the Assistants API is a failure whose advice is not about the key."""
    monkeypatch.setitem(sys.modules, "openai.resources.beta.threads.threads", None)
    findings = run_doctor()
    assert worst_state(findings, "key") == "failed"
    assert "has no client.beta.threads" in text_of(findings, "key")
    assert "OPENAI_API_KEY" not in text_of(findings, "key")


def test_an_unexpected_exception_is_a_finding(set_variables: object) -> None:
    """An exception in a check becomes a failed finding without secrets."""

    def broken(_context: doctor_checks.CheckContext) -> Any:
        raise RuntimeError(KEY)

    [finding] = doctor._run_check("broken", broken, doctor_checks.CheckContext(may_ask_model=False, timeout=1))
    assert finding.state == "failed"
    assert doctor._without_secrets(finding).says == "***"


def test_doctor_prints_plain_lines_without_a_terminal(set_variables: Any) -> None:
    """Without a terminal doctor prints a plain line a finding with its advice below, and exits with 1 on failure."""
    set_variables(OPENAI_API_KEY="")
    result = CliRunner().invoke(app, ["doctor"], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (1, "")
    assert "failed   key: cannot create a client: " in result.stdout
    assert "         do: set OPENAI_API_KEY" in result.stdout
    assert "\x1b" not in result.stdout


def test_wrong_use_of_doctor_is_exit_code_2() -> None:
    """An invalid timeout exits with 2."""
    assert CliRunner().invoke(app, ["doctor", "--timeout", "0"]).exit_code == 2


def test_an_invalid_log_level_is_a_failed_setting(
    set_variables: Callable[..., None], run_doctor: Callable[..., dict[str, Any]]
) -> None:
    """A wrong `ASSISTANTS_COMPAT_LOG` fails the check of settings, and a valid one is no unknown variable."""
    set_variables(ASSISTANTS_COMPAT_LOG="loud")
    [finding] = run_doctor()["settings"]
    assert (finding["state"], finding["do"]) == ("failed", "correct or unset ASSISTANTS_COMPAT_LOG")
    set_variables(ASSISTANTS_COMPAT_LOG="info")
    assert [finding["state"] for finding in run_doctor()["settings"]] == ["ok"]
    set_variables(ASSISTANTS_COMPAT_LOG=None)
