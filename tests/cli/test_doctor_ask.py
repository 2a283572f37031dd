"""`doctor --ask` sends what saved assistants send, and a short conversation that shows what no single answer shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doctor import KEY, Doctor
from kit.doors import Door
from kit.legacy_code import CODE, FUNCTION, make_assistant

OK = Turn(text="ok", polls=0)
REMEMBERS = Turn(text="Marmalade.", polls=0)
CONVERSATION = (OK, OK, REMEMBERS)  # the answers of the checks `background` and `conversation`


@pytest.fixture
def client(sync: Door, upstream: StandIn, sqlite_settings: Settings) -> Any:
    """A wrapped client of the same store as the command."""
    return sync.client(upstream, sqlite_settings, api_key=KEY)


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, upstream: StandIn, sqlite_settings: Settings) -> Doctor:
    """The command over the stand-in."""
    return Doctor(monkeypatch).use(upstream, sqlite_settings)


def sent(upstream: StandIn) -> list[dict[str, Any]]:
    """Return the bodies of the requests for a response."""
    return [dict(r.json) for r in upstream.requests if (r.method, r.path) == ("POST", "/responses")]


def test_ask_sends_what_the_assistants_send(doctor: Doctor, client: Any, sync: Door, upstream: StandIn) -> None:
    """Each saved assistant's own request is sent with its values and tools, one streamed too, and nothing stays."""
    make_assistant(sync, client, temperature=0.2, tools=[*CODE, FUNCTION], instructions="Be brief.")
    make_assistant(sync, client, model="o3", reasoning_effort="high", response_format={"type": "json_object"})
    upstream.requests.clear()
    upstream.script(*CONVERSATION)
    assert doctor.finding("requests", "--ask") == (
        "ok",
        "3 requests of saved assistants, one of them streamed, are accepted ",
    )
    requests = sent(upstream)[4:]  # after the conversation and its stream
    assert sum(bool(request.get("stream")) for request in requests) == 1
    of_gpt_4o = next(request for request in requests if request["model"] == "gpt-4o")
    assert (of_gpt_4o["temperature"], of_gpt_4o["instructions"]) == (0.2, "Be brief.")
    assert [tool["type"] for tool in of_gpt_4o["tools"]] == ["code_interpreter", "function"]
    of_o3 = next(request for request in requests if request["model"] == "o3")
    assert of_o3["reasoning"] == {"effort": "high"}
    assert of_o3["text"] == {"format": {"type": "json_object"}}
    assert {request["max_output_tokens"] for request in requests} == {16}
    assert upstream.responses == {}
    assert client.beta.threads.runs  # the store has no thread of doctor's
    assert sync.all(client.beta.assistants.list())


def test_ask_changes_nothing_in_the_store(doctor: Doctor, client: Any, sync: Door, sqlite_settings: Settings) -> None:
    """The requests are built in a transaction that is rolled back."""
    from kit.legacy_code import dump_store  # noqa: PLC0415 - may move

    make_assistant(sync, client)
    before = dump_store(sqlite_settings)
    doctor.run("--ask")
    assert dump_store(sqlite_settings) == before


def test_a_request_that_would_be_refused_names_its_assistant(
    doctor: Doctor, client: Any, sync: Door, upstream: StandIn
) -> None:
    """An assistant whose own model refuses its values is named, with the service's words."""
    assistant = make_assistant(sync, client, model="o3", temperature=0.2)
    upstream.script(*CONVERSATION)
    state, text = doctor.finding("requests", "--ask")
    assert f"run of {assistant.id} (o3) would be refused: Unsupported parameter: 'temperature'" in text
    assert state in ("failed", "warning")


def test_an_assistant_with_a_replaced_model_is_asked_as_a_run_asks(
    doctor: Doctor, client: Any, sync: Door, upstream: StandIn
) -> None:
    """What a run drops for a mapped model is not sent here either."""
    make_assistant(sync, client, model="gpt-4o", temperature=0.2)
    doctor.set(ASSISTANTS_COMPAT_MODELS="gpt-4o=o3")
    upstream.script(*CONVERSATION)
    assert doctor.finding("requests", "--ask")[0] == "ok"
    assert all("temperature" not in request for request in sent(upstream))


def test_at_most_five_assistants_are_asked(doctor: Doctor, client: Any, sync: Door, upstream: StandIn) -> None:
    """Of many different assistants five are asked, and of equal ones only one."""
    for number in range(8):
        make_assistant(sync, client, temperature=number / 10)
    make_assistant(sync, client, temperature=0.7)
    upstream.script(*CONVERSATION)
    doctor.run("--ask")
    assert len(sent(upstream)) == 4 + 6  # the conversation; five assistants, one of them streamed too


def test_assistants_of_a_file_are_asked(doctor: Doctor, upstream: StandIn, tmp_path: Path) -> None:
    """Assistants that are only declared in a file are asked too, and the store is not created for it."""
    file = tmp_path / "assistants.json"
    file.write_text('{"asst_a": {"model": "gpt-4.1", "temperature": 0.3}}')
    doctor.set(ASSISTANTS_COMPAT_ASSISTANTS=str(file))
    upstream.script(*CONVERSATION)
    assert doctor.finding("requests", "--ask")[0] == "ok"
    assert sent(upstream)[-1]["temperature"] == 0.3
    assert not (tmp_path / "store.db").exists()


def test_a_conversation_that_goes_on_is_ok(doctor: Doctor, client: Any, sync: Door, upstream: StandIn) -> None:
    """A response is made, looked up, continued once and streamed once, and everything is deleted."""
    make_assistant(sync, client)
    upstream.requests.clear()
    upstream.script(*CONVERSATION)
    report = doctor.report("--ask")
    states = {check["check"]: check["state"] for check in report["checks"]}
    assert [states[name] for name in ("background", "conversation", "stream", "requests")] == ["ok"] * 4
    assert any(r.method == "GET" and r.path.startswith("/responses/") for r in upstream.requests)
    assert sum("previous_response_id" in request for request in sent(upstream)) == 1
    assert upstream.responses == {}


def test_a_forgotten_conversation_is_noticed(doctor: Doctor, client: Any, sync: Door, upstream: StandIn) -> None:
    """An upstream that takes a continuation and no longer knows what was said is found, with the setting to choose."""
    make_assistant(sync, client)
    upstream.script(OK, OK, Turn(text="You told me no word.", polls=0))
    state, text = doctor.finding("conversation", "--ask")
    assert state == "failed"
    assert "no longer knew what was said before" in text
    assert "set ASSISTANTS_COMPAT_STORE_RESPONSES=false" in text


def test_an_answer_without_text_shows_nothing(doctor: Doctor, client: Any, sync: Door, upstream: StandIn) -> None:
    """A continuation without text is no proof of a forgotten conversation."""
    make_assistant(sync, client)
    upstream.script(OK, OK, Turn(output=[]))
    assert doctor.finding("conversation", "--ask")[0] == "warning"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=404, body={"detail": "Not Found"}),
        Fault(status=405, body={"error": {"message": "Method not allowed"}}),
        Fault(status=500, body={"error": {"message": "GET responses is not supported for custom_openai."}}),
        Fault(status=501, html=True),
    ],
)
def test_a_lookup_that_is_not_served_is_noticed(
    doctor: Doctor, client: Any, sync: Door, upstream: StandIn, fault: Fault
) -> None:
    """An upstream that takes background responses but does not serve them is found, with the setting to choose."""
    make_assistant(sync, client)
    upstream.fault(Fault("GET /responses/*", status=fault.status, body=fault.body, html=fault.html))
    state, text = doctor.finding("background", "--ask")
    assert state == "failed"
    assert "does not serve them afterwards" in text
    assert "set ASSISTANTS_COMPAT_MODE=inline" in text


def test_zero_retention_is_recognized(doctor: Doctor, client: Any, sync: Door, upstream: StandIn) -> None:
    """Zero data retention is recognized from the answers, and doctor says which setting to choose."""
    make_assistant(sync, client, tools=CODE)
    upstream.configure(zero_retention=True)
    state, text = doctor.finding("conversation", "--ask")
    assert state == "failed"
    assert "set ASSISTANTS_COMPAT_STORE_RESPONSES=false" in text
    assert "zero data retention excludes it" in doctor.finding("requests", "--ask")[1]
    doctor.set(ASSISTANTS_COMPAT_STORE_RESPONSES="false")
    assert doctor.finding("conversation", "--ask")[0] == "skipped"


SCOPES = (
    "You have insufficient permissions for this operation. Missing scopes: {}. Check that you have the correct role."
)


def restricted(match: str, scope: str) -> Fault:
    """Return the refusal of a restricted key that lacks a scope."""
    error = {"message": SCOPES.format(scope), "type": "invalid_request_error", "param": None, "code": None}
    return Fault(match, status=401, body={"error": error}, times=99)


def test_a_restricted_key_is_recognized(doctor: Doctor, client: Any, sync: Door, upstream: StandIn) -> None:
    """A key that may not list models is only a warning, and each missing scope is named."""
    make_assistant(sync, client)
    upstream.fault(restricted("GET /models", "api.model.read"))
    state, text = doctor.finding("upstream")
    assert state == "warning"
    assert "give the key the scope api.model.read" in text
    upstream.fault(restricted("POST /responses", "api.responses.write"))
    for name in ("background", "conversation", "stream", "requests"):
        state, text = doctor.finding(name, "--ask")
        assert state == "failed"
        assert "give the key the scope api.responses.write" in text


def test_an_unverified_organization_is_a_warning(doctor: Doctor, client: Any, sync: Door, upstream: StandIn) -> None:
    """Where the organization is not verified to stream the model, doctor says what happens instead."""
    make_assistant(sync, client, model="gpt-5")
    upstream.configure(verified=False)
    state, text = doctor.finding("stream", "--ask")
    assert state == "warning"
    assert "streamed from the finished response" in text


def test_azure_is_asked_at_v1(doctor: Doctor, client: Any, sync: Door, upstream: StandIn) -> None:
    """On Azure every request of --ask goes to /openai/v1, also the look-up."""
    make_assistant(sync, client)
    doctor.set(OPENAI_BASE_URL=None, AZURE_OPENAI_ENDPOINT=upstream.azure_endpoint, AZURE_OPENAI_API_KEY=KEY)
    upstream.requests.clear()
    upstream.script(*CONVERSATION)
    assert doctor.finding("background", "--ask")[0] == "ok"
    assert {request.full_path.split("/")[2] for request in upstream.requests} == {"v1"}
