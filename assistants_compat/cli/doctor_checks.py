"""The checks of `doctor`, in their order, and what each says and advises; `doctor_ask.py` has those of `--ask`.

A check yields its findings and never prints. The command runs the checks, limits their time and hides secrets.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import itertools
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import openai

from ..engine.io import Request
from ..engine.saved import assistants_file
from ..errors import CompatError, SettingsError, SignInError, UnsupportedSdkError
from ..runtime import logs
from ..runtime.clock import current
from ..runtime.switch import SWITCH_VARIABLE, is_off
from ..settings import Settings
from ..store import locations, queries
from ..store.database import Connection, network_filesystem, transact
from ..tools.upstream import describe_error, run_with_client
from ..wire.azure_endpoints import AZURE_HOSTS, azure_resource, is_project
from ..wire.objects import Json, as_object_list
from .live_checks.answers import missing_scopes
from .live_checks.verdicts import add_scopes
from .model_advice import mapped_value_warnings, replacement_advice, requested_model
from .terminal import AZURE_CREDENTIAL_VARIABLES, make_client, quantity

State = Literal["ok", "warning", "failed", "skipped"]

_PREFIX = "ASSISTANTS_COMPAT_"
_TESTED_SDKS, _TESTED_PYTHONS = ((1, 21), (3, 57)), ((3, 10), (3, 15))  # oldest and newest, as in docs/versions.md
_MIN_FREE_BYTES = 50 * 1024 * 1024  # a store with less free space would fail soon
_PAGE_SIZE = 100  # assistants that are read from the store
_MEMORY_URL = re.compile(r"sqlite(?:\+\w+)?://(?:/?|/:memory:)(?:\?.*)?\Z")
_SQLITE_FILE_URL = re.compile(r"sqlite(?:\+\w+)?:///([^?]+)")
_GATEWAY_HOST = ".azure-api.net"  # API Management


@dataclass(frozen=True)
class Finding:
    """The result of one check. Its fields are the keys of `--json`; `do` is the advice, empty if there is none."""

    check: str
    state: State
    says: str
    do: str = ""


@dataclass
class CheckContext:
    """Options, and results of earlier checks that later ones need; a result is None if its check failed.

    `timeout` is in seconds for each check. `may_ask_model` is the option `--ask`.
    """

    may_ask_model: bool
    timeout: float
    settings: Settings | None = None
    client: openai.OpenAI | None = None
    stored_assistants: list[Json] | None = None
    declared_assistants: list[Json] = dataclasses.field(default_factory=list)
    listed_models: list[str] | None = None

    @property
    def is_azure(self) -> bool:
        """Whether the environment selects Azure."""
        return bool(os.environ.get("AZURE_OPENAI_ENDPOINT"))


Check = Callable[[CheckContext], Iterator[Finding]]


# --- installation


def _check_sdk(_context: CheckContext) -> Iterator[Finding]:
    version = tuple(int(part) for part in re.findall(r"\d+", openai.__version__)[:2])
    python = sys.version_info[:2]
    says = f"openai {openai.__version__} on Python {python[0]}.{python[1]}"
    if not (_is_between(version, _TESTED_SDKS) and _is_between(python, _TESTED_PYTHONS)):
        # Not a warning: nothing is known to be wrong with them.
        tested = "openai {}.{} to {}.{} and Python {}.{} to {}.{}"
        tested = tested.format(*itertools.chain(*_TESTED_SDKS, *_TESTED_PYTHONS))
        says += f", not tested with this version of assistants_compat; tested: {tested}"
    yield Finding("sdk", "ok", says)


def _is_between(version: tuple[int, ...], limits: tuple[tuple[int, int], tuple[int, int]]) -> bool:
    return limits[0] <= version <= limits[1]


def _check_extras(context: CheckContext) -> Iterator[Finding]:
    modules = {"azure": "azure.identity", "objects": "obstore", "postgres": "psycopg"}
    installed = [extra for extra, module in modules.items() if _is_installed(module)]
    has_key = any(os.environ.get(name) for name in AZURE_CREDENTIAL_VARIABLES)
    if context.is_azure and not has_key and "azure" not in installed:
        says = "AZURE_OPENAI_ENDPOINT is set without a key, and azure-identity is not installed"
        yield Finding("extras", "failed", says, "pip install azure-identity, or set AZURE_OPENAI_API_KEY")
    else:
        yield Finding("extras", "ok", f"installed: {', '.join(['cli', *installed])}")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package, such as `azure`, is missing
        return False


# --- settings


def _check_switch(_context: CheckContext) -> Iterator[Finding]:
    try:
        switched_off = is_off()
    except SettingsError as error:
        yield Finding("switch", "failed", str(error), f"set {SWITCH_VARIABLE} to on, or unset it")
        return
    if switched_off:
        yield Finding("switch", "failed", f"{SWITCH_VARIABLE}=off: clients are not wrapped", f"unset {SWITCH_VARIABLE}")
    else:
        yield Finding("switch", "ok", "on")


def _check_settings(context: CheckContext) -> Iterator[Finding]:
    fields = {field.metadata["variable"]: field for field in dataclasses.fields(Settings)}
    is_invalid = False
    # One by one, because `Settings()` would report only the first invalid variable.
    for variable, field in fields.items():
        try:
            assert field.default_factory is not dataclasses.MISSING  # noqa: S101 - every setting has a variable
            field.default_factory()
        except SettingsError as error:  # noqa: PERF203 - each is a finding of its own
            is_invalid = True
            yield Finding("settings", "failed", str(error), f"correct or unset {variable}")
    try:
        logs.level_from_environment()
    except SettingsError as error:
        is_invalid = True
        yield Finding("settings", "failed", str(error), f"correct or unset {logs.LOG_VARIABLE}")
    for name in sorted(os.environ):
        similar = difflib.get_close_matches(name, fields, 1, 0.85)
        if name not in (*fields, SWITCH_VARIABLE, logs.LOG_VARIABLE) and (name.startswith(_PREFIX) or similar):
            do = f"did you mean {similar[0]}?" if similar else "check its name, or unset it"
            yield Finding("settings", "warning", f"{name} is set, but no setting has this name", do)
    if is_invalid:
        return
    try:
        context.settings = Settings()
    except SettingsError as error:
        yield Finding("settings", "failed", str(error), "correct the variable that the message names")
        return
    set_variables = [variable for variable in fields if os.environ.get(variable)]
    says = f"set: {', '.join(set_variables)}" if set_variables else "all settings have their defaults"
    yield Finding("settings", "ok", says)


def _check_assistants_file(context: CheckContext) -> Iterator[Finding]:
    file = None if context.settings is None else context.settings.assistants
    if file is None:
        yield Finding("assistants", "skipped", "the settings name no assistants file")
        return
    try:
        declared = assistants_file.read_assistants_file(Path(file))
        context.declared_assistants = [{"id": id_, **fields} for id_, fields in declared.items()]
    except SettingsError as error:
        do = f"fix the file or unset {_PREFIX}ASSISTANTS; until then every request fails with this error (500)"
        yield Finding("assistants", "failed", str(error), do)
    else:
        yield Finding("assistants", "ok", f"{file} has {quantity(len(context.declared_assistants), 'assistant')}")


def _check_report(context: CheckContext) -> Iterator[Finding]:
    file = None if context.settings is None else context.settings.report
    if not isinstance(file, str):
        yield Finding("report", "skipped", "the settings name no report file")
        return
    path = Path(file).absolute()
    nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    # A directory at the path itself is wrong, and so is a file in place of one of its parents.
    if nearest.is_dir() == (nearest == path) or not os.access(nearest, os.W_OK):
        yield Finding("report", "warning", f"{file} cannot be written", f"set {_PREFIX}REPORT to a writable path")
    else:
        yield Finding("report", "ok", f"{file} can be written")


# --- store and files


def _check_store(context: CheckContext) -> Iterator[Finding]:
    if context.settings is None:
        yield Finding("store", "skipped", "the settings are not valid")
        return
    url, namespace = locations.database_url(context.settings.store), context.settings.namespace
    if _MEMORY_URL.match(url):
        do = f"set {_PREFIX}STORE to a path or a postgresql+psycopg:// URL"
        yield Finding("store", "warning", "the store is in memory: all data is lost when the process ends", do)
        return
    file = _SQLITE_FILE_URL.match(url)
    if file is not None:
        path = Path(file[1])
        if not path.exists():
            yield _check_missing_store_file(path)
            return
        if path.is_file():
            yield from _check_store_file(path)

    def work(db: Connection) -> tuple[list[Json], int]:
        rows, _ = queries.get_page(db, "assistants", namespace, queries.Page(limit=_PAGE_SIZE))
        return [{"id": row["id"], **row["body"]} for row in rows], len(
            queries.idle_runs(db, namespace, current().now())
        )

    try:
        # A write transaction, so that a store that is read-only or locked is found now and not by a run.
        context.stored_assistants, active = transact(url, work, write=True)
    except CompatError as error:
        yield Finding("store", "failed", str(error), f"make the store reachable and writable, or change {_PREFIX}STORE")
        return
    count = len(context.stored_assistants)
    assistants = quantity(count, "assistant") if count < _PAGE_SIZE else f"{_PAGE_SIZE} or more assistants"
    database = url.partition(":")[0].partition("+")[0]
    says = f"{database}, writable; {assistants} and {quantity(active, 'active run')} in namespace {namespace!r}"
    yield Finding("store", "ok", says)


def _check_missing_store_file(path: Path) -> Finding:
    """Return whether a store that does not exist yet can be created; doctor does not create it."""
    parent = next(parent for parent in path.parents if parent.exists())
    file_system = network_filesystem(path)
    if file_system is not None:
        says = f"{path} would be on a network file system ({file_system}), where SQLite is not safe"
        return Finding("store", "failed", says, f"set {_PREFIX}STORE to a local path or a postgresql+psycopg:// URL")
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        says = f"{path} does not exist and cannot be created: {parent} is not a writable directory"
        return Finding("store", "failed", says, f"make {parent} writable, or set {_PREFIX}STORE to a writable path")
    return Finding("store", "ok", f"{path} does not exist yet and can be created")


def _check_store_file(path: Path) -> Iterator[Finding]:
    mode = path.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        says = f"other users can read {path} (mode {mode:o}), which has every message"
        yield Finding("store", "warning", says, f"chmod 600 {path}")
    free = shutil.disk_usage(path.parent).free
    if free < _MIN_FREE_BYTES:
        says = f"only {free // 2**20} MB are free on the disk of {path}"
        yield Finding("store", "failed", says, f"free some space, or set {_PREFIX}STORE to a path on another disk")


def _check_files(context: CheckContext) -> Iterator[Finding]:
    if context.settings is None:
        yield Finding("files", "skipped", "the settings are not valid")
        return
    if context.settings.files is None and not locations.store_may_exist(context.settings.store):
        yield Finding("files", "ok", "generated files will be stored beside the store, which does not exist yet")
        return
    content = locations.content_store(context.settings.files, locations.database_url(context.settings.store))
    key = current().new_id("file")
    try:
        draft = content.draft(key, "attachment")
        try:
            draft.write([b"x"])
            draft.commit()
        except BaseException:
            draft.discard()
            raise
        was_stored = content.size(key) == 1
        content.delete(key)
    except (CompatError, OSError) as error:
        do = f"make the location writable, check its credentials, or set {_PREFIX}FILES to another location"
        yield Finding("files", "failed", f"a file cannot be stored: {describe_error(error)}", do)
        return
    if was_stored:
        location = context.settings.files or "the default location"
        yield Finding("files", "ok", f"a file was written, found and deleted in {location}")
    else:
        says = "a file was written, but was not found afterwards"
        yield Finding("files", "failed", says, f"set {_PREFIX}FILES to a location that keeps its files")


# --- the upstream


def _check_azure_endpoint(context: CheckContext) -> Iterator[Finding]:
    if not context.is_azure:
        yield Finding("azure", "skipped", "AZURE_OPENAI_ENDPOINT is not set")
        return
    endpoint = os.environ["AZURE_OPENAI_ENDPOINT"]
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if not host or parts.scheme not in ("https", "http"):
        says, do = f"AZURE_OPENAI_ENDPOINT={endpoint!r} is not a URL", "set it to https://NAME.openai.azure.com"
        yield Finding("azure", "failed", says, do)
        return
    resource = azure_resource(endpoint)
    says = endpoint if resource == endpoint.rstrip("/") else f"{endpoint}, read as {resource}"
    if host.endswith(_GATEWAY_HOST):
        yield Finding("azure", "ok", says)
    elif not host.endswith(AZURE_HOSTS):
        says = f"{says}: {host} is not an Azure host name; if it is a gateway, it must forward /openai/v1"
        yield Finding("azure", "warning", says, "correct AZURE_OPENAI_ENDPOINT, unless this is your gateway")
    elif urlsplit(resource).path and not is_project(resource):
        says = f"AZURE_OPENAI_ENDPOINT={endpoint!r} has a path that is neither a route nor a project"
        yield Finding("azure", "failed", says, f"set it to {parts.scheme}://{parts.netloc}")
    else:
        yield Finding("azure", "ok", says)


def _check_key(context: CheckContext) -> Iterator[Finding]:
    if context.settings is None:
        yield Finding("key", "skipped", "the settings are not valid")
        return
    try:
        client = make_client()
    except SettingsError as error:  # `_check_switch` has reported it
        yield Finding("key", "skipped", str(error))
        return
    except (TypeError, UnsupportedSdkError) as error:
        # openai before 1.55.3 passes `proxies` to its HTTP client, which httpx 0.28 no longer takes.
        says, do = str(error), "install a version of openai that has it"
        if isinstance(error, TypeError):
            says = f"openai {openai.__version__} cannot create a client with the installed httpx: {error}"
            do = "pip install 'httpx<0.28', or a newer openai"
        yield Finding("key", "failed", says, do)
        return
    except (openai.OpenAIError, CompatError, ValueError) as error:
        name = "AZURE_OPENAI_API_KEY, or sign in with `az login`" if context.is_azure else "OPENAI_API_KEY"
        yield Finding("key", "failed", f"cannot create a client: {describe_error(error)}", f"set {name}")
        return
    # No retries, because the check has to end within its timeout.
    context.client = client.with_options(timeout=context.timeout, max_retries=0)
    yield Finding("key", "ok", "a client was created; the next check shows whether its key is accepted")


def _rejected_key(context: CheckContext, url: str, scopes: tuple[str, ...]) -> Finding:
    """Return the finding of a 401 without its text, which holds parts of the key."""
    if scopes:  # for a restricted key the service answers 401 too
        says = f"{url} does not list its models to this restricted key, which lacks {', '.join(scopes)}"
        return Finding("upstream", "warning", says, f"{add_scopes(scopes)}; or run doctor --ask without it")
    name = "AZURE_OPENAI_API_KEY, or the Azure role of your sign-in" if context.is_azure else "OPENAI_API_KEY"
    return Finding("upstream", "failed", f"{url} rejected the key (401)", f"check {name}")


def _check_upstream(context: CheckContext) -> Iterator[Finding]:
    if context.client is None:
        yield Finding("upstream", "skipped", "no client was created")
        return
    url = str(context.client.base_url)
    try:
        answer: Any = run_with_client(context.client, lambda io: io.ask(Request("GET", "/models")))
    except SignInError as error:
        yield Finding("upstream", "failed", str(error), "run `az login`, or give the machine an identity")
    except openai.AuthenticationError as error:
        yield _rejected_key(context, url, missing_scopes(error.body))
    except openai.PermissionDeniedError as error:
        do = "run doctor --ask, because a restricted key may still work for responses"
        yield Finding("upstream", "warning", f"{url} does not list its models (403): {describe_error(error)}", do)
    except openai.NotFoundError:
        do = "check OPENAI_BASE_URL, which usually ends in /v1"
        if context.is_azure:
            do = "check AZURE_OPENAI_ENDPOINT, and that the resource or gateway has the route /openai/v1"
        yield Finding("upstream", "failed", f"{url} has no list of models (404)", do)
    except openai.APIConnectionError as error:
        do = "check OPENAI_BASE_URL or AZURE_OPENAI_ENDPOINT, the network, and proxies (HTTPS_PROXY, NO_PROXY)"
        yield Finding("upstream", "failed", f"{url} cannot be reached: {describe_error(error)}", do)
    except openai.APIStatusError as error:
        says = f"{url} answered {error.status_code}: {describe_error(error)}"
        yield Finding("upstream", "failed", says, "try again later, or ask its operator")
    else:
        context.listed_models = [str(model.get("id")) for model in as_object_list(answer.get("data"))]
        yield Finding("upstream", "ok", f"{url} answers and accepts the key")


def models_in_use(context: CheckContext) -> dict[str, str]:
    """Return the models that runs will request, each with what names it."""
    if context.settings is None:
        return {}
    mapped = context.settings.models
    of_assistants = {requested_model(mapped, assistant["model"]): "an assistant" for assistant in _assistants(context)}
    return {**dict.fromkeys((requested_model(mapped, name) for name in mapped), f"{_PREFIX}MODELS"), **of_assistants}


def _assistants(context: CheckContext) -> list[Json]:
    return [*(context.stored_assistants or ()), *context.declared_assistants]


def _check_models(context: CheckContext) -> Iterator[Finding]:
    models = models_in_use(context)
    mapped = {} if context.settings is None else context.settings.models
    for says, do in mapped_value_warnings(mapped, _assistants(context)):
        yield Finding("models", "warning", says, do)
    if context.listed_models is None:
        yield Finding("models", "skipped", "the upstream has not listed its models")
    elif not models:
        yield Finding("models", "skipped", "the store has no assistants yet")
    elif context.is_azure:
        says = "on Azure a model is a deployment, and no list has these; doctor --ask tries one"
        yield Finding("models", "skipped", says)
    else:
        missing = [model for model in models if model not in context.listed_models]
        for model in missing:
            says = f"the upstream does not list {model}, which {models[model]} names"
            yield Finding("models", "failed", says, replacement_advice(mapped, missing, context.listed_models))
        if not missing:
            yield Finding("models", "ok", f"the upstream lists {', '.join(sorted(models))}")


CHECKS: tuple[tuple[str, Check], ...] = (
    ("sdk", _check_sdk),
    ("extras", _check_extras),
    ("switch", _check_switch),
    ("settings", _check_settings),
    ("assistants", _check_assistants_file),
    ("report", _check_report),
    ("store", _check_store),
    ("files", _check_files),
    ("azure", _check_azure_endpoint),
    ("key", _check_key),
    ("upstream", _check_upstream),
    ("models", _check_models),
)
