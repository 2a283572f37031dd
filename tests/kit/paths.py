"""Paths of the checkout and of the shared recordings."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SHARED = ROOT.parent / "shared"  # recordings and the spec; not part of a bare checkout
SPEC = SHARED / "spec" / "openapi.json"
