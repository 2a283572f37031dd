"""docs/refusals.md has every row of the table of refusals, and names a test for each that the library handles."""

from __future__ import annotations

from collections import Counter

import pytest
from refusal_tables import TOPICS, marked_tests

from assistants_compat.service.refusal_table import TABLE
from assistants_compat.service.refusals import Refusal


def test_every_refusal_is_on_the_page_once() -> None:
    """The three parts of the page have each row of the table once."""
    shown = Counter(row.name for rows in TOPICS.values() for row in rows)
    assert shown == Counter(row.name for row in TABLE)


@pytest.mark.parametrize("row", [row for row in TABLE if row.outcome != "told"], ids=lambda row: row.name)
def test_a_handled_refusal_has_a_test(row: Refusal) -> None:
    """Each row that is avoided or recovered is named by `@pytest.mark.refusal(...)` of a test."""
    assert marked_tests().get(row.name)


def test_a_marked_test_names_a_row() -> None:
    """Every name in `@pytest.mark.refusal(...)` is a row of the table."""
    assert set(marked_tests()) <= {row.name for row in TABLE}
