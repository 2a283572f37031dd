"""What `doctor --live` writes for a report holds no secret, no id and no host."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.cli.live_checks.answers import Answer
from assistants_compat.cli.live_checks.bench import Exchange
from assistants_compat.cli.live_checks.catalogue import CHECKS
from assistants_compat.cli.live_checks.report import Anonymizer, cassette, leaks, report
from assistants_compat.cli.live_checks.runner import LiveResult, LiveRun
from assistants_compat.cli.live_checks.verdicts import LiveVerdict
from assistants_compat.recordings.vcr_yaml import exchanges_from_document

AZURE = "https://acme-prod.openai.azure.com/openai/v1/"
GATEWAY = "https://llm.corp.acme.example:8443/v1/"
KEY = "azure-key-of-84-characters"
PRIVATE = {
    "OpenAI key": "sk-proj-abcDEF0123456789abcDEF0123456789",
    "masked key": "sk-proj-********************abcd",
    "Azure key": "0123456789abcdef0123456789abcdef",
    "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhY21lIn0.c2lnbmF0dXJl",
    "organization": "org-AcmeAcme1234567890",
    "project": "proj_AcmeAcme1234567890",
    "user": "user-AcmeAcme1234567890",
    "request": "req_0123456789abcdef0123456789abcdef",
    "response": "resp_0123456789abcdef0123456789abcdef",
    "message": "msg_0123456789abcdef0123456789abcdef",
    "call": "call_Abc123Def456Ghi789",
    "file": "file-Abc123Def456Ghi789",
    "Azure file": "assistant-Abc123Def456Ghi789",
    "container": "cntr_0123456789abcdef0123456789abcdef",
    "container file": "cfile_0123456789abcdef0123456789abcdef",
    "vector store": "vs_0123456789abcdef0123456789abcdef",
    "conversation": "conv_0123456789abcdef0123456789abcdef",
    "UUID": "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    "email": "jane.doe@acme.example",
    "address": "10.20.30.40",
    "host": "llm.corp.acme.example",
    "resource": "acme-prod",
    "deployment": "acme-gpt4o-prod",
    "fine-tuned model": "ft:gpt-4o-2024-08-06:acme-org:helper:AbC123",
    "tenant": "acme-org",
}
MODELS = [PRIVATE["deployment"], PRIVATE["fine-tuned model"], "gpt-4o"]


def anonymizer(base_url: str = AZURE) -> Anonymizer:
    """Return an anonymizer that knows the upstream, the models and the key of this test."""
    return Anonymizer(base_url, MODELS, [KEY], is_azure="azure" in base_url)


def text_with(secret: str) -> str:
    """Return an error message that quotes a private text."""
    return f"Incorrect thing provided: {secret}. Ask at https://{PRIVATE['host']}:8443/help or see platform.openai.com."


def exchange(secret: str, form: str) -> Exchange:
    """Return an exchange with a private text in one place."""
    sent: Any = {"model": "gpt-4o", "input": "Say ok."}
    query: tuple[tuple[str, str], ...] = ()
    path, headers = "/responses", {"content-type": "application/json"}
    body: bytes = json.dumps({"error": {"message": "x"}}).encode()
    if form == "message":
        body = json.dumps({"error": {"message": text_with(secret), "param": secret}}).encode()
    elif form == "id":
        body = json.dumps({"id": secret, "object": "x", "container_id": secret, "file_ids": [secret]}).encode()
    elif form == "sent":
        sent = {"model": secret, "previous_response_id": secret, "input": [{"type": "message", "content": secret}]}
    elif form == "path":
        path, query = f"/responses/{secret}", (("after", secret),)
    elif form == "header":
        headers |= {"x-request-id": secret, "openai-organization": secret, "set-cookie": secret, "location": secret}
    elif form == "stream":
        event = {"type": "response.completed", "response": {"id": secret, "output": [{"text": secret}]}}
        body = f"event: response.completed\ndata: {json.dumps(event)}\n\n: {secret}\n".encode()
    elif form == "page":
        body = f"<html>{text_with(secret)}</html>".encode()
    elif form == "wrapped":
        inner = json.dumps({"error": {"message": text_with(secret)}})
        body = json.dumps({"error": {"message": f"litellm.Error: {inner}"}}).encode()
    elif form == "upload":
        sent = f"a form with a file of 3 bytes: {secret}; purpose=assistants"
    return Exchange("POST", path, query, sent, 400, headers, body)


@pytest.mark.parametrize("form", ["message", "id", "sent", "path", "header", "stream", "page", "wrapped", "upload"])
@pytest.mark.parametrize("kind", PRIVATE)
@pytest.mark.parametrize("base_url", [AZURE, GATEWAY])
def test_no_private_text_is_in_the_cassette(kind: str, form: str, base_url: str) -> None:
    """Keys, ids, hosts and names of deployments are in no part of the cassette, wherever the upstream puts them."""
    secret = PRIVATE[kind]
    if kind in ("resource", "tenant", "deployment", "fine-tuned model") and (form != "sent" or base_url == GATEWAY):
        secret = MODELS[0] if kind == "deployment" else PRIVATE["fine-tuned model"]
    document = cassette([exchange(secret, form)], anonymizer(base_url))
    written = json.dumps(document)
    assert secret not in written
    for host in ("acme-prod", "corp.acme", "acme.example"):
        assert host not in written
    assert leaks(document) == []
    assert len(exchanges_from_document(document)) == 1


@pytest.mark.parametrize("kind", PRIVATE)
def test_no_private_text_is_in_the_report(kind: str) -> None:
    """What a verdict quotes of a refusal is without keys, ids and hosts in the report."""
    secret = PRIVATE[kind]
    if kind in ("resource", "tenant"):
        secret = MODELS[0]
    answer = Answer(400, {"error": {"message": text_with(secret), "param": None, "code": None}})
    verdict = LiveVerdict("undecided", text_with(secret), f"do {secret}", {("model_unknown", MODELS[0]): True})
    live = LiveRun([LiveResult(CHECKS[1], MODELS[0], verdict, {"temperature": answer})], [], [])
    written = json.dumps(report(live, anonymizer(), {"python": "3.13"}))
    assert secret not in written
    assert PRIVATE["host"] not in written
    assert "deployment-1" in written


def test_the_report_keeps_what_tells_something() -> None:
    """The outcome, the status, the words and the code of a refusal, and public names and addresses stay."""
    message = "Invalid input: maximum of 2 vector stores allowed. See https://platform.openai.com/docs. gpt-4o"
    answer = Answer(400, {"error": {"message": message, "param": "tools", "code": "integer_above_max_value"}})
    verdict = LiveVerdict("as assumed", message, "", {("vector_stores_too_many", ""): True})
    live = LiveRun([LiveResult(CHECKS[18], "gpt-4o", verdict, {"stores: 3": answer})], [], [])
    [check] = report(live, anonymizer(), {})["checks"]
    assert (check["number"], check["outcome"], check["says"], check["model"]) == (18, "as assumed", message, "gpt-4o")
    assert check["answers"][0] == {
        "to": "stores: 3",
        "status": 400,
        "refusal": "vector_stores_too_many",
        "error": {"message": message, "param": "tools", "code": "integer_above_max_value"},
    }


def test_an_id_has_one_name_in_the_whole_cassette() -> None:
    """The same id gets the same number in a path, in a body and in a message, so that a cassette can be followed."""
    id_ = PRIVATE["response"]
    first = Exchange("POST", "/responses", (), {"input": "x"}, 200, {}, json.dumps({"id": id_}).encode())
    second = Exchange("GET", f"/responses/{id_}", (), None, 404, {}, json.dumps({"error": {"message": id_}}).encode())
    written = json.dumps(cassette([first, second], anonymizer()))
    assert written.count("resp_1") == 3
    assert "resp_2" not in written


@given(st.from_regex(r"[A-Za-z0-9+/=._-]{8,300}", fullmatch=True))
def test_an_id_of_any_form_is_replaced(id_: str) -> None:
    """An id of a form that only a gateway has is replaced where it stands, and in the path of the next request."""
    made = Exchange("POST", "/containers", (), {"name": "doctor-live"}, 200, {}, json.dumps({"id": id_}).encode())
    used = Exchange("GET", f"/containers/{id_}/files", (), None, 200, {}, b"{}")
    document = cassette([made, used], anonymizer())
    first, second = document["interactions"]
    assert json.loads(first["response"]["body"]["string"])["id"] != id_
    assert second["request"]["uri"] != f"https://scrubbed.openai.azure.com/openai/v1/containers/{id_}/files"


def test_encrypted_reasoning_is_not_in_the_cassette() -> None:
    """Encrypted reasoning, which is long and of no use, is replaced."""
    body = json.dumps({"output": [{"type": "reasoning", "encrypted_content": "gAAAA" + "x" * 1000}]}).encode()
    assert "gAAAA" not in json.dumps(cassette([Exchange("GET", "/x", (), None, 200, {}, body)], anonymizer()))


@pytest.mark.parametrize("text", ["a.a.", "call_", "iVBORw0KGgo", "a.b@", "0a1b2c3d", "https://a", "ft:", "1.1."])
def test_a_long_answer_is_searched_in_no_time(text: str) -> None:
    """A gateway's error page may be long and have an image in it."""
    started_at = time.monotonic()
    anonymizer().text(text * 20_000)
    assert time.monotonic() - started_at < 5
