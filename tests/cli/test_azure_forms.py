"""The command line understands every form of an Azure endpoint."""

from __future__ import annotations

import json

import openai
import pytest
from typer.testing import CliRunner

from assistants_compat import Settings
from assistants_compat.cli import app, doctor_checks
from assistants_compat.testing import StandIn, Turn
from kit.azure_forms import BASES
from kit.doctor import KEY, Doctor
from kit.legacy_code import CSV


@pytest.mark.parametrize("form", BASES)
def test_doctor_understands_every_form(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Every form that Microsoft's pages show is fine, and needs no advice."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"https://name.services.ai.azure.com{form}")
    [finding] = doctor_checks._check_azure_endpoint(doctor_checks.CheckContext(may_ask_model=False, timeout=1))
    assert (finding.state, finding.do) == ("ok", "")


@pytest.mark.parametrize("form", BASES)
def test_every_form_reaches_the_v1_routes(
    monkeypatch: pytest.MonkeyPatch, upstream: StandIn, sqlite_settings: Settings, form: str
) -> None:
    """The client of the command line requests the v1 routes whatever form its endpoint has."""
    doctor = Doctor(monkeypatch).use(upstream, sqlite_settings)
    doctor.set(OPENAI_BASE_URL=None, AZURE_OPENAI_ENDPOINT=f"{upstream.azure_endpoint}{form}", AZURE_OPENAI_API_KEY=KEY)
    assert doctor.finding("upstream")[0] == "ok"
    assert [request.full_path.partition("?")[0] for request in upstream.requests] == [f"{BASES[form]}/models"]


@pytest.mark.parametrize("form", BASES)
def test_every_form_downloads_the_files_of_a_response(
    monkeypatch: pytest.MonkeyPatch, upstream: StandIn, sqlite_settings: Settings, tmp_path: object, form: str
) -> None:
    """`download` saves the files of a response whatever form the endpoint has."""
    doctor = Doctor(monkeypatch).use(upstream, sqlite_settings)
    doctor.set(OPENAI_BASE_URL=None, AZURE_OPENAI_ENDPOINT=f"{upstream.azure_endpoint}{form}", AZURE_OPENAI_API_KEY=KEY)
    upstream.script(Turn(text="Here.", files={"a.csv": CSV}, polls=0))
    response_id = make_response(upstream)
    result = CliRunner().invoke(app, ["download", response_id, "--to", f"{tmp_path}/saved", "--json"])
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["files"]) == 1


def make_response(upstream: StandIn) -> str:
    """Make a response that ran code, and return its id."""
    with openai.OpenAI(base_url=upstream.base_url, api_key=KEY) as client:
        tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
        body = {"model": "gpt-4o", "input": "Go.", "tools": tools}
        response: dict[str, str] = client.post("/responses", body=body, cast_to=dict)
    return response["id"]
