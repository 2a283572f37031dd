"""Cassettes that the library neither plays nor records through behave as they do without the plugin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from assistants_compat.testing import StandIn, Turn
from kit.legacy_suites import CONFTEST, LINE, Run

CHAT = "https://api.openai.com/v1/chat/completions"
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi."}}],
}

SUITE = """
import datetime
import os
import time
import pytest
import requests
import vcr

def ask(client, prompt):
    return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": prompt}])

@pytest.mark.vcr
def test_time_in_prompt(client):
    assert ask(client, f"It is {datetime.datetime.now().isoformat()}").choices[0].message.content == "Hi."

@pytest.mark.vcr
def test_one_more(client):
    assert ask(client, "Hello").id == "chatcmpl-1"

@pytest.mark.vcr(match_on=["method", "host", "path"])
def test_query():
    assert requests.get("https://example.com/items", params={"at": time.time()}, timeout=1).json() == {"items": []}

@pytest.mark.vcr
def test_expected_failure(client):
    with pytest.raises(Exception):
        client.models.list()

@pytest.mark.vcr
def test_native_responses(client):
    response = client.responses.create(model="gpt-4o", input=f"It is {time.time()}")
    assert response.id == "resp_1"

@pytest.mark.vcr
def test_other_threads():
    # The forum's own API: its paths look like those of the Assistants API.
    assert requests.get("https://forum.example/api/threads/9", timeout=1).json() == {"id": 9}
    with pytest.raises(Exception):
        requests.get("https://forum.example/api/threads/10", timeout=1)
"""

PAGES = """
import os
import pytest
import requests

def pages(url):
    answer = requests.get(url, headers={"X-Page": "1", "Authorization": "Bearer foreign-0123456789abcdef"}, timeout=5)
    yield answer
    while "next" in answer.links:
        answer = requests.get(answer.links["next"]["url"], headers={"X-Page": "2"}, timeout=5)
        yield answer

@pytest.mark.vcr
def test_pages():
    first, second = pages(os.environ["FOREIGN_URL"])
    assert (first.headers["ETag"], first.headers["Set-Cookie"], second.text) == ('"1"', "session=1", "last")
"""


def interaction(method: str, uri: str, answer: Any, **headers: str) -> dict[str, Any]:
    """Return an exchange in VCR.py's format."""
    return {
        "request": {"method": method, "uri": uri, "body": json.dumps({"recorded": "earlier"}), "headers": {}},
        "response": {
            "status": {"code": 200, "message": "OK"},
            "headers": {"Content-Type": ["application/json"]} | {name: [value] for name, value in headers.items()},
            "body": {"string": json.dumps(answer)},
        },
    }


def write_cassette(path: Path, *interactions: dict[str, Any]) -> None:
    """Write a cassette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"interactions": list(interactions), "version": 1}), encoding="utf-8")


@pytest.fixture
def foreign_api() -> Iterator[str]:
    """The URL of another company's API with two pages, whose first one links the second by a header."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"last" if "page=2" in self.path else b"first"
            self.send_response(200)
            if body == b"first":
                self.send_header("Link", f'<{url}?page=2>; rel="next"')
            for name, value in (("ETag", '"1"'), ("Set-Cookie", "session=1"), ("Content-Length", str(len(body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/items"
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield url
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("line", ["", LINE], ids=["without", "with"])
def test_foreign_recordings_play_as_without_the_plugin(suite_folder: Path, run: Run, line: str) -> None:
    """Chat, native Responses and another company's API play with and without the line, by the suite's own rules."""
    (suite_folder / "conftest.py").write_text(f"{line}\n{CONFTEST}")
    (suite_folder / "test_foreign.py").write_text(SUITE)
    cassettes = suite_folder / "cassettes" / "test_foreign"
    chat = interaction("POST", CHAT, COMPLETION)
    write_cassette(cassettes / "test_time_in_prompt.yaml", chat)
    write_cassette(cassettes / "test_one_more.yaml", chat, chat)
    write_cassette(cassettes / "test_query.yaml", interaction("GET", "https://example.com/items?at=1", {"items": []}))
    write_cassette(cassettes / "test_expected_failure.yaml", chat)
    response = {"id": "resp_1", "object": "response", "output": [], "status": "completed"}
    native = interaction("POST", "https://api.openai.com/v1/responses", response)
    write_cassette(cassettes / "test_native_responses.yaml", native, native)
    write_cassette(
        cassettes / "test_other_threads.yaml", interaction("GET", "https://forum.example/api/threads/9", {"id": 9})
    )
    result = run("-q")
    result.assert_outcomes(passed=6)
    result.stdout.no_fnmatch_line("*assistants_compat*")


@pytest.mark.parametrize("line", ["", LINE], ids=["without", "with"])
def test_a_foreign_recording_keeps_its_headers(
    suite_folder: Path, run: Run, foreign_api: str, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """A recording of another company's API keeps `Link`, `ETag` and cookies, and is written although it has a key."""
    monkeypatch.setenv("FOREIGN_URL", foreign_api)
    (suite_folder / "conftest.py").write_text(line)
    (suite_folder / "test_foreign.py").write_text(PAGES)
    run("-q", "--record-mode=once").assert_outcomes(passed=1)
    run("-q", "--block-network").assert_outcomes(passed=1)


MIXED = """
import os
import time
import pytest
import requests

@pytest.mark.vcr
def test_both(client):
    assistant = client.beta.assistants.create(model="gpt-4o")
    foreign = requests.get(
        os.environ["FOREIGN_URL"], headers={"Authorization": "Bearer foreign-0123456789abcdef"}, timeout=5
    )
    native = client.responses.create(model="gpt-4o", input=f"It is {time.time()}")
    run = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "How many?"}]}
    )
    assert (foreign.headers["ETag"], run.status, native.status) == ('"1"', "completed", "completed")
"""


def test_one_cassette_may_hold_both(
    suite_folder: Path,
    run: Run,
    foreign_api: str,
    recorded_upstream: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a cassette of both kinds the library's requests follow its rules, the suite's own follow the suite's."""
    monkeypatch.setenv("FOREIGN_URL", foreign_api)
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    (suite_folder / "conftest.py").write_text(
        f"{LINE}\n{CONFTEST.replace('filter_headers', 'ignore_hosts')}".replace('["authorization"]', "[]")
    )
    (suite_folder / "test_mixed.py").write_text(MIXED)
    recorded_upstream.script(Turn(text="Now.", polls=0), Turn(text="Three.", polls=3))
    run("-q", "--record-mode=once").assert_outcomes(passed=1)
    cassette = suite_folder / "cassettes" / "test_mixed" / "test_both.yaml"
    text = cassette.read_text()
    assert "foreign-0123456789abcdef" not in text
    assert "Bearer" not in text
    assert text.count('"status": "in_progress"') == 1
    run("-q").assert_outcomes(passed=1)
    cassette.write_text(text.replace("How many?", "How much?"))
    result = run("-q")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*RecordingError: Can't play back this request*"])
