"""`files.content` honours the `Range` header and serves parts of generated files."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CSV, LINK, make_file

TURN = Turn(text=LINK, files={"sales.csv": CSV})


def part(door: Door, client: Any, file_id: str, **headers: str) -> Any:
    """Request the file with these headers (`if_range` is `If-Range`) and return the response."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return door(client.files.content(file_id, extra_headers=named)).response


def test_a_part_is_a_206_with_its_range(door: Door, client: Any, upstream: StandIn) -> None:
    """A requested range is a 206 with its bytes, their number and place, and the usual name of the file."""
    file_id = make_file(door, client, upstream, TURN)
    full = part(door, client, file_id)
    assert (full.status_code, full.headers["accept-ranges"]) == (200, "bytes")
    assert "content-range" not in full.headers
    for requested, start, stop in (
        ("bytes=3-5", 3, 6),
        ("bytes=7-", 7, len(CSV)),
        ("bytes=-4", len(CSV) - 4, len(CSV)),
    ):
        response = part(door, client, file_id, range=requested)
        assert (response.status_code, response.content) == (206, CSV[start:stop])
        assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(CSV)}"
        assert response.headers["content-length"] == str(stop - start)
        for name in ("content-type", "content-disposition", "etag"):
            assert response.headers[name] == full.headers[name]


def test_a_part_behind_the_end_is_a_416(door: Door, client: Any, upstream: StandIn) -> None:
    """A range behind the end is a 416 in the shape of the service's errors, with the file's length in a header."""
    file_id = make_file(door, client, upstream, TURN)
    with pytest.raises(openai.APIStatusError) as caught:
        part(door, client, file_id, range=f"bytes={len(CSV)}-")
    assert caught.value.status_code == 416
    assert caught.value.response.headers["content-range"] == f"bytes */{len(CSV)}"
    assert caught.value.response.json()["error"]["message"] == (
        f"The requested range is not satisfiable: file {file_id} has {len(CSV)} bytes."
    )


def test_a_download_resumes_with_if_range(door: Door, client: Any, upstream: StandIn) -> None:
    """`If-Range` with the file's etag gets the rest; another etag, or an unsupported range, gets the whole file."""
    file_id = make_file(door, client, upstream, TURN)
    etag = part(door, client, file_id).headers["etag"]
    assert part(door, client, file_id, range="bytes=5-", if_range=etag).content == CSV[5:]
    for headers in ({"range": "bytes=5-", "if_range": '"another"'}, {"range": "lines=1-2"}, {"range": "bytes=0-1,4-5"}):
        response = part(door, client, file_id, **headers)
        assert (response.status_code, response.content) == (200, CSV)


def test_a_part_can_be_streamed(door: Door, client: Any, upstream: StandIn) -> None:
    """`with_streaming_response.content` honours the `Range` header too."""
    file_id = make_file(door, client, upstream, TURN)
    headers = {"Range": "bytes=1-8"}

    def blocking() -> bytes:
        with client.files.with_streaming_response.content(file_id, extra_headers=headers) as response:
            return b"".join(response.iter_bytes())

    async def suspending() -> bytes:
        async with client.files.with_streaming_response.content(file_id, extra_headers=headers) as response:
            return b"".join([piece async for piece in response.iter_bytes()])

    assert (blocking() if door.kind == "sync" else door(suspending())) == CSV[1:9]
