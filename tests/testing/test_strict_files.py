"""The strict stand-in takes the files that the Files API and vector stores take."""

from __future__ import annotations

from typing import Any

import pytest

from assistants_compat.service.refusal_table import TABLE
from assistants_compat.service.refusals import recognize
from assistants_compat.testing import StandIn

FORMATS = (
    '"c", "cpp", "css", "csv", "doc", "docx", "gif", "go", "html", "java", "jpeg", "jpg", "js", "json", "md", "pdf", '
    '"php", "pkl", "png", "pptx", "py", "rb", "tar", "tex", "ts", "txt", "webp", "xlsx", "xml", "zip"'
)


def error_of(reply: Any, status: int, row: str) -> dict[str, Any]:
    """Return the error of a refusal after checking its status and that the table recognizes it as this row."""
    assert reply.status == status, reply.body
    error: dict[str, Any] = reply.json["error"]
    recognized = recognize(TABLE, status, error)
    assert recognized is not None
    assert recognized.row.name == row
    return error


def uploaded(call: Any, name: str, count: int = 1) -> list[str]:
    """Upload a file and return its id, as often as asked for."""
    return [str(call.upload("POST /files", name, b"x", purpose="user_data").json["id"])] * count


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("m.parquet", "parquet"),
        ("plot.svg", "svg"),
        ("x.sqlite", "sqlite"),
        ("notes", ""),
        ("R.CSV", "CSV"),
        ("a.vb", "vb"),
    ],
)
def test_the_files_api_takes_thirty_extensions(name: str, extension: str, call) -> None:
    """Other extensions and capital letters are refused with the purpose `assistants`, and taken with another."""
    error = error_of(call.upload("POST /files", name, b"x", purpose="assistants"), 400, "file_extension")
    assert error["message"] == f"Invalid extension {extension}. Supported formats: {FORMATS}"
    assert call.upload("POST /files", name, b"x", purpose="user_data").status == 200


def test_an_empty_file_is_refused(call) -> None:
    """A file of 0 bytes is refused, and nothing is stored."""
    error = error_of(call.upload("POST /files", "a.csv", b"", purpose="assistants"), 400, "file_empty")
    assert error["message"] == "File is empty."
    assert not call.upstream.files


def test_azure_takes_no_files_for_vision(call) -> None:
    """The purpose `vision` is refused on Azure only."""
    azure = call.upload("POST /openai/v1/files", "a.png", b"x", purpose="vision")
    error = error_of(azure, 400, "vision_purpose")
    assert (error["message"], error["code"]) == ("Invalid value for purpose.", "invalidPayload")
    assert call.upload("POST /files", "a.png", b"x", purpose="vision").status == 200


@pytest.mark.parametrize(("path", "most"), [("/vector_stores", 100), ("/vector_stores/{}/file_batches", 500)])
def test_a_vector_store_takes_so_many_files_at_once(path: str, most: int, call) -> None:
    """A new store takes 100 files and a batch 500: the lowest numbers that were reported."""
    store = call("POST /vector_stores", {}).json["id"]
    reply = call(f"POST {path.format(store)}", {"file_ids": uploaded(call, "a.txt", most + 1)})
    assert error_of(reply, 400, "file_ids_too_many")["message"] == (
        f"Invalid 'file_ids': array too long. Expected an array with maximum length {most}, but got an array with "
        f"length {most + 1} instead."
    )
    assert call(f"POST {path.format(store)}", {"file_ids": uploaded(call, "a.txt", most)}).status == 200


@pytest.mark.parametrize("path", ["/vector_stores", "/vector_stores/{}/file_batches"])
def test_a_file_that_cannot_be_searched_is_refused(path: str, call) -> None:
    """A file of a type that has no text is refused, and so is one that does not exist."""
    store = call("POST /vector_stores", {}).json["id"]
    wrong = call(f"POST {path.format(store)}", {"file_ids": uploaded(call, "a.csv")})
    error = error_of(wrong, 400, "file_not_searchable")
    assert error["message"].startswith("Files with extensions [.csv] are not supported for retrieval. See ")
    assert (error["param"], error["code"]) == ("file_ids", "unsupported_file")
    gone = call(f"POST {path.format(store)}", {"file_ids": ["file-gone"]})
    assert error_of(gone, 404, "files_not_found")["message"] == "Files [file-gone] were not found"


def test_without_strictness_files_of_any_kind_are_taken(caller) -> None:
    """`strict=False` takes every file and lets it be searched."""
    with StandIn(strict=False) as upstream:
        call = caller(upstream)
        file_id = call.upload("POST /files", "a.PARQUET", b"", purpose="assistants").json["id"]
        assert call("POST /vector_stores", {"file_ids": [file_id] * 501}).status == 200
