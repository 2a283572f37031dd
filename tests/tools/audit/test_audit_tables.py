"""The tables of the audit are complete, compared with the SDK, our routes and the API's description."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from assistants_compat.api.app import ROUTES
from assistants_compat.tools.audit import calls_table, other_uses_table
from assistants_compat.tools.audit.calls_table import FILE_ROWS, ROWS_BY_CALL, VECTOR_STORE_ROWS, MethodRow
from kit.paths import ROOT, SPEC

ALL_ROWS = (*calls_table.BETA_ROWS, *VECTOR_STORE_ROWS, *FILE_ROWS)
COMMON_PARAMETERS = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
PATH_ID = re.compile(r"\{\w+\}")


def resources() -> Iterator[tuple[str, type]]:
    """Yield the SDK's classes with the attributes that lead to them."""
    beta = "openai.resources.beta"
    yield "beta.assistants", importlib.import_module(f"{beta}.assistants").Assistants
    yield "beta.threads", importlib.import_module(f"{beta}.threads.threads").Threads
    yield "beta.threads.messages", importlib.import_module(f"{beta}.threads.messages").Messages
    yield "beta.threads.runs", importlib.import_module(f"{beta}.threads.runs.runs").Runs
    yield "beta.threads.runs.steps", importlib.import_module(f"{beta}.threads.runs.steps").Steps
    for stores in ("openai.resources.vector_stores", f"{beta}.vector_stores"):  # moved by 1.66
        try:
            module = importlib.import_module(stores)
        except ImportError:
            continue
        yield "beta.vector_stores", module.VectorStores
        yield "beta.vector_stores.files", module.Files
        yield "beta.vector_stores.file_batches", module.FileBatches


METHODS = {
    f"{way}.{name}": method
    for way, class_ in resources()
    for name, method in vars(class_).items()
    if callable(method) and not name.startswith("_")
}


@pytest.mark.parametrize("call", METHODS)
def test_every_method_of_the_sdk_has_a_row_with_its_parameters(call: str) -> None:
    """Every method of the SDK's resources has a row that names all its parameters."""
    row = ROWS_BY_CALL[call]
    accepted = {name for name in inspect.signature(METHODS[call]).parameters if name not in COMMON_PARAMETERS}
    assert accepted - {*row.ids, *row.parameters} == set()


def test_every_row_is_a_method_of_the_newest_sdk() -> None:
    """With the newest SDK, every row below beta is one of its methods."""
    if "openai.resources.vector_stores" not in {class_.__module__.rpartition(".")[0] for _, class_ in resources()}:
        pytest.skip("this SDK has no vector stores outside of beta")
    below = {call: row for call, row in ROWS_BY_CALL.items() if call.startswith("beta.")}
    assert set(below) == set(METHODS)


def routes_of(rows: tuple[MethodRow, ...]) -> set[str]:
    """Return the routes of rows, whatever their ids are called."""
    return {PATH_ID.sub("{}", route) for row in rows for route in row.routes}


def test_every_route_that_is_answered_has_a_row() -> None:
    """Every route of the application has a row, and every row has a route."""
    answered = {PATH_ID.sub("{}", f"{method} {path}") for method, path, _ in ROUTES}
    assert answered - routes_of(ALL_ROWS) == set()
    assert routes_of((*calls_table.BETA_ROWS, *FILE_ROWS)) - answered == set()


def described_endpoints() -> dict[str, set[str]]:
    """Return the parameters of each endpoint of the API's description, without those in the path."""
    if not SPEC.is_file():
        pytest.skip("the API's description is not beside this checkout (../shared)")
    spec = json.loads(SPEC.read_text(encoding="utf-8"))
    parameters = {}
    for path, methods in spec["paths"].items():
        if path.split("/")[1] in {"assistants", "threads", "vector_stores"}:
            for method, operation in methods.items():
                parameters[f"{method.upper()} {path}"] = set(parameters_of(spec, operation))
    return parameters


def parameters_of(spec: Any, operation: Any) -> Iterator[str]:
    """Yield the names in the query and the body of an operation."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "query":
            yield parameter["name"].removesuffix("[]")
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = spec["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        yield from schema.get("properties", {})


def test_every_parameter_of_the_description_has_a_row() -> None:
    """Every endpoint of the description has rows with all its parameters."""
    table: dict[str, set[str]] = {}
    for row in ALL_ROWS:
        table.setdefault(PATH_ID.sub("{}", row.routes[0]), set()).update(row.parameters)
    missing = {
        endpoint: names - table.get(PATH_ID.sub("{}", endpoint), set())
        for endpoint, names in described_endpoints().items()
    }
    assert {endpoint: names for endpoint, names in missing.items() if names} == {}
    assert {PATH_ID.sub("{}", endpoint) for endpoint in described_endpoints()} - set(table) == set()


def test_every_row_has_a_note_and_a_native_call() -> None:
    """Every row and parameter has a note, and every row a native call."""
    for row in ALL_ROWS:
        assert all((row.support.note, row.native, row.routes))
        assert all(fate.note for fate in row.parameters.values())


def test_the_frameworks_are_those_that_are_tested() -> None:
    """Every framework class in the table has a test that runs it."""
    clients = ROOT / "tests" / "clients"
    tests = "".join(path.read_text(encoding="utf-8") for path in clients.glob("test_*.py"))
    assert [name for name in other_uses_table.FRAMEWORKS if name not in tests] == []


def has(name: str) -> bool:
    """Whether the installed SDK has a module, or a name in a module."""
    module, _, attribute = name.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), attribute) or bool(importlib.import_module(name))
    except ImportError:
        return False


def test_the_names_that_the_sdk_dropped_are_those_that_it_has_not() -> None:
    """The newest SDK has none of the names in the table, and all of those that replaced them."""
    if "openai.resources.vector_stores" not in {class_.__module__.rpartition(".")[0] for _, class_ in resources()}:
        pytest.skip("this SDK has vector stores below beta")
    dropped = other_uses_table.DROPPED_TYPES
    assert [name for name in dropped if has(name)] == []
    assert [new.native for new in dropped.values() if new.native.startswith("openai.") and not has(new.native)] == []
