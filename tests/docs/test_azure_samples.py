"""The scripts of examples/azure run as a reader would run them: copied somewhere, from a shell, with two variables."""

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
from kit.files import PNG, contents
from kit.identity_endpoints import Identities, identities

SAMPLES = Path(__file__).resolve().parents[2] / "examples" / "azure"
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


class Done(NamedTuple):
    """How a sample has ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Reader:
    """Somebody at a shell, who has copied the samples into a folder."""

    folder: Path
    upstream: StandIn
    variables: dict[str, str]

    @property
    def downloads(self) -> dict[str, bytes]:
        """What lies in downloads/, by name."""
        directory = self.folder / "downloads"
        return contents(directory) if directory.is_dir() else {}

    def runs(self, sample: str, **variables: str) -> Done:
        """The sample, run to its end in this process: starting a Python for each would take most of the time."""
        said, told = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(told):
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
        return Done(code, said.getvalue(), told.getvalue())

    def runs_alone(self, sample: str, **variables: str) -> Done:
        """The sample, run from a shell."""
        environment = {name: value for name, value in (os.environ | self.variables | variables).items() if value}
        command = [sys.executable, "-W", "error", str(self.script(sample))]
        done = subprocess.run(
            command, env=environment, cwd=self.folder.parent, capture_output=True, text=True, check=False, timeout=100
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def script(self, sample: str) -> Path:
        """Where the sample lies."""
        return self.folder / f"{sample}-codeinterpreter-file-download.py"


@pytest.fixture
def reader(upstream: StandIn, tmp_path: Path) -> Reader:
    """A reader with a key, whose resource is the stand-in."""
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


def asked_for(upstream: StandIn) -> list[str]:
    """The requests in short."""
    return [f"{request.method} /{request.path.split('/')[1]}" for request in upstream.requests]


@pytest.mark.parametrize("sample", NATIVE)
def test_a_native_sample_says_what_it_does(reader: Reader, sample: str) -> None:
    """Every file comes byte for byte, cited or not; the output is the one that readers expect."""
    reader.upstream.script(TURN)
    done = reader.runs_alone(sample)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(reader.downloads.values()) == sorted([b"2\r\n3\n5\n", BYTES, PNG])
    assert {"test.txt", "uncited.bin"} < set(reader.downloads)
    [post] = [request for request in reader.upstream.requests if request.path == "/responses"]
    container_id = post.json["tools"][0]["container"]
    lines = done.stdout.splitlines()
    assert lines[:2] == ["Creating response...", "Full response.output:"]
    found = [line for line in lines if line.startswith("Found file: ")]
    assert len(found) == 3
    assert all(line.endswith(f", container_id='{container_id}'") for line in found)
    [cited] = [line for line in found if line.startswith("Found file: filename='test.txt', file_id='cfile_")]
    file_id = cited.split("file_id='")[1].partition("'")[0]
    assert f"Downloading file_id={file_id} from container_id={container_id}" in lines
    assert f"Saved: {reader.folder / 'downloads' / 'test.txt'}" in lines
    assert lines[-1] == f"Deleted: {container_id}"


@pytest.mark.parametrize("sample", NATIVE)
def test_a_native_sample_asks_by_the_rules_of_azure(reader: Reader, sample: str) -> None:
    """Every call goes to /openai/v1 with `api-version=preview` and the key; the container is made, forced, deleted."""
    reader.upstream.script(FEW)
    assert reader.runs(sample).returncode == 0
    for request in reader.upstream.requests:
        assert request.full_path.startswith("/openai/v1/")
        assert ("api-version", "preview") in request.query
        assert request.headers["api-key"] == "the-key"
    response = "POST /responses"
    assert asked_for(reader.upstream) == ["POST /containers", response, *["GET /containers"] * 2, "DELETE /containers"]
    assert reader.upstream.requests[1].json["tool_choice"] == "required"
    assert reader.upstream.containers == {}


@pytest.mark.parametrize("sample", NATIVE)
def test_a_native_sample_does_not_need_the_library(reader: Reader, sample: str) -> None:
    """It runs where assistants_compat cannot be imported."""
    (reader.folder / "without").mkdir()
    (reader.folder / "without" / "assistants_compat.py").write_text("raise ImportError\n", encoding="utf-8")
    reader.upstream.script(FEW)
    assert reader.runs_alone(sample, PYTHONPATH=str(reader.folder / "without")).returncode == 0
    assert reader.downloads == {"test.txt": b"2\n3\n5\n"}


@pytest.mark.skipif(HAS_CONTAINERS, reason="this SDK has client.containers")
def test_the_sdk_sample_says_which_sdk_it_needs(reader: Reader) -> None:
    """With an SDK that has no containers it stops before it asks anything."""
    done = reader.runs("sdk")
    assert done.returncode == 2
    assert done.stderr == f"openai {openai.__version__} has no client.containers: pip install 'openai>=1.81'\n"
    assert reader.upstream.requests == []


def test_the_legacy_sample_downloads_the_same(reader: Reader) -> None:
    """Legacy code gets every file by an id of the Files API, and leaves nothing behind in the store."""
    reader.upstream.script(TURN)
    done = reader.runs_alone("legacy-sdk")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(reader.downloads.values()) == sorted([b"2\r\n3\n5\n", BYTES, PNG])
    lines = done.stdout.splitlines()
    assert lines[0] == "Creating run..."
    found = [line for line in lines if line.startswith("Found file: filename='test.txt', file_id='file-")]
    assert len(found) == 1
    assert f"Saved: {reader.folder / 'downloads' / 'test.txt'}" in lines
    kept = reader.folder.parent / "store.db-files"
    assert [path for path in kept.rglob("*") if path.is_file()] == []


def test_the_legacy_rest_sample_says_that_it_cannot_run_yet(reader: Reader) -> None:
    """There is no HTTP server yet, and the script says so."""
    done = reader.runs_alone("legacy-rest")
    assert done.returncode == 2
    assert "does not exist yet" in done.stderr
    assert importlib.util.find_spec("assistants_compat.server") is None


@pytest.mark.parametrize("sample", WORKING)
def test_no_files_are_said_with_what_to_check(reader: Reader, sample: str) -> None:
    """A run that made nothing exits with 1 and names the reasons."""
    reader.upstream.script(Turn(text="I cannot.", code="1", logs="1"))
    done = reader.runs(sample)
    assert done.returncode == 1
    assert "No files were made. Check:\n  - the status above" in done.stdout
    assert reader.downloads == {}


@pytest.mark.parametrize("sample", WORKING)
def test_names_from_the_model_are_no_paths(reader: Reader, sample: str) -> None:
    """Nothing is written outside of downloads/, and nothing there is overwritten or followed."""
    outside = reader.folder.parent / "outside.txt"
    outside.write_bytes(b"mine")
    (reader.folder / "downloads").mkdir()
    (reader.folder / "downloads" / "linked.txt").symlink_to(outside)
    (reader.folder / "downloads" / "test.txt").write_bytes(b"older")
    names = {"test.txt": b"new", "../../evil.sh": b"1", "..\\..\\worse.sh": b"2", "linked.txt": b"3", "...": b"4"}
    reader.upstream.script(Turn(text="Here: [it](sandbox:/mnt/data/test.txt)", files=names))
    done = reader.runs(sample)
    assert done.returncode == 0, done.stderr
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
    """Names are counted in bytes there: one of a hundred characters may be too long."""
    reader.upstream.script(Turn(text="Here.", files={"表" * 120 + ".csv": b"1"}))
    done = reader.runs(sample)
    assert (done.returncode, done.stderr) == (0, "")
    assert reader.downloads == {"表" * 32 + ".csv": b"1"}


@pytest.mark.parametrize("sample", NATIVE)
def test_an_expired_container_is_said(reader: Reader, sample: str) -> None:
    """A file whose container dies before the download is not saved, and the reader hears what to do."""
    upstream = reader.upstream

    def clock() -> float:
        late = any(request.path.endswith("/content") for request in upstream.requests)
        return time.time() + (3600 if late else 0)

    upstream.clock = clock
    upstream.script(FEW)
    done = reader.runs(sample)
    assert (done.returncode, done.stderr) == (1, "")
    assert "Not saved: 400 " in done.stdout
    assert "Its container has expired, and its files with it: run this again" in done.stdout
    assert reader.downloads == {}


@pytest.mark.parametrize("sample", WORKING)
def test_a_download_that_fails_for_a_moment_is_tried_again(reader: Reader, sample: str) -> None:
    """Azure's 500 of container downloads costs a moment, not the file."""
    reader.upstream.fault(Fault(CONTENT, status=500, body={"error": {"message": "", "code": "server_error"}}))
    reader.upstream.script(FEW)
    assert reader.runs(sample).returncode == 0
    assert reader.downloads == {"test.txt": b"2\n3\n5\n"}


@pytest.mark.parametrize("sample", WORKING)
def test_a_download_that_is_refused_leaves_the_others(reader: Reader, sample: str) -> None:
    """A file that answers 404 is said, the exit code is 1, and the other file is there."""
    reader.upstream.fault(Fault(CONTENT, status=404, body={"error": {"code": "404", "message": "Resource not found"}}))
    reader.upstream.script(Turn(text="Here: [it](sandbox:/mnt/data/a.txt)", files={"a.txt": b"a", "b.txt": b"b"}))
    done = reader.runs(sample)
    if sample == "legacy-sdk":  # it asks once more when the file is downloaded, so that the fault is over by then
        assert (done.returncode, reader.downloads) == (0, {"a.txt": b"a", "b.txt": b"b"})
        return
    assert done.returncode == 1
    assert "Not saved: 404 " in done.stdout
    assert reader.downloads == {"b.txt": b"b"}
    assert reader.upstream.containers == {}


@pytest.mark.parametrize("sample", WORKING)
def test_a_wrong_key_is_a_line(reader: Reader, sample: str) -> None:
    """What the service says reaches the reader, without a traceback."""
    done = reader.runs(sample, AZURE_OPENAI_API_KEY="another-key")
    assert done.returncode == 1
    assert f"{reader.upstream.azure_endpoint} answered 401" in done.stderr
    assert "Traceback" not in done.stderr
    assert "another-key" not in done.stderr


@pytest.mark.parametrize("sample", WORKING)
def test_an_endpoint_that_is_not_there_is_a_line(reader: Reader, sample: str) -> None:
    """The reader hears where the script looked."""
    nowhere = "http://127.0.0.1:9"
    done = reader.runs(sample, AZURE_OPENAI_ENDPOINT=nowhere)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{nowhere} could not be reached")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("sample", WORKING)
def test_without_an_endpoint_nobody_is_asked(reader: Reader, sample: str) -> None:
    """The reader hears what to set; the key is not sent to the host that only stands for his."""
    done = reader.runs(sample, AZURE_OPENAI_ENDPOINT="")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Set AZURE_OPENAI_ENDPOINT, or edit ENDPOINT in this script.\n"


def signed_in_by(given: Identities) -> dict[str, Any]:
    """The variables of a reader without a key whom this endpoint knows."""
    return {"AZURE_OPENAI_API_KEY": "", **given.app_service}


@pytest.mark.parametrize("sample", WORKING)
def test_an_identity_serves_instead_of_a_key(reader: Reader, sample: str) -> None:
    """Without a key the token comes from the real azure-identity, for the scope that legacy code asked for."""
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    reader.upstream.script(FEW)
    reader.upstream.keys = ["token-1"]
    with identities() as given:
        done = reader.runs_alone(sample, **signed_in_by(given))
        assert done.returncode == 0, done.stderr
        assert given.asked == ["https://cognitiveservices.azure.com"]
    assert reader.downloads == {"test.txt": b"2\n3\n5\n"}
    assert {request.headers["authorization"] for request in reader.upstream.requests} == {"Bearer token-1"}
    assert {request.headers.get("api-key") for request in reader.upstream.requests} == {None}


def test_the_rest_sample_takes_a_token(reader: Reader) -> None:
    """A token in a variable serves too, as Bearer and without a key."""
    reader.upstream.script(FEW)
    reader.upstream.keys = ["a-token"]
    assert reader.runs("rest", AZURE_OPENAI_API_KEY="", AZURE_OPENAI_AD_TOKEN="a-token").returncode == 0
    assert {request.headers["authorization"] for request in reader.upstream.requests} == {"Bearer a-token"}
    assert reader.downloads == {"test.txt": b"2\n3\n5\n"}


def test_the_rest_sample_sends_its_key_to_nobody_else(reader: Reader) -> None:
    """The library would take `api-key` along to another host; the sample stops and says where it was sent."""
    with StandIn() as other:
        reader.upstream.fault(Fault("POST /responses", status=307, headers={"location": f"{other.azure_endpoint}/x"}))
        done = reader.runs("rest")
        assert other.requests == []
        assert f"is redirected to {other.azure_endpoint}/x" in done.stderr
    assert done.returncode == 2
    assert reader.upstream.containers == {}


@pytest.mark.parametrize("sample", WORKING)
def test_nobody_signed_in_is_said(reader: Reader, sample: str) -> None:
    """Without a key and without an identity the reader hears what to do, and the service is not asked."""
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    with identities() as given:
        given.refused = True
        done = reader.runs(sample, **signed_in_by(given))
    assert done.returncode == 2
    assert "az login" in done.stderr
    assert "Traceback" not in done.stderr
    assert reader.upstream.requests == []
