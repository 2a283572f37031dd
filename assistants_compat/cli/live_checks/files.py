"""Checks of the Files API: 15 to 17."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from ...service.refusal_table import FILE_ROWS
from .answers import Answers
from .bench import Bench
from .check import LiveCheck, Target
from .verdicts import Point, either, expect_accepted, expect_refused

_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)


async def _ask_deleted_files(bench: Bench) -> Answers:
    image = await bench.file("dot.png", _PNG)
    note = await bench.file("gone.txt", b"gone")
    for id_ in (image, note):
        await bench.delete_first(f"/files/{id_}")
    part = {"type": "input_image", "file_id": image, "detail": "auto"}
    container = {"type": "auto", "file_ids": [note]}
    return {
        "image": await bench.respond(
            name="image",
            input=[{"role": "user", "content": [{"type": "input_text", "text": "Say ok."}, part]}],
        ),
        "container": await bench.respond(
            name="container", tools=[{"type": "code_interpreter", "container": container}]
        ),
    }


def _judge_deleted_files(answers: Answers, _target: Target) -> list[Point]:
    return [
        expect_refused(answers["image"], "an image whose file was deleted", ("image_file_gone",)),
        expect_refused(answers["container"], "a deleted file for code", ("container_file_gone",)),
    ]


_UPLOADS: dict[str, bytes] = {"x.parquet": b"PAR1", "R.CSV": b"a,b\n", "empty.txt": b""}


async def _ask_uploads(bench: Bench) -> Answers:
    answers = {}
    for purpose in ("assistants", "user_data"):
        for filename, content in _UPLOADS.items():
            name = f"{filename} for {purpose}"
            answers[name] = await bench.upload("/files", filename, content, name=name, purpose=purpose)
    return answers


def _judge_uploads(answers: Answers, _target: Target) -> list[Point]:
    points = []
    for name, answer in answers.items():
        if name in ("x.parquet for assistants", "empty.txt for assistants"):
            rows = ("file_empty",) if name.startswith("empty") else ("file_extension",)
            points.append(expect_refused(answer, name, rows))
        else:  # the library sends the extension in lower case, and uploads nothing for `user_data`
            points.append(either(answer, name, FILE_ROWS))
    return points


async def _ask_vision(bench: Bench) -> Answers:
    return {"vision": await bench.upload("/files", "dot.png", _PNG, name="vision", purpose="vision")}


def _judge_vision(answers: Answers, target: Target) -> list[Point]:
    what, rows = "an image with the purpose vision", ("vision_purpose",)
    if target.is_azure:
        return [expect_refused(answers["vision"], what, rows)]
    do = "nothing to set: a generated image is then sent as its bytes"
    return [expect_accepted(answers["vision"], what, rows, do, key="")]


CHECKS: Sequence[LiveCheck] = (
    LiveCheck(
        15,
        "deleted files",
        "an `input_image` and a container, each with the id of a deleted file",
        "with which words a deleted file is refused",
        _ask_deleted_files,
        _judge_deleted_files,
        cents=3.2,
    ),
    LiveCheck(
        16,
        "uploads",
        "`POST /files` of `x.parquet`, `R.CSV` and an empty file, for `assistants` and for `user_data`",
        "which files the Files API refuses",
        _ask_uploads,
        _judge_uploads,
        cents=0,
    ),
    LiveCheck(
        17,
        "purpose vision",
        "`POST /files` of an image for `vision`",
        "whether the purpose exists; Azure refuses it",
        _ask_vision,
        _judge_vision,
        cents=0,
    ),
)
