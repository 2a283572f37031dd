"""Assistants as code: a file of assistants by their ids, applied to the store.

::

    [asst_abc123]
    name = "Analyst"
    model = "gpt-4.1"
    tools = [{type = "code_interpreter"}]

The keys are those of `POST /assistants`. Each row keeps a hash of the fields that were applied last. So a change in the
file, which is applied when the file is loaded, differs from a change by a program, which is kept and logged.
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
from ...store.bulk import rows_by_id
from ...store.database import Connection
from ...translate.assistant import assistant_from_fields
from ...wire.ids import looks_like_assistant_id
from ...wire.objects import Json
from ..io import IO
from .objects import RejectedObjectError, assistant_fields

log = logging.getLogger("assistants_compat")

SUFFIXES = (".toml", ".yaml", ".yml", ".json")

_HASH_KEY = "declared"  # in the body of an assistant's row
_loaded_files: set[tuple[str, str, str]] = set()  # database URL, namespace and path of the files applied so far


@dataclass
class ApplyReport:
    """What applying a file of assistants changed, or would change.

    - `new`: ids of the assistants that were created.
    - `changed`: the fields that were set, by assistant id.
    - `drifted`: the fields that a program changed in the store and that were kept, by assistant id.
    - `deleted`: ids of assistants that were deleted in the store and stay deleted.
    - `same`: the number of all other assistants.
    """

    new: list[str] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)
    drifted: dict[str, list[str]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    same: int = 0


async def apply_from_settings(io: IO) -> None:
    """Apply the assistants file of the settings, once in this process.

    Changes that a program has made since the file was applied last are kept and logged as a warning. Raises
    `SettingsError` if the file is invalid.
    """
    path = io.settings.assistants
    if path is None:
        return
    key = (locations.database_url(io.settings.store), io.settings.namespace, path)
    if key in _loaded_files:
        return
    report = await io.write(
        lambda db: apply_assistants(db, io.settings.namespace, read_assistants_file(Path(path)), io.now())
    )
    for id_, fields in report.drifted.items():
        text = "assistant %s was changed since %s was applied; the changed fields are kept: %s"
        log.warning(text, id_, Path(path).name, ", ".join(fields))
    for id_ in report.deleted:
        log.warning("assistant %s of %s was deleted in the store and stays deleted", id_, Path(path).name)
    _loaded_files.add(key)


def read_assistants_file(path: Path) -> dict[str, Json]:
    """Return the fields of the assistants in a file by their ids, checked as `POST /assistants` checks them.

    Raises `SettingsError`, which names the assistant and the field.
    """
    table = _parse(path)
    if not isinstance(table, dict):
        message = f"{path.name}: expected a table that maps ids (asst_...) to assistants, not {type(table).__name__}."
        raise SettingsError(message)
    return {_checked_id(path, id_): _checked_fields(path, id_, value) for id_, value in table.items()}


def _checked_id(path: Path, id_: object) -> str:
    if not (isinstance(id_, str) and looks_like_assistant_id(id_)):
        message = f"{path.name}: {id_!r} is not an assistant id; expected asst_ and up to 128 letters, digits, - or _."
        raise SettingsError(message)
    return id_


def _checked_fields(path: Path, id_: object, value: object) -> Json:
    try:
        return assistant_fields(_as_json(value))
    except ApiError as error:
        reason = error.message
    except RejectedObjectError as error:
        reason = str(error)
    except (TypeError, ValueError):
        reason = "it contains a value that JSON cannot represent, such as a date or NaN"
    message = f"{path.name}: {id_}: {reason}"
    raise SettingsError(message)


def _as_json(value: object) -> Json:
    """Return an assistant's table as plain JSON values; raises `RejectedObjectError` for another value."""
    if not isinstance(value, dict):
        message = f"expected a table of fields, not {type(value).__name__}"
        raise RejectedObjectError(message)
    unknown = value.keys() - _KNOWN_FIELDS
    if unknown:
        message = f"Unknown parameter: '{min(map(str, unknown))}'."
        raise RejectedObjectError(message)
    table: Json = json.loads(json.dumps(value, allow_nan=False))
    return table


# The fields that an assistant is served with; requests spell them alike.
_KNOWN_FIELDS = assistant_from_fields("", 0, {"model": ""}).keys() - {"id", "object", "created_at"}


def _parse(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        message = f"The assistants file {path} cannot be read: {reason}."
        raise SettingsError(message) from None
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        message = f"{path.name}: the suffix of an assistants file must be one of {', '.join(SUFFIXES)}."
        raise SettingsError(message)
    try:
        if suffix == ".json":
            return json.loads(text, object_pairs_hook=_table_without_duplicates)
        if suffix == ".toml":
            return _import_first("tomllib", "tomli").loads(text)
        yaml = _import_first("yaml")
        document = yaml.compose(text, yaml.SafeLoader)
        if isinstance(document, yaml.MappingNode):  # PyYAML itself accepts duplicate keys
            _table_without_duplicates([(key.value, None) for key, _ in document.value])
        return yaml.safe_load(text)
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001 - three parsers raise three kinds of errors
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{path.name} cannot be parsed: {reason}."
        raise SettingsError(message) from None


def _table_without_duplicates(pairs: list[tuple[Any, Any]]) -> Json:
    """Return a table of these pairs; raises `ValueError` for a duplicate key, as the TOML parser does."""
    table: Json = {}
    for key, value in pairs:
        if key in table:
            message = f"{key!r} appears twice"
            raise ValueError(message)
        table[key] = value
    return table


def _import_first(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:  # noqa: PERF203 - at most two names
            continue
    package = {"yaml": "pyyaml"}.get(names[-1], names[-1])
    message = f"Reading this assistants file needs the package {package}: pip install {package}."
    raise SettingsError(message)


def apply_assistants(  # noqa: PLR0913 - a target, its content and two switches
    db: Connection,
    namespace: str,
    assistants: Mapping[str, Json],
    now: int,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
) -> ApplyReport:
    """Write assistants to the store and report the changes.

    With `overwrite`, changes that a program has made since are replaced too. With `dry_run` nothing is written.
    """
    report = ApplyReport()
    for id_, fields in assistants.items():
        stored = rows_by_id(db, "assistants", namespace, [id_]).get(id_)
        body = {**fields, _HASH_KEY: _hash(fields)}
        if stored is None:
            row = {"namespace": namespace, "id": id_, "created_at": now, "body": body}
            if dry_run or queries.insert_if_absent(db, "assistants", row):
                report.new.append(id_)
            continue
        if stored["deleted"]:
            report.deleted.append(id_)
            continue
        differing = _differing_fields(stored["body"], fields)
        was_applied = stored["body"].get(_HASH_KEY) == body[_HASH_KEY]
        # The file still says what was applied last, so the difference is a later change by a program.
        if differing and was_applied and not overwrite:
            report.drifted[id_] = differing
            continue
        if differing:
            report.changed[id_] = differing
        else:
            report.same += 1
        if not dry_run and stored["body"] != body:
            queries.update_row(db, "assistants", namespace, id_, body=body)
    return report


def _differing_fields(stored: Json, fields: Json) -> list[str]:
    """Return the fields that the API would serve differently for these two assistants."""
    before, after = assistant_from_fields("", 0, stored), assistant_from_fields("", 0, fields)
    return [name for name, value in after.items() if before.get(name) != value]


def _hash(fields: Json) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
