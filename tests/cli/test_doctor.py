"""`doctor`: each check in good order and broken, what it says to do, and that it never hangs and never shows a key."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from typer.testing import CliRunner

from assistants_compat import Settings
from assistants_compat.cli import app, doctor
from assistants_compat.settings import variables
from assistants_compat.testing import Fault, StandIn
from kit.doors import Door
from kit.identity_endpoints import identities
from kit.legacy_code import make_assistant

KEY = "sk-the-secret-key"
AZURE = ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_VERSION")
REFUSED = {"error": {"message": "Not so.", "type": "invalid_request_error", "param": None, "code": None}}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, upstream: StandIn, sqlite_settings: Settings) -> Callable[..., None]:
    """The variables of a healthy set-up; called, it changes some, None takes one away."""

    def change(**more: str | None) -> None:
        for name, value in more.items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)

    upstream.keys = [KEY]
    store = str(sqlite_settings.store)
    change(**dict.fromkeys(AZURE), OPENAI_API_KEY=KEY, OPENAI_BASE_URL=upstream.base_url)
    change(**{variables()["store"]: store, variables()["files"]: str(sqlite_settings.files)})
    return change


@pytest.fixture
def examined(given: object) -> Callable[..., dict[str, Any]]:
    """Runs doctor and gives, by check, its last state, and all that was said and to be done."""

    def run(*arguments: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["doctor", "--json", *arguments], catch_exceptions=False)
        assert KEY not in done.output
        told = json.loads(done.stdout)
        assert done.exit_code == (0 if told["ok"] else 1)
        assert told["ok"] == all(check["state"] != "failed" for check in told["checks"])
        for check in told["checks"]:
            assert bool(check["do"]) == (check["state"] in ("failed", "warning"))
        names = dict.fromkeys(check["check"] for check in told["checks"])
        return {name: [each for each in told["checks"] if each["check"] == name] for name in names}

    return run


def state(examination: dict[str, Any], name: str) -> str:
    """The worst state of a check."""
    states = [each["state"] for each in examination[name]]
    return next(each for each in ("failed", "warning", "skipped", "ok") if each in states)


def said(examination: dict[str, Any], name: str) -> str:
    """All that a check says, and says to do."""
    return " ".join(f"{each['says']} {each['do']}" for each in examination[name])


def test_a_healthy_set_up_passes(
    examined: Callable[..., Any], sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """Every check is ok, or skipped for want of its subject; nothing was left anywhere."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    upstream.requests.clear()
    found = examined()
    assert {name: state(found, name) for name in found} == {
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
    }
    assert list(found) == [name for name, _ in doctor.CHECKS]
    assert [(request.method, request.path) for request in upstream.requests] == [("GET", "/models")]
    assert [path for path in Path(str(sqlite_settings.files)).rglob("*") if path.is_file()] == []


def test_a_store_that_is_not_there_is_not_made(examined: Callable[..., Any], given: Any, tmp_path: Path) -> None:
    """It says that it can be; the models have nobody to ask for them."""
    found = examined()
    assert "not there yet, and can be made" in said(found, "store")
    assert not (tmp_path / "store.db").exists()
    assert state(found, "models") == "skipped"


def test_a_setting_that_cannot_be_used_is_named(examined: Callable[..., Any], given: Any) -> None:
    """Each by itself; what depends on the settings is skipped."""
    given(ASSISTANTS_COMPAT_MODE="often", ASSISTANTS_COMPAT_RUN_TTL="x")
    found = examined()
    assert "correct or unset ASSISTANTS_COMPAT_MODE" in said(found, "settings")
    assert "correct or unset ASSISTANTS_COMPAT_RUN_TTL" in said(found, "settings")
    assert {state(found, name) for name in ("store", "files", "key", "upstream", "models")} == {"skipped"}


@pytest.mark.parametrize("name", ["ASSISTANTS_COMPAT_STOER", "ASSISTANT_COMPAT_STORE"])
def test_a_misspelt_name_is_seen(examined: Callable[..., Any], given: Any, name: str) -> None:
    """With what was probably meant."""
    given(**{name: "x"})
    found = examined()
    assert (state(found, "settings"), "did you mean ASSISTANTS_COMPAT_STORE?" in said(found, "settings")) == (
        "warning",
        True,
    )


def test_a_switch_that_is_off_is_said(examined: Callable[..., Any], given: Any) -> None:
    """It is no misspelt setting; what needs a wrapped client is skipped.  Another word than on or off is wrong."""
    given(ASSISTANTS_COMPAT="off")
    found = examined()
    assert {name: state(found, name) for name in ("switch", "settings", "key", "upstream")} == {
        "switch": "failed",
        "settings": "ok",
        "key": "skipped",
        "upstream": "skipped",
    }
    assert "unset ASSISTANTS_COMPAT" in said(found, "switch")
    given(ASSISTANTS_COMPAT="sideways")
    assert "is 'sideways'" in said(examined(), "switch")


def test_a_wrong_file_of_assistants_is_seen(examined: Callable[..., Any], given: Any, tmp_path: Path) -> None:
    """With the assistant and the field; a good one is asked for its models."""
    path = tmp_path / "assistants.json"
    given(ASSISTANTS_COMPAT_ASSISTANTS=str(path))
    assert "cannot be read" in said(examined(), "assistants")
    path.write_text(json.dumps({"asst_x": {"model": 7}}), encoding="utf-8")
    found = examined()
    assert (state(found, "assistants"), "asst_x: Invalid type for 'model'" in said(found, "assistants")) == (
        "failed",
        True,
    )
    path.write_text(json.dumps({"asst_x": {"model": "gpt-gone"}}), encoding="utf-8")
    found = examined()
    assert state(found, "assistants") == "ok"
    assert "gpt-gone" in said(found, "models")


@pytest.mark.parametrize(("name", "expected"), [("new/report.jsonl", "ok"), ("file/report.jsonl", "warning")])
def test_a_report_that_cannot_be_written_is_seen(
    examined: Callable[..., Any], given: Any, tmp_path: Path, name: str, expected: str
) -> None:
    """The program goes on without it, so that is a warning; nothing is made."""
    (tmp_path / "file").touch()
    given(ASSISTANTS_COMPAT_REPORT=str(tmp_path / name))
    assert state(examined(), "report") == expected
    assert not (tmp_path / "new").exists()


def test_a_name_like_none_of_ours_is_seen(examined: Callable[..., Any], given: Any) -> None:
    """Nothing reads it."""
    given(ASSISTANTS_COMPAT_QQQQQQQQ="x")
    assert "no setting is called that" in said(examined(), "settings")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no mode bits")
def test_a_store_that_others_can_read_is_a_warning(
    examined: Callable[..., Any], sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """With the command that closes it."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    os.chmod(str(sqlite_settings.store), 0o644)  # noqa: PTH101 - a string
    found = examined()
    assert state(found, "store") == "warning"
    assert f"chmod 600 {sqlite_settings.store}" in said(found, "store")


def test_a_full_disk_is_seen(
    examined: Callable[..., Any],
    sync: Door,
    upstream: StandIn,
    sqlite_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before a run finds out."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    assert "0 MB are left" in said(examined(), "store")


def test_a_store_of_a_newer_version_is_seen(examined: Callable[..., Any], sqlite_settings: Settings) -> None:
    """In the store's own sentence."""
    with sqlite3.connect(str(sqlite_settings.store)) as db:
        db.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        db.execute("INSERT INTO schema_version VALUES (99)")
    os.chmod(str(sqlite_settings.store), 0o600)  # noqa: PTH101 - a string
    found = examined()
    assert state(found, "store") == "failed"
    assert "install a newer assistants_compat" in said(found, "store")


def test_a_place_that_cannot_be_made_is_seen(examined: Callable[..., Any], given: Any, tmp_path: Path) -> None:
    """The store's and that of files: both below a file."""
    (tmp_path / "file").write_text("x")
    given(ASSISTANTS_COMPAT_STORE=str(tmp_path / "file" / "store.db"), ASSISTANTS_COMPAT_FILES=str(tmp_path / "file"))
    found = examined()
    assert (state(found, "store"), state(found, "files")) == ("failed", "failed")
    assert "cannot be made" in said(found, "store")


def test_a_store_in_memory_is_a_warning(examined: Callable[..., Any], given: Any) -> None:
    """It is gone with the process."""
    given(ASSISTANTS_COMPAT_STORE="sqlite://")
    assert state(examined(), "store") == "warning"


def test_a_database_that_does_not_answer_is_not_waited_for(
    examined: Callable[..., Any], sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """Another process holds the store: the check ends in its time, and the others are done."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    with sqlite3.connect(str(sqlite_settings.store), isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        found = examined("--timeout", "0.4")
        holder.execute("ROLLBACK")
    assert "no answer within 0.4 seconds" in said(found, "store")
    assert state(found, "upstream") == "ok"


def test_a_password_in_a_url_is_not_shown(examined: Callable[..., Any], given: Any) -> None:
    """Whoever quotes it."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    given(ASSISTANTS_COMPAT_STORE="postgresql+psycopg://me:the-password@127.0.0.1:9/db")
    found = examined()
    assert state(found, "store") == "failed"
    assert "the-password" not in json.dumps(found)


def test_a_missing_key_is_said(examined: Callable[..., Any], given: Any) -> None:
    """With the variable that wants it."""
    given(OPENAI_API_KEY=None)
    found = examined()
    assert (state(found, "key"), state(found, "upstream")) == ("failed", "skipped")
    assert "set OPENAI_API_KEY" in said(found, "key")


def test_a_refused_key_is_said_without_it(examined: Callable[..., Any], upstream: StandIn) -> None:
    """The service's own words hold parts of a key."""
    upstream.keys = ["another"]
    found = examined()
    assert state(found, "upstream") == "failed"
    assert "refuses the key (401) check OPENAI_API_KEY" in said(found, "upstream")


@pytest.mark.parametrize(
    ("fault", "expected", "words"),
    [
        (Fault(match="GET /models", status=403, body=REFUSED), "warning", "does not list its models (403): Not so."),
        (Fault(match="GET /models", status=404, body=REFUSED), "failed", "check OPENAI_BASE_URL"),
        (Fault(match="GET /models", status=500, body=REFUSED), "failed", "answers 500: Not so."),
        (Fault(match="GET /models", drop=True), "failed", "cannot be reached"),
        (Fault(match="GET /models", html=True, status=200), "failed", "gave no JSON object"),
    ],
)
def test_an_upstream_in_trouble_is_said(
    examined: Callable[..., Any], upstream: StandIn, fault: Fault, expected: str, words: str
) -> None:
    """Each with its own advice; it is asked once."""
    upstream.fault(fault)
    found = examined()
    assert state(found, "upstream") == expected
    assert words in said(found, "upstream")
    assert len(upstream.requests) == 1


def test_an_upstream_that_hangs_is_not_waited_for(examined: Callable[..., Any], upstream: StandIn) -> None:
    """The check ends in its time."""
    upstream.fault(Fault(match="GET /models", stall=3))
    found = examined("--timeout", "0.5")
    assert state(found, "upstream") == "failed"


def test_a_model_that_is_gone_is_named(
    examined: Callable[..., Any], given: Any, sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """That of an assistant, and one that another name leads to; a good map makes it right."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY), model="gpt-3.5-turbo-1106")
    assert "ASSISTANTS_COMPAT_MODELS=gpt-3.5-turbo-1106=NEW" in said(examined(), "models")
    given(ASSISTANTS_COMPAT_MODELS="gpt-3.5-turbo-1106=gpt-4o")
    assert state(examined(), "models") == "ok"
    given(ASSISTANTS_COMPAT_MODELS="gpt-3.5-turbo-1106=gpt-4o,gpt-4=gpt-9")
    assert "gpt-9, which ASSISTANTS_COMPAT_MODELS asks for" in said(examined(), "models")


def test_the_model_is_asked_where_that_is_wanted(
    examined: Callable[..., Any], given: Any, sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """One short response in the background, deleted afterwards; a refusal is fine unless the settings force it."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    assert "gpt-4o answers in the background" in said(examined("--ask"), "background")
    assert upstream.responses == {}
    with StandIn(background_refused=True) as refusing:
        given(OPENAI_BASE_URL=refusing.base_url)
        assert "runs will be inline" in said(examined("--ask"), "background")
        given(ASSISTANTS_COMPAT_MODE="background")
        assert "set ASSISTANTS_COMPAT_MODE=auto" in said(examined("--ask"), "background")
        given(ASSISTANTS_COMPAT_MODE="inline")
        assert state(examined("--ask"), "background") == "skipped"


def test_a_model_that_cannot_be_asked_is_said(
    examined: Callable[..., Any], sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """In the service's words."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    upstream.fault(Fault(match="POST /responses", status=429, body=REFUSED))
    assert "gpt-4o cannot be asked: Not so." in said(examined("--ask"), "background")


@pytest.mark.parametrize(
    ("endpoint", "expected", "words"),
    [
        ("https://name.openai.azure.com", "ok", ""),
        ("https://name.services.ai.azure.com/", "ok", ""),
        ("https://name.openai.azure.com/openai/v1", "failed", "set it to https://name.openai.azure.com"),
        ("name.openai.azure.com", "failed", "no URL"),
        ("https://gateway.example.org", "warning", "no gateway of yours"),
    ],
)
def test_an_endpoint_of_azure_has_its_form(given: Any, endpoint: str, expected: str, words: str) -> None:
    """The resource alone; anything else may be a gateway."""
    given(AZURE_OPENAI_ENDPOINT=endpoint)
    [finding] = doctor._endpoint(doctor.Ground(asks=False, seconds=1))
    assert finding.state == expected
    assert words in f"{finding.says} {finding.do}"


def test_azure_with_a_key_is_asked_below_v1(examined: Callable[..., Any], given: Any, upstream: StandIn) -> None:
    """One that has no such route is named; models are deployments there."""
    given(OPENAI_BASE_URL=None, AZURE_OPENAI_ENDPOINT=upstream.azure_endpoint, AZURE_OPENAI_API_KEY=KEY)
    given(ASSISTANTS_COMPAT_MODELS="gpt-4=my-deployment")
    found = examined()
    assert (state(found, "upstream"), state(found, "models")) == ("ok", "skipped")
    assert [request.full_path.partition("?")[0] for request in upstream.requests] == ["/openai/v1/models"]
    assert "my-deployment answers" in said(examined("--ask"), "background")
    upstream.fault(Fault(match="GET /models", status=404, body=REFUSED))
    assert "has the route /openai/v1" in said(examined(), "upstream")


def test_who_is_not_signed_in_to_azure_is_told(
    examined: Callable[..., Any], given: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key the client asks with tokens: there are some, or there are none."""
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    given(OPENAI_BASE_URL=None, AZURE_OPENAI_ENDPOINT=upstream.azure_endpoint)
    with identities() as signed_in:
        upstream.keys = ["token-1"]
        given(**signed_in.app_service)
        assert state(examined(), "upstream") == "ok"
    given(IDENTITY_ENDPOINT="http://127.0.0.1:9/msi/token", IDENTITY_HEADER="x")
    found = examined("--timeout", "15")
    assert state(found, "upstream") == "failed"
    assert "run `az login`" in said(found, "upstream")
    with monkeypatch.context() as patch:
        patch.setattr(doctor, "_is_there", lambda module: module != "azure.identity")
        assert "pip install 'assistants-compat[azure]'" in said(examined("--timeout", "3"), "extras")


def test_an_sdk_newer_than_the_tests_is_a_warning(given: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may work."""
    monkeypatch.setattr(openai, "__version__", "9.1.0")
    [finding] = doctor._sdk(doctor.Ground(asks=False, seconds=1))
    assert finding.state == "warning"


def test_what_no_check_expects_is_a_finding(given: object) -> None:
    """The others are done all the same."""

    def broken(_ground: doctor.Ground) -> Any:
        raise RuntimeError(KEY)

    [finding] = doctor._within("broken", broken, doctor.Ground(asks=False, seconds=1))
    assert finding.state == "failed"
    assert doctor._hidden(finding).says == "***"


def test_it_is_lines_without_a_terminal(given: Any) -> None:
    """A line each, what to do below; exit code 1 for a failing check, no traceback, no colour."""
    given(OPENAI_API_KEY="")
    done = CliRunner().invoke(app, ["doctor"], catch_exceptions=False)
    assert (done.exit_code, done.stderr) == (1, "")
    assert "failed   key: no client can be made: " in done.stdout
    assert "         do: set OPENAI_API_KEY" in done.stdout
    assert "\x1b" not in done.stdout


def test_wrong_use_is_2() -> None:
    """As everywhere."""
    assert CliRunner().invoke(app, ["doctor", "--timeout", "0"]).exit_code == 2
