"""Mocks of the Assistants API keep answering: the library is off where that is certain, or asked for."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from kit.legacy_suites import LINE, Run

CONFTEST = f"""
{LINE}
import httpx
import openai
import pytest

@pytest.fixture
def client():
    # openai 3 brings httpx2, which neither respx nor pytest-httpx mocks, and accepts a client of httpx.
    return openai.OpenAI(base_url="https://api.test/v1", max_retries=0, http_client=httpx.Client())

@pytest.fixture
async def async_client():
    http_client = httpx.AsyncClient()
    async with openai.AsyncOpenAI(base_url="https://api.test/v1", max_retries=0, http_client=http_client) as client:
        yield client

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""

RESPX = r"""
import httpx
import pytest
import respx

THREAD = httpx.Response(200, json={"id": "thread_mocked", "object": "thread"})
ASSISTANT = httpx.Response(200, json={"id": "asst_mocked", "object": "assistant"})

def test_fixture(respx_mock, client):
    respx_mock.post("https://api.test/v1/threads").mock(return_value=THREAD)
    assert client.beta.threads.create().id == "thread_mocked"

@respx.mock
def test_decorator(client):
    respx.post(path="/v1/threads") % THREAD
    assert client.beta.threads.create().id == "thread_mocked"

@pytest.mark.anyio
async def test_router(async_client):
    with respx.mock(base_url="https://api.test/v1") as router:
        router.route(path__regex=r"/threads(?:/(?P<thread_id>\w+))?").mock(return_value=THREAD)
        assert (await async_client.beta.threads.create()).id == "thread_mocked"
        assert (await async_client.beta.threads.retrieve("thread_mocked")).id == "thread_mocked"

@respx.mock
def test_a_route_without_a_mock(client):
    respx.get(url__startswith="https://api.test/v1/assistants/") % ASSISTANT
    with pytest.raises(Exception):
        client.beta.threads.create()
    assert client.beta.assistants.retrieve("asst_mocked").id == "asst_mocked"

def test_transport(client):
    router = respx.Router()
    router.post("https://api.test/v1/threads") % THREAD
    copy = client.with_options(http_client=httpx.Client(transport=httpx.MockTransport(router.handler)))
    assert copy.beta.threads.create().id == "thread_mocked"
"""

PYTEST_HTTPX = r"""
import re
import pytest

def test_url(httpx_mock, client):
    httpx_mock.add_response(method="POST", url="https://api.test/v1/threads", json={"id": "thread_mocked"})
    assert client.beta.threads.create().id == "thread_mocked"

@pytest.fixture
def mocked(httpx_mock):
    httpx_mock.add_response(url=re.compile(r"https://api\.test/v1/threads.*"), json={"id": "thread_mocked"})

@pytest.mark.anyio
async def test_pattern_in_a_fixture(mocked, async_client):
    assert (await async_client.beta.threads.create()).id == "thread_mocked"
"""

TRANSPORT = """
import httpx
import openai
import pytest

def thread(request):
    return httpx.Response(200, json={"id": "thread_mocked", "object": "thread"})

ROUTES = {("POST", "/v1/threads"): thread}

def by_table(request):
    return ROUTES[request.method, request.url.path](request)

def by_text(request):
    assert request.url.path.endswith("/threads")
    return thread(request)

def by_segment(request):
    kind = request.url.path.split("/")[-1]
    return thread(request) if kind == "threads" else httpx.Response(404)

class Base:
    def __call__(self, request):
        return thread(request) if request.url.path == self.path else httpx.Response(404)

class Fake(Base):
    def __init__(self):
        self.path = "/v1/threads"

    def handle(self, request):
        return self(request)

@pytest.mark.parametrize("handler", [by_table, by_text, by_segment, Fake(), Fake().handle], ids=str)
def test_handlers(handler):
    http_client = httpx.Client(transport=httpx.MockTransport(handler))
    client = openai.OpenAI(max_retries=0, http_client=http_client)
    assert client.beta.threads.create().id == "thread_mocked"

@pytest.mark.anyio
async def test_asynchronous_handler():
    async def handler(request):
        return thread(request) if "/threads" in request.url.path else httpx.Response(404)

    http_client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    client = openai.AsyncOpenAI(max_retries=0, http_client=http_client)
    assert (await client.beta.threads.create()).id == "thread_mocked"

def test_an_application_as_transport():
    class Rule:
        path = "/v1/threads"

    class App:
        routes = [Rule()]

        async def __call__(self, scope, receive, send):
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"id": "thread_mocked"}'})

    async def main():
        http_client = httpx.AsyncClient(transport=httpx.ASGITransport(app=App()))
        async with openai.AsyncOpenAI(max_retries=0, http_client=http_client) as client:
            return await client.beta.threads.create()

    import asyncio
    assert asyncio.run(main()).id == "thread_mocked"
"""

# Nothing here is certain, or it is certain that the library is to answer.
ON = """
import httpx
import openai
import pytest
import respx

def refuse(request):
    return httpx.Response(500)

def new(request):
    if request.url.path.endswith("/threads"):
        raise AssertionError("the library sends no such request")
    return httpx.Response(200, json={}) if request.url.path == "/v1/responses" else httpx.Response(404)

@pytest.mark.parametrize("handler", [refuse, new])
def test_handlers(handler):
    http_client = httpx.Client(transport=httpx.MockTransport(handler))
    client = openai.OpenAI(max_retries=0, http_client=http_client)
    assert client.beta.threads.create().id.startswith("thread_")

@respx.mock
def test_another_service(client):
    respx.get("https://forum.example/api/threads/9") % 200
    httpx.get("https://forum.example/api/threads/9")
    assert client.beta.threads.create().id.startswith("thread_")

@respx.mock(assert_all_called=False)
def test_everything_is_mocked(client):
    respx.route(host="api.test") % 500
    assert client.beta.threads.create().id.startswith("thread_")

@respx.mock(assert_all_called=False)
def test_both(client):
    respx.post("https://api.test/v1/threads") % 500
    respx.post("https://api.test/v1/responses") % 500
    assert client.beta.threads.create().id.startswith("thread_")

@pytest.mark.assistants_compat(off=False)
@respx.mock(assert_all_called=False)
def test_asked_for(client):
    respx.post("https://api.test/v1/threads") % 500
    assert client.beta.threads.create().id.startswith("thread_")
"""

# The service itself is faked, by something that nobody can look into.
ASKED = """
import httpx
import openai
import pytest

class Transport(httpx.BaseTransport):
    def handle_request(self, request):
        return httpx.Response(200, json={"id": "thread_faked", "object": "thread"})

@pytest.fixture
def client():
    return openai.OpenAI(max_retries=0, http_client=httpx.Client(transport=Transport()))

@pytest.fixture(scope="module")
def early():
    client = openai.OpenAI(max_retries=0, http_client=httpx.Client(transport=Transport()))
    return client.beta.threads.create().id
"""
BY_MARKER = """
@pytest.mark.assistants_compat(off=True)
def test_off(early, client):
    assert (early, client.beta.threads.create().id) == ("thread_faked", "thread_faked")

def test_on(client):
    assert client.beta.threads.create().id != "thread_faked"
"""
BY_FIXTURE = """
def test_off(early, client, assistants_compat_off):
    assert (early, client.beta.threads.create().id) == ("thread_faked", "thread_faked")

@pytest.fixture
def service(request):
    request.getfixturevalue("assistants_compat_off")

def test_off_by_a_fixture(service, client):
    assert client.beta.threads.create().id == "thread_faked"

def test_on(client):
    assert client.beta.threads.create().id != "thread_faked"
"""
BY_MODULE = """
pytestmark = {mark}

def test_off(early, client):
    assert (early, client.beta.threads.create().id) == ("thread_faked", "thread_faked")

@pytest.mark.assistants_compat(off=False)
def test_on(client):
    assert client.beta.threads.create().id != "thread_faked"
"""


@pytest.fixture
def mocks(suite_folder: Path) -> Path:
    """The folder of a suite with clients of httpx, at an address of its own."""
    pytest.importorskip("httpx", reason="the SDK brings httpx2 only, and httpx is not installed")
    (suite_folder / "conftest.py").write_text(CONFTEST)
    return suite_folder


@pytest.mark.parametrize(
    ("module", "suite", "tests"),
    [("respx", RESPX, 5), ("pytest_httpx", PYTEST_HTTPX, 2), (None, TRANSPORT, 7)],
    ids=["respx", "pytest-httpx", "transports"],
)
def test_a_mock_of_the_old_api_answers(mocks: Path, run: Run, module: str | None, suite: str, tests: int) -> None:
    """A mock that names routes of the Assistants API gets the old requests, and the summary counts these tests."""
    if module and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    (mocks / "test_mocks.py").write_text(suite)
    result = run("-q")
    result.assert_outcomes(passed=tests)
    result.stdout.fnmatch_lines([f"assistants_compat: {tests} tests mock the Assistants API, *"])


def test_a_mock_that_may_be_of_the_new_api_leaves_the_library_on(mocks: Path, run: Run) -> None:
    """A mock of anything else, of everything or of both APIs does not switch the library off, nor does `off=False`."""
    pytest.importorskip("respx", reason="respx is not installed")
    (mocks / "test_mocks.py").write_text(ON)
    result = run("-q")
    result.assert_outcomes(passed=6)
    result.stdout.no_fnmatch_line("*mock the Assistants API*")


@pytest.mark.parametrize(
    ("suite", "tests"),
    [
        (BY_MARKER, 2),
        (BY_FIXTURE, 3),
        (BY_MODULE.format(mark="pytest.mark.assistants_compat(off=True)"), 2),
        (BY_MODULE.format(mark='pytest.mark.usefixtures("assistants_compat_off")'), 2),
    ],
    ids=["marker", "fixture", "module by marker", "module by fixture"],
)
def test_the_library_is_switched_off(mocks: Path, run: Run, suite: str, tests: int) -> None:
    """A marker or a fixture switches the library off for a test or a module, fixtures of a wider scope included."""
    (mocks / "test_asked.py").write_text(ASKED + suite)
    run("-q", "-p", "no:randomly").assert_outcomes(passed=tests)


def test_a_client_that_wraps_itself_is_switched_off_too(mocks: Path, run: Run) -> None:
    """Without the line, the marker also switches off clients that the program wraps."""
    (mocks / "conftest.py").write_text("")
    wrapped = ASKED.replace(
        "return openai.OpenAI(", "import assistants_compat; return assistants_compat.wrap(openai.OpenAI("
    )
    wrapped = wrapped.replace("transport=Transport()))\n\n@pytest", "transport=Transport())))\n\n@pytest")
    (mocks / "test_asked.py").write_text(
        wrapped + "\n@pytest.mark.assistants_compat(off=True)\n"
        "def test_off(client): assert client.beta.threads.create().id == 'thread_faked'\n"
    )
    run("-q").assert_outcomes(passed=1)
