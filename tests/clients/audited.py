"""Audits the installed package of a framework."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

from assistants_compat.tools.audit import audit


def count_calls(package: str) -> dict[str, int]:
    """Return how often an installed package makes each call of the Assistants API; every file must be readable."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin)
    result = audit([path.parent if path.name == "__init__.py" else path])
    assert result.unread == {}
    # An import may be of a name that the SDK no longer has: frameworks of long ago try several.
    assert {use.verdict for use in result.uses if use.kind == "call"} <= {"works", "differs"}
    return dict(Counter(use.what for use in result.uses if use.kind == "call" and use.what.startswith("beta.")))
