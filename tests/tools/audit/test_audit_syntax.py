"""An audit finds each use in a source with its line and verdict, and nothing else."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assistants_compat.tools.audit import findings_in_source
from assistants_compat.tools.audit.findings import Finding


def found_in(source: str) -> list[Finding]:
    """Return the findings in a source that can be parsed."""
    findings, problem = findings_in_source(textwrap.dedent(source).encode())
    assert problem is None
    return findings


def summaries(source: str) -> list[tuple[int, str, str]]:
    """Return line, name and verdict of each finding."""
    return [(finding.line, finding.what, finding.verdict) for finding in found_in(source)]


CALLS = [
    ("client.beta.threads.create()", "beta.threads.create"),
    ("whatever.beta.threads.runs.create(thread_id=t, assistant_id=a)", "beta.threads.runs.create"),
    ("await self._client.beta.assistants.retrieve('a')", "beta.assistants.retrieve"),
    ("openai.beta.threads.messages.list(t)", "beta.threads.messages.list"),
    ("clients[0].beta.vector_stores.files.list('vs')", "beta.vector_stores.files.list"),
    ("OpenAI().beta.assistants.list()", "beta.assistants.list"),
    ("get_client(1).beta.threads.runs.steps.list('r', thread_id='t')", "beta.threads.runs.steps.list"),
    ("client.with_options(timeout=3).beta.threads.delete('t')", "beta.threads.delete"),
    ("client.beta.with_raw_response.threads.create()", "beta.threads.create"),
    ("client.beta.threads.with_streaming_response.create()", "beta.threads.create"),
    ("(client\n .beta\n .threads.create())", "beta.threads.create"),
    ("[c.beta.threads.create() for c in cs]", "beta.threads.create"),
    ("f'{c.beta.threads.create()}'", "beta.threads.create"),
    ("partial(client.beta.threads.create)", "beta.threads.create"),
    ("lambda beta: client.beta.threads.create()", "beta.threads.create"),
    ("with client.beta.threads.runs.stream(thread_id=t, assistant_id=a) as s: pass", "beta.threads.runs.stream"),
    ("client.beta.threads.create_and_run_stream(assistant_id=a)", "beta.threads.create_and_run_stream"),
]


@pytest.mark.parametrize(("source", "what"), CALLS)
def test_a_call_is_found_whatever_the_client_is_called(source: str, what: str) -> None:
    """A call is found by its attributes, whatever the client's name and form."""
    wrapped = f"async def f():\n    {source}" if source.startswith("await") else source
    assert what in [finding.what for finding in found_in(wrapped) if not finding.context]


ALIASES = [
    "threads = client.beta.threads\nthreads.create()",
    "beta = client.beta\nbeta.threads.create()",
    "create = client.beta.threads.create\ncreate()",
    "a, b = client.beta.assistants, client.beta.threads\nb.create()",
    "beta: Any = client.beta\ndef f():\n    return beta.threads.create()",
    "if beta := client.beta:\n    beta.threads.create()",
    "from openai import beta\nbeta.threads.create()",
    "import openai as o\no.beta.threads.create()",
    "def threads():\n    return client.beta.threads\nthreads().create()",
    "class A:\n    def f(self): self.api.create()\n    def __init__(self, c): self.api = c.beta.threads",
    "class A:\n    @property\n    def api(self):\n        return c.beta.threads\n    def f(self): self.api.create()",
]


@pytest.mark.parametrize("source", ALIASES)
def test_a_call_is_found_by_another_name(source: str) -> None:
    """A call through another name for a part of the client is found."""
    assert "beta.threads.create" in [finding.what for finding in found_in(source)]


LEFT_ALONE = [
    "client.beta.chat.completions.parse(model='m')",
    "client.beta.realtime.sessions.create()",
    "client.beta.chatkit.threads.list()",
    "client.chat.completions.create(model='m')",
    "from openai.types.beta.realtime import Session",
    "from openai.types.beta.chatkit import ChatSession",
    "from openai.types.chat import ChatCompletion",
    "app.get('/threads/{id}')",
    "x = 'https://forum.example/threads/1'",
    "'''client.beta.threads.create() posts to /v1/threads'''",
    "# client.beta.threads.create()",
    "threads = client.beta.threads_of_a_forum",
    "class A(EventHandler): pass",
    "client.containers.files.retrieve('f', container_id='c').path",
    "while True:\n    read()",
    "headers = {'OpenAI-Beta': 'realtime=v1'}",
]


@pytest.mark.parametrize("source", LEFT_ALONE)
def test_unrelated_code_has_no_findings(source: str) -> None:
    """Other betas, unrelated threads, comments and docstrings have no findings."""
    assert [finding for finding in found_in(source) if not finding.context] == []


def test_a_reassigned_name_is_not_followed() -> None:
    """A name that was reassigned, or is an argument, is not followed."""
    source = """
        threads = client.beta.threads
        threads = Pool()
        threads.create()
        api = client.beta.threads
        def f(api):
            api.create()
    """
    assert [finding.what for finding in found_in(source) if finding.kind == "call"] == []


def test_a_call_has_the_verdict_of_its_worst_parameter() -> None:
    """A call has the verdict of its worst parameter, and the note of each parameter that differs."""
    [finding] = found_in("c.beta.threads.runs.create(thread_id=t, assistant_id=a, tool_choice='required', **more)")
    assert (finding.verdict, list(finding.parameters)) == ("differs", ["tool_choice"])
    [finding] = found_in("c.beta.threads.messages.create(t, role='user', content='c', file_ids=[f], extra_headers={})")
    assert (finding.verdict, list(finding.parameters)) == ("mistake", ["file_ids"])
    assert "TypeError" in finding.parameters["file_ids"]
    [finding] = found_in("c.beta.threads.runs.create(thread_id=t, assistant_id=a, model='m', extra_body={})")
    assert (finding.verdict, finding.parameters) == ("works", {})


def test_methods_of_the_first_version_are_unsupported() -> None:
    """A method that the SDK dropped with the API's first version is unsupported."""
    source = "c.beta.assistants.files.create(assistant_id=a, file_id=f)"
    assert summaries(source) == [(1, "beta.assistants.files.create", "unsupported")]


def test_types_handlers_and_frameworks_are_found() -> None:
    """Imports of the SDK's types, subclasses of its handlers and framework classes are found."""
    source = """
        from openai.types.beta.threads import Message, Run
        from openai import AssistantEventHandler
        import openai.types.beta.assistant
        from langchain.agents.openai_assistant import OpenAIAssistantRunnable
        from langchain_community.agents.openai_assistant import OpenAIAssistantV2Runnable
        from llama_index.agent.openai import OpenAIAssistantAgent
        from autogen.agentchat.contrib.gpt_assistant_agent import GPTAssistantAgent
        from autogen_ext.agents.openai import OpenAIAssistantAgent as Agent
        from elsewhere import OpenAIAssistantAgent
        class Handler(AssistantEventHandler):
            pass
        class Other(openai.AsyncAssistantEventHandler):
            pass
    """
    kinds = [(finding.line, finding.kind) for finding in found_in(source)]
    expected = ["type", "handler", "type", *["framework"] * 5]
    assert kinds == [*enumerate(expected, start=2), (11, "handler"), (13, "handler")]


def test_names_that_the_sdk_no_longer_has_are_not_said_to_work() -> None:
    """A type that newer SDKs have elsewhere, under another name or not at all is told apart from those they have."""
    source = """
        from openai.types.beta import Assistant, Thread, VectorStore, VectorStoreDeleted
        import openai.types.beta.vector_stores.vector_store_file
        from openai.types.beta.threads.runs import RetrievalToolCall
        from openai.types.beta.assistants import AssistantFile
        from openai.resources.beta.vector_stores import VectorStores
        x: openai.types.beta.VectorStore
        from openai.types.beta import AgentSession, BetaResponse, ChatKitWorkflow
    """
    assert [(finding.line, finding.what, finding.verdict, finding.native) for finding in found_in(source)] == [
        (2, "openai.types.beta: Assistant, Thread", "works", "openai.types.responses"),
        (2, "openai.types.beta: VectorStore", "unsupported", "openai.types.VectorStore"),
        (2, "openai.types.beta: VectorStoreDeleted", "unsupported", "openai.types.VectorStoreDeleted"),
        (3, "openai.types.beta.vector_stores.vector_store_file", "unsupported", "openai.types.vector_stores"),
        (
            *(4, "openai.types.beta.threads.runs: RetrievalToolCall", "unsupported"),
            "openai.types.beta.threads.runs.FileSearchToolCall",
        ),
        (
            *(5, "openai.types.beta.assistants: AssistantFile", "unsupported"),
            "attachments of a message, or file_ids of a container",
        ),
        (6, "openai.resources.beta.vector_stores: VectorStores", "unsupported", "openai.resources.vector_stores"),
        (7, "openai.types.beta.VectorStore", "unsupported", "openai.types.VectorStore"),
    ]


def test_the_agents_of_azure_are_found() -> None:
    """Imports and calls of Azure's Agents are uses, and the finding names the page about them."""
    source = """
        from azure.ai.agents import AgentsClient
        from azure.ai.agents.models import CodeInterpreterTool
        import azure.ai.agents.aio
        from azure.ai import agents
        from azure.ai.projects import AIProjectClient
        thread = project.agents.threads.create()
        run = project.agents.create_and_process_run(thread_id=thread.id)
        project.agents.list_connections()
    """
    found = found_in(source)
    assert [(finding.line, finding.verdict) for finding in found] == [(n, "unsupported") for n in (2, 3, 4, 5, 7, 8)]
    assert all("docs/azure.md" in finding.note and not finding.context for finding in found)


def test_hand_written_headers_are_found() -> None:
    """A hand-written header of version 2 works, and one of version 1 differs."""
    source = """
        c = OpenAI(default_headers={"OpenAI-Beta": "assistants=v2"})
        headers["openai-beta"] = "assistants=v1"
        {"OpenAI-Beta": value}
    """
    uses = [finding for finding in found_in(source) if not finding.context]
    assert [(finding.line, finding.verdict) for finding in uses] == [(2, "works"), (3, "differs"), (4, "works")]


def test_hand_written_routes_are_found() -> None:
    """A route requested with another library is unsupported, and one requested with the client works."""
    source = """
        BASE = "https://api.openai.com/v1"
        requests.post("https://api.openai.com/v1/threads", json={})
        requests.get(f"{BASE}/threads/{thread}/runs/{run}", headers=headers)
        httpx.request("POST", BASE + "/v1/assistants")
        requests.post(f"{endpoint}/openai/threads?api-version=2024-05-01-preview")
        client.post("/threads", cast_to=object)
        client.get(f"/threads/{thread}/messages", cast_to=object)
    """
    verdicts = {finding.line: finding.verdict for finding in found_in(source) if finding.kind == "route"}
    assert verdicts == {**dict.fromkeys((3, 4, 5, 6), "unsupported"), 7: "works", 8: "works"}
    assert len([finding for finding in found_in(source) if finding.kind == "route"]) == 6


HAND_WRITTEN_ROUTES = [
    'V = "?api-version=2024-05-01-preview"\nrequests.post(f"{BASE}/threads{V}", headers=h)',
    'requests.post(f"{BASE}/threads?api-version={V}", headers=h)',
    'requests.get(BASE + "/threads/" + t + "/runs", headers=h)',
    'requests.get(BASE + "/threads/" + t + "/runs?limit=" + str(n))',
    'requests.get("{}/threads/{}/messages".format(BASE, t))',
    'requests.get("{base}/assistants".format(base=BASE))',
    'requests.get("%s/threads/%s/runs" % (BASE, t))',
    'requests.get("/".join([BASE, "threads", t, "runs"]))',
    'requests.get(urljoin(BASE, "threads"))',
    'B = "https://api.openai.com/v1"\nrequests.get(urljoin(B + "/", "threads"))',
    'B = "https://api.openai.com/v1"\nx = B + "/assistants"',
    'class A:\n    base = "https://api.openai.com/v1"\n    def f(self): return self.call(f"{self.base}/threads")',
    'B = os.environ.get("B", "https://api.openai.com/v1")\nsend("POST", B.rstrip("/") + "/threads")',
    'def f(b="https://api.openai.com/v1"):\n    return call(b + "/assistants")',
    'url = f"{BASE}/threads"\nsession.post(url)',
    'def threads_url(base):\n    return base + "/threads"',
    'call(method="POST", url=f"{BASE}/threads")',
    'self._request("GET", f"{self.endpoint}/threads/{t}?api-version={v}")',
    'send(f"{endpoint}/threads/{t}/runs/{r}/submit_tool_outputs")',
    'urllib.request.Request(BASE + "/threads", data=b"{}")',
    'c = httpx.Client(base_url="https://api.openai.com/v1")\nc.post("/threads")',
    'async with ClientSession(BASE) as s:\n    await s.post("/threads", json={})',
    'H = {"OpenAI-Beta": "assistants=v2"}\nself._post(f"/threads/{t}/messages", headers=H)',
    'f"https://n.services.ai.azure.com/api/projects/p/threads?api-version=v1"',
    'subprocess.run(["curl", "https://api.openai.com/v1/assistants"])',
]


@pytest.mark.parametrize("source", HAND_WRITTEN_ROUTES)
def test_a_route_is_found_however_its_url_is_put_together(source: str) -> None:
    """A route is found once whether its URL is one string, or a base and a path that are joined in any way."""
    wrapped = f"async def f():\n{textwrap.indent(source, '    ')}" if "await" in source else source
    found = [finding for finding in found_in(f"import openai\n{wrapped}") if finding.kind == "route"]
    assert [finding.verdict for finding in found] == ["unsupported"]


OWN_ROUTES = [
    '@router.post("/threads")\nasync def create(): ...',
    '@app.get("/v1/threads/{thread_id}/messages")\ndef messages(thread_id): ...',
    '@app.route(f"{PREFIX}/threads", methods=["POST"])\ndef create(): ...',
    'app.add_api_route("/v1/threads", create)',
    'app.add_url_rule("/v1/threads", view_func=create)',
    'router = APIRouter(prefix="/v1/threads")',
    'app.include_router(router, prefix="/v1/threads")',
    'routes = [Route("/v1/threads", create)]',
    'urlpatterns = [path("v1/threads", create), re_path("/v1/threads", create)]',
    'app.add_routes([web.post("/v1/threads", create)])',
    'c = TestClient(app)\nc.post("/v1/threads")',
    'with TestClient(app) as c:\n    c.post("/threads")',
    'async def f():\n    async with AsyncClient(app=a, base_url="http://t") as c:\n        await c.post("/v1/threads")',
    '@pytest.fixture\ndef api():\n    return app.test_client()\ndef test_it(api):\n    api.get("/v1/threads")',
    'def test_it(client):\n    client.post(f"/v1/threads/{t}/messages")',
    'client.post("/threads")',
    'requests.get("http://localhost:8000/threads")',
    'requests.get("https://forum.example/threads/1")',
    'B = "https://forum.example"\nrequests.get(f"{B}/threads/{t}/messages")',
    'data.get("threads")',
    'open(f"{folder}/threads")',
    'print("https://platform.openai.com/assistants")',
    'import langgraph_sdk  # langgraph\nrequests.post(f"{URL}/threads/{t}/runs")',
]


@pytest.mark.parametrize("source", OWN_ROUTES)
def test_the_routes_of_the_program_itself_are_not_reported(source: str) -> None:
    """Routes that a program serves, or tests, or requests from another service, are no uses of the API."""
    assert [finding for finding in found_in(f"import openai\n{source}") if not finding.context] == []


MISTAKES = [
    "b = c.containers.files.retrieve('f', container_id='c').content",
    "f = c.containers.files.retrieve('f', container_id='c')\nopen('x', 'wb').write(f.read())",
    "f = c.containers.files.retrieve('f', container_id='c')\nopen('x', 'wb').write(f)",
    "Path('x').write_bytes(c.containers.files.retrieve('f', container_id='c'))",
    "async def f():\n    m = await c.containers.files.retrieve('f', container_id='c')\n    return m.text",
    "def download(c):\n    return c.containers.files.retrieve('f', container_id='c')",
    "c.files.content('cfile_123')",
    "c.files.content(a.file_id)\nprint(a.container_id)",
    "while run.status != 'completed':\n    run = c.beta.threads.runs.retrieve(run.id, thread_id=t)",
    "c = OpenAI(base_url=b, default_query={'api-version': '2024-05-01-preview'})",
]


@pytest.mark.parametrize("source", MISTAKES)
def test_a_common_mistake_is_found_once(source: str) -> None:
    """Code that looks right and does not work is one mistake."""
    assert [finding.verdict for finding in found_in(source)].count("mistake") == 1


CORRECT_CALLS = [
    "b = c.containers.files.content.retrieve('f', container_id='c').content",
    "f = c.containers.files.retrieve('f', container_id='c')\nprint(f.path, f.bytes)",
    "c.files.content(a.file_path.file_id)\nprint(b.container_id)",
    "while run.status != 'completed':\n    time.sleep(1)\n    run = c.beta.threads.runs.retrieve(run.id, thread_id=t)",
    "while True:\n    run = c.beta.threads.runs.retrieve(run.id, thread_id=t)\n    await_it(run)\n    wait()",
    "while True:\n    def look(): return c.beta.threads.runs.retrieve('r', thread_id='t')",
    "c = AzureOpenAI(api_version='2024-05-01-preview')",
    "c = OpenAI(base_url=b, default_query={'api-version': 'preview'})",
]


@pytest.mark.parametrize("source", CORRECT_CALLS)
def test_the_correct_call_is_no_mistake(source: str) -> None:
    """The correct call beside each mistake is not reported as one."""
    assert "mistake" not in [finding.verdict for finding in found_in(source)]


def test_objects_and_clients_are_context() -> None:
    """Uses of objects and clients are context, not uses."""
    source = """
        client = AsyncAzureOpenAI(api_version="2024-05-01-preview")
        for annotation in text.annotations:
            value = value.replace(annotation.text, "")
            data = client.files.content(annotation.file_path.file_id)
        calls = run.required_action.submit_tool_outputs.tool_calls
    """
    found = found_in(source)
    names = ["AsyncAzureOpenAI", "replace(annotation.text)", "files.content", "file_path.file_id"]
    assert [finding.what for finding in found] == [*names, "required_action.submit_tool_outputs"]
    assert [finding.what for finding in found if not finding.context] == ["files.content"]


def test_files_that_cannot_be_parsed_are_searched_as_text() -> None:
    """A file that is not valid Python 3 is reported and searched as text."""
    found, problem = findings_in_source(b"print 'x'\nclient.beta.threads.create()\n")
    assert problem is not None
    assert problem.startswith("not valid Python 3: ")
    assert [(finding.line, finding.kind, finding.verdict) for finding in found] == [(2, "text", "unsupported")]
    assert findings_in_source(b"def f(:\n") == ([], "not valid Python 3: invalid syntax (line 1)")


@pytest.mark.parametrize(
    "source", ["(" * 5000, "x" + ".y" * 50_000, "-" * 30_000 + "1", "a = " + "[" * 150 + "]" * 150]
)
def test_deeply_nested_sources_are_reported(source: str) -> None:
    """A source that is nested too deeply has findings or a reason."""
    found, problem = findings_in_source(source.encode())
    assert found == []
    assert problem is None or problem


SOURCE_TOKENS = (
    "client . beta threads runs create ( ) [ ] { } , : = def class f self return await async while if 'x' f'{' } "
    "'/v1/threads' lambda * ** import from openai as for in 1 @ := with"
)
TOKENS = st.sampled_from([*SOURCE_TOKENS.split(), "\n", "\n    "])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.lists(TOKENS, max_size=40).map(lambda parts: " ".join(parts).encode())))
@example(b"\xff\xfe")
@example(b"# coding: no-such\n")
@example(b"# coding: utf-7\n+AAA-")
def test_any_source_gives_findings_or_a_reason(source: bytes) -> None:
    """For any source the audit gives findings with a location, or a reason."""
    found, _ = findings_in_source(source)
    assert all(finding.line >= 1 and finding.column >= 1 for finding in found)
