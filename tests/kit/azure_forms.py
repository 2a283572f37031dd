"""The forms in which Microsoft's pages, the portal and the samples show an Azure endpoint: one list for every test."""

from __future__ import annotations

RESOURCE_FORMS = (
    "",
    "/",
    "/openai",
    "/openai/",
    "/openai/v1",
    "/openai/v1/",
    "/openai/v1//",
    "/openai/v1/responses",
    "/openai/responses?api-version=2025-04-01-preview",
    "/openai/deployments/gpt-4o",
    "/openai/deployments/gpt-4o/chat/completions?api-version=2024-05-01-preview",
)
"""What stands behind the host of a resource."""

PROJECT = "/api/projects/my-project"
PROJECT_FORMS = (PROJECT, f"{PROJECT}/", f"{PROJECT}/openai", f"{PROJECT}/openai/v1", f"{PROJECT}/openai/v1/")
"""What stands behind the host of a Foundry resource for one of its projects."""

BASES = {
    **dict.fromkeys(RESOURCE_FORMS, "/openai/v1"),
    **dict.fromkeys(PROJECT_FORMS, f"{PROJECT}/openai/v1"),
}
"""Each form, and the path of the v1 routes that it stands for."""

# A query behind the routes makes an endpoint that the SDK itself cannot turn into a base.
SDK_FORMS = tuple(form for form in BASES if "?" not in form)
