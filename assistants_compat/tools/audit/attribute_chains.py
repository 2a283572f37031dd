"""Names in Python source: `client.beta.threads.create` as parts, through names that were given to a part of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

Chain = tuple[str, ...]

_HERE = ("self", "cls")
_WAYS = frozenset({"with_raw_response", "with_streaming_response"})
_FAMILIES = frozenset({"assistants", "threads", "vector_stores"})
_INSIDE = frozenset({"types", "resources"})
UNKNOWN = "?"


def legacy(chain: Chain) -> Chain | None:
    """From `beta` on, if it is the Assistants API: `("beta", "threads", "create")`, without the ways of an answer."""
    parts = tuple(part for part in chain if part not in _WAYS)
    for number, (part, following) in enumerate(pairwise(parts)):
        if part == "beta" and following in _FAMILIES and not _INSIDE.intersection(parts[:number]):
            return parts[number:]
    return None


class Names:
    """What the names of a file stand for, where that is a part of a client or of the openai module."""

    def __init__(self) -> None:
        """Begin at the module."""
        self._scopes: list[dict[str, Chain | None]] = [{}]
        self._classes: list[dict[str, Chain]] = [{}]
        self._functions: dict[str, Chain] = {}  # what a function gives that does nothing else

    def enter(self, arguments: ast.arguments | None = None) -> None:
        """Go into a function or a class; its arguments are nothing that is known."""
        every = () if arguments is None else _arguments(arguments)
        self._scopes.append(dict.fromkeys(every))

    def leave(self) -> None:
        """Come out of it."""
        self._scopes.pop()

    def enter_class(self, node: ast.ClassDef) -> None:
        """Go into a class, of which every method knows what one gave to `self`."""
        self._classes.append({})
        self._classes[-1].update(self._given_to_self(node))
        self.enter()

    def leave_class(self) -> None:
        """Come out of it."""
        self._classes.pop()
        self.leave()

    def bind(self, target: ast.expr, chain: Chain | None) -> None:
        """Let a name stand for a chain, or for nothing that is known any more."""
        if isinstance(target, ast.Name):
            self._scopes[-1][target.id] = chain if chain is not None and _kept(chain) else None

    def define(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Know what a function of the module gives."""
        given = only_return(function)
        if given is not None and legacy(chain := self.chain(given)) is not None:
            self._functions[function.name] = chain

    def chain(self, node: ast.AST) -> Chain:
        """The parts of an expression; what is before the last call or subscript is unknown."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        start = self._start(node)
        while attributes and start in {("self",), ("cls",)} and attributes[-1] in self._classes[-1]:
            start = self._classes[-1][attributes.pop()]
        return (*start, *reversed(attributes))

    def _start(self, node: ast.AST) -> Chain:
        if isinstance(node, ast.Name):
            for scope in reversed(self._scopes):
                if node.id in scope:
                    return scope[node.id] or (node.id,)
            return (node.id,)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._functions.get(node.func.id, (UNKNOWN,))
        return (UNKNOWN,)

    def _given_to_self(self, class_: ast.ClassDef) -> Iterator[tuple[str, Chain]]:
        for node in ast.walk(class_):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    inner = target.value if isinstance(target, ast.Attribute) else None
                    if isinstance(target, ast.Attribute) and isinstance(inner, ast.Name) and inner.id in _HERE:
                        yield from self._known(target.attr, node.value)
            elif isinstance(node, ast.FunctionDef) and _is_property(node) and (given := only_return(node)) is not None:
                yield from self._known(node.name, given)

    def _known(self, name: str, value: ast.expr) -> Iterator[tuple[str, Chain]]:
        chain = self.chain(value)
        if _kept(chain):
            yield name, chain


def only_return(function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.expr | None:
    """What a function gives that does nothing else."""
    body = [each for each in function.body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))]
    return body[0].value if len(body) == 1 and isinstance(body[0], ast.Return) else None


def _is_property(function: ast.FunctionDef) -> bool:
    names = [getattr(each, "id", getattr(each, "attr", "")) for each in function.decorator_list]
    return any("property" in name for name in names)


def _kept(chain: Chain) -> bool:
    """Whether a chain is worth knowing by another name."""
    return "beta" in chain or chain[0] in {"openai", CONTAINER_FILE} or "containers" in chain


CONTAINER_FILE = "<container file>"  # what containers.files.retrieve gives


def _arguments(given: ast.arguments) -> Iterator[str]:
    for each in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
        if each is not None and each.arg not in _HERE:
            yield each.arg
