"""List cursors: any page, any order, any deletions."""

from __future__ import annotations

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from assistants_compat.store import queries
from assistants_compat.store.database import Connection, transact
from assistants_compat.store.queries import Page


def filled(url: str, namespace: str, count: int, buried: set[int]) -> list[str]:
    """A namespace with `count` assistants, some of them deleted; the ids of all in order."""
    ids = [f"asst_{number}" for number in range(count)]

    def work(db: Connection) -> None:
        rows = [{"namespace": namespace, "id": id_, "created_at": 1, "body": {"model": "m"}} for id_ in ids]
        queries.add(db, "assistants", rows)
        for number in buried:
            queries.bury(db, "assistants", namespace, ids[number])

    transact(url, work, write=True)
    return ids


def listed(url: str, namespace: str, page: Page) -> tuple[list[queries.Found], bool]:
    """One page of the namespace's assistants."""
    return transact(url, lambda db: queries.page(db, "assistants", namespace, page), write=False)


_spaces = iter(range(10**9))


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(count=st.integers(0, 12), limit=st.integers(1, 5), ascending=st.booleans(), data=st.data())
def test_pages_put_together_are_the_list(
    store_url: str, count: int, limit: int, *, ascending: bool, data: st.DataObject
) -> None:
    """Walking by `after` gives every living entry once and in order, and the page after the last is empty."""
    namespace = f"pages-{next(_spaces)}-{store_url[:4]}"
    buried = data.draw(st.sets(st.integers(0, count - 1)) if count else st.just(set()))
    ids = filled(store_url, namespace, count, buried)
    living = [id_ for number, id_ in enumerate(ids) if number not in buried]
    expected = living if ascending else living[::-1]
    order = "asc" if ascending else "desc"
    walked: list[str] = []
    after = None
    while True:
        page = Page(limit=limit, order=order, after=after)  # type: ignore[arg-type]
        rows, more = listed(store_url, namespace, page)
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
    """A page after a cursor starts behind it; a page before a cursor ends in front of it."""
    namespace = f"cuts-{next(_spaces)}-{store_url[:4]}"
    buried = data.draw(st.sets(st.integers(0, count - 1)))
    ids = filled(store_url, namespace, count, buried)
    cursor = data.draw(st.sampled_from(ids))
    listed = ids if ascending else ids[::-1]
    place = listed.index(cursor)
    dead = {ids[number] for number in buried}
    behind = [id_ for id_ in listed[place + 1 :] if id_ not in dead]
    front = [id_ for id_ in listed[:place] if id_ not in dead]
    order = "asc" if ascending else "desc"
    after = Page(limit=limit, order=order, after=cursor)  # type: ignore[arg-type]
    rows, more = transact(store_url, lambda db: queries.page(db, "assistants", namespace, after), write=False)
    assert [row["id"] for row in rows] == behind[:limit]
    assert more == (len(behind) > limit)
    before = Page(limit=limit, order=order, before=cursor)  # type: ignore[arg-type]
    rows, more = transact(store_url, lambda db: queries.page(db, "assistants", namespace, before), write=False)
    assert [row["id"] for row in rows] == front[-limit:]
    assert more == (len(front) > limit)


def test_an_unknown_cursor_gives_an_empty_page(store_url: str) -> None:
    """Older SDKs page until one is empty: a cursor that is not there must not start the list again."""
    namespace = f"unknown-{next(_spaces)}-{store_url[:4]}"
    filled(store_url, namespace, 3, set())
    for page in (Page(after="nobody"), Page(before="nobody"), Page(after="\x00"), Page(before="\ud800")):
        assert listed(store_url, namespace, page) == ([], False)
