"""The one line of a conftest.py: every test of the suite is marked with `assistants_compat`, every client is wrapped.

pytest_plugins = ["assistants_compat.pytest_plugin.everywhere"]
"""

from __future__ import annotations

import pytest

from ..doors.install import install, uninstall
from . import MARKER

# Where pytest loads no plugin by itself (PYTEST_DISABLE_PLUGIN_AUTOLOAD), or the package is only on the path.
pytest_plugins = ["assistants_compat.pytest_plugin"]


def pytest_configure() -> None:
    """Wrap the clients that no fixture gives, too; the SDK need not be there yet."""
    install()


def pytest_unconfigure() -> None:
    """Leave the process as it was."""
    uninstall()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark those that are not marked, so that a test's own marker keeps its arguments."""
    for item in items:
        if item.get_closest_marker(MARKER) is None:
            item.add_marker(MARKER)
