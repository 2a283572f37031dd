"""Recognises the routes of the Assistants API in the strings of a Python file, however they are put together.

A program writes a URL in one piece or as base and path: in an f-string, with `+`, `%`, `format`, `join` or `urljoin`.
Names that stand for one string in the file are followed; `{}` stands for what is not known. The routes that the audited
program serves itself look the same, so they are told apart by how they are used.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from urllib.parse import urljoin

# A full URL or path of the API, anywhere in a string; the pages of platform.openai.com are no routes.
_ROUTE = re.compile(
    r"(?:/v1|/openai|(?<!platform\.)openai\.com|/deployments/[^/]+|/api/projects/[^/]+)/(?:assistants|threads)(?![\w.-])"
)
# A path that does not say whose it is: other services have threads too.
_PATH = r"/?(?:assistants|threads)(?:/(?:\{\}|[\w-]+))?(?:/(?:messages|runs|files)(?:/.*)?)?\Z"
_BARE_PATH, _PATH_BELOW_UNKNOWN = re.compile(_PATH), re.compile(r"\{\}" + _PATH)
_WORD = re.compile(r"\w+\Z")  # `data.get("threads")`
# Below an unknown base, these are unlike what other services have, whatever is done with the string.
_UNMISTAKABLE = re.compile(
    r"\{\}/(?:(?:assistants|threads)(?:/[^/?]+)?\?api-version|threads/(?:runs\Z|[^/?]+/(?:messages|runs)(?![\w.-])))"
)
_ATTACHED = re.compile(r"(?<=[\w}])\{\}\Z")  # a query in a variable: `f"{base}/threads{version}"`
_API_WORDS = re.compile(r"openai|ai\.azure\.com|azure\.ai\.(?:agents|projects)|\{\}", re.IGNORECASE)
_URL_NAME = re.compile(r"ur[il]|endpoint|route", re.IGNORECASE)

HTTP_METHODS = frozenset({"get", "post", "delete", "put", "patch", "request"})
_SERVER_DECORATORS = HTTP_METHODS | {"route", "api_route", "websocket", "head", "options"}
# What registers a route with a web framework, beside decorators: FastAPI, Starlette, Flask, Django, aiohttp, Falcon.
_REGISTRATIONS = re.compile(
    r"(?:add_(?:api_route|url_rule|route|resource|get|post|put|patch|delete|websocket_route)|include_router|APIRouter"
    r"|register_blueprint|Blueprint|Route|Mount|mount|Rule|path|re_path|url|url_for)\Z"
)
# What makes a client of the application under test.
_TEST_CLIENTS = re.compile(r"TestClient\Z|test_client\Z|APIClient\Z|ASGITransport\Z|WSGITransport\Z|TestServer\Z")

_MAX_DEPTH = 8  # of names that stand for names; more would be a loop
_MAX_LENGTH = 2000
_PERCENT_FIELD = re.compile(r"%(?:\(\w+\))?[sdr]")
_FORMAT_FIELD = re.compile(r"\{(\w*)[^{}]*\}")


def is_full_route(text: str) -> bool:
    """Return whether a text holds a route of the API with enough before it to know that."""
    return full_route(text) is not None


def full_route(text: str) -> re.Match[str] | None:
    """Return where a text holds a route of the API, with enough before it to know that."""
    return _ROUTE.search(text)


def is_path_below_unknown(text: str) -> bool:
    """Return whether a text is a route of the API, or of another service, below a base that is not known."""
    return _PATH_BELOW_UNKNOWN.match(_without_query(text)) is not None


def is_bare_path(text: str) -> bool:
    """Return whether a text is a route of the API, or of another service, without a base."""
    return _BARE_PATH.match(_without_query(text)) is not None and not _WORD.match(text)


def is_unmistakable(text: str) -> bool:
    """Return whether a path below an unknown base is of the API whatever a program does with it."""
    return is_path_below_unknown(text) and _UNMISTAKABLE.match(text) is not None


def names_a_url(target: ast.expr) -> bool:
    """Return whether the name of a variable says that it holds a URL."""
    name = target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""
    return is_url_name(name)


def is_url_name(name: str) -> bool:
    """Return whether a name says that it stands for a URL."""
    return _URL_NAME.search(name) is not None


def _without_query(text: str) -> str:
    return _ATTACHED.sub("", text.partition("?")[0])


class Texts:
    """The texts of string expressions; a name or attribute counts if the file gives it exactly one value."""

    def __init__(self, tree: ast.AST) -> None:
        """Note what the names of a file stand for."""
        self._values: dict[str, list[ast.expr | None]] = {}
        self._texts: dict[int, str | None] = {}  # by the identity of the expression
        for node in ast.walk(tree):
            for target, value in _assignments(node):
                if isinstance(target, ast.Name | ast.Attribute):
                    name = target.id if isinstance(target, ast.Name) else target.attr
                    self._values.setdefault(name, []).append(value)

    def text(self, node: ast.expr | None, depth: int = 0) -> str | None:
        """Return the text of an expression, with `{}` for its unknown parts; None if it has no known part."""
        if node is None or depth > _MAX_DEPTH:
            return None
        if id(node) not in self._texts:
            text = self._text(node, depth + 1)
            self._texts[id(node)] = text if text is None else text[:_MAX_LENGTH]
        return self._texts[id(node)]

    def _text(self, node: ast.expr, depth: int) -> str | None:  # noqa: PLR0911 - one for each kind of expression
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.JoinedStr):
            values = [part.value if isinstance(part, ast.FormattedValue) else part for part in node.values]
            return "".join(self._known(value, depth) for value in values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            parts = list(added_parts(node))
            texts = [self.text(part, depth) for part in parts]
            return None if all(text is None for text in texts) else "".join(_or_unknown(text) for text in texts)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            values = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            return self._filled(node.left, values, _PERCENT_FIELD, depth)
        if isinstance(node, ast.BoolOp):  # `os.environ.get("BASE") or "https://..."`
            return self.text(node.values[-1], depth)
        if isinstance(node, ast.Name | ast.Attribute):
            given = self._values.get(node.id if isinstance(node, ast.Name) else node.attr, [])
            return self.text(given[0], depth) if len(given) == 1 else None
        return self._text_of_call(node, depth) if isinstance(node, ast.Call) else None

    def _text_of_call(self, node: ast.Call, depth: int) -> str | None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        if name == "format" and owner is not None:
            return self._filled(
                owner, node.args, _FORMAT_FIELD, depth, {word.arg: word.value for word in node.keywords}
            )
        if name == "join" and owner is not None and node.args and isinstance(node.args[0], ast.List | ast.Tuple):
            separator = self.text(owner, depth)
            return None if separator is None else separator.join(self._known(it, depth) for it in node.args[0].elts)
        if name == "urljoin" and len(node.args) > 1:
            base, path = self._known(node.args[0], depth), self._known(node.args[1], depth)
            return urljoin(base, path) if "://" in base else f"{base}/{path.lstrip('/')}"
        if name in {"getenv", "get"} and len(node.args) > 1:  # the default of `os.environ.get`
            return self.text(node.args[1], depth)
        if name in {"rstrip", "strip"} and owner is not None:
            text = self.text(owner, depth)
            return None if text is None else text.rstrip("/")
        return None

    def _filled(
        self,
        template: ast.expr,
        values: list[ast.expr],
        field: re.Pattern[str],
        depth: int,
        named: dict[str | None, ast.expr] | None = None,
    ) -> str | None:
        """Return a template with its fields replaced: by name or number where they have one, else in order."""
        text = self.text(template, depth)
        if text is None:
            return None
        rest = iter(values)

        def fill(match: re.Match[str]) -> str:
            key = match[1] if match.re.groups else ""
            value = (named or {}).get(key) if key else next(rest, None)
            if key.isdecimal() and int(key) < len(values):
                value = values[int(key)]
            return "{}" if value is None else self._known(value, depth)

        return field.sub(fill, text)

    def _known(self, node: ast.expr, depth: int) -> str:
        return _or_unknown(self.text(node, depth))


def added_parts(node: ast.BinOp) -> Iterator[ast.expr]:
    """Yield what a chain of `+` adds, in order."""
    pending: list[ast.expr] = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Add):
            pending += [part.right, part.left]
        else:
            yield part


def _or_unknown(text: str | None) -> str:
    return "{}" if text is None else text


def _assignments(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Yield the targets that a node assigns, with their values; None for a value that is not known."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield target, node.value
            if isinstance(target, ast.Tuple):
                yield from ((inner, None) for inner in target.elts)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
        if node.value is not None:
            yield node.target, node.value
    elif isinstance(node, ast.AugAssign | ast.For | ast.AsyncFor | ast.comprehension):
        yield node.target, None
    elif isinstance(node, ast.arguments):
        positional = [*node.posonlyargs, *node.args]
        defaults: list[ast.expr | None] = [None] * (len(positional) - len(node.defaults))
        defaults += [*node.defaults, *node.kw_defaults]
        for argument, default in zip([*positional, *node.kwonlyargs], defaults, strict=True):
            if argument.arg not in {"self", "cls"}:
                yield ast.Name(argument.arg), default


def strings_of_own_routes(tree: ast.AST) -> set[int]:
    """Return the identities of the string expressions that belong to routes that the program serves or tests itself."""
    strings: set[int] = set()
    own_clients = _own_clients(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and _called(decorator) in _SERVER_DECORATORS:
                    strings.update(_strings_in([decorator]))
        elif isinstance(node, ast.Call):
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            if _REGISTRATIONS.match(_called(node)) or _owner(node) == "web":
                strings.update(_strings_in(arguments))
            elif _owner(node) in own_clients:
                strings.update(_strings_in(argument for argument in arguments if _starts_with_slash(argument)))
    return strings


def _starts_with_slash(node: ast.expr) -> bool:
    """Return whether an expression is a path, and not a URL."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    first = next(added_parts(node)) if isinstance(node, ast.BinOp) else first
    return isinstance(first, ast.Constant) and str(first.value).startswith("/")


def _own_clients(tree: ast.AST) -> set[str]:
    """Return the names of clients of the application itself: made here, by a fixture, or given to a test by one."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _makes_test_client(node.value):
            names.update(_names_of(node.targets))
        elif isinstance(node, ast.With | ast.AsyncWith):
            items = [item for item in node.items if item.optional_vars and _makes_test_client(item.context_expr)]
            names.update(_names_of(item.optional_vars for item in items if item.optional_vars))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
            if "fixture" in decorators and any(_makes_test_client(child) for child in ast.walk(node)):
                names.add(node.name)
            if node.name.startswith("test_"):
                names.update(argument.arg for argument in node.args.args if argument.arg != "self")
    return names


def _makes_test_client(node: ast.AST) -> bool:
    return any(
        isinstance(child, ast.Call)
        and (_TEST_CLIENTS.search(_called(child)) or any(keyword.arg == "app" for keyword in child.keywords))
        for child in ast.walk(node)
    )


def _names_of(targets: Iterable[ast.expr]) -> Iterator[str]:
    for target in targets:
        if isinstance(target, ast.Name | ast.Attribute):
            yield target.id if isinstance(target, ast.Name) else target.attr


def _called(call: ast.Call) -> str:
    """Return the last name of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _owner(call: ast.Call) -> str | None:
    """Return the last name of the object whose method is called."""
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    return owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", None)


def _strings_in(nodes: Iterable[ast.AST]) -> Iterator[int]:
    for node in nodes:
        yield from (id(child) for child in ast.walk(node) if isinstance(child, ast.expr))


def speaks_to_the_api(source: str, tree: ast.AST, texts: Texts) -> bool:
    """Return whether a bare path in an HTTP call of this file is probably the API's.

    It is if the file sets the header `OpenAI-Beta` by hand, or makes an HTTP client whose base may be the API's.
    """
    if "openai-beta" in source.lower():
        return True
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not _called(node).endswith(("OpenAI", "TestClient")):
            bases = [keyword.value for keyword in node.keywords if keyword.arg == "base_url"]
            bases += node.args[:1] if _called(node) == "ClientSession" else []
            if any(_API_WORDS.search(_or_unknown(texts.text(base))) for base in bases):
                return True
    return False


_SHELL_VARIABLE = re.compile(r"\$(?:\{\w+\}|\w+)|\{\w+\}")
_SHELL_WORD = re.compile(r"[^\s\"'`\\]+")


def routes_in_shell(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield line and column, from one, and text of each route of the API in shell commands that call `curl`."""
    if not re.search(r"\b(?:curl|wget|http|https)\b", text):
        return
    for number, line in enumerate(text.splitlines(), start=1):
        for word in _SHELL_WORD.finditer(line):
            url = _SHELL_VARIABLE.sub("{}", word[0])
            if is_full_route(url) or is_path_below_unknown(url):
                yield number, word.start() + 1, url
