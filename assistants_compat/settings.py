"""Settings: one frozen value, from arguments first and `ASSISTANTS_COMPAT_*` variables second."""

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

Mode = Literal["auto", "background", "inline"]
Stream = Literal["direct", "background"]
MemoryLimit = Literal["1g", "4g", "16g", "64g"]
ThreadFiles = Literal["keep", "delete"]
UnknownThreads = Literal["refuse", "create"]


@dataclass(frozen=True)
class StoredFile:
    """A generated file whose bytes are kept now: what `Settings(on_file=...)` is told.

    `id` is what `files.content` takes, `size` is in bytes, `thread` and `run` are the ids of where it was made.
    `filename` is what the model chose (`/mnt/data/x.csv`): data, never a path on this machine.
    """

    id: str
    filename: str
    size: int
    thread: str
    run: str


OnFile = Callable[[StoredFile], object]


@dataclass(frozen=True)
class LegacyCall:
    """An Assistants call that a program made: what `Settings(report=...)` is told.

    `route` has names in the place of ids (`/threads/{thread_id}/runs`).  `answered` says by whom: `here`, or by the
    `upstream`.
    """

    method: str
    route: str
    answered: Literal["here", "upstream"]


Only = Collection[str] | Callable[[str], bool]
Report = str | Callable[[LegacyCall], object]


@dataclass(frozen=True)
class _Kind:
    """What a setting must be, how that is said, and how a variable's text is read; bad text is a `ValueError`."""

    fits: Callable[[object], bool]
    needed: str
    read: Callable[[str], Any] = str


def _one_of(literal: Any, *, or_none: bool = False) -> _Kind:
    words = get_args(literal)
    needed = f"one of {', '.join(words)}"
    if or_none:
        return _Kind(lambda value: value is None or value in words, f"{needed}, or None,")
    return _Kind(lambda value: value in words, needed)


def _place(what: str) -> _Kind:
    return _Kind(lambda value: value is None or isinstance(value, str), f"{what} as a string, or None,")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.split("=") for pair in text.split(",")]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):  # noqa: PLR2004 - a name and what it becomes
        raise ValueError
    return {old.strip(): new.strip() for old, new in pairs}


def _is_map(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    models = cast("Mapping[object, object]", value)
    return all(isinstance(name, str) for name in (*models.keys(), *models.values()))


def _yes_or_no(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("1", "true", "yes", "0", "false", "no"):
        raise ValueError
    return word in ("1", "true", "yes")


def _policy(text: str) -> dict[str, Any]:
    if text.strip() == "disabled":
        return {"type": "disabled"}
    return {"type": "allowlist", "allowed_domains": [domain.strip() for domain in text.split(",")]}


def _is_policy(value: object) -> bool:
    if not isinstance(value, Mapping):
        return value is None
    policy = dict(cast("Mapping[object, object]", value))
    if policy == {"type": "disabled"}:
        return True
    given = policy.pop("allowed_domains", None)
    domains = cast("list[object]", given) if isinstance(given, list) else []
    return policy == {"type": "allowlist"} and bool(domains) and all(isinstance(each, str) and each for each in domains)


_VERSION_WORDS = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


def _is_version(value: object) -> bool:
    return value is None or (isinstance(value, str) and _VERSION_WORDS.fullmatch(value) is not None)


def _function(text: str) -> Any:
    module, colon, path = text.partition(":")
    if not colon:
        raise ValueError
    try:
        found: Any = import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        raise ValueError from None
    return found


def _is_function(value: object) -> bool:
    return value is None or (callable(value) and not inspect.iscoroutinefunction(value))


def _ids(text: str) -> frozenset[str]:
    return frozenset(id_.strip() for id_ in text.split(","))


def _is_only(value: object) -> bool:
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        return _is_function(value)
    return all(isinstance(id_, str) and id_ for id_ in cast("Collection[object]", value))


_NAME = _Kind(lambda value: isinstance(value, str) and bool(value), "a name")
_PATH = _place("a path")
_WHOLE = _Kind(_is_whole, "a whole number of at least 1", int)
_MODELS = _Kind(_is_map, "a mapping of names to names", _pairs)
_FLAG = _Kind(lambda value: isinstance(value, bool), "True or False", _yes_or_no)
_POLICY = _Kind(
    _is_policy,
    "{'type': 'disabled'} or {'type': 'allowlist', 'allowed_domains': [...]}, without secrets, or None,",
    _policy,
)
_VERSION = _Kind(_is_version, "a version like 'preview', or None,")
_FUNCTION = _Kind(_is_function, "a function that is not asynchronous, or None,", _function)
_ONLY = _Kind(_is_only, "a collection of assistant ids, a function that is not asynchronous, or None,", _ids)
_REPORT = _Kind(
    lambda value: isinstance(value, str) or _is_function(value),
    "a path as a string, a function that is not asynchronous, or None,",
)


def _setting(name: str, kind: _Kind, default: object) -> Any:
    """A field with its variable; what an argument is, and a function that a variable names, is checked afterwards."""
    variable = f"ASSISTANTS_COMPAT_{name}"

    def value() -> object:
        text = os.environ.get(variable)
        if not text:
            return default
        with contextlib.suppress(ValueError):
            given = kind.read(text)
            if callable(given) or kind.fits(given):
                return given
        message = f"{variable} is {text!r}, which cannot be used there."
        raise SettingsError(message)

    return field(default_factory=value, metadata={"variable": variable, "kind": kind})


@dataclass(frozen=True)
class Settings:
    """How the library behaves.  An argument wins over its environment variable, which wins over the default.

    - `store` (`ASSISTANTS_COMPAT_STORE`): where assistants, threads, messages and runs are kept: a path, or a
      SQLAlchemy URL (`sqlite:///path`, `sqlite://` for memory, `postgresql+psycopg://...`).  Default: one SQLite file
      in the user's data directory.
    - `files` (`ASSISTANTS_COMPAT_FILES`): the directory that keeps the bytes of generated files, or `s3://bucket/prefix`,
      `az://container/prefix` or `gs://bucket/prefix` with the extra `objects`; credentials stay in the variables of the
      cloud's own tools.  Default: beside the SQLite file (its name with `-files`), a temporary directory for the memory
      store, else the user's data directory.
    - `namespace` (`ASSISTANTS_COMPAT_NAMESPACE`): separates tenants within one store; an id of another namespace is
      unknown (404).  Never derived from a key, so that a rotated key loses nothing.
    - `mode` (`ASSISTANTS_COMPAT_MODE`): `auto` runs in the background and falls back to `inline` where the upstream
      refuses that; `background` and `inline` force one of them.
    - `stream` (`ASSISTANTS_COMPAT_STREAM`): `direct` streams a response as it is made, and a process that dies ends the
      run; `background` lets the upstream work on by itself, so that any process may look at the run afterwards and a
      lost connection is taken up again, at the price of a later first word.
    - `run_ttl` (`ASSISTANTS_COMPAT_RUN_TTL`): seconds after which an unfinished run is expired; the service used 600.
    - `poll_after_ms` (`ASSISTANTS_COMPAT_POLL_AFTER_MS`): milliseconds, sent as `openai-poll-after-ms`, which the SDK's
      pollers sleep between two looks at a run.
    - `models` (`ASSISTANTS_COMPAT_MODELS`, as `old=new,old=new`): what is asked for instead of models that no longer
      exist; logged for each run, and the run still shows the name that was asked for.
    - `store_responses` (`ASSISTANTS_COMPAT_STORE_RESPONSES`): False where the upstream must keep nothing; runs are then
      created inline, and what was said within a run is sent again, reasoning encrypted.
    - `memory_limit` (`ASSISTANTS_COMPAT_MEMORY_LIMIT`): the memory of Code Interpreter's containers, `1g`, `4g`, `16g`
      or `64g`, which are billed by it.  Default: not sent, so the upstream's own (1g).
    - `network_policy` (`ASSISTANTS_COMPAT_NETWORK_POLICY`, as `disabled`, or as domains, `example.org,example.com`):
      what code in a container may reach: `{"type": "disabled"}` or `{"type": "allowlist", "allowed_domains": [...]}`,
      as the API has it.  Default: not sent, so the upstream's own.  A container that was made under another
      `memory_limit` or `network_policy` is not used again.
    - `thread_files` (`ASSISTANTS_COMPAT_THREAD_FILES`): `keep` the generated files of a thread that is deleted, or
      `delete` them with it.
    - `azure_api_version` (`ASSISTANTS_COMPAT_AZURE_API_VERSION`): sent as `api-version` to Azure's v1 routes, where a
      resource or a gateway wants one (`preview`, say).  Default: none, since those routes need none and refuse the
      dated ones of the Assistants API.  Elsewhere it counts for nothing.
    - `unknown_threads` (`ASSISTANTS_COMPAT_UNKNOWN_THREADS`): `refuse` a thread id that was never saved here, as the
      old service did, or `create` it, empty, when a request names it: for ids that a database still holds from the old
      service.  One that was deleted here stays unknown.
    - `assistants` (`ASSISTANTS_COMPAT_ASSISTANTS`): a TOML, YAML or JSON file of assistants by their ids, which is read
      once in each process, at its first request that is ours; what was changed in it is applied.
    - `on_file` (`ASSISTANTS_COMPAT_ON_FILE`, as `module:function`, imported when the settings are made): called with a
      `StoredFile` once for each generated file, when its bytes and its row are kept.  However many processes look at a
      run, the one that stored the file calls; one that dies in that moment never does.  Asynchronous clients call from
      a worker thread.  What it raises is logged and harms nothing; whoever waits for the run waits for it too.
    - `only` (`ASSISTANTS_COMPAT_ONLY`, as `asst_a,asst_b`): the ids of the assistants that are answered here, or a
      function that says it of an id, for an upstream that still has the Assistants API.  Calls for others go there
      untouched.  A thread is where it was made until a run of one of these assistants takes it over; assistants and
      threads are copied from there when they are first needed, with their ids.  Default: all of them, and nothing is
      asked of the old API.
    - `report` (`ASSISTANTS_COMPAT_REPORT`, a path): which Assistants calls the program still makes.  A function is
      called with a `LegacyCall` for each, in the thread or event loop that made it.  A file gets lines of JSON that
      add up, `{"process": 7, "at": <seconds>, "counted": [{"method", "route", "answered", "calls"}, ...]}`: at once for
      a kind of call that is new, then every ten seconds, and when the process ends.  Ids and texts are never in it.
    """

    store: str | None = _setting("STORE", _place("a path or URL"), None)
    files: str | None = _setting("FILES", _PATH, None)
    namespace: str = _setting("NAMESPACE", _NAME, "default")
    mode: Mode = _setting("MODE", _one_of(Mode), "auto")
    stream: Stream = _setting("STREAM", _one_of(Stream), "direct")
    run_ttl: int = _setting("RUN_TTL", _WHOLE, 600)
    poll_after_ms: int = _setting("POLL_AFTER_MS", _WHOLE, 500)
    models: Mapping[str, str] = _setting("MODELS", _MODELS, {})
    store_responses: bool = _setting("STORE_RESPONSES", _FLAG, default=True)
    memory_limit: MemoryLimit | None = _setting("MEMORY_LIMIT", _one_of(MemoryLimit, or_none=True), None)
    network_policy: Mapping[str, Any] | None = _setting("NETWORK_POLICY", _POLICY, None)
    thread_files: ThreadFiles = _setting("THREAD_FILES", _one_of(ThreadFiles), "keep")
    azure_api_version: str | None = _setting("AZURE_API_VERSION", _VERSION, None)
    unknown_threads: UnknownThreads = _setting("UNKNOWN_THREADS", _one_of(UnknownThreads), "refuse")
    assistants: str | None = _setting("ASSISTANTS", _PATH, None)
    on_file: OnFile | None = _setting("ON_FILE", _FUNCTION, None)
    only: Only | None = _setting("ONLY", _ONLY, None)
    report: Report | None = _setting("REPORT", _REPORT, None)

    def __post_init__(self) -> None:
        """Refuse at once what would fail later, far from its cause."""
        for item in fields(self):
            value, kind = getattr(self, item.name), item.metadata["kind"]
            if not kind.fits(value):
                shown = "..." if item.name == "store" else repr(value)  # a URL may hold a password
                message = f"Settings({item.name}={shown}): {kind.needed} is needed."
                raise SettingsError(message)
        _check_files(self.files)
        # A relative path is meant from here, wherever the program goes later.
        object.__setattr__(self, "store", _absolute(self.store))
        object.__setattr__(self, "files", _absolute(self.files))
        if isinstance(self.report, str):
            object.__setattr__(self, "report", str(Path(self.report).expanduser().absolute()))
        object.__setattr__(self, "assistants", _absolute(self.assistants))


_OBJECTS = re.compile(r"(?:s3|az|gs)://[A-Za-z0-9][\w.-]*(?:/[^?#@]*)?\Z", re.ASCII)


def _check_files(place: str | None) -> None:
    if place is None or "://" not in place:
        return
    if not _OBJECTS.match(place):  # it is not shown: it may hold a credential
        message = (
            "Settings(files=...) (ASSISTANTS_COMPAT_FILES) is neither a directory nor s3://bucket/prefix, "
            "az://container/prefix or gs://bucket/prefix; credentials do not belong in it."
        )
        raise SettingsError(message)
    if importlib.util.find_spec("obstore") is None:
        message = f"Settings(files={place!r}) needs an extra: pip install 'assistants-compat[objects]'."
        raise SettingsError(message)


_SQLITE_PATH = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:|file:|[A-Za-z]:)([^?]+)")


def _absolute(place: str | None) -> str | None:
    if place is None:
        return None
    if "://" not in place:
        return str(Path(place).expanduser().absolute())
    return _SQLITE_PATH.sub(lambda found: f"{found[1]}{Path(found[2]).absolute()}", place)


def variables() -> dict[str, str]:
    """Every setting with its environment variable: the table of the documentation is made from this."""
    return {item.name: item.metadata["variable"] for item in fields(Settings)}
