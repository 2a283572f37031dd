"""The handle that a test holds: start, script, break, inspect and end the stand-in."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from . import files
from .authentication import Access
from .exchange import Answer, Refusal, ScriptError
from .ids import Mint
from .request_rules import Rules
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
    """A request as it arrived: `path` without its base, header names in lower case, `json` None if it was not JSON."""

    method: str
    path: str
    full_path: str
    query: tuple[tuple[str, str], ...]
    headers: dict[str, str]
    json: Any
    body: bytes


class StandIn:
    """A Responses service on loopback that says what it is told to say.

    `spec` is the path of an openapi.json: request bodies are then also validated by jsonschema against it. `keys` are
    the API keys that are accepted (default: any). `seed` makes ids repeat. `background_refused` makes it a server
    without background mode.

    Bodies are checked against the parameter types of the installed SDK: openai 1.40 has none for Responses, so that
    there only `spec` checks them, and 1.x knows fewer keys and values than the service. It may do only what a recording
    or the OpenAPI description shows; where neither says, the code names its assumption.
    """

    def __init__(
        self,
        spec: str | Path | None = None,
        keys: Collection[str] | None = None,
        *,
        seed: int | None = None,
        background_refused: bool = False,
    ) -> None:
        """Prepare; nothing listens before `start`."""
        self.requests: list[Recorded] = []
        self._state = State(Mint(seed))
        self._rules = Rules(spec, background_refused=background_refused)
        self._access = Access(keys)
        self._faults: list[Fault] = []
        self._is_seeded = seed is not None
        self._ended = threading.Event()
        self._server: Server | None = None

    def start(self) -> Self:
        """Listen on a free port, in a daemon thread."""
        self._server = Server(self)
        self._ended.clear()
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="stand-in", daemon=True).start()
        return self

    def close(self) -> None:
        """Stop and close every connection; closing twice is allowed."""
        server, self._server = self._server, None
        self._ended.set()
        if server is not None:
            server.end()

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
        """The origin, as Azure clients want it; `/openai/v1/...` below it takes `api-key` or a bearer token."""
        if self._server is None:
            message = "The stand-in is not running: use it as a context manager or call start()."
            raise RuntimeError(message)
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base_url(self) -> str:
        """The base for OpenAI clients."""
        return f"{self.azure_endpoint}/v1"

    def script(self, *turns: Turn) -> None:
        """Add turns; each `POST /responses` takes one. Without any left, the user's last text is echoed."""
        with self._state.lock:
            self._state.turns.extend(turns)

    def fault(self, fault: Fault) -> None:
        """Add a fault for the next requests that it fits."""
        with self._state.lock:
            self._faults.append(fault)

    def put_file(self, filename: str, content: bytes, purpose: str = "assistants_output") -> str:
        """Put a file into the Files API that no upload can make, and return its id."""
        with self._state.lock:
            return str(files.add(self._state, filename, content, purpose).wire["id"])

    def advance(self, seconds: float) -> None:
        """Let time pass: containers expire."""
        with self._state.lock:
            self._state.offset += seconds

    @property
    def keys(self) -> frozenset[str] | None:
        """The keys and tokens that are accepted, or None for any; changed, it counts from the next request on."""
        return self._access.keys

    @keys.setter
    def keys(self, keys: Collection[str] | None) -> None:
        self._access = Access(keys)

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since 1970, `time.time` by default; `advance` adds to it."""
        return self._state.clock

    @clock.setter
    def clock(self, clock: Callable[[], float]) -> None:
        self._state.clock = clock

    @property
    def files(self) -> dict[str, StoredFile]:
        """The Files API's files by id."""
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

    # What the server calls.

    def fault_for(self, request: Request) -> Fault | None:
        """Record the request; take the first fault that fits it."""
        with self._state.lock:
            self.requests.append(_recorded(request))
            for index, fault in enumerate(self._faults):
                if fault.fits(request.method, request.path):
                    left = replace(fault, times=fault.times - 1)
                    self._faults[index : index + 1] = [left] if left.times > 0 else []
                    return fault
        return None

    def answer(self, request: Request) -> Answer:
        """Carry the request out under the lock."""
        began = time.monotonic()
        with self._state.lock:
            answer = self._carry_out(request)
        return self.signed(answer, int((time.monotonic() - began) * 1000))

    def signed(self, answer: Answer, milliseconds: int = 0) -> Answer:
        """The headers that every answer of the service carries (Source: platform.md section 12)."""
        headers = {
            "openai-processing-ms": str(0 if self._is_seeded else milliseconds),
            "openai-version": "2020-10-01",
            "x-request-id": self._state.mint.new("req_"),
        }
        return replace(answer, headers={**headers, **answer.headers})

    def now(self) -> float:
        """The stand-in's time, which its `date` header tells too."""
        return self._state.now()

    def rest(self, seconds: float) -> bool:
        """Wait, at most until the stand-in ends; False when it has ended."""
        return not self._ended.wait(seconds)

    def _carry_out(self, request: Request) -> Answer:
        try:
            self._access.check(request)
            name, carry_out = route(request)
            self._rules.check(name, request)
            return carry_out(self._state)
        except Refusal as refusal:
            return refusal.answer()
        except Exception as defect:  # noqa: BLE001 - a defect of the stand-in must be read where it happened
            return ScriptError(f"The stand-in failed: {defect!r}").answer()


def _recorded(request: Request) -> Recorded:
    return Recorded(
        request.method, request.path, request.full_path, request.query, request.headers, _json(request), request.body
    )


def _json(request: Request) -> Any:
    try:
        return request.json_object() if request.body else None
    except Refusal:
        return None
