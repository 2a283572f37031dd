"""`doctor --live` asks for the price, runs the checks, writes a report and saves the verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from assistants_compat import Settings
from assistants_compat.cli import app, doctor_live
from assistants_compat.cli.live_checks import runner
from assistants_compat.recordings.vcr_yaml import CassetteError, exchanges_from_document, load
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doctor import KEY, Doctor
from kit.doors import Door
from kit.legacy_code import CODE, make_assistant, make_thread


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, sync: Door, upstream: StandIn, sqlite_settings: Settings) -> Doctor:
    """The command over the stand-in, whose store has an assistant of gpt-4o."""
    make_assistant(sync, sync.client(upstream, sqlite_settings, api_key=KEY))
    upstream.requests.clear()
    return Doctor(monkeypatch).use(upstream, sqlite_settings)


def test_live_prints_a_verdict_for_each_check(doctor: Doctor, upstream: StandIn) -> None:
    """Each check is a line with its outcome; the price and the files are told on stderr; the exit code is 0."""
    result = doctor.run("--live", "--yes", "--only", "16,1")
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("as assumed")]
    assert [line.split(":")[0] for line in lines] == [
        "as assumed    1 temperature (gpt-4o)",
        "as assumed    16 uploads",
    ]
    assert "2 live checks with gpt-4o: up to $0.00 with a small model" in result.stderr
    assert "live-report.json" in result.stderr
    assert (upstream.files, upstream.responses) == ({}, {})


def test_live_prints_json(doctor: Doctor) -> None:
    """With --json the verdicts are under `live`, beside the findings of the other checks."""
    report = doctor.report("--live", "--yes", "--only", "2")
    assert report["ok"]
    assert report["checks"]
    [check] = report["live"]["checks"]
    assert (check["number"], check["outcome"], check["model"]) == (2, "as assumed", "gpt-4o")
    assert report["live"]["not_deleted"] == []


def test_live_without_agreement_sends_nothing(doctor: Doctor, upstream: StandIn) -> None:
    """Without a terminal and without --yes the command is refused with one line that has the price."""
    result = doctor.run("--live")
    assert (result.exit_code, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    assert "27 live checks with gpt-4o: up to $0.24" in line
    assert "add --yes" in line
    assert [request.method for request in upstream.requests] == ["GET"]


@pytest.mark.parametrize(("answer", "code"), [("n\n", 1), ("y\n", 0)])
def test_live_asks_on_a_terminal(
    doctor: Doctor, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    """On a terminal the price is a question, on stderr; no means that nothing is sent."""
    monkeypatch.setattr(doctor_live, "_is_terminal", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda text, *, err: err and "$0.00" in text and answer == "y\n")
    result = doctor.run("--live", "--only", "1")
    assert result.exit_code == code
    assert any(request.method == "POST" for request in upstream.requests) == (code == 0)


@pytest.mark.parametrize("only", ["28", "0", "x", "5,", "5;9"])
def test_a_wrong_number_is_refused(doctor: Doctor, upstream: StandIn, only: str) -> None:
    """A number that no check has is a usage error, before anything is sent."""
    result = doctor.run("--live", "--yes", "--only", only)
    assert result.exit_code == 2
    assert "use numbers from 1 to 27, like 5,9" in result.stderr
    assert upstream.requests == []


@pytest.mark.parametrize("option", [["--yes"], ["--save"], ["--only", "5"], ["--model", "x"], ["--to", "x"]])
def test_options_of_live_need_live(doctor: Doctor, option: list[str]) -> None:
    """An option that belongs to --live is a usage error without it."""
    assert doctor.run(*option).exit_code == 2


def test_a_check_without_a_verdict_is_exit_code_1(doctor: Doctor, upstream: StandIn) -> None:
    """A 429 leaves a check undecided, and the exit code is 1."""
    upstream.fault(Fault("POST /responses", status=429, body={"error": {"message": "Slow down."}}))
    result = doctor.run("--live", "--yes", "--only", "1")
    assert result.exit_code == 1
    assert "undecided     1 temperature (gpt-4o): temperature: too many requests" in result.stdout


def test_without_an_upstream_no_live_check_runs(doctor: Doctor, upstream: StandIn) -> None:
    """Where the key is rejected the live checks are not run, and the exit code is 1."""
    upstream.keys = ["another"]
    result = doctor.run("--live", "--yes")
    assert result.exit_code == 1
    assert "the live checks were not run" in result.stdout
    assert len(upstream.requests) == 1


def test_each_model_in_use_is_checked(doctor: Doctor, upstream: StandIn) -> None:
    """Checks of a model run for every model that runs request, and --model names others."""
    doctor.set(ASSISTANTS_COMPAT_MODELS="gpt-4=o3")
    checks = doctor.report("--live", "--yes", "--only", "1,16")["live"]["checks"]
    assert [(check["number"], check["model"]) for check in checks] == [(1, "gpt-4o"), (1, "o3"), (16, "gpt-4o")]
    checks = doctor.report("--live", "--yes", "--only", "1", "--model", "gpt-5.6-luna")["live"]["checks"]
    assert [(check["model"], check["outcome"]) for check in checks] == [("gpt-5.6-luna", "as assumed")]


def test_without_assistants_a_model_must_be_named(
    monkeypatch: pytest.MonkeyPatch, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """Without assistants and without --model there is nothing to check."""
    result = Doctor(monkeypatch).use(upstream, sqlite_settings).run("--live", "--yes")
    assert result.exit_code == 2
    assert "name a model with --model" in result.stderr


def test_the_report_and_the_cassette_hold_nothing_private(doctor: Doctor, upstream: StandIn, tmp_path: Path) -> None:
    """The files hold neither the key, nor the host, nor an id of the upstream, and the cassette can be read."""
    upstream.script(*[Turn(code="print('abc123')", logs="abc123\n")] * 3)
    error = {"message": f"Incorrect API key provided: {KEY}. Organization org-Acme0123456789."}
    upstream.fault(Fault("POST /files", status=400, body={"error": error}))
    doctor.run("--live", "--yes", "--to", str(tmp_path))
    written = (tmp_path / "live-report.json").read_text() + (tmp_path / "live-report.yaml").read_text()
    made = [json.loads(json.dumps(r.path)).rpartition("/")[2] for r in upstream.requests if r.method == "DELETE"]
    for private in (KEY, "org-Acme", "127.0.0.1", *made):
        assert private not in written
    report = json.loads((tmp_path / "live-report.json").read_text())
    assert [check["number"] for check in report["checks"]] == list(range(1, 28))
    exchanges = exchanges_from_document(load(tmp_path / "live-report.yaml"))
    assert len(exchanges) == len(upstream.requests) - 1  # not the list of models
    assert all(exchange.uri.startswith("https://upstream.example/v1/") for exchange in exchanges)


def test_a_report_that_may_hold_a_secret_is_not_written(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If something in the files still looks like a secret, nothing is written, and stderr says so without it."""
    monkeypatch.setattr(
        doctor_live, "leaks", lambda *_documents: ["live report: an OpenAI key (sk-p..., 40 characters)"]
    )
    result = doctor.run("--live", "--yes", "--only", "1", "--to", str(tmp_path))
    assert "no report was written, because it might hold a secret" in result.stderr
    assert list(tmp_path.glob("live-report.*")) == []


def test_ctrl_c_still_writes_the_report(
    doctor: Doctor, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C deletes what was made, writes the report of the checks so far, and exits with 130."""

    def interrupt(line: str) -> None:
        if line.startswith("17 "):
            raise KeyboardInterrupt

    monkeypatch.setattr(doctor_live, "print_to_stderr", interrupt)
    result = doctor.run("--live", "--yes", "--only", "1,16,17", "--to", str(tmp_path))
    assert result.exit_code == 130
    report = json.loads((tmp_path / "live-report.json").read_text())
    assert (report["interrupted"], [check["number"] for check in report["checks"]]) == (True, [1, 16])
    assert (upstream.files, upstream.responses) == ({}, {})


def test_saved_verdicts_are_known_to_the_next_run(
    doctor: Doctor, sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """After --save a new process makes its runs inline without asking for a background response first."""
    upstream.configure(background_refused=True)
    assert doctor.report("--live", "--yes", "--only", "8", "--save")["live"]["checks"][0]["outcome"] == "the other way"
    upstream.requests.clear()
    _run_once(sync, upstream, sqlite_settings)
    assert [(r.method, r.json.get("background")) for r in upstream.requests if r.path == "/responses"] == [
        ("POST", None)
    ]


def test_a_saved_verdict_is_taken_back(
    doctor: Doctor, sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """Once a check is as assumed again, --save forgets the refusal."""
    for is_refused in (True, False):
        upstream.configure(background_refused=is_refused)
        doctor.run("--live", "--yes", "--only", "8", "--save")
    upstream.requests.clear()
    _run_once(sync, upstream, sqlite_settings)
    assert next(r for r in upstream.requests if r.path == "/responses").json["background"]


def test_runs_with_code_are_inline_where_outputs_are_missing(
    doctor: Doctor, sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """Where a background response has no outputs of its code, --save makes runs with code inline, and no other run."""
    upstream.script(Turn(output=[{"type": "code_interpreter_call", "code": "1", "outputs": [], "status": "completed"}]))
    doctor.run("--live", "--yes", "--only", "9", "--save")
    upstream.requests.clear()
    _run_once(sync, upstream, sqlite_settings)
    _run_once(sync, upstream, sqlite_settings, tools=CODE)
    sent = [r.json for r in upstream.requests if (r.method, r.path) == ("POST", "/responses")]
    assert [request.get("background") for request in sent] == [True, None]


def test_a_command_without_live_knows_the_numbers(doctor: Doctor) -> None:
    """Every check can be chosen alone."""
    assert len(runner.select_checks()) == 27
    assert CliRunner().invoke(app, ["doctor", "--help"]).exit_code == 0


def _run_once(sync: Door, upstream: StandIn, settings: Settings, **options: Any) -> None:
    from assistants_compat.store import database, locations  # noqa: PLC0415 - as in a new process

    database.close(locations.database_url(settings.store))
    client = sync.client(upstream, settings, api_key=KEY)
    assistant = make_assistant(sync, client, **options)
    client.beta.threads.runs.create_and_poll(thread_id=make_thread(sync, client).id, assistant_id=assistant.id)


def test_without_pyyaml_the_cassette_is_json(doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PyYAML is not part of the extra `cli`: without it the cassette is written as JSON, which is YAML too."""

    def missing(_document: Any) -> str:
        message = "PyYAML is not installed"
        raise CassetteError(message)

    monkeypatch.setattr(doctor_live, "dump", missing)
    doctor.run("--live", "--yes", "--only", "1", "--to", str(tmp_path))
    text = (tmp_path / "live-report.yaml").read_text()
    assert json.loads(text)["version"] == 1
    assert len(exchanges_from_document(load(tmp_path / "live-report.yaml"))) == 2


def test_a_directory_that_does_not_exist_loses_no_verdict(doctor: Doctor, tmp_path: Path) -> None:
    """If the files cannot be written, the verdicts are still printed."""
    result = doctor.run("--live", "--yes", "--only", "1", "--to", str(tmp_path / "missing"))
    assert result.exit_code == 0
    assert "no report was written" in result.stderr
    assert "as assumed" in result.stdout


def test_live_checks_azure_at_v1(doctor: Doctor, upstream: StandIn, tmp_path: Path) -> None:
    """On Azure every request goes to /openai/v1, and the files name neither the resource nor the deployment."""
    doctor.set(OPENAI_BASE_URL=None, AZURE_OPENAI_ENDPOINT=upstream.azure_endpoint, AZURE_OPENAI_API_KEY=KEY)
    result = doctor.run("--live", "--yes", "--model", "acme-gpt4o", "--only", "8,17,26", "--to", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert {"/".join(r.full_path.split("/")[1:3]) for r in upstream.requests if r.method == "POST"} == {"openai/v1"}
    assert (upstream.files, upstream.containers, upstream.responses) == ({}, {}, {})
    written = (tmp_path / "live-report.json").read_text() + (tmp_path / "live-report.yaml").read_text()
    for private in ("127.0.0.1", "acme", KEY):
        assert private not in written
    assert "https://scrubbed.openai.azure.com/openai/v1/responses" in written
    assert "deployment-1" in written
