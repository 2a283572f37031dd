"""`StandIn`, the object that a test uses to start, script, disturb, inspect and stop the stand-in server."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from . import files
from .authentication import KeyCheck
from .exchange import Answer, Refusal, ScriptError, bad_json
from .ids import IdGenerator
from .request_rules import RequestRules
from .routes import route
from .server import Server
from .state import Container, Conversation, State, StoredFile, StoredResponse, VectorStore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from .exchange import Request
    from .turns import Fault, Turn


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as it arrived.

    `path` is without its base, header names are in lower case, and `json` is None if the body is not JSON.
    """

    method: str
    path: str
    full_path: str
    query: tuple[tuple[str, str], ...]
    headers: dict[str, str]
    json: Any
    body: bytes


class StandIn:
    """A stand-in for the Responses API on loopback that answers as the test has scripted it.

    - `spec`: the path of an openapi.json; jsonschema then validates request bodies against it, too.
    - `keys`: the API keys that are accepted (default: any key).
    - `seed`: the same seed gives the same ids in every test run.
    - `background_refused`: refuse background responses, as servers without them do.
    - `strict`: refuse every request that the service is publicly known to refuse (`service/refusal_table.py`), also by
      what a model takes (`service/model_families.py`). With `strict=False` only wrong bodies are refused. It is on by
      default, also in the pytest plugin: a test over a stand-in that takes more than the service proves nothing, and a
      model that nobody knows ("m") is refused nothing.
    - `verified`: whether the organization is verified; if not, o3 and the gpt-5 family do not stream.
    - `zero_retention`: whether the project has zero data retention: no `previous_response_id`, no Code Interpreter, and
      background responses for ten minutes only.
    - `models`: the models that exist (default: any).
    - `dead_links`: the URLs of images that cannot be downloaded.
    - `container_gone`: the text with which `POST /responses` refuses a container that expired or does not exist.

    `configure` changes any of these but the first three while the stand-in runs.

    It checks request bodies against the service's request types, which it brings along: `request_types.json` says from
    which SDK they were read, and when. The installed SDK plays no part.

    The stand-in does only what a recording or the OpenAPI description shows. Where neither does, the code names its
    assumption.

    Example::

        with StandIn() as upstream:
            upstream.script(Turn(text="Hello."))
            client = openai.OpenAI(base_url=upstream.base_url, api_key="any")
            assistants_compat.wrap(client)
    """

    def __init__(  # noqa: PLR0913 - one keyword for each thing that a test may want refused
        self,
        spec: str | Path | None = None,
        keys: Collection[str] | None = None,
        *,
        seed: int | None = None,
        background_refused: bool = False,
        strict: bool = True,
        verified: bool = True,
        zero_retention: bool = False,
        models: Collection[str] | None = None,
        dead_links: Collection[str] = (),
        container_gone: str | None = None,
    ) -> None:
        """Prepare the stand-in; it listens after `start`."""
        self.requests: list[Recorded] = []
        self._state = State(IdGenerator(seed))
        self._rules = RequestRules(spec, self._state.options)
        self.configure(
            background_refused=background_refused,
            strict=strict,
            verified=verified,
            zero_retention=zero_retention,
            models=models,
            dead_links=dead_links,
            container_gone=container_gone,
        )
        self._key_check = KeyCheck(keys)
        self._faults: list[Fault] = []
        self._is_seeded = seed is not None
        self._stopped = threading.Event()
        self._server: Server | None = None

    def start(self) -> Self:
        """Listen on a free port in a daemon thread, and return the stand-in."""
        self._server = Server(self)
        self._stopped.clear()
        # It checks for `close` every 20 ms, so that a test does not wait for half a second (the default).
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="stand-in", daemon=True).start()
        return self

    def close(self) -> None:
        """Stop and close every connection; a second call does nothing."""
        server, self._server = self._server, None
        self._stopped.set()
        if server is not None:
            server.stop()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    @property
    def azure_endpoint(self) -> str:
        """The endpoint for Azure clients; its `/openai/v1/...` accepts the header `api-key` or a bearer token."""
        if self._server is None:
            message = "The stand-in is not running: use it as a context manager or call start()."
            raise RuntimeError(message)
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base_url(self) -> str:
        """The base URL for OpenAI clients."""
        return f"{self.azure_endpoint}/v1"

    def script(self, *turns: Turn) -> None:
        """Add turns; each `POST /responses` uses one, and echoes the user's last text if none is left."""
        with self._state.lock:
            self._state.turns.extend(turns)

    def fault(self, fault: Fault) -> None:
        """Add a fault for the next requests that match it."""
        with self._state.lock:
            self._faults.append(fault)

    def configure(self, **options: Any) -> None:
        """Change options, for example `verified=False`, from the next request on; not `spec`, `keys` and `seed`."""
        for name in ("models", "dead_links"):
            if options.get(name) is not None:
                options[name] = frozenset(options[name])
        with self._state.lock:
            self._state.options = self._rules.options = replace(self._state.options, **options)

    def put_file(self, filename: str, content: bytes, purpose: str = "assistants_output") -> str:
        """Add a file with a purpose that no upload can have, and return its id."""
        with self._state.lock:
            return str(files.add(self._state, filename, content, purpose).wire["id"])

    def advance(self, seconds: float) -> None:
        """Move the clock forward, for example to let containers expire."""
        with self._state.lock:
            self._state.offset += seconds

    @property
    def keys(self) -> frozenset[str] | None:
        """The accepted keys and tokens, or None for any; a change applies from the next request on."""
        return self._key_check.keys

    @keys.setter
    def keys(self, keys: Collection[str] | None) -> None:
        self._key_check = KeyCheck(keys)

    @property
    def clock(self) -> Callable[[], float]:
        """A function that returns seconds since 1970, `time.time` by default; `advance` adds to its result."""
        return self._state.clock

    @clock.setter
    def clock(self, clock: Callable[[], float]) -> None:
        self._state.clock = clock

    @property
    def files(self) -> dict[str, StoredFile]:
        """Files of the Files API by id."""
        return self._state.files

    @property
    def containers(self) -> dict[str, Container]:
        """Containers by id, each with its files by id."""
        return self._state.containers

    @property
    def vector_stores(self) -> dict[str, VectorStore]:
        """Vector stores by id."""
        return self._state.vector_stores

    @property
    def conversations(self) -> dict[str, Conversation]:
        """Conversations by id, each with its items, oldest first."""
        return self._state.conversations

    @property
    def responses(self) -> dict[str, StoredResponse]:
        """Responses by id."""
        return self._state.responses

    # The server calls the methods below.

    def fault_for(self, request: Request) -> Fault | None:
        """Record the request and return the first fault that matches it, or None."""
        with self._state.lock:
            self.requests.append(_record_request(request))
            for index, fault in enumerate(self._faults):
                if fault.fits(request.method, request.path):
                    remaining = replace(fault, times=fault.times - 1)
                    self._faults[index : index + 1] = [remaining] if remaining.times > 0 else []
                    return fault
        return None

    def answer(self, request: Request) -> Answer:
        """Answer the request; one request at a time has the lock."""
        started_at = time.monotonic()
        with self._state.lock:
            answer = self._handle(request)
        return self.with_service_headers(answer, int((time.monotonic() - started_at) * 1000))

    def with_service_headers(self, answer: Answer, milliseconds: int = 0) -> Answer:
        """Add the headers that every answer of the service has (Source: platform.md section 12)."""
        headers = {
            "openai-processing-ms": str(0 if self._is_seeded else milliseconds),
            "openai-version": "2020-10-01",
            "x-request-id": self._state.ids.new("req_"),
        }
        return replace(answer, headers={**headers, **answer.headers})

    def now(self) -> float:
        """Return the stand-in's time, which is also in its `date` header."""
        return self._state.now()

    def wait(self, seconds: float) -> bool:
        """Wait, at most until the stand-in stops; return False if it has stopped."""
        return not self._stopped.wait(seconds)

    def _handle(self, request: Request) -> Answer:
        try:
            self._key_check.check(request)
            pattern, handler = route(request)
            self._rules.check(pattern, request)
            return handler(self._state)
        except Refusal as refusal:
            return refusal.answer()
        except RecursionError:  # a body that is nested too deeply for the check of its types
            return bad_json().answer()
        except Exception as defect:  # noqa: BLE001 - a bug in the stand-in must be visible in the test that met it
            return ScriptError(f"The stand-in failed: {defect!r}").answer()


def _record_request(request: Request) -> Recorded:
    return Recorded(
        request.method,
        request.path,
        request.full_path,
        request.query,
        request.headers,
        _json_body(request),
        request.body,
    )


def _json_body(request: Request) -> Any:
    try:
        return request.json_object() if request.body else None
    except Refusal:
        return None
