"""The library works with any event loop and HTTP client, imports little, and logs its own bugs without secrets."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import logging
import re
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import openai
import pytest
import typing_extensions

import assistants_compat
from assistants_compat import Settings, UnsupportedSdkError
from assistants_compat.doors import sdk_internals
from assistants_compat.store import queries
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import KEY, Door
from kit.legacy_code import CODE, CSV, LINK, dump_store, finish_run, make_assistant, make_file, make_thread, start_run

VERSION = tuple(int(part) for part in openai.__version__.split(".")[:2])

MEASURE = """
import time
import openai
start = time.perf_counter()
import assistants_compat
assistants_compat.wrap
spent = time.perf_counter() - start
import json, sys
print(json.dumps({"spent": spent, "loaded": sorted(set(sys.modules) & set(sys.argv[1:]))}))
"""
HEAVY = [
    "sqlalchemy",
    "anyio.to_thread",
    "platformdirs",
    "sqlite3",
    "assistants_compat.api.app",
    "assistants_compat.testing",
]


def test_the_import_is_cheap() -> None:
    """Importing the library and its `wrap` after the SDK takes under 50 ms and does not load SQLAlchemy."""
    results = []
    for _ in range(12):  # the fastest of several: a busy machine makes an import slower, never faster
        command = [sys.executable, "-c", MEASURE, *HEAVY]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results.append(json.loads(done.stdout))
        if results[-1]["spent"] < 0.05:
            break
    assert "sqlalchemy" not in results[0]["loaded"]
    assert "assistants_compat.api.app" not in results[0]["loaded"]
    assert min(result["spent"] for result in results) < 0.05


def test_wrapping_and_passing_through_load_no_database() -> None:
    """A wrapped client that makes no Assistants call does not load SQLAlchemy."""
    program = """
import sys, openai, assistants_compat
client = assistants_compat.wrap(openai.OpenAI(api_key="sk", base_url="http://127.0.0.1:9", max_retries=0))
try:
    client.models.retrieve("gpt-4o")
except openai.APIConnectionError:
    pass
assert "sqlalchemy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# Packages of extras and of developers' tools.
EXTRAS = ["psycopg", "jsonschema", "pytest", "yaml", "vcr", "starlette", "uvicorn", "obstore", "typer", "rich", "azure"]


def test_a_conversation_works_without_extras(sqlite_settings: Settings) -> None:
    """A conversation with a download works without any optional package."""
    program = f"""
import sys
for name in {EXTRAS!r}:
    sys.modules[name] = None
import openai, assistants_compat
from assistants_compat.testing import StandIn, Turn
settings = assistants_compat.Settings(store=sys.argv[1], files=sys.argv[2], poll_after_ms=1)
with StandIn() as upstream:
    upstream.script(Turn(text="sandbox:/mnt/data/a.csv", files={{"a.csv": b"a"}}))
    client = assistants_compat.wrap(openai.OpenAI(api_key="sk", base_url=upstream.base_url), settings)
    assistant = client.beta.assistants.create(model="gpt-4o", tools=[{{"type": "code_interpreter"}}])
    thread = client.beta.threads.create(messages=[{{"role": "user", "content": "x"}}])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    [message, _] = client.beta.threads.messages.list(thread.id)
    file_id = message.content[0].text.annotations[0].file_path.file_id
    assert client.files.content(file_id).read() == b"a"
    on_postgresql = assistants_compat.Settings(store="postgresql+psycopg://localhost/x")
    try:
        assistants_compat.wrap(client, on_postgresql).beta.threads.create()
    except openai.InternalServerError as error:
        assert "pip install 'psycopg[binary]'" in str(error), error
    else:
        raise AssertionError
"""
    arguments = [str(sqlite_settings.store), str(sqlite_settings.files)]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_sdk_without_threads_is_refused(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wrap` refuses an SDK without `beta.threads`, names the versions that have it, and changes nothing."""
    client = door.raw_client(upstream)
    inner = client._client
    monkeypatch.setitem(sys.modules, "openai.resources.beta.threads.threads", None)
    with pytest.raises(UnsupportedSdkError) as caught:
        assistants_compat.wrap(client, sqlite_settings)
    assert str(caught.value) == (
        f"openai {openai.__version__} has no client.beta.threads, which assistants_compat needs. "
        "Install a version that has it, for example 'openai>=1.21,<4'."
    )
    assert client._client is inner
    assert isinstance(caught.value, assistants_compat.CompatError)


def test_an_instrumented_method_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that a tracing library replaced in the SDK is left in place."""
    from openai.resources.beta.threads import threads  # noqa: PLC0415 - to be instrumented

    class Traced:
        __deprecated__ = "as wrapt's function wrappers show it"

        def __call__(self) -> str:
            return "traced"

    traced = Traced()
    monkeypatch.setattr(threads.Threads, "create", traced)
    sdk_internals.patch_classes(lambda _client: True)
    assert vars(threads.Threads)["create"] is traced


# As Python 3.14 has it: `warnings.deprecated` of a module that has another name.
DEPRECATED = """
import functools, warnings
def deprecated(message):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*arguments, **options):
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return function(*arguments, **options)
        wrapper.__deprecated__ = message
        return wrapper
    return decorate
"""


def test_the_deprecated_decorator_may_come_from_any_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods are quiet also where `deprecated` is defined in a module whose name the library has never heard of."""
    from openai.resources.beta.threads import threads  # noqa: PLC0415 - to be replaced

    namespace: dict[str, Any] = {"__name__": "_some_warnings"}
    exec(compile(DEPRECATED, "<_some_warnings>", "exec"), namespace)  # noqa: S102 - the text above

    def plain(_self: Any) -> str:
        return "made"

    monkeypatch.setattr(typing_extensions, "deprecated", namespace["deprecated"])
    monkeypatch.setattr(threads.Threads, "create", namespace["deprecated"]("old")(plain))
    sdk_internals.patch_classes(lambda _client: True)
    with openai.OpenAI(api_key=KEY) as client:
        assert client.beta.threads.create() == "made"  # type: ignore[comparison-overlap] # the method above


# --- event loops and HTTP clients


def test_a_sync_client_inside_a_running_loop(upstream: StandIn, settings: Settings) -> None:
    """A synchronous client works inside a running event loop and leaves the loop's generator hooks unchanged."""
    door = Door("sync")
    client = door.client(upstream, settings)

    async def cell() -> tuple[bytes, bool]:
        before = sys.get_asyncgen_hooks()
        file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
        content = client.files.content(file_id).read()
        with client.files.with_streaming_response.content(file_id) as response:
            assert b"".join(response.iter_bytes()) == CSV
        return content, sys.get_asyncgen_hooks() == before

    assert asyncio.run(cell()) == (CSV, True)
    door.close()


def test_clients_in_several_loops(upstream: StandIn, settings: Settings) -> None:
    """Asynchronous clients in successive event loops share one store."""
    for _ in range(3):
        door = Door("async", asyncio.new_event_loop())
        assert finish_run(door, door.client(upstream, settings)).status == "completed"
        door.close()
    assert len(dump_store(settings)["runs"]) == 3


@pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="the SDK's aiohttp extra is not installed")
def test_the_aiohttp_client_of_the_sdk(upstream: StandIn, settings: Settings) -> None:
    """The client over aiohttp downloads a file, and raises the SDK's errors for a 429 and a lost connection."""
    door = Door("async", asyncio.new_event_loop())

    async def make() -> Any:
        return openai.DefaultAioHttpClient()

    client = door.client(upstream, settings, http_client=door(make()))
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    assert door(client.files.content(file_id)).read() == CSV
    upstream.fault(Fault("POST /responses", status=429))
    with pytest.raises(openai.RateLimitError):
        start_run(door, client)
    before = dump_store(settings)
    upstream.fault(Fault("POST /responses", drop=True))
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    with pytest.raises(openai.APIConnectionError):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert dump_store(settings)["runs"] == before["runs"]
    door.close()


@pytest.mark.skipif(
    VERSION < (3, 0) or importlib.util.find_spec("httpx") is None, reason="needs openai 3 and a legacy httpx beside it"
)
def test_a_legacy_httpx_client_under_openai_3(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A client of the old httpx under openai 3 works, and its responses are of that library."""
    import httpx  # noqa: PLC0415 - not always installed

    client = door.client(upstream, settings, http_client=httpx.Client() if door.kind == "sync" else httpx.AsyncClient())
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    content = door(client.files.content(file_id))
    assert content.read() == CSV
    assert isinstance(content.response, httpx.Response)


def test_the_client_under_trio(upstream: StandIn, sqlite_settings: Settings) -> None:
    """The asynchronous client works under trio."""
    trio = pytest.importorskip("trio", reason="trio is not installed")

    async def main() -> str:
        plain = openai.AsyncOpenAI(base_url=upstream.base_url, api_key=KEY, max_retries=0)
        async with assistants_compat.wrap(plain, sqlite_settings) as client:
            assistant = await client.beta.assistants.create(model="gpt-4o")
            thread = await client.beta.threads.create(messages=[{"role": "user", "content": "Hi"}])
            run = await client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
            while run.status in {"queued", "in_progress"}:
                run = await client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)
            return str(run.status)

    assert trio.run(main) == "completed"


# --- bugs of the library, and its log


def test_a_bug_is_one_500_and_one_log_line(
    door: Door,
    upstream: StandIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug in the library is a 500 that the SDK does not retry, and one log line with its place, not its data."""
    client = door.client(upstream, settings, max_retries=2)
    thread = make_thread(door, client)
    calls: list[str] = []

    def broken(*_arguments: Any, **_options: Any) -> None:
        calls.append("called")
        message = "the text of a private message"
        raise ZeroDivisionError(message)

    monkeypatch.setattr(queries, "get_page", broken)
    with (
        caplog.at_level(logging.DEBUG, logger="assistants_compat"),
        pytest.raises(openai.InternalServerError) as caught,
    ):
        door(client.beta.threads.messages.list(thread.id))
    assert calls == ["called"]
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.response.json() == {
        "error": {
            "message": "assistants_compat failed: ZeroDivisionError. This is a bug; its log has the details.",
            "type": "server_error",
            "param": None,
            "code": "compat_error",
        }
    }
    [record] = [record for record in caplog.records if record.name == "assistants_compat"]
    assert record.levelno == logging.ERROR
    assert "ZeroDivisionError" in record.getMessage()
    assert __file__ in caplog.text
    assert "private" not in caplog.text


def test_a_bug_leaves_nothing_behind(
    door: Door, client: Any, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in a transaction leaves the store unchanged and makes no upstream request."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    before = dump_store(settings)

    def broken(*_arguments: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(queries, "reserve_run", broken)
        more = [{"role": "user", "content": "x"}]
        with pytest.raises(openai.InternalServerError):
            door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, additional_messages=more))
        with pytest.raises(openai.InternalServerError):
            door(client.beta.threads.create_and_run(assistant_id=assistant.id))
    assert dump_store(settings) == before
    assert upstream.requests == []


def test_the_log_holds_no_secret_and_no_text(
    door: Door,
    client: Any,
    upstream: StandIn,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The DEBUG log of successes, faults, refusals and bugs holds no key, header, message text or file content."""
    monkeypatch.setattr("assistants_compat.engine.generated_files._FIRST_RETRY_DELAY", 0.001)
    secret = "xyzzy"  # placed wherever something private could be
    private = client.with_options(api_key=f"sk-{secret}", default_headers={"x-token": secret})
    caplog.set_level(logging.DEBUG, logger="assistants_compat")
    link = f"sandbox:/mnt/data/{secret}.csv"
    upstream.script(Turn(text=f"{secret} {link}", files={f"{secret}.csv": secret.encode()}, code=secret, logs=secret))
    upstream.fault(Fault("GET /containers/*/content", status=500, times=9, body={"error": {"message": secret}}))
    assistant = make_assistant(door, private, tools=CODE, instructions=secret, name=secret, metadata={"a": secret})
    thread = make_thread(door, private, secret)
    runs = private.beta.threads.runs
    run = door(runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    for fault in ({"status": 500, "body": {"error": {"message": secret}}}, {"drop": True}, {"html": True}):
        upstream.fault(Fault("POST /responses", **fault))
        with pytest.raises(openai.OpenAIError):
            door(runs.create(thread.id, assistant_id=assistant.id))
    upstream.fault(Fault("GET /responses/*", status=500, body={"error": {"message": secret}}))
    unfinished = door(runs.create(thread.id, assistant_id=assistant.id))
    door.all(private.beta.threads.messages.list(thread.id))  # polls the run, and the poll fails
    door(runs.poll(unfinished.id, thread_id=thread.id))
    with StandIn(background_refused=True) as refusing:
        other = door.client(refusing, replace(settings, namespace=f"{settings.namespace}-2"), api_key=f"sk-{secret}")
        assert finish_run(door, other).status == "completed"

    def broken(*_arguments: Any, **_options: Any) -> None:
        raise ValueError(secret)

    monkeypatch.setattr(queries, "get_page", broken)
    with pytest.raises(openai.InternalServerError):
        door(private.beta.threads.messages.list(thread.id))
    logged = [record for record in caplog.records if record.name.startswith("assistants_compat")]
    assert len(logged) >= 4  # the file, the poll, the fallback, the bug
    assert all(secret not in logging.Formatter().format(record) for record in logged)


def test_the_tests_import_the_installed_wheel_and_not_the_checkout(tmp_path: Path) -> None:
    """The package under test lies in site-packages, here and in a child process."""
    installed = metadata.distribution("assistants_compat").locate_file("assistants_compat/__init__.py")
    command = [sys.executable, "-m", "inspect", "--details", "assistants_compat"]
    child = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    for file in (assistants_compat.__file__, re.findall(r"Origin: (.*)", child.stdout)[0]):
        assert Path(file).resolve() == Path(str(installed)).resolve()
        assert "site-packages" in Path(file).parts


def test_dir_shows_the_public_names_alone() -> None:
    """`dir()` and tab completion give `__all__` and the Azure module, also after other modules are loaded."""
    importlib.import_module("assistants_compat.tools.downloads")
    assert dir(assistants_compat) == sorted([*assistants_compat.__all__, "azure"])
