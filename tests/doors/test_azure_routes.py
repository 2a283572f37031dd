"""Azure's ways: versions, gateways, redirects, filters, odd file ids, downloads that fail, and tokens that end."""

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
from kit.doors import KEY, Door
from kit.files import CONTENT, run_with, run_without_its_file
from kit.legacy_code import (
    CODE,
    CSV,
    FUNCTION,
    LINK,
    asked,
    finish_run,
    look_at,
    make_assistant,
    make_file,
    make_thread,
    start_run,
    submit,
)

FEW = Turn(text=LINK, files={"sales.csv": CSV}, polls=0)
VERSION = ("api-version", "preview")
ELSEWHERE = "http://localhost"  # another origin than 127.0.0.1, on the same machine


# --- api-version


@pytest.mark.parametrize("way", ["azure", "deployment", "v1", "query"])
def test_a_version_that_is_set_goes_with_every_upstream_call(
    door: Door, upstream: StandIn, sqlite_settings: Settings, way: str
) -> None:
    """`azure_api_version` is on every call of the v1 routes, however the client names Azure."""
    settings = changed(sqlite_settings, azure_api_version="preview")
    ways: dict[str, dict[str, Any]] = {
        "azure": {"azure": True},
        "deployment": {"azure": True, "azure_deployment": "gpt-4o"},
        "v1": {"base_url": f"{upstream.azure_endpoint}/openai/v1/"},
        "query": {
            "base_url": f"{upstream.azure_endpoint}/openai",
            "default_query": {"api-version": "2024-05-01-preview"},
        },
    }
    file_id = make_file(door, door.client(upstream, settings, **ways[way]), upstream, FEW)
    assert file_id.startswith("file-")
    assert len(upstream.requests) == 4
    for request in upstream.requests:
        assert request.full_path.startswith("/openai/v1/")
        assert [each for each in request.query if each[0] == "api-version"] == [VERSION]


def test_the_version_is_for_azure_only(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """With the setting, a client of OpenAI or of another gateway sends no `api-version`."""
    settings = changed(sqlite_settings, azure_api_version="preview")
    make_file(door, door.client(upstream, settings), upstream, FEW)
    assert [name for request in upstream.requests for name, _ in request.query if name == "api-version"] == []


def test_downloads_of_a_native_response_send_the_version_too(
    door: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Any
) -> None:
    """`download_files` asks an Azure client's containers below /openai/v1 with the version that is set."""
    settings = changed(sqlite_settings, azure_api_version="preview")
    client = door.client(upstream, settings, azure=True)
    upstream.script(FEW)
    body = {"model": "gpt-4o", "input": "Go.", "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}
    v1 = door.raw_client(upstream, base_url=f"{upstream.azure_endpoint}/openai/v1")
    response = door(v1.post("/responses", body=body, cast_to=object))
    thing: Any = SimpleNamespace(id="x", object="response", to_dict=lambda **_: response)
    upstream.requests.clear()
    [path] = door(download_files(client, thing, tmp_path / "saved"))
    assert path.read_bytes() == CSV
    for request in upstream.requests:
        assert request.full_path.startswith("/openai/v1/containers/")
        assert VERSION in request.query


@pytest.mark.parametrize("value", ["", "a b", "preview&x=1", 5])
def test_a_version_that_is_none_is_refused(value: Any) -> None:
    """What would change the URL is no version."""
    with pytest.raises(SettingsError, match="azure_api_version"):
        Settings(azure_api_version=value)


# --- gateways and redirects


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A gateway that serves Azure's routes below a path of its own, as API Management does."""
    with StandIn() as standin:
        answer = standin.answer

        def routed(request: Any) -> Any:
            inner = request.full_path.partition("/team/openai")[2].partition("?")[0]
            path = inner.removeprefix("/v1")
            return answer(type(request)(request.method, path, f"/openai{inner}", (), request.headers, request.body))

        monkeypatch.setattr(standin, "answer", routed)
        yield standin


@pytest.mark.parametrize("base", ["/team/openai", "/team/openai/v1", "/team/openai/deployments/gpt-4o"])
def test_a_gateway_with_a_path_of_its_own(door: Door, gateway: StandIn, sqlite_settings: Settings, base: str) -> None:
    """`AzureOpenAI(base_url=...)`: the upstream is the gateway's `/v1`, with its header and without a version."""
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
    assert asked(gateway) == ["POST /team/openai/v1/responses", "GET /team/openai/v1/responses/*"]
    for request in gateway.requests:
        assert request.full_path.startswith("/team/openai/v1/responses")
        assert request.headers["ocp-apim-subscription-key"] == "team"
        assert "api-version" not in request.full_path


def moved(to: str, times: int = 1, status: int = 307) -> Fault:
    """A redirect of the next request."""
    return Fault("GET /responses/*", status=status, headers={"location": to}, body=b"", times=times)


def test_a_redirect_elsewhere_does_not_take_the_key_along(
    door: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """Neither `api-key` nor `Authorization` reaches another origin."""
    with StandIn() as other:
        client = door.client(upstream, sqlite_settings, azure=True)
        run = start_run(door, client)
        upstream.fault(moved(f"{other.azure_endpoint}/openai/v1/responses/resp_x"))
        with pytest.raises(openai.AuthenticationError):
            look_at(door, client, run)
        [request] = other.requests
        assert request.full_path == "/openai/v1/responses/resp_x"
        assert {"api-key", "authorization"}.isdisjoint(request.headers)
        assert KEY not in json.dumps(request.headers)


@pytest.mark.parametrize("asked_for", ["run", "file", "download"])
def test_no_key_goes_elsewhere_whoever_asks(
    door: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Any, asked_for: str
) -> None:
    """A gateway's key neither, and also where the request is passed on or a native response is downloaded."""
    client = door.client(
        upstream, sqlite_settings, azure=True, default_headers={"Ocp-Apim-Subscription-Key": "team"}, max_retries=0
    )
    run = start_run(door, client)
    cited = {"type": "container_file_citation", "container_id": "cntr_1", "file_id": "cfile_1", "filename": "a.txt"}
    said = {"type": "output_text", "text": "It.", "annotations": [{**cited, "start_index": 0, "end_index": 1}]}
    body = {"id": "resp_1", "object": "response", "output": [{"type": "message", "content": [said]}]}
    native: Any = SimpleNamespace(id="x", object="response", to_dict=lambda **_: body)
    calls: dict[str, Any] = {
        "run": lambda: look_at(door, client, run),
        "file": lambda: door(client.files.retrieve("assistant-abc")),
        "download": lambda: door(download_files(client, native, tmp_path / "saved")),
    }
    with StandIn() as other:
        upstream.fault(Fault("GET *", status=307, headers={"location": f"{other.azure_endpoint}/x"}, body=b""))
        with pytest.raises((openai.AuthenticationError, assistants_compat.DownloadError)):
            calls[asked_for]()
        [request] = other.requests
        assert {"api-key", "authorization", "ocp-apim-subscription-key"}.isdisjoint(request.headers)


def test_a_redirect_within_the_resource_keeps_the_key(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """The same origin is asked with the same key, and the run goes on."""
    client = door.client(upstream, sqlite_settings, azure=True)
    upstream.script(Turn(text="Done.", polls=0))
    run = start_run(door, client)
    [response_id] = upstream.responses
    upstream.fault(moved(f"/openai/v1/responses/{response_id}"))
    assert look_at(door, client, run).status == "completed"
    assert [request.headers["api-key"] for request in upstream.requests[1:]] == [KEY, KEY]


def test_redirects_without_end_are_the_libraries_error(
    door: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """A loop ends as it does in an unwrapped client: a connection error after twenty of them."""
    client = door.client(upstream, sqlite_settings, azure=True)
    run = start_run(door, client)
    upstream.requests.clear()
    upstream.fault(moved("/openai/v1/responses/resp_loop", times=99))
    with pytest.raises(openai.APIConnectionError):
        look_at(door, client, run)
    assert len(upstream.requests) == 21


def test_a_client_that_follows_no_redirects_follows_none(
    sync: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """A caller's own HTTP client keeps its word: the redirect is an answer that is not the service's, and no more."""
    transport = openai.DefaultHttpxClient(follow_redirects=False)
    client = sync.client(upstream, sqlite_settings, azure=True, http_client=transport)
    run = start_run(sync, client)
    upstream.fault(moved(f"{ELSEWHERE}/"))
    with pytest.raises(openai.InternalServerError, match="was not understood"):
        look_at(sync, client, run)
    assert len(upstream.requests) == 2


# --- what Azure's answers hold


def test_the_recorded_azure_answer_becomes_a_run(
    door: Door, upstream: StandIn, sqlite_settings: Settings, recordings: ModuleType, shared: Any
) -> None:
    """The recorded Code Interpreter answer, `content_filters` included: text, step and usage are the record's."""
    body, filtered = (
        json.loads((shared / "recordings" / "responses" / "vercel__ai" / name).read_text(encoding="utf-8"))
        for name in ("azure-code-interpreter-tool.1.json", "azure-tool-call.1.json")
    )
    assert body["content_filters"] is None
    body["content_filters"] = filtered["content_filters"]  # the other recording has some
    assert [each["source_type"] for each in filtered["content_filters"]] == ["prompt", "completion"]
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
    """The recorded function call becomes `requires_action` with its call, and its output completes the run."""
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
    submit(door, client, run, call.id)
    assert look_at(door, client, run).status == "completed"
    assert upstream.requests[-2].full_path == "/openai/v1/responses"


@pytest.mark.parametrize("mode", ["background", "inline"])
def test_a_filtered_answer_is_incomplete(door: Door, upstream: StandIn, sqlite_settings: Settings, mode: Any) -> None:
    """A response that the filter stopped makes the run incomplete, for `content_filter`; what was said is kept."""
    client = door.client(upstream, changed(sqlite_settings, mode=mode), azure=True)
    upstream.script(Turn(text="It beg", status="incomplete", incomplete_details={"reason": "content_filter"}, polls=0))
    run = finish_run(door, client)
    assert (run.status, run.incomplete_details.reason, run.last_error) == ("incomplete", "content_filter", None)
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    assert message.content[0].text.value == "It beg"


def test_a_filtered_stream_is_incomplete(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """The same in a stream: its last event is the incomplete run, with the reason."""
    client = door.client(upstream, sqlite_settings, azure=True)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    upstream.script(Turn(text="It beg", status="incomplete", incomplete_details={"reason": "content_filter"}))
    events = door.all(door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)))
    [last] = [event for event in events if event.event == "thread.run.incomplete"]
    assert last.data.incomplete_details.reason == "content_filter"
    [message] = [event.data for event in events if event.event == "thread.message.incomplete"]
    assert message.incomplete_details.reason == "content_filter"


def test_a_filtered_prompt_is_the_callers_error(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """What the service refuses at once reaches the caller as it is, `innererror` included, and leaves no run."""
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
    """Ids like `assistant-...` in attachments and `tool_resources` are ids as any other."""
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
def test_a_download_that_fails_for_a_moment_is_tried_again(
    door: Door, upstream: StandIn, sqlite_settings: Settings, status: int
) -> None:
    """Azure's reported 500 of container downloads costs tries, not the file."""
    client = door.client(upstream, sqlite_settings, azure=True)
    upstream.fault(Fault(CONTENT, status=status, body={"error": {"code": "server_error", "message": ""}}))
    file_id = make_file(door, client, upstream, FEW)
    assert door(client.files.content(file_id)).read() == CSV
    assert asked(upstream).count("GET /containers/*/files/*/content") == 2


def test_a_download_that_azure_refuses_is_a_clear_404(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """The run completes, the file says why it is not there, and it is there as soon as Azure serves it."""
    client = door.client(upstream, sqlite_settings, azure=True)
    run, file_id = run_without_its_file(door, client, upstream)
    assert run.status == "completed"
    upstream.fault(Fault(CONTENT, status=404, body={"error": {"code": "404", "message": "Resource not found"}}))
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {file_id} .*404"):
        door(client.files.content(file_id))
    assert door(client.files.content(file_id)).read() == CSV


# --- background streams, and tokens


def test_background_streams_on_azure_are_discouraged_once(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that was told to stream in the background hears once that Azure is slow there, and others do not."""
    slow = changed(sqlite_settings, stream="background")
    with caplog.at_level(logging.WARNING, logger="assistants_compat"):
        sync.client(upstream, slow)
        sync.client(upstream, sqlite_settings, azure=True)
        assert caplog.messages == []
        client = sync.client(upstream, slow, azure=True)
        assistants_compat.wrap(client, slow)
        run_with(sync, client.with_options(timeout=5), upstream)
    assert len([message for message in caplog.messages if "stream='background'" in message]) == 1


def test_a_token_that_ends_within_a_poll_is_the_callers_error_and_the_run_goes_on(
    door: Door, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """The 401 reaches the caller as it is; with the next token the same run completes."""
    tokens = ["old"]
    client = door.client(
        upstream, sqlite_settings, azure=True, api_key=None, azure_ad_token_provider=lambda: tokens[-1]
    )
    upstream.keys = ["old"]
    upstream.script(FEW)
    run = start_run(door, client, assistant={"tools": CODE})
    upstream.keys = ["new"]
    with pytest.raises(openai.AuthenticationError):
        look_at(door, client, run)
    tokens.append("new")
    assert look_at(door, client, run).status == "completed"
    assert [request.headers["authorization"] for request in upstream.requests[:3]] == [
        "Bearer old",
        "Bearer old",
        "Bearer new",
    ]


def test_both_kinds_of_credentials_are_checked(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A key, a token and a token provider each get in, and a wrong one is a 401 of the service."""
    upstream.keys = ["key", "token"]
    given: list[dict[str, Any]] = [
        {"api_key": "key"},
        {"api_key": None, "azure_ad_token": "token"},
        {"api_key": None, "azure_ad_token_provider": provider_of(door, "token")},
    ]
    for options in given:
        client = door.client(upstream, sqlite_settings, azure=True, **options)
        assert finish_run(door, client).status == "completed"
        with pytest.raises(openai.AuthenticationError):
            start_run(door, door.client(upstream, sqlite_settings, azure=True, api_key="wrong"))


def provider_of(door: Door, token: str) -> Any:
    """A token provider of the door's kind."""
    if door.kind == "sync":
        return lambda: token

    async def provider() -> str:
        return token

    return provider


def changed(settings: Settings, **changes: Any) -> Settings:
    """The settings with some of them changed."""
    return dataclasses.replace(settings, **changes)
