"""The tables of what becomes of each call are whole: compared with the SDK, our routes and the API's description."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assistants_compat.api.app import ROUTES
from assistants_compat.tools.audit import calls_table, other_uses_table
from assistants_compat.tools.audit.calls_table import BY_CALL, FILES, STORES, Row

SPEC = Path(__file__).resolve().parents[3] / "shared" / "spec" / "openapi.json"
EVERY = (*calls_table.ROWS, *STORES, *FILES)
NOT_OURS = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
IDS = re.compile(r"\{\w+\}")


def resources() -> Iterator[tuple[str, type]]:
    """The SDK's classes by what leads to them from a client."""
    beta = "openai.resources.beta"
    yield "beta.assistants", importlib.import_module(f"{beta}.assistants").Assistants
    yield "beta.threads", importlib.import_module(f"{beta}.threads.threads").Threads
    yield "beta.threads.messages", importlib.import_module(f"{beta}.threads.messages").Messages
    yield "beta.threads.runs", importlib.import_module(f"{beta}.threads.runs.runs").Runs
    yield "beta.threads.runs.steps", importlib.import_module(f"{beta}.threads.runs.steps").Steps
    for stores in ("openai.resources.vector_stores", f"{beta}.vector_stores"):  # 1.66 moved them
        try:
            found = importlib.import_module(stores)
        except ImportError:
            continue
        yield "beta.vector_stores", found.VectorStores
        yield "beta.vector_stores.files", found.Files
        yield "beta.vector_stores.file_batches", found.FileBatches


METHODS = {
    f"{way}.{name}": method
    for way, class_ in resources()
    for name, method in vars(class_).items()
    if callable(method) and not name.startswith("_")
}


@pytest.mark.parametrize("call", METHODS)
def test_every_method_of_the_sdk_has_a_row_with_its_parameters(call: str) -> None:
    """A method of assistants, threads, messages, runs, steps and vector stores has a row that names its parameters."""
    row = BY_CALL[call]
    taken = {name for name in inspect.signature(METHODS[call]).parameters if name not in NOT_OURS}
    assert taken - {*row.ids, *row.parameters} == set()


def test_no_row_is_about_what_the_newest_sdk_does_not_have() -> None:
    """Where the SDK has vector stores outside of beta, every row below beta is one of its methods."""
    if "openai.resources.vector_stores" not in {class_.__module__.rpartition(".")[0] for _, class_ in resources()}:
        pytest.skip("this SDK has no vector stores outside of beta")
    below = {call: row for call, row in BY_CALL.items() if call.startswith("beta.")}
    assert set(below) == set(METHODS)


def routes(rows: tuple[Row, ...]) -> set[str]:
    """What rows ask for, whatever the ids are called."""
    return {IDS.sub("{}", route) for row in rows for route in row.routes}


def test_every_route_that_is_answered_has_a_row() -> None:
    """A route of the application is in the table, and a row of assistants, threads and files is a route."""
    answered = {IDS.sub("{}", f"{method} {path}") for method, path, _ in ROUTES}
    assert answered - routes(EVERY) == set()
    assert routes((*calls_table.ROWS, *FILES)) - answered == set()


def described() -> dict[str, set[str]]:
    """The parameters of each endpoint in the API's description, without those in its path."""
    if not SPEC.is_file():
        pytest.skip("the API's description is not beside this checkout (../shared)")
    spec = json.loads(SPEC.read_text(encoding="utf-8"))
    found = {}
    for path, methods in spec["paths"].items():
        if path.split("/")[1] in {"assistants", "threads", "vector_stores"}:
            for method, operation in methods.items():
                found[f"{method.upper()} {path}"] = set(parameters(spec, operation))
    return found


def parameters(spec: Any, operation: Any) -> Iterator[str]:
    """The query and the body of an operation."""
    for each in operation.get("parameters", ()):
        if each["in"] == "query":
            yield each["name"].removesuffix("[]")
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = spec["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        yield from schema.get("properties", {})


def test_every_parameter_of_the_description_has_a_row() -> None:
    """An endpoint of the description is in the table with all that may be sent to it."""
    known: dict[str, set[str]] = {}
    for row in EVERY:
        known.setdefault(IDS.sub("{}", row.routes[0]), set()).update(row.parameters)
    lacking = {endpoint: names - known.get(IDS.sub("{}", endpoint), set()) for endpoint, names in described().items()}
    assert {endpoint: names for endpoint, names in lacking.items() if names} == {}
    assert {IDS.sub("{}", endpoint) for endpoint in described()} - set(known) == set()


def test_every_row_says_what_happens_and_what_is_native() -> None:
    """No row is without words."""
    for row in EVERY:
        assert all((row.fate.note, row.native, row.routes))
        assert all(fate.note for fate in row.parameters.values())


def test_the_frameworks_are_those_that_are_tested() -> None:
    """A framework's class that is named has a test that runs it."""
    clients = Path(__file__).resolve().parents[1] / "clients"
    tests = "".join(path.read_text(encoding="utf-8") for path in clients.glob("test_*.py"))
    assert [name for name in other_uses_table.FRAMEWORKS if name not in tests] == []
