"""Pages of a list are correct for any limit, order, cursor and deletions."""

from __future__ import annotations

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from assistants_compat.store import queries
from assistants_compat.store.database import Connection, transact
from assistants_compat.store.queries import Page


def make_assistants(url: str, namespace: str, count: int, buried: set[int]) -> list[str]:
    """Make `count` assistants in a namespace, delete the `buried` ones, and return all ids in order."""
    ids = [f"asst_{number}" for number in range(count)]

    def work(db: Connection) -> None:
        rows = [{"namespace": namespace, "id": id_, "created_at": 1, "body": {"model": "m"}} for id_ in ids]
        queries.insert_rows(db, "assistants", rows)
        for number in buried:
            queries.mark_deleted(db, "assistants", namespace, ids[number])

    transact(url, work, write=True)
    return ids


def get_page(url: str, namespace: str, page: Page) -> tuple[list[queries.Row], bool]:
    """Return one page of the namespace's assistants, and whether more follow."""
    return transact(url, lambda db: queries.get_page(db, "assistants", namespace, page), write=False)


_namespace_numbers = iter(range(10**9))


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(count=st.integers(0, 12), limit=st.integers(1, 5), ascending=st.booleans(), data=st.data())
def test_pages_add_up_to_the_list(
    store_url: str, count: int, limit: int, *, ascending: bool, data: st.DataObject
) -> None:
    """Paging with `after` gives each remaining entry once and in order, and then an empty page."""
    namespace = f"pages-{next(_namespace_numbers)}-{store_url[:4]}"
    buried = data.draw(st.sets(st.integers(0, count - 1)) if count else st.just(set()))
    ids = make_assistants(store_url, namespace, count, buried)
    living = [id_ for number, id_ in enumerate(ids) if number not in buried]
    expected = living if ascending else living[::-1]
    order = "asc" if ascending else "desc"
    walked: list[str] = []
    after = None
    while True:
        page = Page(limit=limit, order=order, after=after)  # type: ignore[arg-type]
        rows, more = get_page(store_url, namespace, page)
        walked.extend(row["id"] for row in rows)
        assert more == (len(walked) < len(expected))
        if not rows:
            break
        after = rows[-1]["id"]
    assert walked == expected


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(count=st.integers(1, 12), limit=st.integers(1, 5), ascending=st.booleans(), data=st.data())
def test_after_and_before_cut_the_list_at_any_cursor_even_a_deleted_one(
    store_url: str, count: int, limit: int, *, ascending: bool, data: st.DataObject
) -> None:
    """A page starts after or ends before its cursor, even if the cursor's entry is deleted."""
    namespace = f"cuts-{next(_namespace_numbers)}-{store_url[:4]}"
    buried = data.draw(st.sets(st.integers(0, count - 1)))
    ids = make_assistants(store_url, namespace, count, buried)
    cursor = data.draw(st.sampled_from(ids))
    ordered = ids if ascending else ids[::-1]
    index = ordered.index(cursor)
    deleted = {ids[number] for number in buried}
    after_cursor = [id_ for id_ in ordered[index + 1 :] if id_ not in deleted]
    before_cursor = [id_ for id_ in ordered[:index] if id_ not in deleted]
    order = "asc" if ascending else "desc"
    after = Page(limit=limit, order=order, after=cursor)  # type: ignore[arg-type]
    rows, more = transact(store_url, lambda db: queries.get_page(db, "assistants", namespace, after), write=False)
    assert [row["id"] for row in rows] == after_cursor[:limit]
    assert more == (len(after_cursor) > limit)
    before = Page(limit=limit, order=order, before=cursor)  # type: ignore[arg-type]
    rows, more = transact(store_url, lambda db: queries.get_page(db, "assistants", namespace, before), write=False)
    assert [row["id"] for row in rows] == before_cursor[-limit:]
    assert more == (len(before_cursor) > limit)


def test_an_unknown_cursor_gives_an_empty_page(store_url: str) -> None:
    """An unknown cursor gives an empty page, because older SDKs page until one is empty."""
    namespace = f"unknown-{next(_namespace_numbers)}-{store_url[:4]}"
    make_assistants(store_url, namespace, 3, set())
    for page in (Page(after="nobody"), Page(before="nobody"), Page(after="\x00"), Page(before="\ud800")):
        assert get_page(store_url, namespace, page) == ([], False)
