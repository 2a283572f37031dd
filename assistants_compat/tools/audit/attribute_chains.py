"""Resolves attribute chains in Python source: `client.beta.threads.create` as a tuple of names.

A variable, attribute of `self`, property or function that stands for a part of a client is followed within its file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

Chain = tuple[str, ...]

_SELF_NAMES = ("self", "cls")
# Links of a chain that change only how the answer is returned.
_RESPONSE_WRAPPERS = frozenset({"with_raw_response", "with_streaming_response"})
_ASSISTANTS_RESOURCES = frozenset({"assistants", "threads", "vector_stores"})
# Below these, `beta` is a module of the SDK and not an attribute of a client.
_SDK_PACKAGES = frozenset({"types", "resources"})
UNKNOWN = "?"
"""The link of a chain that stands for an expression that cannot be resolved."""


def legacy_path(chain: Chain) -> Chain | None:
    """Return the links of a chain from `beta` on if they are the Assistants API, without response wrappers.

    For example `("beta", "threads", "create")`.
    """
    parts = tuple(part for part in chain if part not in _RESPONSE_WRAPPERS)
    for index, (part, following) in enumerate(pairwise(parts)):
        if part == "beta" and following in _ASSISTANTS_RESOURCES and not _SDK_PACKAGES.intersection(parts[:index]):
            return parts[index:]
    return None


class NameScopes:
    """The names of a file, by scope, that stand for a part of a client or of the openai module."""

    def __init__(self) -> None:
        """Start in the module's scope."""
        # In a scope, None means that the name stands for something else, which hides outer scopes.
        self._scopes: list[dict[str, Chain | None]] = [{}]
        self._classes: list[dict[str, Chain]] = [{}]
        self._functions: dict[str, Chain] = {}  # functions that only return a part of a client

    def enter(self, arguments: ast.arguments | None = None) -> None:
        """Enter a function or class; nothing is known about its arguments."""
        # An argument hides an outer name: inside, it may be anything.
        names = () if arguments is None else _argument_names(arguments)
        self._scopes.append(dict.fromkeys(names))

    def leave(self) -> None:
        """Leave the innermost function or class."""
        self._scopes.pop()

    def enter_class(self, node: ast.ClassDef) -> None:
        """Enter a class; what one method assigns to `self`, all methods can use."""
        self._classes.append({})
        self._classes[-1].update(self._assigned_to_self(node))
        self.enter()

    def leave_class(self) -> None:
        """Leave the innermost class."""
        self._classes.pop()
        self.leave()

    def bind(self, target: ast.expr, chain: Chain | None) -> None:
        """Make a name stand for a chain, or with None for something unknown."""
        if isinstance(target, ast.Name):
            self._scopes[-1][target.id] = chain if chain is not None and _is_tracked(chain) else None

    def define(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Note what a function of the module returns, if it does nothing else."""
        value = sole_return_value(function)
        if value is not None and legacy_path(chain := self.chain(value)) is not None:
            self._functions[function.name] = chain

    def chain(self, node: ast.AST) -> Chain:
        """Return the chain of an expression; everything up to its last call or subscript becomes `UNKNOWN`."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        # Attributes were collected from the outside in, so the last one is the one next to the start.
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

    def _assigned_to_self(self, class_: ast.ClassDef) -> Iterator[tuple[str, Chain]]:
        for node in ast.walk(class_):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    owner = target.value if isinstance(target, ast.Attribute) else None
                    if isinstance(target, ast.Attribute) and isinstance(owner, ast.Name) and owner.id in _SELF_NAMES:
                        yield from self._if_tracked(target.attr, node.value)
            elif (
                isinstance(node, ast.FunctionDef)
                and _is_property(node)
                and (returned := sole_return_value(node)) is not None
            ):
                yield from self._if_tracked(node.name, returned)

    def _if_tracked(self, name: str, value: ast.expr) -> Iterator[tuple[str, Chain]]:
        chain = self.chain(value)
        if _is_tracked(chain):
            yield name, chain


def sole_return_value(function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.expr | None:
    """Return what a function returns if it does nothing else; docstrings do not count."""
    body = [node for node in function.body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    return body[0].value if len(body) == 1 and isinstance(body[0], ast.Return) else None


def _is_property(function: ast.FunctionDef) -> bool:
    names = [getattr(decorator, "id", getattr(decorator, "attr", "")) for decorator in function.decorator_list]
    return any("property" in name for name in names)


def _is_tracked(chain: Chain) -> bool:
    """Return whether a name for this chain is worth following."""
    return "beta" in chain or chain[0] in {"openai", CONTAINER_FILE} or "containers" in chain


CONTAINER_FILE = "<container file>"
"""The link of a chain that stands for the result of `containers.files.retrieve`."""


def _argument_names(arguments: ast.arguments) -> Iterator[str]:
    for argument in (
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ):
        if argument is not None and argument.arg not in _SELF_NAMES:
            yield argument.arg
