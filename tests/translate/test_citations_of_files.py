"""Every link to a listed file has one citation, and every other file is cited once, whatever a container lists."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.translate.links import path_from_name, paths_from_link
from assistants_compat.translate.uncited_files import (
    cite_linked_files,
    cite_remaining_files,
    location_of_citation,
    location_of_file,
    unknown_files,
    was_written_again,
)

PATHS = st.sampled_from(["d.csv", "a/d.csv", "my d.csv", "d.csv.zip", "é.csv", "e\u0301.csv", "cfile_1.png", "x.png"])
FILES = st.lists(st.tuples(PATHS, st.integers(1, 3)), max_size=6).map(
    lambda named: [
        {"container_id": "cntr_1", "id": f"cfile_{number}", "path": f"/mnt/data/{path}", "bytes": size}
        for number, (path, size) in enumerate(named)
    ]
)
LINKED = st.lists(st.tuples(PATHS, st.booleans(), st.sampled_from(["", "Text. ", "表"])), max_size=6)


def message_with(text: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    """Return a message item with one text."""
    return {"type": "message", "content": [{"type": "output_text", "text": text, "annotations": list(annotations)}]}


def citations_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the citations of a message item with one text."""
    [part] = item["content"]
    return part["annotations"]  # type: ignore[no-any-return]


@given(files=FILES, linked=LINKED, data=st.data())
def test_each_link_to_a_listed_file_has_one_citation(
    files: list[dict[str, Any]], linked: list[tuple[str, bool, str]], data: st.DataObject
) -> None:
    """Each link to a listed file is cited once with its exact span, and what the service cited stays as it was."""
    text, links, cited = "", [], []
    for path, is_encoded, between in linked:
        link = "sandbox:/mnt/data/" + (quote(path) if is_encoded else path)
        start = len(text) + len(between) + len("[x](")
        text += f"{between}[x]({link})"
        links.append((start, start + len(link)))
        same = [file for file in files if path_from_name(file["path"]) == path_from_name(path)]
        file = data.draw(st.sampled_from([None, *same]))
        if file is not None:
            span = {"start_index": start, "end_index": start + len(link)}
            name = path.rpartition("/")[2]
            cited.append({"type": "container_file_citation", "filename": name, "file_id": file["id"], **span})
            cited[-1]["container_id"] = "cntr_1"
    item = cite_linked_files(message_with(text, *cited), files)
    citations = citations_of(item)
    assert [{key: note[key] for key in cited[0]} for note in citations[: len(cited)]] == cited if cited else True
    spans = [(note["start_index"], note["end_index"]) for note in citations]
    listed = {path_from_name(file["path"]) for file in files}
    assert sorted(spans) == [span for span in links if {*paths_from_link(text[slice(*span)])} & listed]
    newest = {path_from_name(file["path"]): index for index, file in enumerate(files)}
    for note in citations[len(cited) :]:
        file = next(file for file in files if location_of_file(file) == location_of_citation(note))
        assert path_from_name(file["path"]) in paths_from_link(text[note["start_index"] : note["end_index"]])
        # The newest of the path, or the newest of exactly the spelling that is linked.
        is_newest = newest[path_from_name(file["path"])] == files.index(file)
        assert is_newest or text[: note["end_index"]].endswith(file["path"])


@given(files=FILES, sizes=st.lists(st.integers(1, 3), max_size=4), known=st.sets(st.integers(0, 5)))
def test_each_new_file_is_cited_once(files: list[dict[str, Any]], sizes: list[int], known: set[int]) -> None:
    """Each file that is not known is cited once, but for as many images named by an id as were shown of their size."""
    locations = {("cntr_1", f"cfile_{number}") for number in known}
    new = [file for file in files if location_of_file(file) not in locations]
    item = cite_remaining_files(message_with("Done."), files, locations, sizes)
    cited = [location_of_citation(note) for note in citations_of(item)]
    assert cited == [location_of_file(file) for file in unknown_files(files, locations, sizes)]
    assert len(set(cited)) == len(cited)
    left_out = [file for file in new if location_of_file(file) not in cited]
    assert {file["path"] for file in left_out} <= {"/mnt/data/cfile_1.png"}
    named = Counter(file["bytes"] for file in new if file["path"] == "/mnt/data/cfile_1.png")
    assert Counter(file["bytes"] for file in left_out) == named & Counter(sizes)


@given(st.integers(0, 9) | st.none(), st.integers(0, 9) | st.none(), st.integers(0, 9), st.integers(0, 9))
def test_a_file_is_another_version_if_its_size_or_time_differs(
    size: int | None, time: int | None, listed_size: int, listed_time: int
) -> None:
    """A file was written again if the container lists another size or time than when its row was made."""
    row = {"stored": True, "body": {"filename": "/mnt/data/d.csv", "bytes": 1}}
    row["body"]["listed"] = {"bytes": listed_size, "created_at": listed_time}  # type: ignore[index]
    file = {"bytes": size, "created_at": time}
    assert was_written_again(file, row) == ((size, time) != (listed_size, listed_time))
    assert not was_written_again({"bytes": listed_size, "created_at": listed_time}, row)
