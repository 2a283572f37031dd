"""Assistants as code: a file of assistants by their ids, applied to the store.

::

    [asst_abc123]
    name = "Analyst"
    model = "gpt-4.1"
    tools = [{type = "code_interpreter"}]

The keys are those of `POST /assistants`.  A row remembers by a hash what was applied last, so that a change in the file
is told from one that a program made: the first is applied when the file is loaded, the second is left, and said.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import ApiError, SettingsError
from ...store import locations, queries
from ...store.bulk import there
from ...store.database import Connection
from ...translate.assistant import assistant_from_fields
from ...wire.ids import may_be_assistant
from ...wire.objects import Json
from ..io import IO
from .objects import NotTakenError, assistant_fields

log = logging.getLogger("assistants_compat")

SUFFIXES = (".toml", ".yaml", ".yml", ".json")

_HASH = "declared"
_loaded: set[tuple[str, str, str]] = set()


@dataclass
class Applied:
    """What a file of assistants did, or would do.

    `new` are ids; `changed` names the fields that were set anew, and `drifted` those that somebody changed here and
    that were left, each by the id; `deleted` are ids that were deleted here and stay so; `same` counts the others.
    """

    new: list[str] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)
    drifted: dict[str, list[str]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    same: int = 0


async def load(io: IO) -> None:
    """Apply the file of the settings, once in this process; raises `SettingsError` for what is wrong with it.

    What somebody changed here since the file was applied is left as it is, with a warning.
    """
    path = io.settings.assistants
    if path is None:
        return
    key = (locations.database_url(io.settings.store), io.settings.namespace, path)
    if key in _loaded:
        return
    done = await io.write(lambda db: apply(db, io.settings.namespace, read(Path(path)), io.now()))
    for id_, names in done.drifted.items():
        log.warning("assistant %s is not as %s says, somebody changed: %s", id_, Path(path).name, ", ".join(names))
    for id_ in done.deleted:
        log.warning("assistant %s of %s was deleted here, and stays so", id_, Path(path).name)
    _loaded.add(key)


def read(path: Path) -> dict[str, Json]:
    """The fields of the assistants in a file by their ids, checked as `POST /assistants` does.

    Raises `SettingsError`, which names the assistant and the field.
    """
    given = _parsed(path)
    if not isinstance(given, dict):
        message = f"{path.name}: a table of assistants by their ids is needed."
        raise SettingsError(message)
    return {_id(path, id_): _fields(path, id_, value) for id_, value in given.items()}


def _id(path: Path, id_: object) -> str:
    if not (isinstance(id_, str) and may_be_assistant(id_)):
        message = f"{path.name}: {id_!r} is no id of an assistant (asst_...)."
        raise SettingsError(message)
    return id_


def _fields(path: Path, id_: object, value: object) -> Json:
    try:
        return assistant_fields(_plain(value))
    except ApiError as error:
        reason = error.message
    except NotTakenError as error:
        reason = str(error)
    except (TypeError, ValueError):
        reason = "it holds what JSON cannot say, a date or a number that is none"
    message = f"{path.name}: {id_}: {reason}"
    raise SettingsError(message)


def _plain(value: object) -> Json:
    """A table as JSON says it."""
    if not isinstance(value, dict):
        message = "it is no table"
        raise NotTakenError(message)
    unknown = value.keys() - _KNOWN
    if unknown:
        message = f"Unknown parameter: '{min(map(str, unknown))}'."
        raise NotTakenError(message)
    plain: Json = json.loads(json.dumps(value, allow_nan=False))
    return plain


# What an assistant is served with, as it is spelled in requests.
_KNOWN = assistant_from_fields("", 0, {"model": ""}).keys() - {"id", "object", "created_at"}


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        message = f"The file of assistants {path} cannot be read: {reason}."
        raise SettingsError(message) from None
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        message = f"{path.name}: a file of assistants is .toml, .yaml or .json."
        raise SettingsError(message)
    try:
        if kind == ".json":
            return json.loads(text, object_pairs_hook=_once)
        if kind == ".toml":
            return _library("tomllib", "tomli").loads(text)
        yaml = _library("yaml")
        root = yaml.compose(text, yaml.SafeLoader)
        if isinstance(root, yaml.MappingNode):
            _once([(key.value, None) for key, _ in root.value])
        return yaml.safe_load(text)
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001 - three libraries have three errors, and the words are what counts
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{path.name} cannot be understood: {reason}."
        raise SettingsError(message) from None


def _once(pairs: list[tuple[Any, Any]]) -> Json:
    """A table of these keys; raises `ValueError` for one that stands there twice, as TOML's reader does by itself."""
    table: Json = {}
    for key, value in pairs:
        if key in table:
            message = f"{key!r} stands there twice"
            raise ValueError(message)
        table[key] = value
    return table


def _library(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:  # noqa: PERF203 - one or two
            continue
    message = f"A file of assistants of this kind needs an extra ({names[-1]}): pip install 'assistants-compat[yaml]'."
    raise SettingsError(message)


def apply(  # noqa: PLR0913 - a file, a place and how far to go
    db: Connection,
    namespace: str,
    declared: Mapping[str, Json],
    now: int,
    *,
    anyway: bool = False,
    dry_run: bool = False,
) -> Applied:
    """Put assistants into the store; `anyway` also those that somebody changed here since, `dry_run` writes nothing."""
    done = Applied()
    for id_, fields in declared.items():
        known = there(db, "assistants", namespace, [id_]).get(id_)
        body = {**fields, _HASH: _hash(fields)}
        if known is None:
            row = {"namespace": namespace, "id": id_, "created_at": now, "body": body}
            if dry_run or queries.add_new(db, "assistants", row):
                done.new.append(id_)
            continue
        if known["deleted"]:
            done.deleted.append(id_)
            continue
        names = _differing(known["body"], fields)
        was_applied = known["body"].get(_HASH) == body[_HASH]
        if names and was_applied and not anyway:
            done.drifted[id_] = names
            continue
        if names:
            done.changed[id_] = names
        else:
            done.same += 1
        if not dry_run and known["body"] != body:
            queries.change(db, "assistants", namespace, id_, body=body)
    return done


def _differing(stored: Json, fields: Json) -> list[str]:
    """The fields in which two assistants are served otherwise."""
    one, other = assistant_from_fields("", 0, stored), assistant_from_fields("", 0, fields)
    return [name for name, value in other.items() if one.get(name) != value]


def _hash(fields: Json) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
