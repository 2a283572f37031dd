"""Writes Markdown that comes from data."""

from __future__ import annotations


def cell(text: str) -> str:
    """Escape text for a cell of a table."""
    parts = text.replace("|", "\\|").split("`")  # every second part is code, where brackets need no escape
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))
