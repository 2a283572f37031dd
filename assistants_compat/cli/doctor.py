"""`doctor`: what is set up and what is not, one look at everything that a run will need, and what to do about it."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib.util
import os
import queue
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

import openai
import typer

from ..engine.io import IO, Request
from ..engine.saved import assistants_file
from ..errors import CompatError, SettingsError, SignInError
from ..runtime.clock import current
from ..runtime.switch import SWITCH, is_off
from ..settings import Settings
from ..store import locations, queries
from ..store.database import Connection, network_filesystem, transact
from ..tools.upstream import reason, served
from ..wire.objects import Json, objects
from .terminal import NOT_DONE, AsJson, client_made, examples, show

commands = typer.Typer(rich_markup_mode=None)

State = Literal["ok", "warning", "failed", "skipped"]

_PREFIX = "ASSISTANTS_COMPAT_"
_NEWEST_SDK, _NEWEST_PYTHON = (3, 54), (3, 13)  # that the tests run with
_FULL = 50 * 1024 * 1024  # bytes that are too few for a store
_MEMORY = re.compile(r"sqlite(?:\+\w+)?://(?:/?|/:memory:)(?:\?.*)?\Z")
_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///([^?]+)")
_AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com", ".azure-api.net")
_SECRETS = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_CLIENT_SECRET")


@dataclass(frozen=True)
class Finding:
    """What one check found; `do` says what to do about it, empty where there is nothing to do."""

    check: str
    state: State
    says: str
    do: str = ""


@dataclass
class Ground:
    """What earlier checks found out and later ones need; None where they could not."""

    asks: bool
    seconds: float
    settings: Settings | None = None
    client: openai.OpenAI | None = None
    assistants: list[Json] | None = None
    declared: list[Json] = dataclasses.field(default_factory=list)
    listed: list[str] | None = None

    @property
    def is_azure(self) -> bool:
        """Whether the environment leads to Azure."""
        return bool(os.environ.get("AZURE_OPENAI_ENDPOINT"))


Check = Callable[[Ground], Iterator[Finding]]


@commands.command(
    epilog=examples("doctor", "doctor --ask    # also sends one short request to the model", "doctor --json")
)
def doctor(
    *,
    ask: Annotated[
        bool, typer.Option("--ask", help="Also ask for one short response; a few tokens are billed.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for each check.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Check the settings, the store, the place of files, the key or sign-in, the upstream and the models.

    Nothing is changed but a file of one byte that is written and deleted, and no key is ever shown.
    Exit code 1 when a check has failed.
    """
    ground = Ground(ask, timeout)
    findings = [_hidden(finding) for name, check in CHECKS for finding in _within(name, check, ground)]
    lines = [line for finding in findings for line in _lines(finding)]
    failed = any(finding.state == "failed" for finding in findings)
    told = {"ok": not failed, "checks": [dataclasses.asdict(finding) for finding in findings]}
    show(lines, told if as_json else None)
    if failed:
        raise typer.Exit(NOT_DONE)


def _lines(finding: Finding) -> list[str]:
    first = f"{finding.state:<8} {finding.check}: {finding.says}"
    return [first, f"{'':<8} do: {finding.do}"] if finding.do else [first]


def _within(name: str, check: Check, ground: Ground) -> list[Finding]:
    """What a check finds in its time; it is left behind after that, and whatever it raises is a finding."""
    done: queue.Queue[list[Finding]] = queue.Queue()

    def work() -> None:
        try:
            done.put(list(check(ground)))
        except Exception as error:  # noqa: BLE001 - the others are still to be checked
            done.put([Finding(name, "failed", reason(error), "see the message; it is no failure that doctor knows")])

    threading.Thread(target=work, daemon=True).start()
    try:
        return done.get(timeout=ground.seconds)
    except queue.Empty:
        do = "look whether it is reachable, or held by another process; --timeout gives it longer"
        return [Finding(name, "failed", f"no answer within {ground.seconds:g} seconds", do)]


def _hidden(finding: Finding) -> Finding:
    """Without any key or password, whoever quoted it."""
    secrets = [value for name in _SECRETS if (value := os.environ.get(name))]
    with contextlib.suppress(ValueError):
        if password := urlsplit(os.environ.get(f"{_PREFIX}STORE", "")).password:
            secrets.append(password)
    says, do = finding.says, finding.do
    for secret in sorted(secrets, key=len, reverse=True):
        says, do = says.replace(secret, "***"), do.replace(secret, "***")
    return dataclasses.replace(finding, says=says, do=do)


# --- what is installed


def _sdk(_ground: Ground) -> Iterator[Finding]:
    version = tuple(int(part) for part in re.findall(r"\d+", openai.__version__)[:2])
    python = sys.version_info[:2]
    says = f"openai {openai.__version__} on Python {python[0]}.{python[1]}"
    if version > _NEWEST_SDK or python > _NEWEST_PYTHON:
        yield Finding("sdk", "warning", f"{says} is newer than what was tested", "look for a newer assistants_compat")
    else:
        yield Finding("sdk", "ok", says)


def _extras(ground: Ground) -> Iterator[Finding]:
    modules = {"azure": "azure.identity", "objects": "obstore", "postgres": "psycopg"}
    there = [extra for extra, module in modules.items() if _is_there(module)]
    by_key = any(os.environ.get(name) for name in _SECRETS[1:3])
    if ground.is_azure and not by_key and "azure" not in there:
        says = "AZURE_OPENAI_ENDPOINT is set without a key, and azure-identity is not installed"
        yield Finding("extras", "failed", says, "pip install 'assistants-compat[azure]', or set AZURE_OPENAI_API_KEY")
    else:
        yield Finding("extras", "ok", f"installed: {', '.join(['cli', *there])}")


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


# --- settings


def _switch(_ground: Ground) -> Iterator[Finding]:
    try:
        off = is_off()
    except SettingsError as error:
        yield Finding("switch", "failed", str(error), f"set {SWITCH} to on, or unset it")
        return
    if off:
        yield Finding("switch", "failed", f"{SWITCH}=off leaves every client as it is", f"unset {SWITCH}")
    else:
        yield Finding("switch", "ok", "on")


def _settings(ground: Ground) -> Iterator[Finding]:
    known = {item.metadata["variable"]: item for item in dataclasses.fields(Settings)}
    troubled = False
    for variable, item in known.items():
        try:
            assert item.default_factory is not dataclasses.MISSING  # noqa: S101 - every setting has a variable
            item.default_factory()
        except SettingsError as error:  # noqa: PERF203 - each is said by itself
            troubled = True
            yield Finding("settings", "failed", str(error), f"correct or unset {variable}")
    for name in sorted(os.environ):
        near = difflib.get_close_matches(name, known, 1, 0.85)
        if name not in (*known, SWITCH) and (name.startswith(_PREFIX) or near):
            do = f"did you mean {near[0]}?" if near else "no setting is called that; unset it"
            yield Finding("settings", "warning", f"{name} is set, and nothing reads it", do)
    if troubled:
        return
    try:
        ground.settings = Settings()
    except SettingsError as error:
        yield Finding("settings", "failed", str(error), "correct the variable that is named")
        return
    given = [variable for variable in known if os.environ.get(variable)]
    yield Finding("settings", "ok", ", ".join(given) if given else "all as by default")


def _declared(ground: Ground) -> Iterator[Finding]:
    file = None if ground.settings is None else ground.settings.assistants
    if file is None:
        yield Finding("assistants", "skipped", "no file of assistants is set")
        return
    try:
        ground.declared = [*assistants_file.read(Path(file)).values()]
    except SettingsError as error:
        do = f"mend it, or unset {_PREFIX}ASSISTANTS: until then it is the answer to every request (500)"
        yield Finding("assistants", "failed", str(error), do)
    else:
        yield Finding("assistants", "ok", f"{file} has {len(ground.declared)}")


def _report(ground: Ground) -> Iterator[Finding]:
    file = None if ground.settings is None else ground.settings.report
    if not isinstance(file, str):
        yield Finding("report", "skipped", "no file for a report is set")
        return
    path = Path(file).absolute()
    nearest = next(each for each in (path, *path.parents) if each.exists())
    if nearest.is_dir() == (nearest == path) or not os.access(nearest, os.W_OK):
        yield Finding("report", "warning", f"{file} cannot be written", f"set {_PREFIX}REPORT to a file that can")
    else:
        yield Finding("report", "ok", f"written to {file}")


# --- state


def _store(ground: Ground) -> Iterator[Finding]:
    if ground.settings is None:
        yield Finding("store", "skipped", "the settings cannot be read")
        return
    url, namespace = locations.database_url(ground.settings.store), ground.settings.namespace
    if _MEMORY.match(url):
        do = f"set {_PREFIX}STORE to a path or a postgresql+psycopg:// URL"
        yield Finding("store", "warning", "in memory: everything is gone when the process ends", do)
        return
    file = _SQLITE.match(url)
    if file is not None:
        path = Path(file[1])
        if not path.exists():
            yield _to_be_made(path)
            return
        if path.is_file():
            yield from _file(path)

    def work(db: Connection) -> tuple[list[Json], int]:
        rows, _ = queries.page(db, "assistants", namespace, queries.Page(limit=100))
        return [row["body"] for row in rows], len(queries.idle_runs(db, namespace, current().now()))

    try:
        ground.assistants, active = transact(url, work, write=True)
    except CompatError as error:  # its sentence says what to do
        yield Finding("store", "failed", str(error), f"make it reachable and writable, or set {_PREFIX}STORE")
        return
    number = f"{len(ground.assistants)}" if len(ground.assistants) < 100 else "100 or more"  # noqa: PLR2004 - a page
    kind = url.partition(":")[0].partition("+")[0]
    says = f"{kind}, writable; {number} assistants and {active} active runs in namespace {namespace!r}"
    yield Finding("store", "ok", says)


def _to_be_made(path: Path) -> Finding:
    """What is to be said of a store that is not there yet; it is not made."""
    parent = next(each for each in path.parents if each.exists())
    kind = network_filesystem(path)
    if kind is not None:
        says = f"{path} would lie on a network file system ({kind}), where SQLite is not safe"
        return Finding("store", "failed", says, f"set {_PREFIX}STORE to a local path or a postgresql+psycopg:// URL")
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        says = f"{path} is not there and cannot be made: {parent} is not writable"
        return Finding("store", "failed", says, f"make it writable, or set {_PREFIX}STORE to a path that is")
    return Finding("store", "ok", f"{path} is not there yet, and can be made")


def _file(path: Path) -> Iterator[Finding]:
    mode = path.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        says = f"{path} can be read by others (mode {mode:o}); it holds every message"
        yield Finding("store", "warning", says, f"chmod 600 {path}")
    free = shutil.disk_usage(path.parent).free
    if free < _FULL:
        says = f"{free // 2**20} MB are left on the disk of {path}"
        yield Finding("store", "failed", says, f"make room, or set {_PREFIX}STORE to a path elsewhere")


def _files(ground: Ground) -> Iterator[Finding]:
    if ground.settings is None:
        yield Finding("files", "skipped", "the settings cannot be read")
        return
    if ground.settings.files is None and not locations.has_store(ground.settings.store):
        yield Finding("files", "ok", "beside the store, when that is made")
        return
    place = locations.content_store(ground.settings.files, locations.database_url(ground.settings.store))
    key = current().mint("file")
    try:
        draft = place.draft(key, "attachment")
        try:
            draft.write([b"x"])
            draft.commit()
        except BaseException:
            draft.discard()
            raise
        is_there = place.size(key) == 1
        place.delete(key)
    except (CompatError, OSError) as error:
        do = f"make it writable and its credentials valid, or set {_PREFIX}FILES to another place"
        yield Finding("files", "failed", f"nothing can be kept there: {reason(error)}", do)
        return
    if is_there:
        yield Finding("files", "ok", f"written, read and deleted in {ground.settings.files or 'the place by default'}")
    else:
        says = "what was written there is not there afterwards"
        yield Finding("files", "failed", says, f"set {_PREFIX}FILES to a place that keeps what is written")


# --- the upstream


def _endpoint(ground: Ground) -> Iterator[Finding]:
    if not ground.is_azure:
        yield Finding("azure", "skipped", "AZURE_OPENAI_ENDPOINT is not set")
        return
    endpoint = os.environ["AZURE_OPENAI_ENDPOINT"]
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if not host or parts.scheme not in ("https", "http"):
        says, do = f"AZURE_OPENAI_ENDPOINT is {endpoint!r}, which is no URL", "set it to https://NAME.openai.azure.com"
        yield Finding("azure", "failed", says, do)
    elif parts.path.strip("/") or parts.query:
        says = f"AZURE_OPENAI_ENDPOINT has more than the resource: {endpoint}"
        yield Finding("azure", "failed", says, f"set it to {parts.scheme}://{parts.netloc}")
    elif not host.endswith(_AZURE_HOSTS):
        says = f"{host} is none of Azure's own names; a gateway has to pass /openai/v1 on"
        yield Finding("azure", "warning", says, "check it, if it is no gateway of yours")
    else:
        yield Finding("azure", "ok", endpoint)


def _key(ground: Ground) -> Iterator[Finding]:
    if ground.settings is None:
        yield Finding("key", "skipped", "the settings cannot be read")
        return
    try:
        client = client_made()
    except SettingsError as error:  # said above
        yield Finding("key", "skipped", str(error))
        return
    except (openai.OpenAIError, CompatError, ValueError) as error:
        name = "AZURE_OPENAI_API_KEY, or sign in with `az login`" if ground.is_azure else "OPENAI_API_KEY"
        yield Finding("key", "failed", f"no client can be made: {reason(error)}", f"set {name}")
        return
    ground.client = client.with_options(timeout=ground.seconds, max_retries=0)
    yield Finding("key", "ok", "a client can be made; whether its key is accepted, the next check says")


def _upstream(ground: Ground) -> Iterator[Finding]:
    if ground.client is None:
        yield Finding("upstream", "skipped", "there is no client")
        return
    where = str(ground.client.base_url)
    try:
        answer: Any = served(ground.client, lambda io: io.ask(Request("GET", "/models")))
    except SignInError as error:
        yield Finding("upstream", "failed", str(error), "run `az login`, or give the machine an identity")
    except openai.AuthenticationError:  # its text holds parts of the key
        name = "AZURE_OPENAI_API_KEY, or the role of who is signed in" if ground.is_azure else "OPENAI_API_KEY"
        yield Finding("upstream", "failed", f"{where} refuses the key (401)", f"check {name}")
    except openai.PermissionDeniedError as error:
        do = "a key for responses alone may be good all the same: doctor --ask tries one"
        yield Finding("upstream", "warning", f"{where} does not list its models (403): {reason(error)}", do)
    except openai.NotFoundError:
        do = "check OPENAI_BASE_URL (it ends in /v1)"
        if ground.is_azure:
            do = "check AZURE_OPENAI_ENDPOINT, and that the resource or gateway has the route /openai/v1"
        yield Finding("upstream", "failed", f"{where} has no list of models (404)", do)
    except openai.APIConnectionError as error:
        do = "check OPENAI_BASE_URL or AZURE_OPENAI_ENDPOINT, the network, and proxies (HTTPS_PROXY, NO_PROXY)"
        yield Finding("upstream", "failed", f"{where} cannot be reached: {reason(error)}", do)
    except openai.APIStatusError as error:
        says = f"{where} answers {error.status_code}: {reason(error)}"
        yield Finding("upstream", "failed", says, "try again later, or ask whoever runs it")
    else:
        ground.listed = [str(model.get("id")) for model in objects(answer.get("data"))]
        yield Finding("upstream", "ok", f"{where} answers, and accepts the key")


def _wanted(ground: Ground) -> dict[str, str]:
    """The models that runs will ask for, and what asks for each."""
    if ground.settings is None:
        return {}
    renamed = ground.settings.models
    bodies = [*(ground.assistants or ()), *ground.declared]
    wanted = {renamed.get(body["model"], body["model"]): "an assistant" for body in bodies}
    return {**dict.fromkeys(renamed.values(), f"{_PREFIX}MODELS"), **wanted}


def _models(ground: Ground) -> Iterator[Finding]:
    wanted = _wanted(ground)
    if ground.listed is None:
        yield Finding("models", "skipped", "the upstream has not listed its models")
    elif not wanted:
        yield Finding("models", "skipped", "no assistant is in the store yet")
    elif ground.is_azure:
        yield Finding(
            "models", "skipped", "on Azure a model is a deployment, which no list has; doctor --ask tries one"
        )
    else:
        for model, asker in wanted.items():
            if model not in ground.listed:
                says = f"{model}, which {asker} asks for, is not in the upstream's list"
                do = f"set {_PREFIX}MODELS={model}=NEW, with the name of a model that is"
                yield Finding("models", "failed", says, do)
        missing = wanted.keys() - set(ground.listed)
        if not missing:
            yield Finding("models", "ok", f"the upstream has {', '.join(sorted(wanted))}")


def _background(ground: Ground) -> Iterator[Finding]:
    model = next(reversed(_wanted(ground)), None)
    if ground.settings is None or ground.client is None:
        yield Finding("background", "skipped", "there is no client")
    elif not ground.settings.store_responses or ground.settings.mode == "inline":
        yield Finding("background", "skipped", "the settings ask for inline runs")
    elif not ground.asks:
        yield Finding("background", "skipped", "doctor --ask sends a short response to see, for a few tokens")
    elif model is None:
        yield Finding("background", "skipped", "no assistant is in the store yet")
    else:
        yield _asked(ground.settings, ground.client, model)


def _asked(settings: Settings, client: openai.OpenAI, model: str) -> Finding:
    body = {"model": model, "input": "Say ok.", "max_output_tokens": 16, "background": True, "store": True}
    try:
        served(client, partial(_ask_and_delete, body=body))
    except openai.OpenAIError as error:
        if isinstance(error, openai.APIStatusError) and "background" in reason(error).lower():
            if settings.mode == "background":
                do = f"set {_PREFIX}MODE=auto"
                return Finding("background", "failed", "the upstream refuses background responses", do)
            return Finding("background", "ok", "refused by the upstream; runs will be inline")
        says = f"{model} cannot be asked: {reason(error)}"
        return Finding("background", "failed", says, f"check the model, the quota and the key, or set {_PREFIX}MODELS")
    return Finding("background", "ok", f"{model} answers in the background")


async def _ask_and_delete(io: IO, body: Json) -> None:
    response = await io.ask(Request("POST", "/responses", body))
    with contextlib.suppress(openai.OpenAIError):  # nothing that anybody misses stays there
        await io.ask(Request("DELETE", f"/responses/{quote(str(response.get('id')), safe='')}"))


CHECKS: tuple[tuple[str, Check], ...] = (
    ("sdk", _sdk),
    ("extras", _extras),
    ("switch", _switch),
    ("settings", _settings),
    ("assistants", _declared),
    ("report", _report),
    ("store", _store),
    ("files", _files),
    ("azure", _endpoint),
    ("key", _key),
    ("upstream", _upstream),
    ("models", _models),
    ("background", _background),
)
