"""Lets one test body serve synchronous and asynchronous clients.

`door(x)` returns the value of `x`. If `x` is awaitable, the door first awaits it on its own event loop.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import openai

import assistants_compat
from assistants_compat import Settings

KEY = "sk-test"


@dataclass
class Door:
    """A kind of client, and the event loop that an asynchronous one needs."""

    kind: Literal["sync", "async"]
    loop: asyncio.AbstractEventLoop | None = None
    clients: list[Any] = field(default_factory=list)

    def __call__(self, value: Any) -> Any:
        """Return the value, awaited if it is awaitable."""
        if inspect.isawaitable(value):
            assert self.loop is not None

            async def wait() -> Any:
                return await value

            return self.loop.run_until_complete(wait())
        return value

    def all(self, pages: Any) -> list[Any]:
        """Return every entry of a list, over all of its pages."""
        if isinstance(pages, AsyncIterator) or hasattr(pages, "__aiter__"):

            async def collect() -> list[Any]:
                return [entry async for entry in pages]

            return list(self(collect()))
        return list(pages)

    def map_entries(self, pages: Any, action: Callable[[Any], Any]) -> list[Any]:
        """Call `action` for every entry while later pages are still to be fetched; return the results."""
        if hasattr(pages, "__aiter__"):

            async def walk() -> list[Any]:
                return [await action(entry) async for entry in pages]

            return list(self(walk()))
        return [action(entry) for entry in pages]

    def raw_client(self, upstream: Any, *, azure: bool = False, **options: Any) -> Any:
        """Make an unwrapped client of this kind, which is closed at the end of the test."""
        if azure:
            class_ = openai.AzureOpenAI if self.kind == "sync" else openai.AsyncAzureOpenAI
            options.setdefault("azure_endpoint", upstream.azure_endpoint)
            options.setdefault("api_version", "2024-05-01-preview")
        else:
            class_ = openai.OpenAI if self.kind == "sync" else openai.AsyncOpenAI  # type: ignore[assignment]
            options.setdefault("base_url", upstream.base_url)
        options.setdefault("api_key", KEY)
        options.setdefault("max_retries", 0)
        client = class_(**options)
        self.clients.append(client)
        return client

    def client(self, upstream: Any, settings: Settings, **options: Any) -> Any:
        """Make a wrapped client of this kind."""
        return assistants_compat.wrap(self.raw_client(upstream, **options), settings)

    def close(self) -> None:
        """Close every client and the event loop."""
        for client in self.clients:
            self(client.close())
        if self.loop is not None:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
