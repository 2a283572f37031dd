"""Finds every use of the Assistants API in the syntax tree of one Python file.

What is known about a use is in the tables; how names are followed is in `attribute_chains.py`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from itertools import pairwise

from . import other_uses_table, routes
from .attribute_chains import CONTAINER_FILE, Chain, NameScopes, legacy_path
from .calls_table import ROWS_BY_CALL, MethodRow
from .findings import Finding, Kind, worst_verdict
from .other_uses_table import Advice
from .parameters_table import Verdict

# Every method of the SDK takes these.
_REQUEST_OPTIONS = frozenset({"extra_headers", "extra_query", "extra_body", "timeout"})
_OTHER_BETAS = re.compile(
    r"openai\.(?:types|resources)\.beta\.(?:(?:realtime|chatkit|chat|agents?|responses)\b|Agent|Beta[A-Z]|ChatKit)"
)
_BETA_TYPES = re.compile(r"openai\.(?:types|resources)\.beta(?:\.|\Z)")
_AZURE_AGENTS = re.compile(r"azure\.ai\.agents(?:\.|\Z)")
# What a project client of Azure has below `agents`, now and in its previews.
_AZURE_AGENT_CALLS = frozenset(
    ("agents", name)
    for name in (
        *("threads", "messages", "runs", "run_steps", "create_agent", "create_thread", "create_message", "create_run"),
        *("create_and_process_run", "create_thread_and_run", "create_thread_and_process_run"),
    )
)
_HANDLER_CLASSES = frozenset({"AssistantEventHandler", "AsyncAssistantEventHandler"})
_CLIENT_CLASSES = frozenset({"OpenAI", "AsyncOpenAI", "AzureOpenAI", "AsyncAzureOpenAI"})
_DATED_VERSION = re.compile(r"20\d\d-\d\d-\d\d(?:-preview)?\Z")
# What a file mentions that may speak to the Assistants API, here or at Azure.
_API_NAMES = re.compile(r"openai|ai\.azure\.com|assistants=v", re.IGNORECASE)
# The last name of a call that may send an HTTP request: `post`, or a program's own `_request` and `post_json`.
_HTTP_CALL = re.compile(r"(?:\A|_)(?:get|post|delete|put|patch|request)(?:\Z|_)|\A(?:Request|urlopen|urlretrieve)\Z")
# The name of a call that probably pauses a polling loop.
_PAUSE_NAME = re.compile(r"sleep|wait|poll|pause|delay")
# What code reads from, or does with, an answer that it takes for the bytes of a file.
_CONTENT_ATTRIBUTES = frozenset(
    {"read", "content", "text", "write_to_file", "stream_to_file", "iter_bytes", "aread", "json"}
)
_WRITERS = frozenset({"write", "write_bytes", "BytesIO", "StringIO"})
_DOWNLOAD_NAME = re.compile(r"download|content|bytes|save", re.IGNORECASE)
_RUN_RETRIEVE = ("beta", "threads", "runs", "retrieve")


def findings_in_tree(source: str, tree: ast.AST) -> list[Finding]:
    """Return every use in a tree, sorted by location; `source` is the text of the tree."""
    finder = _UseFinder(source, tree)
    finder.visit(tree)
    return sorted(finder.findings, key=lambda finding: (finding.line, finding.column))


class _UseFinder(ast.NodeVisitor):
    """Visits one file; `loops` and `functions` are those around the visited node, innermost last."""

    def __init__(self, source: str, tree: ast.AST) -> None:
        self.findings: list[Finding] = []
        self.names = NameScopes()
        self.loops: list[_Loop] = []
        self.functions: list[str] = []
        self.tree = tree
        self.texts = routes.Texts(tree)
        # Strings that are not looked at (again): the program's own routes, and those that were found.
        self.known_routes = routes.strings_of_own_routes(tree)
        # Short routes and `replace` calls are common elsewhere: they count only in files that mention these words. A
        # server of LangGraph has the same paths.
        self.mentions_api = _API_NAMES.search(source) is not None and "langgraph" not in source.lower()
        self.speaks_to_the_api = self.mentions_api and routes.speaks_to_the_api(source, tree, self.texts)
        self.mentions_azure_agents = "azure.ai" in source
        self.mentions_annotations = "annotation" in source
        # Objects whose `container_id` the code reads as well: their `file_id` is a container's file.
        self.container_citations = {
            ast.dump(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr == "container_id"
        }

    def add(
        self,
        node: ast.AST,
        kind: Kind,
        what: str,
        advice: Advice,
        *,
        context: bool = False,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Add a finding at the position of a node."""
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
        self.findings.append(
            Finding(
                line, column, kind, what, advice.verdict, advice.note, advice.native, parameters or {}, context=context
            )
        )

    # --- names

    def visit_Module(self, node: ast.Module) -> None:
        # Functions are known before they are defined, because a module may call them earlier.
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                self.names.define(statement)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if _BETA_TYPES.match(alias.name) and not _OTHER_BETAS.match(alias.name):
                self.add(node, "type", alias.name, other_uses_table.advice_about_type(alias.name))
            elif _AZURE_AGENTS.match(alias.name):
                self.add(node, "framework", alias.name, other_uses_table.AZURE_AGENTS)
            elif alias.name == "openai":
                self.names.bind(ast.Name(alias.asname or "openai"), ("openai",))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        names = [alias.name for alias in node.names]
        if _BETA_TYPES.match(module):
            self._add_types(node, module, [name for name in names if not _OTHER_BETAS.match(f"{module}.{name}")])
        if any(_AZURE_AGENTS.match(f"{module}.{name}") for name in names):
            self.add(node, "framework", f"{module}: {', '.join(names)}", other_uses_table.AZURE_AGENTS)
        for alias in node.names:
            framework = other_uses_table.FRAMEWORKS.get(alias.name)
            if framework is not None and module.partition(".")[0] in framework.packages:
                self.add(node, "framework", f"{alias.name} of {framework.name}", framework.advice)
            if alias.name in _HANDLER_CLASSES and module.partition(".")[0] == "openai":
                self.add(node, "handler", alias.name, other_uses_table.EVENT_HANDLER)
            if module == "openai":
                self.names.bind(ast.Name(alias.asname or alias.name), ("openai", alias.name))

    def _add_types(self, node: ast.AST, module: str, names: list[str]) -> None:
        """Add a finding for the imported names that the SDK has, and one for each kind that it no longer has."""
        kinds: dict[Advice, list[str]] = {}
        for name in names:
            kinds.setdefault(other_uses_table.advice_about_type(f"{module}.{name}"), []).append(name)
        for advice, same in kinds.items():
            self.add(node, "type", f"{module}: {', '.join(same)}", advice)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_function(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.names.enter(node.args)
        self.functions.append(node.name)
        # A loop around a function does not repeat the calls in its body.
        outer_loops, self.loops = self.loops, []
        self.generic_visit(node)
        self.loops = outer_loops
        self.functions.pop()
        self.names.leave()

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.names.enter(node.args)
        self.generic_visit(node)
        self.names.leave()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            if self.names.chain(base)[-1] in _HANDLER_CLASSES:
                self.add(node, "handler", f"class {node.name}", other_uses_table.EVENT_HANDLER)
        self.names.enter_class(node)
        for child in (*node.decorator_list, *node.body):
            self.visit(child)
        self.names.leave_class()

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                self._check_header(target.slice, node.value)
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
        if routes.names_a_url(target):
            self._check_string(value, is_url=True)
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for inner_target, inner_value in zip(target.elts, value.elts, strict=True):
                self._bind(inner_target, inner_value)
        elif self._is_container_file(value):
            self.names.bind(target, (CONTAINER_FILE,))
        else:
            self.names.bind(target, self.names.chain(value) if isinstance(value, ast.Attribute | ast.Name) else None)

    # --- uses

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = self.names.chain(node)
        path = legacy_path(chain)
        if path is not None:
            self._add_use(node, path)
        elif pair := next((pair for pair in pairwise(chain) if pair in other_uses_table.OBJECT_FIELDS), None):
            self.add(node, "object", ".".join(pair), other_uses_table.OBJECT_FIELDS[pair], context=True)
        elif node.attr in _CONTENT_ATTRIBUTES and (
            chain[:-1] == (CONTAINER_FILE,) or self._is_container_file(node.value)
        ):
            self.add(node, "mistake", "containers.files.retrieve", other_uses_table.CONTAINER_FILE_METADATA)
        elif chain[:3] == ("openai", "types", "beta") and not _OTHER_BETAS.match(".".join(chain)):
            self.add(node, "type", ".".join(chain), other_uses_table.advice_about_type(".".join(chain)))
        elif self.mentions_azure_agents and any(pair in _AZURE_AGENT_CALLS for pair in pairwise(chain)):
            self.add(node, "framework", ".".join(chain), other_uses_table.AZURE_AGENTS)
        self.visit(_root_expression(node))

    def _add_use(self, node: ast.AST, path: Chain, call: ast.Call | None = None) -> None:
        """Add a use of a method, which may be followed by more attributes, or else of a part of the client."""
        for end in range(len(path), 1, -1):
            row = ROWS_BY_CALL.get(".".join(path[:end]))
            if row is not None:
                parameters, verdicts = self._check_parameters(call, row)
                advice = Advice(worst_verdict([row.support.verdict, *verdicts]), row.support.note, row.native)
                self.add(node, "call" if call else "reference", ".".join(path[:end]), advice, parameters=parameters)
                return
        name = ".".join(path)
        if any(method.startswith(f"{name}.") for method in ROWS_BY_CALL):
            self.add(node, "reference", name, other_uses_table.CLIENT_PART)
        else:
            self.add(node, "call", name, other_uses_table.V1_METHOD)

    def _check_parameters(self, call: ast.Call | None, row: MethodRow) -> tuple[dict[str, str], list[Verdict]]:
        """Return the notes and verdicts of those named parameters that do not simply work."""
        notes: dict[str, str] = {}
        verdicts: list[Verdict] = []
        for keyword in () if call is None else call.keywords:
            if keyword.arg is None or keyword.arg in _REQUEST_OPTIONS or keyword.arg in row.ids:
                continue
            support = row.parameters.get(keyword.arg, other_uses_table.UNKNOWN_PARAMETER)
            if support.verdict != "works":
                notes[keyword.arg] = support.note
                verdicts.append(support.verdict)
        return notes, verdicts

    def visit_Call(self, node: ast.Call) -> None:
        chain = self.names.chain(node.func)
        path = legacy_path(chain)
        for loop in self.loops:
            loop.poll = node if path == _RUN_RETRIEVE else loop.poll
            loop.pauses = loop.pauses or _PAUSE_NAME.search(chain[-1]) is not None
        if path is not None:
            self._add_use(node, path, node)
            self.visit(_root_expression(node.func))
        else:
            self._check_other_call(node, chain)
            self.visit(node.func)
        self._check_string(node)
        for keyword in node.keywords:
            if keyword.arg is not None and routes.is_url_name(keyword.arg):
                self._check_string(keyword.value, is_url=True)
        for argument in (*node.args, *node.keywords):
            self.visit(argument)

    def _check_other_call(self, node: ast.Call, chain: Chain) -> None:
        """Check a call outside the Assistants API: of a client class, the Files API or an HTTP library."""
        last = chain[-1]
        if last in _CLIENT_CLASSES:
            self._check_client(node, last)
        elif chain[-2:] in {("files", "content"), ("files", "retrieve_content")} and "containers" not in chain:
            if "vector_stores" not in chain:
                self._check_download(node, _argument(node, "file_id", 0))
        elif chain[-2:] == ("files", "create") and _string_value(_argument(node, "purpose", 1)) == "assistants":
            self.add(node, "call", "files.create", other_uses_table.FILE_UPLOAD, context=True)
        elif last == "replace" and self.mentions_annotations and node.args and _attribute_name(node.args[0]) == "text":
            self.add(node, "object", "replace(annotation.text)", other_uses_table.REPLACE_ANNOTATION, context=True)
        elif last in _WRITERS and any(
            self.names.chain(argument) == (CONTAINER_FILE,) or self._is_container_file(argument)
            for argument in node.args
        ):
            self.add(node, "mistake", "containers.files.retrieve", other_uses_table.CONTAINER_FILE_METADATA)
        if _HTTP_CALL.search(last):
            self._check_http_request(node)

    def visit_Return(self, node: ast.Return) -> None:
        returns_container_file = node.value is not None and (
            self._is_container_file(node.value) or self.names.chain(node.value) == (CONTAINER_FILE,)
        )
        # Returning the metadata is a mistake only in a function whose name promises the content.
        if returns_container_file and self.functions and _DOWNLOAD_NAME.search(self.functions[-1]):
            self.add(node, "mistake", "containers.files.retrieve", other_uses_table.CONTAINER_FILE_METADATA)
        if node.value is not None and self.functions and routes.is_url_name(self.functions[-1]):
            self._check_string(node.value, is_url=True)
        self.generic_visit(node)

    def _is_container_file(self, node: ast.AST) -> bool:
        """Return whether a node is `containers.files.retrieve(...)`, awaited or not."""
        call = node.value if isinstance(node, ast.Await) else node
        return isinstance(call, ast.Call) and self.names.chain(call.func)[-3:] == ("containers", "files", "retrieve")

    def _check_client(self, node: ast.Call, class_name: str) -> None:
        api_version = _string_value(_argument(node, "api_version"))
        advice = (
            other_uses_table.DATED_AZURE_CLIENT
            if api_version is not None and _DATED_VERSION.match(api_version)
            else other_uses_table.NEW_CLIENT
        )
        self.add(node, "client", class_name, advice, context=True)
        query = _argument(node, "default_query")
        if class_name in {"OpenAI", "AsyncOpenAI"} and isinstance(query, ast.Dict):
            default_query = {
                _string_value(key): _string_value(value)
                for key, value in zip(query.keys, query.values, strict=True)
                if key is not None
            }
            if _DATED_VERSION.match(default_query.get("api-version") or ""):
                self.add(node, "mistake", "api-version of the v1 routes", other_uses_table.DATED_DEFAULT_QUERY)

    def _check_download(self, node: ast.Call, file_id: ast.expr | None) -> None:
        is_container_file = (_string_value(file_id) or "").startswith("cfile_") or (
            isinstance(file_id, ast.Attribute)
            and file_id.attr == "file_id"
            and ast.dump(file_id.value) in self.container_citations
        )
        if is_container_file:
            self.add(node, "mistake", "files.content", other_uses_table.CONTAINER_FILE_ID)
        else:
            row = ROWS_BY_CALL["files.content"]
            advice = Advice(row.support.verdict, row.support.note, row.native)
            # The id may be that of any uploaded file, unless it comes from an annotation of a message.
            is_annotation = file_id is not None and self.names.chain(file_id)[-2:] in other_uses_table.OBJECT_FIELDS
            self.add(node, "call", "files.content", advice, context=not is_annotation)

    def _check_http_request(self, node: ast.Call) -> None:
        """Check a call such as `x.post(url)`: only the SDK client's own methods, which take `cast_to`, are answered."""
        uses_sdk = any(keyword.arg == "cast_to" for keyword in node.keywords)
        for argument in node.args[:3]:  # `request` has the HTTP method first
            text = self.texts.text(argument)
            if text is None or isinstance(argument, ast.Name | ast.Attribute):
                continue  # a name is checked where it gets its value
            if uses_sdk and (routes.is_bare_path(text) or routes.is_full_route(text)):
                self._add_route(argument, text, other_uses_table.CLIENT_ROUTE)
            elif self.speaks_to_the_api and routes.is_bare_path(text) and id(argument) not in self.known_routes:
                self._add_route(argument, text, other_uses_table.OTHER_LIBRARY_ROUTE)
            else:
                self._check_string(argument, is_url=True)

    def _add_route(self, node: ast.expr, text: str, advice: Advice) -> None:
        self.add(node, "route", text, advice)
        self.known_routes.update(id(part) for part in ast.walk(node))  # its parts are not looked at again

    # --- loops

    def visit_While(self, node: ast.While) -> None:
        loop = _Loop()
        self.loops.append(loop)
        self.generic_visit(node)
        self.loops.pop()
        if loop.poll is not None and not loop.pauses:
            self.add(loop.poll, "mistake", "polls without a pause", other_uses_table.BUSY_POLLING)

    # --- strings

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a constant here is a docstring
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._check_string(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._check_string(node)
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        is_route = self._check_string(node)
        for part in routes.added_parts(node) if isinstance(node.op, ast.Add) else (node.left, node.right):
            if not (is_route and isinstance(part, ast.Constant | ast.JoinedStr)):
                self.visit(part)

    def _check_string(self, node: ast.expr, *, is_url: bool = False) -> bool:
        """Add a finding for an expression that is a route of the API, and return whether it is one."""
        text = None if id(node) in self.known_routes else self.texts.text(node)
        if text is None:
            return False
        is_route = routes.is_full_route(text) or (
            self.mentions_api and (routes.is_unmistakable(text) or (is_url and routes.is_path_below_unknown(text)))
        )
        if is_route:
            self._add_route(node, text, other_uses_table.OTHER_LIBRARY_ROUTE)
        return is_route

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            self._check_header(key, value)
            if routes.is_url_name(_string_value(key) or ""):
                self._check_string(value, is_url=True)
        self.generic_visit(node)

    def _check_header(self, key: ast.expr | None, value: ast.expr) -> None:
        text = _string_value(value)
        if (_string_value(key) or "").lower() == "openai-beta" and (text is None or "assistants=" in text):
            is_v1 = text is not None and "assistants=v1" in text
            advice = other_uses_table.V1_BETA_HEADER if is_v1 else other_uses_table.BETA_HEADER
            self.add(key or value, "header", "OpenAI-Beta", advice)


class _Loop:
    """A `while` loop: its call of `runs.retrieve`, if it has one, and whether it seems to pause."""

    poll: ast.Call | None = None
    pauses = False


def _root_expression(node: ast.AST) -> ast.AST:
    """Return the expression at the root of a chain of attributes."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def _argument(call: ast.Call, name: str, position: int | None = None) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    return call.args[position] if position is not None and position < len(call.args) else None


def _string_value(node: ast.expr | None) -> str | None:
    """Return the text of a string literal, with `{}` for formatted values; None for other expressions."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def _attribute_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else ""
