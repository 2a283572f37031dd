"""Writes the links of the package's metadata: hatchling runs this when it builds a wheel or a source distribution."""

from __future__ import annotations

from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ProjectUrls(MetadataHookInterface):
    """Makes `[project.urls]` of the one address in pyproject.toml; without an address the metadata has no links."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the links of the repository, its issues and its changelog."""
        repository = str(self.config["repository"]).rstrip("/")
        if repository:
            metadata["urls"] = {
                "Repository": repository,
                "Issues": f"{repository}/issues",
                "Changelog": f"{repository}/blob/main/CHANGELOG.md",
            }
        else:
            metadata["urls"] = {}
