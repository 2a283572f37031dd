"""What an audit finds in the installed package of a framework."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

from assistants_compat.tools.audit import audit


def calls_in(package: str) -> dict[str, int]:
    """How often an installed package has each call of the Assistants API; everything in it can be read."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin)
    done = audit([path.parent if path.name == "__init__.py" else path])
    assert done.unread == {}
    assert {each.verdict for each in done.uses} <= {"works", "differs"}
    return dict(Counter(each.what for each in done.uses if each.kind == "call" and each.what.startswith("beta.")))
