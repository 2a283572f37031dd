"""Wrapped Azure OpenAI clients that sign in with Microsoft Entra ID, through azure-identity.

::

    client = assistants_compat.azure.client("https://my-resource.openai.azure.com")

Needs the extra `azure`. A client with an API key does not need this module: `wrap(openai.AzureOpenAI(...))`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, cast

import openai

from .doors.sdk_internals import azure_key_placeholder, set_azure_ad_token
from .doors.wrap import wrap
from .errors import CompatError, SignInError
from .settings import Settings
from .wire.azure_endpoints import azure_resource, is_project

SCOPE = "https://cognitiveservices.azure.com/.default"
"""The token scope that legacy Azure OpenAI code requests."""

PROJECT_SCOPE = "https://ai.azure.com/.default"
"""The token scope of a Foundry project's endpoint. Source: azure-ai-projects 2, `get_openai_client`."""

API_VERSION = "2024-05-01-preview"  # the first with Assistants v2; Responses requests do not carry it


class _AzureClient(openai.AzureOpenAI):
    """`AzureOpenAI` that sends its provider's tokens only, and closes the credential that was created for it."""

    own_credential: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        set_azure_ad_token(self, options.get("azure_ad_token"))

    def close(self) -> None:
        """Close the connections, and the credential that was created for this client."""
        super().close()
        if self.own_credential is not None:
            self.own_credential.close()


class _AsyncAzureClient(openai.AsyncAzureOpenAI):
    """`AsyncAzureOpenAI` that sends its provider's tokens only, and closes the credential that was created for it."""

    own_credential: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        set_azure_ad_token(self, options.get("azure_ad_token"))

    async def close(self) -> None:
        """Close the connections, and the credential that was created for this client."""
        await super().close()
        if self.own_credential is not None:
            await self.own_credential.close()


def client(
    endpoint: str | None = None,
    credential: Any = None,
    scope: str | None = None,
    *,
    settings: Settings | None = None,
    **options: Any,
) -> openai.AzureOpenAI:
    """Return a wrapped `AzureOpenAI` client that sends the tokens of a credential.

    `endpoint` is the URL of the Azure resource, `https://NAME.openai.azure.com` or
    `https://NAME.services.ai.azure.com`, or that of a Foundry project in it (`.../api/projects/PROJECT`). What some
    pages show behind it is left out: `/openai/v1/`, `/openai`, a deployment. The default is the variable
    `AZURE_OPENAI_ENDPOINT`. `credential` comes from
    azure-identity, or is any object with the same `get_token`. The default is a `DefaultAzureCredential`, which tries
    environment variables, a workload or managed identity, and the account signed in with `az login`. Tokens are cached,
    and renewed five minutes before they expire.

    `scope` is the scope of the token. Microsoft's pages disagree about it: some name
    `https://cognitiveservices.azure.com/.default`, the default here because legacy code uses it, others
    `https://ai.azure.com/.default`, the default for a project's endpoint. If the service answers 401 to a valid token,
    try the other one.

    `settings` are passed to `wrap`, all other options to the SDK's constructor. Closing the client closes the default
    credential; close a credential of your own yourself.

    Raises `CompatError` without the extra `azure`, and `SettingsError` for an invalid setting. A call of the client
    raises `SignInError` if it gets no token.

    Example::

        client = assistants_compat.azure.client(
            "https://my-resource.openai.azure.com"
        )
        assistant = client.beta.assistants.create(model="my-deployment")
    """
    identity = _import_identity("azure.identity")
    own_credential = identity.DefaultAzureCredential() if credential is None else None
    provider = identity.get_bearer_token_provider(own_credential or credential, scope or default_scope(endpoint))

    def token() -> str:
        try:
            return cast("str", provider())
        except _azure_error() as error:
            raise _sign_in_error(error) from None

    sdk_client = _AzureClient(**_constructor_options(endpoint, options), azure_ad_token_provider=token)
    sdk_client.own_credential = own_credential
    return wrap(sdk_client, settings)


def async_client(
    endpoint: str | None = None,
    credential: Any = None,
    scope: str | None = None,
    *,
    settings: Settings | None = None,
    **options: Any,
) -> openai.AsyncAzureOpenAI:
    """Return a wrapped `AsyncAzureOpenAI` client; as `client`, but with a credential of `azure.identity.aio`.

    Raises `TypeError` for a credential that is not asynchronous.

    Example::

        client = assistants_compat.azure.async_client()
        assistant = await client.beta.assistants.create(model="my-deployment")
    """
    if credential is not None and not inspect.iscoroutinefunction(credential.get_token):
        message = (
            f"async_client() needs a credential of azure.identity.aio, not a blocking {type(credential).__name__}."
        )
        raise TypeError(message)
    identity = _import_identity("azure.identity.aio")
    own_credential = identity.DefaultAzureCredential() if credential is None else None
    provider: Callable[[], Awaitable[str]]
    provider = identity.get_bearer_token_provider(own_credential or credential, scope or default_scope(endpoint))

    async def token() -> str:
        try:
            return await provider()
        except _azure_error() as error:
            raise _sign_in_error(error) from None

    sdk_client = _AsyncAzureClient(**_constructor_options(endpoint, options), azure_ad_token_provider=token)
    sdk_client.own_credential = own_credential
    return wrap(sdk_client, settings)


def _import_identity(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        message = (
            f"assistants_compat.azure needs {module}: pip install azure-identity aiohttp. "
            "A client with an API key (AZURE_OPENAI_API_KEY) does not need it."
        )
        raise CompatError(message) from None


def _azure_error() -> type[Exception]:
    return cast("type[Exception]", import_module("azure.core.exceptions").AzureError)


def _constructor_options(endpoint: str | None, options: dict[str, Any]) -> dict[str, Any]:
    # The caller's options come last: an `api_key` of theirs replaces the placeholder.
    return {**endpoint_options(endpoint), "api_key": azure_key_placeholder(), **options}


def endpoint_options(endpoint: str | None = None) -> dict[str, Any]:
    """Return the options of `AzureOpenAI` for an endpoint in any form, or for the one in `AZURE_OPENAI_ENDPOINT`."""
    given = endpoint or os.environ.get("AZURE_OPENAI_ENDPOINT")
    version = os.environ.get("OPENAI_API_VERSION") or API_VERSION
    return {"azure_endpoint": azure_resource(given) if given else endpoint, "api_version": version}


def default_scope(endpoint: str | None = None) -> str:
    """Return the token scope for an endpoint, or for the one in `AZURE_OPENAI_ENDPOINT`."""
    return PROJECT_SCOPE if is_project(endpoint or os.environ.get("AZURE_OPENAI_ENDPOINT") or "") else SCOPE


def _sign_in_error(error: Exception) -> SignInError:
    """Return an error that says what to do, with azure-identity's own message in one line; that holds no secret."""
    return SignInError(
        "Azure issued no token: no identity is signed in, or it lacks permission. Run `az login`, set AZURE_TENANT_ID, "
        "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or assign a managed identity to the machine. "
        f"azure-identity says: {' '.join(str(error).split())}"
    )
