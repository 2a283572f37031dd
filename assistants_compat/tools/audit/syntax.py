"""One Python source: every use of the Assistants API in its syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from itertools import pairwise

from . import other_uses_table
from .attribute_chains import CONTAINER_FILE, Chain, Names, legacy
from .calls_table import BY_CALL, Row
from .findings import Finding, Kind, worst
from .other_uses_table import Other
from .parameters_table import Verdict

_ANY_CALL = frozenset({"extra_headers", "extra_query", "extra_body", "timeout"})
_OTHER_BETAS = re.compile(r"openai\.(?:types|resources)\.beta\.(?:realtime|chatkit|chat|agents?|responses)\b")
_BETA_TYPES = re.compile(r"openai\.(?:types|resources)\.beta(?:\.|\Z)")
_HANDLERS = frozenset({"AssistantEventHandler", "AsyncAssistantEventHandler"})
_CLIENTS = frozenset({"OpenAI", "AsyncOpenAI", "AzureOpenAI", "AsyncAzureOpenAI"})
_DATED = re.compile(r"20\d\d-\d\d-\d\d(?:-preview)?\Z")
_ROUTE = re.compile(r"(?:/v1|/openai|openai\.com|/deployments/[^/]+)/(?:assistants|threads)(?![\w.-])")
_SHORT_ROUTE = re.compile(
    r"(?:\{\}|https?://[^/]+)?/?(?:assistants|threads)(?:/(?:\{\}|[\w-]+))?(?:/(?:messages|runs)(?:/.*)?)?\Z"
)
_HTTP = frozenset({"get", "post", "delete", "put", "patch", "request"})
_PAUSES = re.compile(r"sleep|wait|poll|pause|delay")
_BYTES = frozenset({"read", "content", "text", "write_to_file", "stream_to_file", "iter_bytes", "aread", "json"})
_WRITES = frozenset({"write", "write_bytes", "BytesIO", "StringIO"})
_DOWNLOADS = re.compile(r"download|content|bytes|save", re.IGNORECASE)
_RETRIEVES = ("beta", "threads", "runs", "retrieve")


def findings_of(source: str, tree: ast.AST) -> list[Finding]:
    """Every use in a tree, by its place; `source` is its text."""
    reader = _Reader(source, tree)
    reader.visit(tree)
    return sorted(reader.found, key=lambda found: (found.line, found.column))


class _Reader(ast.NodeVisitor):
    def __init__(self, source: str, tree: ast.AST) -> None:
        self.found: list[Finding] = []
        self.names = Names()
        self.loops: list[_Loop] = []
        self.functions: list[str] = []
        self.tree = tree
        self.about_openai = "openai" in source.lower()
        self.about_annotations = "annotation" in source
        # Objects whose container is asked for too: their `file_id` is a container's file.
        self.in_containers = {
            ast.dump(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr == "container_id"
        }

    def add(
        self,
        node: ast.AST,
        kind: Kind,
        what: str,
        other: Other,
        *,
        context: bool = False,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Note a finding."""
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
        self.found.append(
            Finding(
                line, column, kind, what, other.verdict, other.note, other.native, parameters or {}, context=context
            )
        )

    # --- names

    def visit_Module(self, node: ast.Module) -> None:
        for each in node.body:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                self.names.define(each)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for each in node.names:
            if _BETA_TYPES.match(each.name) and not _OTHER_BETAS.match(each.name):
                self.add(node, "type", each.name, other_uses_table.TYPES)
            elif each.name == "openai":
                self.names.bind(ast.Name(each.asname or "openai"), ("openai",))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        names = [each.name for each in node.names]
        if _BETA_TYPES.match(module) and not any(_OTHER_BETAS.match(f"{module}.{name}") for name in names):
            self.add(node, "type", f"{module}: {', '.join(names)}", other_uses_table.TYPES)
        for each in node.names:
            framework = other_uses_table.FRAMEWORKS.get(each.name)
            if framework is not None and module.partition(".")[0] in framework.packages:
                self.add(node, "framework", f"{each.name} of {framework.name}", framework.other)
            if each.name in _HANDLERS and module.partition(".")[0] == "openai":
                self.add(node, "handler", each.name, other_uses_table.HANDLER)
            if module == "openai":
                self.names.bind(ast.Name(each.asname or each.name), ("openai", each.name))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.names.enter(node.args)
        self.functions.append(node.name)
        loops, self.loops = self.loops, []
        self.generic_visit(node)
        self.loops = loops
        self.functions.pop()
        self.names.leave()

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.names.enter(node.args)
        self.generic_visit(node)
        self.names.leave()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            if self.names.chain(base)[-1] in _HANDLERS:
                self.add(node, "handler", f"class {node.name}", other_uses_table.HANDLER)
        self.names.enter_class(node)
        for each in (*node.decorator_list, *node.body):
            self.visit(each)
        self.names.leave_class()

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                self._header(target.slice, node.value)
            self._bind(target, node.value)
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self._bind(node.target, node.value)
        self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self._bind(node.target, node.value)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for one, its in zip(target.elts, value.elts, strict=True):
                self._bind(one, its)
        elif self._is_metadata(value):
            self.names.bind(target, (CONTAINER_FILE,))
        else:
            self.names.bind(target, self.names.chain(value) if isinstance(value, ast.Attribute | ast.Name) else None)

    # --- uses

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = self.names.chain(node)
        path = legacy(chain)
        if path is not None:
            self._used(node, path)
        elif pair := next((pair for pair in pairwise(chain) if pair in other_uses_table.OBJECTS), None):
            self.add(node, "object", ".".join(pair), other_uses_table.OBJECTS[pair], context=True)
        elif node.attr in _BYTES and (chain[:-1] == (CONTAINER_FILE,) or self._is_metadata(node.value)):
            self.add(node, "mistake", "containers.files.retrieve", other_uses_table.METADATA_ONLY)
        elif chain[:3] == ("openai", "types", "beta") and not _OTHER_BETAS.match(".".join(chain)):
            self.add(node, "type", ".".join(chain), other_uses_table.TYPES)
        self.visit(_below(node))

    def _used(self, node: ast.AST, path: Chain, called: ast.Call | None = None) -> None:
        for end in range(len(path), 1, -1):
            row = BY_CALL.get(".".join(path[:end]))
            if row is not None:
                parameters, verdicts = self._parameters(called, row)
                other = Other(worst([row.fate.verdict, *verdicts]), row.fate.note, row.native)
                self.add(node, "call" if called else "reference", ".".join(path[:end]), other, parameters=parameters)
                return
        named = ".".join(path)
        known = any(call.startswith(f"{named}.") for call in BY_CALL)
        self.add(
            node,
            "reference" if known else "call",
            named,
            other_uses_table.NAMESPACE if known else other_uses_table.FIRST_VERSION,
        )

    def _parameters(self, call: ast.Call | None, row: Row) -> tuple[dict[str, str], list[Verdict]]:
        """What is to be said of the parameters that a call names."""
        notes: dict[str, str] = {}
        verdicts: list[Verdict] = []
        for keyword in () if call is None else call.keywords:
            if keyword.arg is None or keyword.arg in _ANY_CALL or keyword.arg in row.ids:
                continue
            fate = row.parameters.get(keyword.arg, other_uses_table.NO_PARAMETER)
            if fate.verdict != "works":
                notes[keyword.arg] = fate.note
                verdicts.append(fate.verdict)
        return notes, verdicts

    def visit_Call(self, node: ast.Call) -> None:
        chain = self.names.chain(node.func)
        path = legacy(chain)
        for loop in self.loops:
            loop.looks = node if path == _RETRIEVES else loop.looks
            loop.pauses = loop.pauses or _PAUSES.search(chain[-1]) is not None
        if path is not None:
            self._used(node, path, node)
            self.visit(_below(node.func))
        else:
            self._other_call(node, chain)
            self.visit(node.func)
        for each in (*node.args, *node.keywords):
            self.visit(each)

    def _other_call(self, node: ast.Call, chain: Chain) -> None:
        last = chain[-1]
        first = _argument(node, "file_id", 0)
        if last in _CLIENTS:
            self._client(node, last)
        elif chain[-2:] in {("files", "content"), ("files", "retrieve_content")} and "containers" not in chain:
            if "vector_stores" not in chain:
                self._download(node, first)
        elif chain[-2:] == ("files", "create") and _text(_argument(node, "purpose", 1)) == "assistants":
            self.add(node, "call", "files.create", other_uses_table.UPLOAD, context=True)
        elif last == "replace" and self.about_annotations and node.args and _attribute(node.args[0]) == "text":
            self.add(node, "object", "replace(annotation.text)", other_uses_table.REPLACED, context=True)
        elif last in _WRITES and any(
            self.names.chain(each) == (CONTAINER_FILE,) or self._is_metadata(each) for each in node.args
        ):
            self.add(node, "mistake", "containers.files.retrieve", other_uses_table.METADATA_ONLY)
        if last in _HTTP and self.about_openai:
            self._request(node)

    def visit_Return(self, node: ast.Return) -> None:
        given = node.value is not None and (
            self._is_metadata(node.value) or self.names.chain(node.value) == (CONTAINER_FILE,)
        )
        if given and self.functions and _DOWNLOADS.search(self.functions[-1]):
            self.add(node, "mistake", "containers.files.retrieve", other_uses_table.METADATA_ONLY)
        self.generic_visit(node)

    def _is_metadata(self, node: ast.AST) -> bool:
        """Whether it is `containers.files.retrieve(...)`, awaited or not."""
        call = node.value if isinstance(node, ast.Await) else node
        return isinstance(call, ast.Call) and self.names.chain(call.func)[-3:] == ("containers", "files", "retrieve")

    def _client(self, node: ast.Call, name: str) -> None:
        version = _text(_argument(node, "api_version"))
        other = other_uses_table.DATED if version is not None and _DATED.match(version) else other_uses_table.CLIENT
        self.add(node, "client", name, other, context=True)
        query = _argument(node, "default_query")
        if name in {"OpenAI", "AsyncOpenAI"} and isinstance(query, ast.Dict):
            given = {
                _text(key): _text(value) for key, value in zip(query.keys, query.values, strict=True) if key is not None
            }
            if _DATED.match(given.get("api-version") or ""):
                self.add(node, "mistake", "api-version of the v1 routes", other_uses_table.DATED_QUERY)

    def _download(self, node: ast.Call, file_id: ast.expr | None) -> None:
        text = _text(file_id) or ""
        of_a_container = text.startswith("cfile_") or (
            isinstance(file_id, ast.Attribute)
            and file_id.attr == "file_id"
            and ast.dump(file_id.value) in self.in_containers
        )
        row = BY_CALL["files.content"]
        if of_a_container:
            self.add(node, "mistake", "files.content", other_uses_table.NOT_A_FILE)
        else:
            of_a_run = file_id is not None and self.names.chain(file_id)[-2:] in other_uses_table.OBJECTS
            other = Other(row.fate.verdict, row.fate.note, row.native)
            self.add(node, "call", "files.content", other, context=not of_a_run)

    def _request(self, node: ast.Call) -> None:
        """A route by hand: by the wrapped client's own methods it is answered, by another library it is not seen."""
        of_the_sdk = any(keyword.arg == "cast_to" for keyword in node.keywords)
        for each in (*node.args[:2], *(keyword.value for keyword in node.keywords if keyword.arg in {"url", "path"})):
            text = _text(each)
            if text is not None and (_SHORT_ROUTE.match(text) or (of_the_sdk and _ROUTE.search(text))):
                self.add(
                    each, "route", text, other_uses_table.ROUTE_OF_THE_SDK if of_the_sdk else other_uses_table.ROUTE
                )

    # --- loops

    def visit_While(self, node: ast.While) -> None:
        loop = _Loop()
        self.loops.append(loop)
        self.generic_visit(node)
        self.loops.pop()
        if loop.looks is not None and not loop.pauses:
            self.add(loop.looks, "mistake", "polls without a pause", other_uses_table.NO_PAUSE)

    # --- texts

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._written(node, node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._written(node, _text(node) or "")
        for each in node.values:
            if isinstance(each, ast.FormattedValue):
                self.visit(each.value)

    def _written(self, node: ast.expr, text: str) -> None:
        if _ROUTE.search(text) and not any(found.kind == "route" and _at(found, node) for found in self.found):
            self.add(node, "route", text, other_uses_table.ROUTE)

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            self._header(key, value)
        self.generic_visit(node)

    def _header(self, key: ast.expr | None, value: ast.expr) -> None:
        given = _text(value)
        if (_text(key) or "").lower() == "openai-beta" and (given is None or "assistants=" in given):
            first = given is not None and "assistants=v1" in given
            self.add(
                key or value,
                "header",
                "OpenAI-Beta",
                other_uses_table.HEADER_OF_THE_FIRST if first else other_uses_table.HEADER,
            )


class _Loop:
    """A loop that may poll."""

    looks: ast.Call | None = None
    pauses = False


def _below(node: ast.AST) -> ast.AST:
    """What the attributes are of."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def _argument(call: ast.Call, name: str, position: int | None = None) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    return call.args[position] if position is not None and position < len(call.args) else None


def _text(node: ast.expr | None) -> str | None:
    """A string as it is written, with `{}` for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
    return None


def _attribute(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else ""


def _at(found: Finding, node: ast.expr) -> bool:
    return (found.line, found.column) == (node.lineno, node.col_offset + 1)
