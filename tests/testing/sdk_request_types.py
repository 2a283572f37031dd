"""Writes `assistants_compat/testing/request_types.json`: the request types of the openai SDK that is installed.

`make request-types` runs it beside the newest SDK. A type becomes

- a scalar: `"string"`, `"boolean"`, `"integer"`, `"decimal"`, `"null"` or `"any"`; or the name of another type,
- `{"literal": [values]}`, `{"array": entry}`, `{"map": entry}` or `{"union": [members]}`,
- `{"object": {field: type}, "required": [fields]}`, with the fields' names on the wire and in the SDK's order, from
  which follows which of several faults is reported; `"open": true` if other fields are allowed.

Types that say the same share a name: the SDK declares most items of an input twice.
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
import types
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import openai
from typing_extensions import NotRequired, Required, get_type_hints, is_typeddict

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTION = ROOT / "assistants_compat" / "testing" / "request_types.json"
# The bodies that `request_rules.py` checks.
BODIES = (
    "openai.types.responses.response_create_params:ResponseCreateParamsNonStreaming",
    "openai.types.responses.response_create_params:ResponseCreateParamsStreaming",
    "openai.types.conversations.conversation_create_params:ConversationCreateParams",
    "openai.types.conversations.conversation_update_params:ConversationUpdateParams",
    "openai.types.conversations.item_create_params:ItemCreateParams",
    "openai.types.container_create_params:ContainerCreateParams",
    "openai.types.vector_store_create_params:VectorStoreCreateParams",
    "openai.types.vector_store_update_params:VectorStoreUpdateParams",
    "openai.types.vector_stores.file_create_params:FileCreateParams",
    "openai.types.vector_stores.file_batch_create_params:FileBatchCreateParams",
    "openai.types.vector_store_search_params:VectorStoreSearchParams",
)
_SCALARS = {str: "string", bool: "boolean", int: "integer", float: "decimal", types.NoneType: "null", object: "any"}
_SEQUENCE_NAMES = {"Iterable", "List", "Sequence", "SequenceNotStr", "list"}

Types = dict[str, Any]


def describe(made: str) -> str:
    """Return the description of the installed SDK as the text of the file; `made` is its date."""
    described: Types = {}
    for body in BODIES:
        module, _, name = body.partition(":")
        _node(getattr(importlib.import_module(module), name), described)
    described = _with_short_names(_without_duplicates(described))
    lines = ",\n".join(f"{json.dumps(name)}:{_compact(described[name])}" for name in sorted(described))
    return f'{{"sdk":"openai {openai.__version__}","made":"{made}","types":{{\n{lines}\n}}}}\n'


def write() -> None:
    """Write the file anew; a description that says nothing new keeps its date."""
    made = json.loads(DESCRIPTION.read_text("utf-8"))["made"] if DESCRIPTION.exists() else ""
    if not DESCRIPTION.exists() or describe(made) != DESCRIPTION.read_text("utf-8"):
        made = dt.datetime.now(dt.timezone.utc).date().isoformat()
        DESCRIPTION.write_text(describe(made), "utf-8")
    print(f"{DESCRIPTION.name}: openai {openai.__version__}, made {made}, {DESCRIPTION.stat().st_size} bytes")  # noqa: T201 - a command


def _node(annotation: Any, described: Types) -> Any:
    """Return the description of an annotation; TypedDicts that it names are added to `described`."""
    plain, _ = _unwrap(annotation)
    if is_typeddict(plain):
        return _object_name(plain, described)
    if plain in _SCALARS or plain is None or plain is Any:
        return _SCALARS.get(plain, "any" if plain is Any else "null")
    origin, arguments = get_origin(plain), get_args(plain)
    if origin is Literal:
        return {"literal": list(arguments)}
    if origin in {Union, types.UnionType}:
        return {"union": [_node(member, described) for member in arguments]}
    if isinstance(origin, type) and issubclass(origin, Mapping | dict):
        return {"map": _node(arguments[1], described)}
    if getattr(origin, "__name__", "") in _SEQUENCE_NAMES:
        return {"array": _node(arguments[0], described)}
    raise TypeError(f"No description for the type {plain!r}")


def _object_name(typed_dict: Any, described: Types) -> str:
    name = f"{typed_dict.__module__}:{typed_dict.__name__}"
    if name not in described:
        described[name] = {}  # The name is known before the fields are, because a type may contain itself.
        fields, required = {}, []
        for key, hint in get_type_hints(typed_dict, include_extras=True).items():
            annotation, markers = _unwrap(hint)
            wire_name = next((alias for marker in markers if (alias := getattr(marker, "alias", None))), key)
            fields[wire_name] = _node(annotation, described)
            # With postponed annotations __required_keys__ only reflects `total=`; the markers are in the hint.
            if Required in markers or (key in typed_dict.__required_keys__ and NotRequired not in markers):
                required.append(wire_name)
        described[name] = {"object": fields, **({"required": required} if required else {}), **_openness(typed_dict)}
    return name


def _openness(typed_dict: Any) -> Types:
    """Return the mark of a TypedDict that was declared with `extra_items=` (PEP 728)."""
    extra = getattr(typed_dict, "__extra_items__", None)
    return {"open": True} if extra in {Any, object} or isinstance(extra, type) else {}


def _unwrap(annotation: Any) -> tuple[Any, list[Any]]:
    """Return an annotation without Annotated, Required and named aliases, and what was taken off."""
    markers: list[Any] = []
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *extras = get_args(annotation)
            markers += extras
        elif get_origin(annotation) in {Required, NotRequired}:
            markers.append(get_origin(annotation))
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation, markers


def _without_duplicates(described: Types) -> Types:
    """Return the types with one name for all that say the same, until no two do; bodies keep their own."""
    while True:
        names: dict[str, str] = {}
        for name in sorted(described):
            names.setdefault(name if name in BODIES else _compact(described[name]), name)
        if len(names) == len(described):
            return described
        renamed = {name: names.get(_compact(node), name) for name, node in described.items() if name not in BODIES}
        described = {name: _renamed(described[name], renamed) for name in names.values()}


def _with_short_names(described: Types) -> Types:
    """Return the types by the names of their classes, with that of the module where two classes have one name."""
    counts = Counter(name.partition(":")[2] for name in described)
    renamed = {}
    for name in described:
        module, _, short = name.partition(":")
        renamed[name] = short if counts[short] == 1 else f"{module.rpartition('.')[2]}.{short}"
    if len(set(renamed.values())) != len(renamed):
        raise ValueError("Two types have the same short name")
    return {renamed[name]: _renamed(node, renamed) for name, node in described.items()}


def _renamed(node: Any, names: dict[str, str]) -> Any:
    """Return a node whose references have new names; only a full name, with its colon, is a reference here."""
    if isinstance(node, str):
        return names.get(node, node)
    if isinstance(node, list):
        return [_renamed(entry, names) for entry in node]
    return {key: _renamed(value, names) for key, value in node.items()} if isinstance(node, dict) else node


def _compact(node: Any) -> str:
    return json.dumps(node, separators=(",", ":"))


if __name__ == "__main__":
    write()
