"""Understands the forms in which Microsoft's pages and the portal show the endpoint of an Azure resource.

`https://NAME.openai.azure.com` is what `AzureOpenAI` takes; it appends `/openai`. Pages also show `.../openai/v1/` (the
base of an `OpenAI` client), `.../openai`, the URI of one deployment or route, `https://NAME.services.ai.azure.com/models`
and the endpoint of a Foundry project, `.../api/projects/PROJECT`. A gateway may have a path of its own.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

AZURE_HOSTS = (".azure.com", ".azure.us", ".azure.cn", ".cognitive.microsoft.com")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_INFERENCE_HOST = ".services.ai.azure.com"
V1_VERSIONS = frozenset({"v1", "preview", "latest"})
"""The values of `api-version` that the v1 routes take. Source: azure-ai-docs, "API version lifecycle"."""

_DEPLOYMENT = re.compile(r"/deployments/[^/]+\Z")
_TAIL = r"/openai(?:/(?:v1|deployments|responses)(?:/[^?#]*)?)?"
_ROUTES = re.compile(rf"{_TAIL}\Z")
# The SDK appends `/openai` to an endpoint that ends in routes already.
_REPEATED = re.compile(rf"(?P<resource>.*?)(?P<routes>{_TAIL}|/models)(?P<base>/openai(?:/deployments/[^/]+)?)")
_PROJECT = re.compile(r"/api/projects/[^/]+(?=/|\Z)")
_PROJECT_BASE = re.compile(rf".*{_PROJECT.pattern}(?:/openai)?")
# Recorded below a project: `/openai/responses?api-version=2025-11-15-preview`, and `/openai/v1/...` without a version.
_OLDEST_PROJECT_VERSION = "2025-11-15"


def azure_resource(endpoint: str) -> str:
    """Return what `AzureOpenAI(azure_endpoint=...)` needs: the resource, gateway or project of any form of endpoint."""
    url = re.split(r"[?#]", endpoint.strip(), maxsplit=1)[0].rstrip("/")
    host = _host(url)
    while (match := _ROUTES.search(url)) is not None and (match[0] != "/openai" or not _is_gateway(host)):
        url = url[: match.start()]
    if host.endswith(_INFERENCE_HOST):
        url = re.sub(r"/models\Z", "", url)
    return url.rstrip("/")


def is_project(url: str) -> bool:
    """Return whether an endpoint or base is that of a Foundry project."""
    return _PROJECT.search(url) is not None


def intended_base(base: str, host: str) -> str:
    """Return the path that an Azure client's base was meant to have, if its endpoint named the routes already.

    `/openai/v1/openai` and `/openai/openai` become `/openai`, as no resource serves them. Below a gateway `/openai` may
    be the gateway's own path, so `/openai/openai` stays as it is there.
    """
    while match := _REPEATED.fullmatch(base):
        if match["routes"] == "/models" and not host.endswith(_INFERENCE_HOST):
            break
        if match["routes"] == "/openai" and _is_gateway(host):
            break
        base = f"{match['resource']}{match['base']}"
    return base


def azure_v1_base(base: str) -> str:
    """Return the base of Azure's v1 routes for a client's base, which may name a deployment or end in `/v1` already."""
    without_deployment = _DEPLOYMENT.sub("", base)
    if without_deployment.endswith("/v1"):
        return without_deployment
    if _PROJECT_BASE.fullmatch(without_deployment) and not without_deployment.endswith("/openai"):
        without_deployment += "/openai"
    return f"{without_deployment}/v1"


def v1_base_of(base: str, *, azure: bool, has_version: bool) -> tuple[str, bool]:
    """Return the base of the Responses API for a client's base, and whether a set `api-version` belongs there.

    `azure` says that the client is one of Azure, `has_version` that its requests have an `api-version`. For Azure that
    base is `/openai/v1`, below the path of a gateway or project; for any other client it is its own. Other signs of
    Azure are a deployment or a project in the path. A base that ends in `/openai/v1` is used as it is; whoever sets a
    version for it says that it is Azure's.
    """
    if azure or has_version or _DEPLOYMENT.search(base) or _PROJECT_BASE.fullmatch(base):
        return azure_v1_base(base), True
    return base, base.endswith("/openai/v1")


def kept_version(configured: str | None, sent: str | None) -> str | None:
    """Return the `api-version` of upstream requests: the configured one, or the client's own if v1 routes take it."""
    return configured or (sent if sent in V1_VERSIONS else None)


def served_base(base: str, host: str, version: str | None) -> str:
    """Return the base at which an Azure client's own requests are served; mostly that is its base as it is.

    A base may name the routes twice. A project's dated routes are recorded from one version on; what asks for an older
    one, as legacy code does, goes to the v1 routes, which want no such version.
    """
    intended = intended_base(base, host)
    resource = _DEPLOYMENT.sub("", intended)
    if _PROJECT_BASE.fullmatch(resource) and version not in V1_VERSIONS and (version or "") < _OLDEST_PROJECT_VERSION:
        return azure_v1_base(resource)
    return intended


def takes_version(base: str, version: str | None) -> bool:
    """Return whether requests below a base may carry an `api-version`: the v1 routes take no dated one."""
    return version is None or version in V1_VERSIONS or not base.endswith("/openai/v1")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # for example an unclosed bracket
        return ""


def _is_gateway(host: str) -> bool:
    return not host.endswith(AZURE_HOSTS) and host not in _LOCAL_HOSTS
