"""Parts of generated files: the `Range` header of HTTP on `files.content`."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CSV, LINK, make_file

TURN = Turn(text=LINK, files={"sales.csv": CSV})


def part(door: Door, client: Any, file_id: str, **headers: str) -> Any:
    """The answer to a request with these headers (`if_range` is `If-Range`)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return door(client.files.content(file_id, extra_headers=named)).response


def test_a_part_is_206_with_its_place(door: Door, client: Any, upstream: StandIn) -> None:
    """The bytes asked for, how many they are, where they lie, and the file's name as ever."""
    made = make_file(door, client, upstream, TURN)
    whole = part(door, client, made)
    assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
    assert "content-range" not in whole.headers
    for asked, start, stop in (("bytes=3-5", 3, 6), ("bytes=7-", 7, len(CSV)), ("bytes=-4", len(CSV) - 4, len(CSV))):
        got = part(door, client, made, range=asked)
        assert (got.status_code, got.content) == (206, CSV[start:stop])
        assert got.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(CSV)}"
        assert got.headers["content-length"] == str(stop - start)
        for same in ("content-type", "content-disposition", "etag"):
            assert got.headers[same] == whole.headers[same]


def test_a_part_behind_the_end_is_416(door: Door, client: Any, upstream: StandIn) -> None:
    """The SDK's error has the service's shape, and the header says how long the file is."""
    made = make_file(door, client, upstream, TURN)
    with pytest.raises(openai.APIStatusError) as caught:
        part(door, client, made, range=f"bytes={len(CSV)}-")
    assert caught.value.status_code == 416
    assert caught.value.response.headers["content-range"] == f"bytes */{len(CSV)}"
    assert caught.value.response.json()["error"]["message"] == (
        f"The requested range is not satisfiable: file {made} has {len(CSV)} bytes."
    )


def test_a_download_goes_on_with_if_range(door: Door, client: Any, upstream: StandIn) -> None:
    """The etag of the first answer gets the rest; any other gets the whole, as does a range nobody understands."""
    made = make_file(door, client, upstream, TURN)
    etag = part(door, client, made).headers["etag"]
    assert part(door, client, made, range="bytes=5-", if_range=etag).content == CSV[5:]
    for headers in ({"range": "bytes=5-", "if_range": '"another"'}, {"range": "lines=1-2"}, {"range": "bytes=0-1,4-5"}):
        got = part(door, client, made, **headers)
        assert (got.status_code, got.content) == (200, CSV)


def test_a_part_is_streamed(door: Door, client: Any, upstream: StandIn) -> None:
    """`with_streaming_response` takes the header too."""
    made = make_file(door, client, upstream, TURN)
    headers = {"Range": "bytes=1-8"}

    def blocking() -> bytes:
        with client.files.with_streaming_response.content(made, extra_headers=headers) as response:
            return b"".join(response.iter_bytes())

    async def suspending() -> bytes:
        async with client.files.with_streaming_response.content(made, extra_headers=headers) as response:
            return b"".join([piece async for piece in response.iter_bytes()])

    assert (blocking() if door.kind == "sync" else door(suspending())) == CSV[1:9]
