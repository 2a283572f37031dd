"""The settings of a wrapped client, and the values that its callbacks receive.

Settings come from arguments, then from `ASSISTANTS_COMPAT_*` variables, then from defaults. They are checked here once,
so that no other module checks them again.
"""

# ruff: noqa: RUF009 - `_setting` returns a dataclass field

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast, get_args

from .errors import SettingsError
from .service.model_families import EFFORTS
from .service.model_mapping import chain_of, read_target

Mode = Literal["auto", "background", "inline"]
Stream = Literal["direct", "background"]
MemoryLimit = Literal["1g", "4g", "16g", "64g"]
ThreadFiles = Literal["keep", "delete"]
UnknownThreads = Literal["refuse", "create"]


@dataclass(frozen=True)
class StoredFile:
    """A generated file whose bytes have been stored: the argument of `Settings(on_file=...)`.

    Pass `id` to `files.content` to read the file. `size` is in bytes. `thread` and `run` are the ids of the thread and
    the run that made it. `filename` is what the model chose (`/mnt/data/x.csv`): data, never a path on this machine.

    Example::

        def report_file(file: assistants_compat.StoredFile) -> None:
            print(file.id, file.size, "bytes from", file.run)

        settings = assistants_compat.Settings(on_file=report_file)
    """

    id: str
    filename: str
    size: int
    thread: str
    run: str


OnFile = Callable[[StoredFile], object]


@dataclass(frozen=True)
class LegacyCall:
    """An Assistants call that the program made: the argument of `Settings(report=...)`.

    `route` contains parameter names instead of ids (`/threads/{thread_id}/runs`). `answered` is `here` if this library
    answered the call and `upstream` if it passed the call on.

    Example::

        def report_call(call: assistants_compat.LegacyCall) -> None:
            print(call.method, call.route, call.answered)

        settings = assistants_compat.Settings(report=report_call)
    """

    method: str
    route: str
    answered: Literal["here", "upstream"]


Only = Collection[str] | Callable[[str], bool]
Report = str | Callable[[LegacyCall], object]


@dataclass(frozen=True)
class _SettingKind:
    """The valid values of a setting.

    `expected` describes them in error messages; `expected_text` describes the text of the variable, if that differs.
    `read` turns this text into a value or raises `ValueError`.
    """

    is_valid: Callable[[object], bool]
    expected: str
    read: Callable[[str], Any] = str
    expected_text: str | None = None


def _one_of(literal: Any, *, or_none: bool = False) -> _SettingKind:
    options = get_args(literal)
    if or_none:
        expected, expected_text = f"{', '.join(options)} or None", f"{', '.join(options[:-1])} or {options[-1]}"
        return _SettingKind(lambda value: value is None or value in options, expected, expected_text=expected_text)
    return _SettingKind(lambda value: value in options, f"{', '.join(options[:-1])} or {options[-1]}")


def _location(noun: str) -> _SettingKind:
    return _SettingKind(lambda value: value is None or isinstance(value, str), f"{noun} as a string, or None")


def _is_positive_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _read_pairs(text: str) -> dict[str, str]:
    pairs = [pair.split("=") for pair in text.split(",")]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):  # noqa: PLR2004 - an old and a new name
        raise ValueError
    return {old.strip(): new.strip() for old, new in pairs}


def _is_model_map(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    models = cast("Mapping[object, object]", value)
    try:
        for target in models.values():
            read_target(target)
    except ValueError:
        return False
    return all(isinstance(name, str) for name in models)


def _check_model_chains(models: Mapping[str, object]) -> None:
    for name in models:
        try:
            chain_of(models, name)
        except ValueError as error:  # noqa: PERF203 - the first one is raised
            message = f"Settings(models=...) (ASSISTANTS_COMPAT_MODELS) goes in a circle: {error}. Remove one of these."
            raise SettingsError(message) from None


def _read_flag(text: str) -> bool:
    flag = text.strip().lower()
    if flag not in ("1", "true", "yes", "0", "false", "no"):
        raise ValueError
    return flag in ("1", "true", "yes")


def _read_policy(text: str) -> dict[str, Any]:
    if text.strip() == "disabled":
        return {"type": "disabled"}
    return {"type": "allowlist", "allowed_domains": [domain.strip() for domain in text.split(",")]}


def _is_policy(value: object) -> bool:
    if not isinstance(value, Mapping):
        return value is None
    policy = dict(cast("Mapping[object, object]", value))
    if policy == {"type": "disabled"}:
        return True
    allowed_domains = policy.pop("allowed_domains", None)
    domains = cast("list[object]", allowed_domains) if isinstance(allowed_domains, list) else []
    return policy == {"type": "allowlist"} and bool(domains) and all(isinstance(name, str) and name for name in domains)


_VERSION_PATTERN = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


def _is_version(value: object) -> bool:
    return value is None or (isinstance(value, str) and _VERSION_PATTERN.fullmatch(value) is not None)


def _import_function(text: str) -> Any:
    module, colon, path = text.partition(":")
    if not colon:
        raise ValueError
    try:
        value: Any = import_module(module)
        for name in path.split("."):
            value = getattr(value, name)
    except (ImportError, AttributeError):
        raise ValueError from None
    return value


def _is_function(value: object) -> bool:
    # The library would never await the coroutine of an asynchronous function.
    return value is None or (callable(value) and not inspect.iscoroutinefunction(value))


def _read_ids(text: str) -> frozenset[str]:
    return frozenset(id_.strip() for id_ in text.split(","))


def _is_only(value: object) -> bool:
    # A string is a collection too, but of characters.
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        return _is_function(value)
    return all(isinstance(id_, str) and id_ for id_ in cast("Collection[object]", value))


_NAME_KIND = _SettingKind(lambda value: isinstance(value, str) and bool(value), "a string that is not empty")
_PATH_KIND = _location("a path")
_POSITIVE_INTEGER_KIND = _SettingKind(_is_positive_integer, "a whole number of at least 1", int)
_MODELS_KIND = _SettingKind(
    _is_model_map,
    'a mapping of model names to model names, to "NAME effort EFFORT" or to {"model": ..., "reasoning_effort": ...}, '
    f"with an effort of {', '.join(EFFORTS)}",
    _read_pairs,
    f"old=new,old=new or old=new effort EFFORT, with an effort of {', '.join(EFFORTS)}",
)
_FLAG_KIND = _SettingKind(
    lambda value: isinstance(value, bool), "True or False", _read_flag, "1, true, yes, 0, false or no"
)
_POLICY_KIND = _SettingKind(
    _is_policy,
    "{'type': 'disabled'}, {'type': 'allowlist', 'allowed_domains': [...]} (without secrets) or None",
    _read_policy,
    "disabled, or domains like example.org,example.com",
)
_VERSION_KIND = _SettingKind(_is_version, "a version like 'preview', or None", expected_text="a version like preview")
_FUNCTION_KIND = _SettingKind(
    _is_function,
    "a function that is not asynchronous, or None",
    _import_function,
    "module:function, the name of an importable function",
)
_ONLY_KIND = _SettingKind(
    _is_only,
    "a collection of assistant ids, a function that is not asynchronous, or None",
    _read_ids,
    "assistant ids like asst_a,asst_b",
)
_REPORT_KIND = _SettingKind(
    lambda value: isinstance(value, str) or _is_function(value),
    "a path as a string, a function that is not asynchronous, or None",
)


def _setting(name: str, kind: _SettingKind, default: object) -> Any:
    """A dataclass field that reads its variable if there is no argument.

    `Settings.__post_init__` checks arguments, and also functions that a variable names.
    """
    variable = f"ASSISTANTS_COMPAT_{name}"

    def value_or_default() -> object:
        text = os.environ.get(variable)
        if not text:
            return default
        with contextlib.suppress(ValueError):
            value = kind.read(text)
            if callable(value) or kind.is_valid(value):
                return value
        message = f"{variable}={text!r} is not valid; expected {kind.expected_text or kind.expected}."
        raise SettingsError(message)

    return field(default_factory=value_or_default, metadata={"variable": variable, "kind": kind})


@dataclass(frozen=True)
class Settings:
    """How the library behaves. An argument overrides its environment variable, which overrides the default.

    - `store` (`ASSISTANTS_COMPAT_STORE`): the database for assistants, threads, messages and runs: a path, or a
      SQLAlchemy URL (`sqlite:///path`, `sqlite://` for memory, `postgresql+psycopg://...`). Default: one SQLite file
      in the user's data directory.
    - `files` (`ASSISTANTS_COMPAT_FILES`): the storage for the bytes of generated files: a directory, or
      `s3://bucket/prefix`, `az://container/prefix` or `gs://bucket/prefix`. The URLs need the extra `objects` and
      take credentials from the variables of the cloud's own tools. Default: a directory beside the SQLite file (its
      name with `-files`), a temporary directory for the memory store, else the user's data directory.
    - `namespace` (`ASSISTANTS_COMPAT_NAMESPACE`): separates tenants within one store. An id of another namespace is
      unknown (404). The namespace is never derived from a key, so that a rotated key loses nothing.
    - `mode` (`ASSISTANTS_COMPAT_MODE`): `auto` runs in the background and falls back to `inline` if the upstream
      refuses background mode. `background` and `inline` force one of them.
    - `stream` (`ASSISTANTS_COMPAT_STREAM`): `direct` streams a response while it is generated; if the process dies,
      the run ends. `background` lets the upstream continue on its own: any process can retrieve the run afterwards,
      and a lost connection is resumed, but the first token arrives later.
    - `run_ttl` (`ASSISTANTS_COMPAT_RUN_TTL`): seconds after which an unfinished run expires. The service used 600.
    - `poll_after_ms` (`ASSISTANTS_COMPAT_POLL_AFTER_MS`): milliseconds that the SDK's pollers sleep between two polls
      of a run, sent to them as `openai-poll-after-ms`.
    - `models` (`ASSISTANTS_COMPAT_MODELS`, as `old=new,old=new effort none`): replacements for models that no longer
      exist. A value is a name, `"gpt-5.6-luna effort none"`, or
      `{"model": "gpt-5.6-luna", "reasoning_effort": "none"}`; that effort replaces the one of the assistant or run. A
      replacement of a replacement is followed. Each run logs its replacement and still shows the requested model. What
      the new model is known to refuse (`temperature`, for example) is left out or changed, and logged once. At effort
      `none`, models that have it keep `temperature`.
    - `store_responses` (`ASSISTANTS_COMPAT_STORE_RESPONSES`): False if the upstream must keep nothing. Runs are then
      created inline, and each round resends the run's history with encrypted reasoning.
    - `memory_limit` (`ASSISTANTS_COMPAT_MEMORY_LIMIT`): the memory of Code Interpreter containers: `1g`, `4g`, `16g`
      or `64g`. It affects the price of a container. Default: not sent, so the upstream's default (1g) applies.
    - `network_policy` (`ASSISTANTS_COMPAT_NETWORK_POLICY`, as `disabled`, or as domains, `example.org,example.com`):
      which hosts code in a container may reach: `{"type": "disabled"}` or
      `{"type": "allowlist", "allowed_domains": [...]}`, as in the API. Default: not sent, so the upstream's default
      applies. A container made under another `memory_limit` or `network_policy` is not reused.
    - `thread_files` (`ASSISTANTS_COMPAT_THREAD_FILES`): `keep` the generated files of a deleted thread, or `delete`
      them with the thread.
    - `azure_api_version` (`ASSISTANTS_COMPAT_AZURE_API_VERSION`): sent as `api-version` to Azure's v1 routes, for a
      resource or gateway that requires one (for example `preview`). Default: not sent, because these routes need none
      and refuse the dated versions of the Assistants API. It has no effect on other upstreams.
    - `unknown_threads` (`ASSISTANTS_COMPAT_UNKNOWN_THREADS`): `refuse` thread ids that were never stored here, as the
      old service did, or `create` an empty thread when a request names such an id. Use `create` if your database still
      holds ids from the old service. A thread that was deleted here stays unknown.
    - `assistants` (`ASSISTANTS_COMPAT_ASSISTANTS`): a TOML, YAML or JSON file of assistants by their ids. Each process
      reads it once, at its first Assistants request, and applies what has changed.
    - `on_file` (`ASSISTANTS_COMPAT_ON_FILE`, as `module:function`, imported when the settings are made): a function
      that is called with a `StoredFile` once for each generated file, after its bytes and its row are stored. If
      several processes poll a run, only the one that stored the file calls it. If that process dies first, the
      function is never called. Asynchronous clients call it from a worker thread. If it raises, the exception is logged
      and the run continues. The run's callers wait until it returns.
    - `only` (`ASSISTANTS_COMPAT_ONLY`, as `asst_a,asst_b`): the ids of the assistants to answer here, or a function
      that decides it for an id. Use it while the upstream still has the Assistants API: calls for other assistants
      go there unchanged. A thread stays where it was made until a run of one of these assistants takes it over.
      Assistants and threads are copied from the upstream when they are first needed, and keep their ids. Default: all
      assistants, and no request goes to the old API.
    - `report` (`ASSISTANTS_COMPAT_REPORT`, a path): records which Assistants calls the program still makes. A function
      is called with a `LegacyCall` for each call, in the thread or event loop that made it. A file gets lines of JSON,
      `{"process": 7, "at": <seconds>, "counted": [{"method", "route", "answered", "calls"}, ...]}`, whose counts add
      up. A line is written at once for a new kind of call, then every ten seconds, and when the process ends. Reports
      never contain ids or texts.

    Example::

        settings = assistants_compat.Settings(
            store="assistants.db",
            models={"gpt-4-turbo": "gpt-4.1"},
        )
        client = assistants_compat.wrap(openai.OpenAI(), settings)
    """

    store: str | None = _setting("STORE", _location("a path or URL"), None)
    files: str | None = _setting("FILES", _PATH_KIND, None)
    namespace: str = _setting("NAMESPACE", _NAME_KIND, "default")
    mode: Mode = _setting("MODE", _one_of(Mode), "auto")
    stream: Stream = _setting("STREAM", _one_of(Stream), "direct")
    run_ttl: int = _setting("RUN_TTL", _POSITIVE_INTEGER_KIND, 600)
    poll_after_ms: int = _setting("POLL_AFTER_MS", _POSITIVE_INTEGER_KIND, 500)
    models: Mapping[str, str | Mapping[str, str]] = _setting("MODELS", _MODELS_KIND, {})
    store_responses: bool = _setting("STORE_RESPONSES", _FLAG_KIND, default=True)
    memory_limit: MemoryLimit | None = _setting("MEMORY_LIMIT", _one_of(MemoryLimit, or_none=True), None)
    network_policy: Mapping[str, Any] | None = _setting("NETWORK_POLICY", _POLICY_KIND, None)
    thread_files: ThreadFiles = _setting("THREAD_FILES", _one_of(ThreadFiles), "keep")
    azure_api_version: str | None = _setting("AZURE_API_VERSION", _VERSION_KIND, None)
    unknown_threads: UnknownThreads = _setting("UNKNOWN_THREADS", _one_of(UnknownThreads), "refuse")
    assistants: str | None = _setting("ASSISTANTS", _PATH_KIND, None)
    on_file: OnFile | None = _setting("ON_FILE", _FUNCTION_KIND, None)
    only: Only | None = _setting("ONLY", _ONLY_KIND, None)
    report: Report | None = _setting("REPORT", _REPORT_KIND, None)

    def __post_init__(self) -> None:
        """Check the values now, because later errors would be far from their cause; make paths absolute."""
        for item in fields(self):
            value, kind = getattr(self, item.name), item.metadata["kind"]
            if not kind.is_valid(value):
                shown = "..." if item.name == "store" else repr(value)  # a URL may contain a password
                message = f"Settings({item.name}={shown}) is not valid; expected {kind.expected}."
                raise SettingsError(message)
        _check_files_location(self.files)
        _check_model_chains(self.models)
        # Paths are relative to the working directory of this moment, which the program may change later.
        # `object.__setattr__`, because the dataclass is frozen.
        object.__setattr__(self, "store", _absolute_location(self.store))
        object.__setattr__(self, "files", _absolute_location(self.files))
        if isinstance(self.report, str):
            object.__setattr__(self, "report", _absolute_path(self.report))
        object.__setattr__(self, "assistants", _absolute_location(self.assistants))


# Without `?`, `#` and `@`, the parts of a URL that can carry credentials.
_OBJECT_STORAGE_URL = re.compile(r"(?:s3|az|gs)://[A-Za-z0-9][\w.-]*(?:/[^?#@]*)?\Z", re.ASCII)


def _check_files_location(location: str | None) -> None:
    if location is None or "://" not in location:
        return
    if not _OBJECT_STORAGE_URL.match(location):  # the message omits the value, which may contain a credential
        message = (
            "Settings(files=...) (ASSISTANTS_COMPAT_FILES) is not valid; expected a directory, s3://bucket/prefix, "
            "az://container/prefix or gs://bucket/prefix, without credentials."
        )
        raise SettingsError(message)
    if importlib.util.find_spec("obstore") is None:
        message = f"Settings(files={location!r}) needs the package obstore: pip install obstore."
        raise SettingsError(message)


# The relative path in a SQLite URL. An absolute one begins with a fourth slash, or with a drive letter on Windows.
_SQLITE_PATH = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:|file:|[A-Za-z]:)([^?]+)")


def _absolute_location(location: str | None) -> str | None:
    if location is None:
        return None
    if "://" not in location:
        return _absolute_path(location)
    return _SQLITE_PATH.sub(lambda match: f"{match[1]}{Path(match[2]).absolute()}", location)


def _absolute_path(path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:
        message = (
            f"The path {path!r} of a setting cannot be used: there is no home directory. Set HOME, or a full path."
        )
        raise SettingsError(message) from None


def variables() -> dict[str, str]:
    """The environment variable of each setting, by the setting's name."""
    return {item.name: item.metadata["variable"] for item in fields(Settings)}
