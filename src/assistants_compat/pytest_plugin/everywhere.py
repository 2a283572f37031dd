"""The one line of a conftest.py: every test of the suite is marked with `assistants_compat`.

pytest_plugins = ["assistants_compat.pytest_plugin.everywhere"]
"""

from __future__ import annotations

import pytest

from . import MARKER


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark those that are not marked, so that a test's own marker keeps its arguments."""
    for item in items:
        if item.get_closest_marker(MARKER) is None:
            item.add_marker(MARKER)
