"""Every form of an Azure endpoint is understood, and a gateway's own path is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.wire.azure_endpoints import azure_resource, intended_base, is_project
from kit.azure_forms import PROJECT, PROJECT_FORMS, RESOURCE_FORMS

HOSTS = ("https://name.openai.azure.com", "https://name.services.ai.azure.com", "https://name.openai.azure.us")


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("form", RESOURCE_FORMS)
def test_every_form_of_a_resource_is_the_resource(host: str, form: str) -> None:
    """Whatever stands behind a resource's host, the resource is the host."""
    assert azure_resource(f"{host}{form}") == host
    assert azure_resource(f"  {host}{form}\n") == host
    assert not is_project(f"{host}{form}")


@pytest.mark.parametrize("form", PROJECT_FORMS)
def test_every_form_of_a_project_is_the_project(form: str) -> None:
    """A project keeps its path, and only its path."""
    assert azure_resource(f"https://name.services.ai.azure.com{form}") == f"https://name.services.ai.azure.com{PROJECT}"
    assert is_project(f"https://name.services.ai.azure.com{form}")


OTHER_ENDPOINTS = {
    "https://name.services.ai.azure.com/models": "https://name.services.ai.azure.com",
    "https://westeurope.api.cognitive.microsoft.com/": "https://westeurope.api.cognitive.microsoft.com",
    "https://gateway.example/team": "https://gateway.example/team",
    "https://gateway.example/team/openai/v1": "https://gateway.example/team",
    "https://gateway.example/openai": "https://gateway.example/openai",
    "https://gateway.example/openai/team": "https://gateway.example/openai/team",
    "https://gateway.example/models": "https://gateway.example/models",
    "https://name.azure-api.net/my-openai/": "https://name.azure-api.net/my-openai",
}


@pytest.mark.parametrize("endpoint", OTHER_ENDPOINTS)
def test_the_path_of_a_gateway_is_kept(endpoint: str) -> None:
    """A gateway's own path is kept, also if it is called `openai`; only the routes behind it are left out."""
    assert azure_resource(endpoint) == OTHER_ENDPOINTS[endpoint]


BASES = [
    ("/openai", "name.openai.azure.com", "/openai"),
    ("/openai/v1/openai", "name.openai.azure.com", "/openai"),
    ("/openai/v1/openai", "gateway.example", "/openai"),
    ("/openai/openai", "name.openai.azure.com", "/openai"),
    ("/openai/openai", "gateway.example", "/openai/openai"),
    ("/team/openai/v1/openai", "gateway.example", "/team/openai"),
    ("/openai/v1/openai/deployments/gpt-4o", "name.openai.azure.com", "/openai/deployments/gpt-4o"),
    ("/models/openai", "name.services.ai.azure.com", "/openai"),
    ("/models/openai", "gateway.example", "/models/openai"),
    (f"{PROJECT}/openai/v1/openai", "name.services.ai.azure.com", f"{PROJECT}/openai"),
    ("/openai/v1", "name.openai.azure.com", "/openai/v1"),
    ("/openai/team/openai", "gateway.example", "/openai/team/openai"),
]


@pytest.mark.parametrize(("base", "host", "expected"), BASES)
def test_a_base_that_names_the_routes_twice_is_understood(base: str, host: str, expected: str) -> None:
    """What the SDK makes of an endpoint with routes is the base that the endpoint meant."""
    assert intended_base(base, host) == expected


@given(st.lists(st.sampled_from(["openai", "v1", "deployments", "gpt", "api", "projects", "p", "models", "team"])))
def test_any_endpoint_has_one_meaning(parts: list[str]) -> None:
    """Understanding an endpoint again changes nothing, and neither does understanding its base."""
    path = "".join(f"/{part}" for part in parts)
    resource = azure_resource(f"https://name.openai.azure.com{path}")
    assert azure_resource(resource) == resource
    base = intended_base(f"{path}/openai", "name.openai.azure.com")
    assert intended_base(base, "name.openai.azure.com") == base


@pytest.mark.parametrize("endpoint", ["", "name", "https://[", "https://", "/openai/v1"])
def test_what_is_no_url_does_not_break_it(endpoint: str) -> None:
    """Text that is no URL is returned as far as it can be understood."""
    assert azure_resource(endpoint) in {endpoint, endpoint.rstrip("/"), ""}
