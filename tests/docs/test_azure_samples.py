"""The scripts of examples/azure work for a reader who copies them and sets two variables."""

from __future__ import annotations

import importlib.util
import io
import os
import runpy
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest

from assistants_compat.testing import Fault, StandIn, Turn
from kit.azure_forms import BASES, PROJECT
from kit.files import PNG, directory_contents
from kit.identity_endpoints import TokenEndpoint, token_endpoint
from kit.paths import ROOT

SAMPLES = ROOT / "examples" / "azure"
CONTENT = "GET /containers/*/content"
BYTES = bytes(range(256)) * 1000
TURN = Turn(
    text="Here: [primes](sandbox:/mnt/data/test.txt)",
    files={"test.txt": b"2\r\n3\n5\n", "uncited.bin": BYTES},
    images=[PNG],
)
FEW = Turn(text="Here: [primes](sandbox:/mnt/data/test.txt)", files={"test.txt": b"2\n3\n5\n"})
HAS_CONTAINERS = importlib.util.find_spec("openai.resources.containers") is not None

needs_containers = pytest.mark.skipif(not HAS_CONTAINERS, reason="client.containers came with openai 1.81")
NATIVE = [pytest.param("sdk", marks=needs_containers), "rest"]
WORKING = [*NATIVE, "legacy-sdk"]


class SampleResult(NamedTuple):
    """The exit code and the output of a sample."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Reader:
    """A reader at a shell who has copied the samples into a folder."""

    folder: Path
    upstream: StandIn
    variables: dict[str, str]

    @property
    def downloads(self) -> dict[str, bytes]:
        """The files in downloads/ by name."""
        directory = self.folder / "downloads"
        return directory_contents(directory) if directory.is_dir() else {}

    def runs(self, sample: str, **variables: str) -> SampleResult:
        """Run a sample to its end in this process, because starting a Python for each takes most of the time."""
        stdout, stderr = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
            for name, value in (self.variables | variables).items():
                patch.setenv(name, value) if value else patch.delenv(name, raising=False)
            patch.chdir(self.folder.parent)
            patch.setattr(sys, "argv", [str(self.script(sample))])
            try:
                runpy.run_path(str(self.script(sample)), run_name="__main__")
                code: Any = 0
            except SystemExit as end:
                code = end.code or 0
                if isinstance(code, str):
                    sys.stderr.write(f"{code}\n")
                    code = 1
        return SampleResult(code, stdout.getvalue(), stderr.getvalue())

    def runs_alone(self, sample: str, **variables: str) -> SampleResult:
        """Run a sample in a process of its own."""
        environment = {name: value for name, value in (os.environ | self.variables | variables).items() if value}
        command = [sys.executable, "-W", "error", str(self.script(sample))]
        result = subprocess.run(
            command, env=environment, cwd=self.folder.parent, capture_output=True, text=True, check=False, timeout=100
        )
        return SampleResult(result.returncode, result.stdout, result.stderr)

    def script(self, sample: str) -> Path:
        """Return the path of a sample."""
        return self.folder / f"{sample}-codeinterpreter-file-download.py"


@pytest.fixture
def reader(upstream: StandIn, tmp_path: Path) -> Reader:
    """A reader with a key whose resource is the stand-in."""
    pytest.importorskip("requests", reason="requests is not installed")
    upstream.keys = ["the-key"]
    variables = {
        "AZURE_OPENAI_ENDPOINT": upstream.azure_endpoint,
        "AZURE_OPENAI_API_KEY": "the-key",
        "ASSISTANTS_COMPAT_POLL_AFTER_MS": "1",
        "ASSISTANTS_COMPAT_STORE": str(tmp_path / "store.db"),
    }
    folder = tmp_path / "samples"
    shutil.copytree(SAMPLES, folder, ignore=shutil.ignore_patterns("downloads"))
    return Reader(folder, upstream, variables)


def requested_routes(upstream: StandIn) -> list[str]:
    """Return the method and first path segment of each request."""
    return [f"{request.method} /{request.path.split('/')[1]}" for request in upstream.requests]


@pytest.mark.parametrize("sample", NATIVE)
def test_a_native_sample_downloads_every_file_and_prints_its_steps(reader: Reader, sample: str) -> None:
    """A native sample downloads every file byte for byte, cited or not, and prints the documented lines."""
    reader.upstream.script(TURN)
    result = reader.runs_alone(sample)
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(reader.downloads.values()) == sorted([b"2\r\n3\n5\n", BYTES, PNG])
    assert {"test.txt", "uncited.bin"} < set(reader.downloads)
    [post] = [request for request in reader.upstream.requests if request.path == "/responses"]
    container_id = post.json["tools"][0]["container"]
    lines = result.stdout.splitlines()
    assert lines[:2] == ["Creating response...", "Full response.output:"]
    found_lines = [line for line in lines if line.startswith("Found file: ")]
    assert len(found_lines) == 3
    assert all(line.endswith(f", container_id='{container_id}'") for line in found_lines)
    [cited_line] = [line for line in found_lines if line.startswith("Found file: filename='test.txt', file_id='cfile_")]
    file_id = cited_line.split("file_id='")[1].partition("'")[0]
    assert f"Downloading file_id={file_id} from container_id={container_id}" in lines
    assert f"Saved: {reader.folder / 'downloads' / 'test.txt'}" in lines
    assert lines[-1] == f"Deleted: {container_id}"


@pytest.mark.parametrize("sample", NATIVE)
def test_a_native_sample_follows_the_rules_of_azure(reader: Reader, sample: str) -> None:
    """Every request goes to /openai/v1 with `api-version=preview` and the key; the container is deleted in the end."""
    reader.upstream.script(FEW)
    assert reader.runs(sample).returncode == 0
    for request in reader.upstream.requests:
        assert request.full_path.startswith("/openai/v1/")
        assert ("api-version", "preview") in request.query
        assert request.headers["api-key"] == "the-key"
    response = "POST /responses"
    assert requested_routes(reader.upstream) == [
        "POST /containers",
        response,
        *["GET /containers"] * 2,
        "DELETE /containers",
    ]
    assert reader.upstream.requests[1].json["tool_choice"] == "required"
    assert reader.upstream.containers == {}


@pytest.mark.parametrize("form", BASES)
@pytest.mark.parametrize("sample", WORKING)
def test_every_form_of_the_endpoint_works(reader: Reader, sample: str, form: str) -> None:
    """A sample requests the v1 routes whatever form of the endpoint is set, as Microsoft's pages show several."""
    reader.upstream.script(FEW)
    result = reader.runs(sample, AZURE_OPENAI_ENDPOINT=f"{reader.upstream.azure_endpoint}{form}")
    assert (result.returncode, result.stderr) == (0, "")
    assert reader.downloads == {"test.txt": b"2\n3\n5\n"}
    for request in reader.upstream.requests:
        assert request.full_path.startswith(f"{BASES[form]}/")
        assert "api-version=2" not in request.full_path


@pytest.mark.parametrize("sample", NATIVE)
def test_a_native_sample_does_not_need_the_library(reader: Reader, sample: str) -> None:
    """A native sample runs where assistants_compat cannot be imported."""
    (reader.folder / "without").mkdir()
    (reader.folder / "without" / "assistants_compat.py").write_text("raise ImportError\n", encoding="utf-8")
    reader.upstream.script(FEW)
    assert reader.runs_alone(sample, PYTHONPATH=str(reader.folder / "without")).returncode == 0
    assert reader.downloads == {"test.txt": b"2\n3\n5\n"}


@pytest.mark.skipif(HAS_CONTAINERS, reason="this SDK has client.containers")
def test_the_sdk_sample_says_which_sdk_it_needs(reader: Reader) -> None:
    """With an SDK that has no containers, the sample stops with a message before it sends a request."""
    result = reader.runs("sdk")
    assert result.returncode == 2
    assert result.stderr == f"openai {openai.__version__} has no client.containers: pip install 'openai>=1.81'\n"
    assert reader.upstream.requests == []


def test_the_legacy_sample_downloads_the_same(reader: Reader) -> None:
    """The legacy sample downloads every file by an id of the Files API, and leaves no file in the store."""
    reader.upstream.script(TURN)
    result = reader.runs_alone("legacy-sdk")
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(reader.downloads.values()) == sorted([b"2\r\n3\n5\n", BYTES, PNG])
    lines = result.stdout.splitlines()
    assert lines[0] == "Creating run..."
    found_lines = [line for line in lines if line.startswith("Found file: filename='test.txt', file_id='file-")]
    assert len(found_lines) == 1
    assert f"Saved: {reader.folder / 'downloads' / 'test.txt'}" in lines
    stored = reader.folder.parent / "store.db-files"
    assert [path for path in stored.rglob("*") if path.is_file()] == []


def test_the_legacy_rest_sample_says_that_it_cannot_run_yet(reader: Reader) -> None:
    """The legacy REST sample exits with a message that the HTTP server does not exist yet."""
    result = reader.runs_alone("legacy-rest")
    assert result.returncode == 2
    assert "does not exist yet" in result.stderr
    assert importlib.util.find_spec("assistants_compat.server") is None


@pytest.mark.parametrize("sample", WORKING)
def test_a_run_without_files_prints_what_to_check(reader: Reader, sample: str) -> None:
    """A sample whose run generated no file exits with 1 and prints what to check."""
    reader.upstream.script(Turn(text="I cannot.", code="1", logs="1"))
    result = reader.runs(sample)
    assert result.returncode == 1
    assert "No files were made. Check:\n  - the status above" in result.stdout
    assert reader.downloads == {}


@pytest.mark.parametrize("sample", WORKING)
def test_file_names_from_the_model_stay_in_downloads(reader: Reader, sample: str) -> None:
    """File names that the model chose write only into downloads/, and overwrite or follow nothing there."""
    outside = reader.folder.parent / "outside.txt"
    outside.write_bytes(b"mine")
    (reader.folder / "downloads").mkdir()
    (reader.folder / "downloads" / "linked.txt").symlink_to(outside)
    (reader.folder / "downloads" / "test.txt").write_bytes(b"older")
    names = {"test.txt": b"new", "../../evil.sh": b"1", "..\\..\\worse.sh": b"2", "linked.txt": b"3", "...": b"4"}
    reader.upstream.script(Turn(text="Here: [it](sandbox:/mnt/data/test.txt)", files=names))
    result = reader.runs(sample)
    assert result.returncode == 0, result.stderr
    assert reader.downloads == {
        "test.txt": b"older",
        "test (1).txt": b"new",
        "evil.sh": b"1",
        "worse.sh": b"2",
        "linked.txt": b"mine",
        "linked (1).txt": b"3",
        "file": b"4",
    }
    assert {path.name for path in reader.folder.iterdir()} == {
        "downloads",
        *(path.name for path in SAMPLES.glob("*.py")),
    }


@pytest.mark.parametrize("sample", WORKING)
def test_long_names_are_cut_where_a_file_system_would_refuse_them(reader: Reader, sample: str) -> None:
    """Long names are cut by their bytes, because a file system refuses even a hundred characters if they are wide."""
    reader.upstream.script(Turn(text="Here.", files={"表" * 120 + ".csv": b"1"}))
    result = reader.runs(sample)
    assert (result.returncode, result.stderr) == (0, "")
    assert reader.downloads == {"表" * 32 + ".csv": b"1"}


@pytest.mark.parametrize("sample", NATIVE)
def test_an_expired_container_is_reported(reader: Reader, sample: str) -> None:
    """A file whose container expires before the download is not saved, and the sample prints what to do."""
    upstream = reader.upstream

    def clock() -> float:
        late = any(request.path.endswith("/content") for request in upstream.requests)
        return time.time() + (3600 if late else 0)

    upstream.clock = clock
    upstream.script(FEW)
    result = reader.runs(sample)
    assert (result.returncode, result.stderr) == (1, "")
    assert "Not saved: 400 " in result.stdout
    assert "Its container has expired, and its files with it: run this again" in result.stdout
    assert reader.downloads == {}


@pytest.mark.parametrize("sample", WORKING)
def test_a_failed_download_is_retried(reader: Reader, sample: str) -> None:
    """A download that Azure answers with a 500 is retried."""
    reader.upstream.fault(Fault(CONTENT, status=500, body={"error": {"message": "", "code": "server_error"}}))
    reader.upstream.script(FEW)
    assert reader.runs(sample).returncode == 0
    assert reader.downloads == {"test.txt": b"2\n3\n5\n"}


@pytest.mark.parametrize("sample", WORKING)
def test_a_refused_download_does_not_stop_the_others(reader: Reader, sample: str) -> None:
    """A file that answers 404 is reported with exit code 1, and the other file is downloaded."""
    reader.upstream.fault(Fault(CONTENT, status=404, body={"error": {"code": "404", "message": "Resource not found"}}))
    reader.upstream.script(Turn(text="Here: [it](sandbox:/mnt/data/a.txt)", files={"a.txt": b"a", "b.txt": b"b"}))
    result = reader.runs(sample)
    if sample == "legacy-sdk":  # it retries when the file is downloaded, and the fault is over by then
        assert (result.returncode, reader.downloads) == (0, {"a.txt": b"a", "b.txt": b"b"})
        return
    assert result.returncode == 1
    assert "Not saved: 404 " in result.stdout
    assert reader.downloads == {"b.txt": b"b"}
    assert reader.upstream.containers == {}


@pytest.mark.parametrize("sample", WORKING)
def test_a_wrong_key_is_one_message(reader: Reader, sample: str) -> None:
    """A wrong key prints the service's answer, without a traceback or the key."""
    result = reader.runs(sample, AZURE_OPENAI_API_KEY="another-key")
    assert result.returncode == 1
    assert f"{reader.upstream.azure_endpoint} answered 401" in result.stderr
    assert "Traceback" not in result.stderr
    assert "another-key" not in result.stderr


@pytest.mark.parametrize("sample", WORKING)
def test_an_unreachable_endpoint_is_one_message(reader: Reader, sample: str) -> None:
    """An unreachable endpoint is named, without a traceback."""
    nowhere = "http://127.0.0.1:9"
    result = reader.runs(sample, AZURE_OPENAI_ENDPOINT=nowhere)
    assert result.returncode == 1
    assert result.stderr.startswith(f"{nowhere} could not be reached")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("sample", WORKING)
def test_without_an_endpoint_no_request_is_sent(reader: Reader, sample: str) -> None:
    """Without an endpoint the sample says what to set and sends no key to the example's host."""
    result = reader.runs(sample, AZURE_OPENAI_ENDPOINT="")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "Set AZURE_OPENAI_ENDPOINT, or edit ENDPOINT in this script.\n"


def identity_variables(tokens: TokenEndpoint) -> dict[str, Any]:
    """Return the variables of a reader without a key who has an identity at this endpoint."""
    return {"AZURE_OPENAI_API_KEY": "", **tokens.app_service}


@pytest.mark.parametrize("sample", WORKING)
def test_an_identity_serves_instead_of_a_key(reader: Reader, sample: str) -> None:
    """Without a key the token comes from the real azure-identity, for the scope that legacy code uses."""
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    reader.upstream.script(FEW)
    reader.upstream.keys = ["token-1"]
    with token_endpoint() as tokens:
        result = reader.runs_alone(sample, **identity_variables(tokens))
        assert result.returncode == 0, result.stderr
        assert tokens.requested_scopes == ["https://cognitiveservices.azure.com"]
    assert reader.downloads == {"test.txt": b"2\n3\n5\n"}
    assert {request.headers["authorization"] for request in reader.upstream.requests} == {"Bearer token-1"}
    assert {request.headers.get("api-key") for request in reader.upstream.requests} == {None}


@pytest.mark.parametrize("sample", WORKING)
def test_the_identity_of_a_project_is_for_its_own_scope(reader: Reader, sample: str) -> None:
    """The token for a Foundry project is for the scope that its endpoint takes."""
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    reader.upstream.script(FEW)
    reader.upstream.keys = ["token-1"]
    with token_endpoint() as tokens:
        endpoint = f"{reader.upstream.azure_endpoint}{PROJECT}"
        result = reader.runs_alone(sample, AZURE_OPENAI_ENDPOINT=endpoint, **identity_variables(tokens))
        assert result.returncode == 0, result.stderr
        assert tokens.requested_scopes == ["https://ai.azure.com"]


def test_the_rest_sample_takes_a_token(reader: Reader) -> None:
    """The REST sample sends a token from a variable as Bearer and without a key."""
    reader.upstream.script(FEW)
    reader.upstream.keys = ["a-token"]
    assert reader.runs("rest", AZURE_OPENAI_API_KEY="", AZURE_OPENAI_AD_TOKEN="a-token").returncode == 0
    assert {request.headers["authorization"] for request in reader.upstream.requests} == {"Bearer a-token"}
    assert reader.downloads == {"test.txt": b"2\n3\n5\n"}


def test_the_rest_sample_does_not_follow_redirects_to_other_hosts(reader: Reader) -> None:
    """Redirected to another host, the REST sample stops and names it, because requests would send `api-key` along."""
    with StandIn() as other:
        reader.upstream.fault(Fault("POST /responses", status=307, headers={"location": f"{other.azure_endpoint}/x"}))
        result = reader.runs("rest")
        assert other.requests == []
        assert f"is redirected to {other.azure_endpoint}/x" in result.stderr
    assert result.returncode == 2
    assert reader.upstream.containers == {}


@pytest.mark.parametrize("sample", WORKING)
def test_a_missing_identity_is_reported(reader: Reader, sample: str) -> None:
    """Without a key and an identity the sample says how to sign in, and sends no request."""
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    with token_endpoint() as tokens:
        tokens.refused = True
        result = reader.runs(sample, **identity_variables(tokens))
    assert result.returncode == 2
    assert "az login" in result.stderr
    assert "Traceback" not in result.stderr
    assert reader.upstream.requests == []
