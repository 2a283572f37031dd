"""Checks of file search and vector stores: 18 and 19."""

from __future__ import annotations

from collections.abc import Sequence

from .answers import Answer, Answers
from .bench import Bench
from .check import LiveCheck, Target
from .verdicts import Point, either, expect_accepted, expect_refused

_REPORTED_LIMIT, _DOCUMENTED_LIMIT = 100, 500  # files of a new vector store: reported in 2024; the spec of today


async def _ask_stores(bench: Bench) -> Answers:
    stores: list[str] = []
    for _ in range(3):
        store = await bench.vector_store([])
        stores.append(str(store.body["id"]))
    answers = {f"stores: {count}": await _search(bench, stores[:count], f"stores: {count}") for count in (1, 2, 3)}
    await bench.delete_first(f"/vector_stores/{stores[0]}")
    answers["deleted store"] = await _search(bench, stores[:1], "deleted store")
    return answers


async def _search(bench: Bench, store_ids: list[str], name: str) -> Answer:
    tools = [{"type": "file_search", "vector_store_ids": store_ids}]
    return await bench.respond(name=name, tools=tools)


def _judge_stores(answers: Answers, _target: Target) -> list[Point]:
    rows = ("vector_stores_too_many",)
    points = [
        expect_accepted(answers["stores: 1"], "a search of an empty vector store", (*rows, "hosted_tool_unsupported")),
        expect_accepted(answers["stores: 2"], "a search of two vector stores", rows),
        expect_refused(answers["stores: 3"], "a search of three vector stores", rows),
    ]
    # The library looks at a vector store before a run that searches it.
    return [*points, either(answers["deleted store"], "a search of a deleted vector store")]


async def _ask_store_files(bench: Bench) -> Answers:
    file_id = await bench.small_file()
    answers = {}
    for count in (_REPORTED_LIMIT + 1, _DOCUMENTED_LIMIT + 1):
        name = f"{count} files"
        answers[name] = await bench.vector_store([file_id] * count, name=name, is_required=False)
    return answers


def _judge_store_files(answers: Answers, _target: Target) -> list[Point]:
    below, above = answers[f"{_REPORTED_LIMIT + 1} files"], answers[f"{_DOCUMENTED_LIMIT + 1} files"]
    rows = ("file_ids_too_many",)
    # The library creates a store with the first hundred files, and adds the others in batches.
    limit = _REPORTED_LIMIT if not below.accepted else _DOCUMENTED_LIMIT
    return [
        either(below, f"a new vector store of {_REPORTED_LIMIT + 1} files", rows),
        expect_refused(above, f"a new vector store of more than {limit} files", rows),
    ]


CHECKS: Sequence[LiveCheck] = (
    LiveCheck(
        18,
        "vector stores",
        "`file_search` with one, two and three vector stores, then with a deleted one",
        "how many can be searched, and with which words a deleted one is refused",
        _ask_stores,
        _judge_stores,
        cents=1.2,
    ),
    LiveCheck(
        19,
        "files of a vector store",
        "`POST /vector_stores` with 101 and with 501 ids of one small file",
        "how many files a new vector store takes at once",
        _ask_store_files,
        _judge_store_files,
        cents=0.1,
    ),
)
