"""Marks every test of a suite with `assistants_compat` and wraps every client. A conftest.py needs one line.

pytest_plugins = ["assistants_compat.pytest_plugin.everywhere"]
"""

from __future__ import annotations

import pytest

from ..doors.install import install, uninstall
from .marker import MARKER

# For suites where pytest does not load the plugin by itself: with PYTEST_DISABLE_PLUGIN_AUTOLOAD, or where the package
# is only on the path and not installed.
pytest_plugins = ["assistants_compat.pytest_plugin"]


def pytest_configure() -> None:
    """Wrap the clients that come from no fixture, too; the SDK may be imported later."""
    install()


def pytest_unconfigure() -> None:
    """Undo `install()`."""
    uninstall()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that have no marker yet; a test's own marker keeps its arguments."""
    for item in items:
        if item.get_closest_marker(MARKER) is None:
            item.add_marker(MARKER)
