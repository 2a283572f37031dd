"""Makes the refusals of `service/refusal_table.py`, so that a text of the service is written once in the package."""

from __future__ import annotations

from ..service.refusal_table import row
from .exchange import Refusal


def table_refusal(name: str, *, code: str | None = None, **fields: object) -> Refusal:
    """Return the refusal of a row, its message and `param` filled with `fields`; `code` replaces that of the row."""
    refusal = row(name)
    param = None if refusal.param is None else refusal.param.format(**fields)
    return Refusal(refusal.status, refusal.message.format(**fields), param=param, code=code or refusal.code)
