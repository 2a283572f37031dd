"""Make the recordings in this folder anew, against the stand-in upstream: `python cassettes/record.py`.

They are labelled: every answer carries the header `x-recorded-against: stand-in`.  The host is written as the real
one, so that a replayed client needs no setting of its own.
"""

from __future__ import annotations

import struct
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import openai
import vcr

import assistants_compat
from assistants_compat.testing import StandIn, Turn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "examples"))

import data_analyst  # noqa: E402 - an example, not a package

SALES = {"north": 120, "south": 80, "east": 150, "west": 95}
CSV = "region,sales\n" + "".join(f"{region},{sales}\n" for region, sales in SALES.items())
CODE = """import pandas as pd
import matplotlib.pyplot as plt

sales = pd.DataFrame({"region": ["north", "south", "east", "west"], "sales": [120, 80, 150, 95]})
sales.to_csv("/mnt/data/sales_by_region.csv", index=False)
sales.plot.bar(x="region", y="sales")
plt.savefig("/mnt/data/sales_by_region.png")
plt.show()
print(sales["sales"].sum())"""
ANSWER = (
    "The four regions sold 445 in all; east leads with 150.\n\n"
    "- [The table](sandbox:/mnt/data/sales_by_region.csv)\n"
    "- [The chart](sandbox:/mnt/data/sales_by_region.png)"
)


def bar_chart(values: list[int], width: int = 360, height: int = 240) -> bytes:
    """Draw a PNG of bars: white ground, one blue bar for each value."""
    ground, bar = b"\xff\xff\xff", b"\x1f\x77\xb4"
    slot = width // len(values)
    rows = []
    for y in range(height, 0, -1):
        row = b"".join(
            (bar if value * (height - 20) >= y * max(values) else ground) * (slot * 3 // 5) + ground * (slot * 2 // 5)
            for value in values
        )
        rows.append(b"\x00" + row.ljust(width * 3, b"\xff"))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def main() -> None:
    """Record `data_analyst.yaml`."""
    chart = bar_chart(list(SALES.values()))
    with StandIn(seed=0) as upstream, tempfile.TemporaryDirectory() as directory:
        upstream.clock = lambda: 1_790_000_000.0  # the same bytes on every recording
        upstream.script(
            Turn(
                text=ANSWER,
                code=CODE,
                logs="445\n",
                files={"sales_by_region.csv": CSV.encode(), "sales_by_region.png": chart},
                images=[chart],
            )
        )

        def as_the_service(request: Any) -> Any:
            request.uri = request.uri.replace(upstream.base_url, "https://api.openai.com/v1")
            request.headers = {}
            return request

        def labelled(response: Any) -> Any:
            kept = ("content-type", "content-disposition", "content-length", "x-request-id")
            headers = {name: value for name, value in response["headers"].items() if name.lower() in kept}
            return {**response, "headers": {**headers, "x-recorded-against": ["stand-in"]}}

        target = HERE / "data_analyst.yaml"
        target.unlink(missing_ok=True)
        recorder = vcr.VCR(record_mode="all", before_record_request=as_the_service, before_record_response=labelled)
        settings = assistants_compat.Settings(store="sqlite://", poll_after_ms=10)
        client = assistants_compat.wrap(openai.OpenAI(base_url=upstream.base_url, api_key="sk-stand-in"), settings)
        with recorder.use_cassette(str(target)):
            data_analyst.analyse(client, Path(directory))


if __name__ == "__main__":
    main()
