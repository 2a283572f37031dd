"""Azure clients work with versions, gateways, redirects, filters, failing downloads and expiring tokens."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import openai
import pytest

import assistants_compat
from assistants_compat import Settings, SettingsError, download_files
from assistants_compat.testing import Fault, StandIn, Turn
from kit.azure_forms import PROJECT
from kit.doors import KEY, Door
from kit.files import CONTENT_REQUEST, finish_run_with_turn, run_with_uncopied_file
from kit.legacy_code import (
    CODE,
    CSV,
    FUNCTION,
    LINK,
    finish_run,
    make_assistant,
    make_file,
    make_thread,
    retrieve_run,
    start_run,
    submit_outputs,
    upstream_calls,
)

TURN = Turn(text=LINK, files={"sales.csv": CSV}, polls=0)
VERSION = ("api-version", "preview")
ELSEWHERE = "http://localhost"  # another origin than 127.0.0.1, on the same machine


def make_native_response(door: Door, client: Any, upstream: StandIn) -> Any:
    """Return a response of the Responses API that made a file, and forget the requests until then."""
    upstream.script(TURN)
    body = {"model": "gpt-4o", "input": "Go.", "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}
    response = door(client.post("/responses", body=body, cast_to=object))
    upstream.requests.clear()
    return SimpleNamespace(id="x", object="response", to_dict=lambda **_: response)


# --- api-version


@pytest.mark.parametrize("way", ["azure", "deployment", "v1", "project", "project v1", "query"])
def test_the_configured_version_is_sent_on_every_upstream_request(
    door: Door, upstream: StandIn, sqlite_settings: Settings, way: str
) -> None:
    """`azure_api_version` is sent on every upstream request of an Azure client, however the client names Azure."""
    settings = with_changes(sqlite_settings, azure_api_version="preview")
    ways: dict[str, dict[str, Any]] = {
        "azure": {"azure": True},
        "deployment": {"azure": True, "azure_deployment": "gpt-4o"},
        "v1": {"base_url": f"{upstream.azure_endpoint}/openai/v1/"},
        "project": {"azure": True, "azure_endpoint": f"{upstream.azure_endpoint}{PROJECT}"},
        "project v1": {"base_url": f"{upstream.azure_endpoint}{PROJECT}/openai/v1/"},
        "query": {
            "base_url": f"{upstream.azure_endpoint}/openai",
            "default_query": {"api-version": "2024-05-01-preview"},
        },
    }
    file_id = make_file(door, door.client(upstream, settings, **ways[way]), upstream, TURN)
    assert file_id.startswith("file-")
    assert len(upstream.requests) == 4
    for request in upstream.requests:
        assert request.full_path.startswith(f"{PROJECT}/openai/v1/" if "project" in way else "/openai/v1/")
        assert [pair for pair in request.query if pair[0] == "api-version"] == [VERSION]


@pytest.mark.parametrize("version", ["v1", "preview", "latest"])
@pytest.mark.parametrize("kind", ["azure", "plain"])
def test_a_version_of_v1_that_the_client_asks_for_is_kept(
    door: Door, upstream: StandIn, sqlite_settings: Settings, version: str, kind: str
) -> None:
    """What a client asks for, `preview` or `latest`, is on every upstream request, unless a version is configured."""
    base_url = f"{upstream.azure_endpoint}/openai/v1/"
    own: dict[str, Any] = {"base_url": base_url, "default_query": {"api-version": version}}
    if kind == "azure":
        own = {"azure": True, "azure_endpoint": None, "base_url": base_url, "api_version": version}
    make_file(door, door.client(upstream, sqlite_settings, **own), upstream, TURN)
    assert [request.query for request in upstream.requests if ("api-version", version) not in request.query] == []
    upstream.requests.clear()
    settings = with_changes(sqlite_settings, azure_api_version="preview")
    start_run(door, door.client(upstream, settings, **own))
    assert upstream.requests[0].query == (VERSION,)


@pytest.mark.parametrize("configured", ["preview", None])
def test_downloads_through_a_plain_client_send_the_version_too(
    door: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Any, configured: str | None
) -> None:
    """`download_files` on a plain client of the v1 routes sends the configured version, or the client's own."""
    settings = with_changes(sqlite_settings, azure_api_version=configured)
    query = {} if configured else {"default_query": {"api-version": "preview"}}
    client = door.client(upstream, settings, base_url=f"{upstream.azure_endpoint}{PROJECT}/openai/v1", **query)
    native = make_native_response(door, client, upstream)
    [path] = door(download_files(client, native, tmp_path / "saved"))
    assert path.read_bytes() == CSV
    for request in upstream.requests:
        assert request.full_path.startswith(f"{PROJECT}/openai/v1/containers/")
        assert request.query.count(VERSION) == 1


def test_the_version_is_for_azure_only(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A client that is not of Azure sends no `api-version`, even if the setting is present."""
    settings = with_changes(sqlite_settings, azure_api_version="preview")
    make_file(door, door.client(upstream, settings), upstream, TURN)
    assert [name for request in upstream.requests for name, _ in request.query if name == "api-version"] == []


def test_downloads_of_a_native_response_send_the_version_too(
    door: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Any
) -> None:
    """`download_files` on an Azure client requests containers below `/openai/v1` with the configured version."""
    settings = with_changes(sqlite_settings, azure_api_version="preview")
    client = door.client(upstream, settings, azure=True)
    v1 = door.raw_client(upstream, base_url=f"{upstream.azure_endpoint}/openai/v1")
    native = make_native_response(door, v1, upstream)
    [path] = door(download_files(client, native, tmp_path / "saved"))
    assert path.read_bytes() == CSV
    for request in upstream.requests:
        assert request.full_path.startswith("/openai/v1/containers/")
        assert VERSION in request.query


@pytest.mark.parametrize("value", ["", "a b", "preview&x=1", 5])
def test_an_invalid_version_is_refused(value: Any) -> None:
    """A version that is empty, no string or not plain text is refused."""
    with pytest.raises(SettingsError, match="azure_api_version"):
        Settings(azure_api_version=value)


# --- gateways and redirects


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A gateway that serves Azure's routes below its own path, as API Management does."""
    with StandIn() as stand_in:
        answer = stand_in.answer

        def routed(request: Any) -> Any:
            inner = request.full_path.partition("/team/openai")[2].partition("?")[0]
            path = inner.removeprefix("/v1")
            return answer(type(request)(request.method, path, f"/openai{inner}", (), request.headers, request.body))

        monkeypatch.setattr(stand_in, "answer", routed)
        yield stand_in


@pytest.mark.parametrize("kind", ["azure", "plain"])
def test_a_gateway_gets_the_configured_version(
    door: Door, gateway: StandIn, sqlite_settings: Settings, kind: str
) -> None:
    """`azure_api_version` counts below a gateway's path too, also for a plain client of its v1 routes."""
    settings = with_changes(sqlite_settings, azure_api_version="preview")
    own: dict[str, Any] = {"azure": True, "azure_endpoint": None} if kind == "azure" else {}
    start_run(door, door.client(gateway, settings, base_url=f"{gateway.azure_endpoint}/team/openai/v1", **own))
    [request] = gateway.requests
    assert request.full_path == "/team/openai/v1/responses?api-version=preview"


@pytest.mark.parametrize("base", ["/team/openai", "/team/openai/v1", "/team/openai/deployments/gpt-4o"])
def test_a_gateway_with_its_own_path(door: Door, gateway: StandIn, sqlite_settings: Settings, base: str) -> None:
    """Upstream requests through a gateway go to the gateway's `/v1`, with its header and without a version."""
    client = door.client(
        gateway,
        sqlite_settings,
        azure=True,
        azure_endpoint=None,
        base_url=f"{gateway.azure_endpoint}{base}",
        default_headers={"Ocp-Apim-Subscription-Key": "team"},
    )
    gateway.script(Turn(text="Done.", polls=0))
    assert finish_run(door, client).status == "completed"
    assert upstream_calls(gateway) == ["POST /team/openai/v1/responses", "GET /team/openai/v1/responses/*"]
    for request in gateway.requests:
        assert request.full_path.startswith("/team/openai/v1/responses")
        assert request.headers["ocp-apim-subscription-key"] == "team"
        assert "api-version" not in request.full_path


def redirect(to: str, times: int = 1, status: int = 307) -> Fault:
    """Return a redirect of the next polls to a URL."""
    return Fault("GET /responses/*", status=status, headers={"location": to}, body=b"", times=times)


def test_a_redirect_to_another_origin_loses_the_key(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A redirect to another origin carries neither `api-key` nor `Authorization`."""
    with StandIn() as other:
        client = door.client(upstream, sqlite_settings, azure=True)
        run = start_run(door, client)
        upstream.fault(redirect(f"{other.azure_endpoint}/openai/v1/responses/resp_x"))
        with pytest.raises(openai.AuthenticationError):
            retrieve_run(door, client, run)
        [request] = other.requests
        assert request.full_path == "/openai/v1/responses/resp_x"
        assert {"api-key", "authorization"}.isdisjoint(request.headers)
        assert KEY not in json.dumps(request.headers)


@pytest.mark.parametrize("request_", ["run", "file", "download"])
def test_no_kind_of_request_takes_a_key_to_another_origin(
    door: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Any, request_: str
) -> None:
    """A redirect to another origin loses every key, also for passed-on requests and downloads of native responses."""
    client = door.client(
        upstream, sqlite_settings, azure=True, default_headers={"Ocp-Apim-Subscription-Key": "team"}, max_retries=0
    )
    run = start_run(door, client)
    cited = {"type": "container_file_citation", "container_id": "cntr_1", "file_id": "cfile_1", "filename": "a.txt"}
    part = {"type": "output_text", "text": "It.", "annotations": [{**cited, "start_index": 0, "end_index": 1}]}
    body = {"id": "resp_1", "object": "response", "output": [{"type": "message", "content": [part]}]}
    native: Any = SimpleNamespace(id="x", object="response", to_dict=lambda **_: body)
    calls: dict[str, Any] = {
        "run": lambda: retrieve_run(door, client, run),
        "file": lambda: door(client.files.retrieve("assistant-abc")),
        "download": lambda: door(download_files(client, native, tmp_path / "saved")),
    }
    with StandIn() as other:
        upstream.fault(Fault("GET *", status=307, headers={"location": f"{other.azure_endpoint}/x"}, body=b""))
        with pytest.raises((openai.AuthenticationError, assistants_compat.DownloadError)):
            calls[request_]()
        [request] = other.requests
        assert {"api-key", "authorization", "ocp-apim-subscription-key"}.isdisjoint(request.headers)


def test_a_redirect_within_the_resource_keeps_the_key(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A redirect within the same origin is followed with the same key."""
    client = door.client(upstream, sqlite_settings, azure=True)
    upstream.script(Turn(text="Done.", polls=0))
    run = start_run(door, client)
    [response_id] = upstream.responses
    upstream.fault(redirect(f"/openai/v1/responses/{response_id}"))
    assert retrieve_run(door, client, run).status == "completed"
    assert [request.headers["api-key"] for request in upstream.requests[1:]] == [KEY, KEY]


def test_endless_redirects_are_a_connection_error(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """An endless redirect ends as in an unwrapped client, with a connection error after twenty."""
    client = door.client(upstream, sqlite_settings, azure=True)
    run = start_run(door, client)
    upstream.requests.clear()
    upstream.fault(redirect("/openai/v1/responses/resp_loop", times=99))
    with pytest.raises(openai.APIConnectionError):
        retrieve_run(door, client, run)
    assert len(upstream.requests) == 21


def test_a_client_that_follows_no_redirects_follows_none(
    sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """An HTTP client that follows no redirects gets an error instead, and no second request is sent."""
    transport = openai.DefaultHttpxClient(follow_redirects=False)
    client = sync.client(upstream, sqlite_settings, azure=True, http_client=transport)
    run = start_run(sync, client)
    upstream.fault(redirect(f"{ELSEWHERE}/"))
    with pytest.raises(openai.InternalServerError, match="was not understood"):
        retrieve_run(sync, client, run)
    assert len(upstream.requests) == 2


# --- content of Azure's answers


def test_the_recorded_azure_answer_becomes_a_run(
    door: Door, upstream: StandIn, sqlite_settings: Settings, recordings: ModuleType, shared: Any
) -> None:
    """The recorded Azure answer with `content_filters` becomes a run with the recorded text, step and usage."""
    body, filtered = (
        json.loads((shared / "recordings" / "responses" / "vercel__ai" / name).read_text(encoding="utf-8"))
        for name in ("azure-code-interpreter-tool.1.json", "azure-tool-call.1.json")
    )
    assert body["content_filters"] is None
    body["content_filters"] = filtered["content_filters"]  # only the other recording has some
    assert [entry["source_type"] for entry in filtered["content_filters"]] == ["prompt", "completion"]
    client = door.client(upstream, sqlite_settings, azure=True)
    upstream.script(Turn(response=body, polls=0))
    run = finish_run(door, client, assistant={"tools": CODE})
    assert (run.status, run.usage.total_tokens) == ("completed", 2150)
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    assert message.content[0].text.value == body["output"][2]["content"][0]["text"]
    steps = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc"))
    [call] = next(step.step_details.tool_calls for step in steps if step.type == "tool_calls")
    assert call.code_interpreter.outputs[0].logs == body["output"][1]["outputs"][0]["logs"]
    assert "content_filter" not in message.to_json() + run.to_json()


def test_the_recorded_azure_tool_call_waits_for_its_output(
    door: Door, upstream: StandIn, sqlite_settings: Settings, shared: Any
) -> None:
    """The recorded Azure function call becomes `requires_action`, and its output completes the run."""
    path = shared / "recordings" / "responses" / "vercel__ai" / "azure-tool-call.1.json"
    body = json.loads(path.read_text(encoding="utf-8"))
    [recorded] = [item for item in body["output"] if item["type"] == "function_call"]
    client = door.client(upstream, sqlite_settings, azure=True)
    upstream.script(Turn(response=body, polls=0), Turn(text="Mild.", polls=0))
    run = finish_run(door, client, tools=[FUNCTION])
    assert run.status == "requires_action"
    [call] = run.required_action.submit_tool_outputs.tool_calls
    assert (call.id, call.function.name) == (recorded["call_id"], recorded["name"])
    assert call.function.arguments == recorded["arguments"]
    submit_outputs(door, client, run, call.id)
    assert retrieve_run(door, client, run).status == "completed"
    assert upstream.requests[-2].full_path == "/openai/v1/responses"


@pytest.mark.parametrize("mode", ["background", "inline"])
def test_a_filtered_answer_is_incomplete(door: Door, upstream: StandIn, sqlite_settings: Settings, mode: Any) -> None:
    """A response stopped by the content filter makes the run incomplete with that reason and keeps its text."""
    client = door.client(upstream, with_changes(sqlite_settings, mode=mode), azure=True)
    upstream.script(Turn(text="It beg", status="incomplete", incomplete_details={"reason": "content_filter"}, polls=0))
    run = finish_run(door, client)
    assert (run.status, run.incomplete_details.reason, run.last_error) == ("incomplete", "content_filter", None)
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    assert message.content[0].text.value == "It beg"


def test_a_filtered_stream_is_incomplete(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A stream stopped by the content filter ends with an incomplete run and message, with that reason."""
    client = door.client(upstream, sqlite_settings, azure=True)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    upstream.script(Turn(text="It beg", status="incomplete", incomplete_details={"reason": "content_filter"}))
    events = door.all(door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)))
    [last] = [event for event in events if event.event == "thread.run.incomplete"]
    assert last.data.incomplete_details.reason == "content_filter"
    [message] = [event.data for event in events if event.event == "thread.message.incomplete"]
    assert message.incomplete_details.reason == "content_filter"


def test_a_filtered_prompt_is_the_callers_error(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A filtered prompt's 400 reaches the caller unchanged, `innererror` included, and leaves no run."""
    error = {
        "message": "The response was filtered due to the prompt triggering the content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
    }
    client = door.client(upstream, sqlite_settings, azure=True)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    upstream.fault(Fault("POST /responses", status=400, body={"error": error}))
    with pytest.raises(openai.BadRequestError) as caught:
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert caught.value.body == error
    assert door.all(client.beta.threads.runs.list(thread.id)) == []


def test_azure_file_ids_reach_the_container(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """Azure's file ids (`assistant-...`) in attachments and `tool_resources` reach the container."""
    ids = ["assistant-Abc1", "assistant-Def2"]
    for file_id in ids:
        stored = upstream.files.pop(upstream.put_file("a.csv", b"a", "assistants"))
        stored.wire["id"] = file_id
        upstream.files[file_id] = stored
    client = door.client(upstream, sqlite_settings, azure=True)
    assistant = make_assistant(door, client, tools=CODE, tool_resources={"code_interpreter": {"file_ids": [ids[0]]}})
    attachment = {"file_id": ids[1], "tools": CODE}
    thread = door(
        client.beta.threads.create(messages=[{"role": "user", "content": "Sum.", "attachments": [attachment]}])
    )
    upstream.script(Turn(text="3", logs="3", polls=0))
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    sent = upstream.requests[0].json["tools"][0]["container"]
    assert sorted(sent["file_ids"]) == ids
    assert door.all(client.beta.threads.messages.list(thread.id))[-1].attachments[0].file_id == ids[1]


# --- container downloads that fail


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_download_that_fails_once_is_retried(
    door: Door, upstream: StandIn, sqlite_settings: Settings, status: int
) -> None:
    """A container download that fails once with 500, 503 or 429 is retried."""
    client = door.client(upstream, sqlite_settings, azure=True)
    upstream.fault(Fault(CONTENT_REQUEST, status=status, body={"error": {"code": "server_error", "message": ""}}))
    file_id = make_file(door, client, upstream, TURN)
    assert door(client.files.content(file_id)).read() == CSV
    assert upstream_calls(upstream).count("GET /containers/*/files/*/content") == 2


def test_a_download_that_azure_refuses_is_a_clear_404(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A file that Azure refuses is a 404 with the reason, and is downloaded as soon as Azure serves it."""
    client = door.client(upstream, sqlite_settings, azure=True)
    run, file_id = run_with_uncopied_file(door, client, upstream)
    assert run.status == "completed"
    upstream.fault(Fault(CONTENT_REQUEST, status=404, body={"error": {"code": "404", "message": "Resource not found"}}))
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {file_id} .*404"):
        door(client.files.content(file_id))
    assert door(client.files.content(file_id)).read() == CSV


# --- background streams, and tokens


def test_background_streams_on_azure_are_discouraged_once(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """`stream="background"` on an Azure client logs one warning that Azure is slow there."""
    slow = with_changes(sqlite_settings, stream="background")
    with caplog.at_level(logging.WARNING, logger="assistants_compat"):
        sync.client(upstream, slow)
        sync.client(upstream, sqlite_settings, azure=True)
        assert caplog.messages == []
        client = sync.client(upstream, slow, azure=True)
        assistants_compat.wrap(client, slow)
        finish_run_with_turn(sync, client.with_options(timeout=5), upstream)
    assert len([message for message in caplog.messages if "stream='background'" in message]) == 1


def test_a_token_that_expires_between_polls_is_the_callers_error(
    door: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """A token that expires between polls gives the caller the 401, and the next token completes the same run."""
    tokens = ["old"]
    client = door.client(
        upstream, sqlite_settings, azure=True, api_key=None, azure_ad_token_provider=lambda: tokens[-1]
    )
    upstream.keys = ["old"]
    upstream.script(TURN)
    run = start_run(door, client, assistant={"tools": CODE})
    upstream.keys = ["new"]
    with pytest.raises(openai.AuthenticationError):
        retrieve_run(door, client, run)
    tokens.append("new")
    assert retrieve_run(door, client, run).status == "completed"
    assert [request.headers["authorization"] for request in upstream.requests[:3]] == [
        "Bearer old",
        "Bearer old",
        "Bearer new",
    ]


def test_every_kind_of_credentials_works(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A key, a token and a token provider all work, and a wrong key gets the service's 401."""
    upstream.keys = ["key", "token"]
    credentials: list[dict[str, Any]] = [
        {"api_key": "key"},
        {"api_key": None, "azure_ad_token": "token"},
        {"api_key": None, "azure_ad_token_provider": make_provider(door, "token")},
    ]
    for options in credentials:
        client = door.client(upstream, sqlite_settings, azure=True, **options)
        assert finish_run(door, client).status == "completed"
        with pytest.raises(openai.AuthenticationError):
            start_run(door, door.client(upstream, sqlite_settings, azure=True, api_key="wrong"))


def make_provider(door: Door, token: str) -> Any:
    """Return a token provider of the door's kind."""
    if door.kind == "sync":
        return lambda: token

    async def provider() -> str:
        return token

    return provider


def with_changes(settings: Settings, **changes: Any) -> Settings:
    """Return the settings with these changes."""
    return dataclasses.replace(settings, **changes)
