"""Wrapped Azure OpenAI clients for whoever is signed in to Azure: Entra tokens from azure-identity, kept fresh.

::

    client = assistants_compat.azure.client("https://my-resource.openai.azure.com")

Needs the extra `azure`.  With an API key nothing of this is needed: `wrap(openai.AzureOpenAI(...))`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, cast

import openai

from .doors.sdk_internals import keep_token, no_key
from .doors.wrap import wrap
from .errors import CompatError, SignInError
from .settings import Settings

SCOPE = "https://cognitiveservices.azure.com/.default"
"""The scope that legacy Azure OpenAI code asked for."""

API_VERSION = "2024-05-01-preview"  # the first with Assistants v2; what we ask of the Responses API goes without it


class _AzureClient(openai.AzureOpenAI):
    """`AzureOpenAI`, asking by its credential only, and closing the one that was made for it."""

    credential: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        keep_token(self, options.get("azure_ad_token"))

    def close(self) -> None:
        """Close the connections, and the credential if it is ours."""
        super().close()
        if self.credential is not None:
            self.credential.close()


class _AsyncAzureClient(openai.AsyncAzureOpenAI):
    """`AsyncAzureOpenAI`, asking by its credential only, and closing the one that was made for it."""

    credential: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        keep_token(self, options.get("azure_ad_token"))

    async def close(self) -> None:
        """Close the connections, and the credential if it is ours."""
        await super().close()
        if self.credential is not None:
            await self.credential.close()


def client(
    endpoint: str | None = None,
    credential: Any = None,
    scope: str | None = None,
    *,
    settings: Settings | None = None,
    **options: Any,
) -> openai.AzureOpenAI:
    """A wrapped `AzureOpenAI` for an Azure resource, with the tokens of a credential.

    `endpoint` is the resource's, `https://NAME.openai.azure.com` or `https://NAME.services.ai.azure.com`; default:
    the variable `AZURE_OPENAI_ENDPOINT`.  `credential` is one of azure-identity, or whatever has its `get_token`;
    without one it is a `DefaultAzureCredential`, which looks for environment variables, a workload or managed
    identity, and for who is signed in with `az login`.  Tokens are kept, and renewed five minutes before their end.

    `scope` is what a token is asked for.  Microsoft's pages disagree: some have
    `https://cognitiveservices.azure.com/.default`, the default here because legacy code has it, and others
    `https://ai.azure.com/.default`.  Where the service answers 401 to a good token, try the other one.

    `settings` go to `wrap`, every other option to the SDK's constructor.  Closing the client closes the credential that
    was made for it; a given one is its owner's to close.

    Raises `CompatError` without the extra `azure`, and `SettingsError` when a setting cannot be used.  A call of the
    client raises `SignInError` when no token is to be had.
    """
    identity = _identity("azure.identity")
    made = identity.DefaultAzureCredential() if credential is None else None
    provider = identity.get_bearer_token_provider(made or credential, scope or SCOPE)

    def token() -> str:
        try:
            return cast("str", provider())
        except _azure_error() as error:
            raise _sign_in_error(error) from None

    new = _AzureClient(**_constructed(endpoint, options), azure_ad_token_provider=token)
    new.credential = made
    return wrap(new, settings)


def async_client(
    endpoint: str | None = None,
    credential: Any = None,
    scope: str | None = None,
    *,
    settings: Settings | None = None,
    **options: Any,
) -> openai.AsyncAzureOpenAI:
    """A wrapped `AsyncAzureOpenAI`; as `client`, with a credential of `azure.identity.aio`.

    Raises `TypeError` for a credential that is not asynchronous.
    """
    if credential is not None and not inspect.iscoroutinefunction(credential.get_token):
        message = (
            f"async_client() takes a credential of azure.identity.aio, not a blocking {type(credential).__name__}."
        )
        raise TypeError(message)
    identity = _identity("azure.identity.aio")
    made = identity.DefaultAzureCredential() if credential is None else None
    provider: Callable[[], Awaitable[str]]
    provider = identity.get_bearer_token_provider(made or credential, scope or SCOPE)

    async def token() -> str:
        try:
            return await provider()
        except _azure_error() as error:
            raise _sign_in_error(error) from None

    new = _AsyncAzureClient(**_constructed(endpoint, options), azure_ad_token_provider=token)
    new.credential = made
    return wrap(new, settings)


def _identity(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        message = (
            f"assistants_compat.azure needs an extra ({module}): pip install 'assistants-compat[azure]'. "
            "A client with a key (AZURE_OPENAI_API_KEY) needs none."
        )
        raise CompatError(message) from None


def _azure_error() -> type[Exception]:
    return cast("type[Exception]", import_module("azure.core.exceptions").AzureError)


def _constructed(endpoint: str | None, options: dict[str, Any]) -> dict[str, Any]:
    version = os.environ.get("OPENAI_API_VERSION") or API_VERSION
    return {"azure_endpoint": endpoint, "api_version": version, "api_key": no_key(), **options}


def _sign_in_error(error: Exception) -> SignInError:
    """What to do, and what azure-identity said in one line; it holds no secret."""
    return SignInError(
        "Azure gave no token: nobody is signed in, or whoever is may not. Run `az login`, set AZURE_TENANT_ID, "
        "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or give the machine an identity. "
        f"azure-identity says: {' '.join(str(error).split())}"
    )
