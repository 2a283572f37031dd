"""Proves with random sequences of calls that the library behaves as a small model of the Assistants API."""

from __future__ import annotations

import pytest

# pytest rewrites the assertions of test files only.
pytest.register_assert_rewrite("conversations")
