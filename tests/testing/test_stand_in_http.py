"""The stand-in's HTTP side works: keys, base URLs, faults, the log of requests, start and end."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time

import pytest

from assistants_compat.testing import Fault, StandIn, Turn

PLAIN = {"model": "gpt-4o", "input": "Hello"}


def test_every_answer_carries_the_headers_of_the_service(call) -> None:
    """Answers and refusals carry a request id, the API version and the processing time."""
    for path in ("POST /responses", "GET /nowhere"):
        headers = call(path, PLAIN if path.startswith("POST") else None).headers
        assert headers["x-request-id"].startswith("req_")
        assert len(headers["x-request-id"]) == 36
        assert headers["openai-version"] == "2020-10-01"
        assert int(headers["openai-processing-ms"]) >= 0


def test_the_same_seed_gives_the_same_answers(caller) -> None:
    """Two stand-ins with the same seed and clock give byte-identical answers."""
    bodies = []
    for _ in range(2):
        with StandIn(seed=7) as upstream:
            upstream.clock = lambda: 1_800_000_000
            bodies.append([(reply := caller(upstream)("POST /responses", PLAIN)).body, reply.headers])
    assert bodies[0] == bodies[1]
    assert bodies[0][1]["date"] == "Fri, 15 Jan 2027 08:00:00 GMT"


def test_requests_are_recorded(upstream, call) -> None:
    """The log of requests holds method, paths, query, lower-case headers, JSON and bytes."""
    call("GET /responses/resp_x?include[]=a&include[]=b", headers={"X-Extra": "1"})
    call("POST /responses", PLAIN)
    call("POST /files", b"\xff", headers={"content-type": "text/plain"})
    get, post, upload = upstream.requests
    assert (get.method, get.path, get.json) == ("GET", "/responses/resp_x", None)
    assert get.full_path == "/v1/responses/resp_x?include[]=a&include[]=b"
    assert get.query == (("include[]", "a"), ("include[]", "b"))
    assert get.headers["x-extra"] == "1"
    assert (post.json, json.loads(post.body)) == (PLAIN, PLAIN)
    assert (upload.json, upload.body) == (None, b"\xff")


def test_a_key_is_needed_and_only_bearer_tokens_count_outside_azure(call) -> None:
    """A request without a key is a 401, and `api-key` counts on the Azure base only."""
    assert call("POST /responses", PLAIN, headers={"authorization": ""}).status == 401
    assert call("POST /responses", PLAIN, headers={"authorization": "", "api-key": "k"}).status == 401
    azure = "POST /openai/v1/responses"
    assert call(azure, PLAIN, headers={"authorization": "", "api-key": "k"}).status == 200
    assert call(azure, PLAIN, headers={"authorization": "Bearer token"}).status == 200


@pytest.mark.parametrize("key", ["sk", "sk-0123456789", "sk-0123456789abcdefghij"])
def test_a_wrong_key_is_not_shown_in_full(key, caller) -> None:
    """The refusal of a wrong key masks its middle."""
    with StandIn(keys={"sk-good"}) as upstream:
        reply = caller(upstream)("POST /responses", PLAIN, headers={"authorization": f"Bearer {key}"})
        assert reply.status == 401
        assert reply.json["error"]["code"] == "invalid_api_key"
        assert key not in reply.json["error"]["message"]


def test_removed_and_unknown_routes_are_not_found(call) -> None:
    """The routes of assistants and threads are 404, and so is every unknown URL."""
    for path in ("GET /assistants", "POST /threads", "GET /threads/t/messages"):
        assert call(path).status == 404
    unknown = call("GET /xyz?a=b")
    assert (unknown.status, unknown.json["error"]["message"]) == (404, "Invalid URL (GET /v1/xyz)")
    assert call("DELETE /responses").status == 404


def test_azure_has_dated_routes_for_files_only_and_no_dated_version_on_v1(upstream, call) -> None:
    """Azure's dated routes serve files only, and its v1 routes refuse a dated api-version."""
    dated = "api-version=2024-05-01-preview"
    assert call(f"GET /openai/files?{dated}").status == 200
    assert upstream.requests[-1].path == "/files"
    for path in ("threads", "containers/cntr_x/files", "responses"):
        assert call(f"GET /openai/{path}?{dated}").json == {"error": {"code": "404", "message": "Resource not found"}}
    assert call(f"POST /openai/v1/responses?{dated}", PLAIN).status == 400
    assert call("POST /openai/v1/responses?api-version=preview", PLAIN).status == 200


def test_a_body_that_is_no_json_object_is_refused(call) -> None:
    """Broken JSON, and JSON that is no object, are refused with 400."""
    for body in (b"{", b"[]", b"\xff"):
        reply = call("POST /responses", body)
        assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")


DEEP = {
    "tools": b'{"model":"m","input":"x","tools":[{"type":"function","name":"f","strict":false,"parameters":%b}]}',
    "filters": b'{"model":"m","input":"x","tools":[{"type":"file_search","vector_store_ids":[],"filters":%b}]}',
    "input": b'{"model":"m","input":%b}',
    "metadata": b'{"model":"m","input":"x","metadata":%b}',
}


@pytest.mark.parametrize("levels", [90, 490, 900, 1500, 100_000])
@pytest.mark.parametrize("place", DEEP)
@pytest.mark.parametrize(
    ("start", "end"), [(b'{"a":', b"}"), (b"[", b"]"), (b'{"type":"and","filters":[', b"]}")], ids=str
)
def test_a_deeply_nested_body_is_answered(place: str, start: bytes, end: bytes, levels: int, call) -> None:
    """A body of any depth is answered with 200 or 400, streamed or not; too deep a one is no JSON to the stand-in."""
    body = DEEP[place] % (start * levels + b"1" + end * levels)
    for sent in (body, body.replace(b'"model"', b'"stream":true,"model"', 1)):
        reply = call("POST /responses", sent)
        assert reply.status in {200, 400}, reply.body[:200]
        if levels > 500:
            assert reply.json["error"]["message"].startswith("We could not parse the JSON body of your request.")


def test_half_a_surrogate_pair_is_answered(call) -> None:
    """Half a surrogate pair is escaped in the answer, in a poll and in a stream, and the next request is served."""
    body = b'{"model":"m","input":"a\\ud800b","instructions":"\\udfff","background":false,"metadata":{"k":"\\ud800"}}'
    reply = call("POST /responses", body)
    assert (reply.status, reply.json["instructions"]) == (200, "\udfff")
    assert reply.json["output"][0]["content"][0]["text"] == "You said: a\ud800b"
    assert call(f"GET /responses/{reply.json['id']}").json == reply.json
    events = call("POST /responses", body.replace(b'"background":false', b'"stream":true')).events
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "You said: a\ud800b"
    assert call(f"GET /responses/{reply.json['id']}/input_items").json["data"][0]["content"][0]["text"] == "a\ud800b"
    stored = call("POST /vector_stores", b'{"name":"\\ud800"}')
    assert (stored.status, stored.json["name"]) == (200, "\ud800")


def test_a_fault_answers_as_often_as_it_says(upstream, call) -> None:
    """A fault answers matching requests as many times as it says, and no others."""
    upstream.fault(Fault("POST /responses", status=429, headers={"Retry-After": "1"}, body={"error": {}}, times=2))
    upstream.fault(Fault("GET /files/*/content", html=True))
    assert call("GET /files").status == 200
    for _ in range(2):
        reply = call("POST /responses", PLAIN)
        assert (reply.status, reply.json, reply.headers["retry-after"]) == (429, {"error": {}}, "1")
        assert reply.headers["x-request-id"].startswith("req_")
    assert call("POST /responses", PLAIN).status == 200
    page = call("GET /files/file-x/content")
    assert (page.status, page.headers["content-type"]) == (502, "text/html")
    assert len(upstream.requests) == 5


def test_a_fault_without_a_body_has_the_services_error_body(upstream, call) -> None:
    """A bare 500 has the service's error body; a text body is sent as it is."""
    upstream.fault(Fault(status=500))
    upstream.fault(Fault(status=503, body="upstream connect error"))
    assert call("GET /files").json["error"]["type"] == "server_error"
    assert call("GET /files").body == b"upstream connect error"


def test_a_dropped_request_is_not_carried_out(upstream, call) -> None:
    """A dropped request gets no answer and has no effect, but is in the log."""
    upstream.fault(Fault("POST /responses", drop=True))
    with pytest.raises(http.client.RemoteDisconnected):
        call("POST /responses", PLAIN)
    assert not upstream.responses
    assert len(upstream.requests) == 1


def test_a_truncated_answer_ends_in_the_middle(upstream, caller) -> None:
    """A truncated body ends before its announced length, and a truncated stream before its end."""
    upstream.fault(Fault("POST /responses", truncate=True, times=2))
    for body in (PLAIN, {**PLAIN, "stream": True}):
        with pytest.raises(http.client.IncompleteRead):
            caller(upstream)("POST /responses", body)
    assert len(upstream.responses) == 2


def test_a_stalled_answer_comes_late_and_never_outlives_the_stand_in(upstream, call) -> None:
    """A stalled answer comes late, and closing the stand-in ends it."""
    upstream.fault(Fault("GET /files", stall=0.1))
    began = time.monotonic()
    assert call("GET /files").status == 200
    assert time.monotonic() - began >= 0.1
    upstream.fault(Fault("GET /files", stall=60))
    threading.Timer(0.1, upstream.close).start()
    with pytest.raises((http.client.HTTPException, OSError)):
        call("GET /files")
    assert time.monotonic() - began < 10


def test_leaving_a_plain_stream_ends_its_response(upstream, call) -> None:
    """Leaving a plain stream early ends its response; a background response continues."""
    for background, status in ((False, 404), (True, 200)):
        upstream.script(Turn("word " * 50, pace=0.01, polls=0))
        body = json.dumps({**PLAIN, "stream": True, "background": background}).encode()
        address = upstream.azure_endpoint.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1]))) as raw:
            head = f"POST /v1/responses HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Length: {len(body)}\r\n\r\n"
            raw.sendall(head.encode() + body)
            raw.recv(100)
        time.sleep(0.1)
        assert call(f"GET /responses/{list(upstream.responses)[-1]}").status == status


def test_chunked_uploads_are_read(upstream) -> None:
    """A body sent in chunks is joined."""
    address = upstream.azure_endpoint.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=5)
    pieces = iter([json.dumps(PLAIN)[:7].encode(), json.dumps(PLAIN)[7:].encode()])
    headers = {"authorization": "Bearer k", "content-type": "application/json", "transfer-encoding": "chunked"}
    connection.request("POST", "/v1/responses", pieces, headers, encode_chunked=True)
    assert json.loads(connection.getresponse().read())["status"] == "completed"
    connection.close()


def test_connections_are_kept_alive_and_closed_at_the_end(caller) -> None:
    """Requests share one connection, which closing the stand-in closes; closing twice is allowed."""
    upstream = StandIn().start()
    call = caller(upstream)
    sockets = set()
    for _ in range(3):
        call("GET /files")
        sockets.add(id(call.connection.sock))
    assert len(sockets) == 1
    raw = call.connection.sock
    upstream.close()
    upstream.close()
    raw.settimeout(5)
    assert raw.recv(1) == b""
    with pytest.raises(RuntimeError, match="not running"):
        _ = upstream.base_url


def test_a_mistake_in_the_script_is_not_retried(upstream, call) -> None:
    """A turn that the request cannot play is a 500 that says why and that no SDK retries."""
    upstream.script(Turn("x", files={"a.csv": b""}))
    reply = call("POST /responses", PLAIN)
    assert (reply.status, reply.headers["x-should-retry"]) == (500, "false")
    assert "has no code_interpreter tool" in reply.json["error"]["message"]
