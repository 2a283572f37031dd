"""The request types that the stand-in brings along are those of the SDK that they name, and agree with the spec."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import openai
import pytest
import sdk_request_types
from body_facts import SpecFacts, facts_of_type, only_in_first
from typing_extensions import Required, TypedDict

from assistants_compat.testing import request_types
from assistants_compat.testing.request_rules import _BODIES
from assistants_compat.testing.sdk_schema import find_problem
from kit.paths import SPEC

PLAIN = {"model": "gpt-4o", "input": "Hello"}
DESCRIPTION = request_types.description()
# No spec has a component for new items of a conversation, and no SDK that was described has types for the other two.
COMPARED = {
    route: [body]
    for route, (body, _, _) in _BODIES.items()
    if body is not None and route != "POST /conversations/{}/items"
}
COMPARED["POST /responses"].append("ResponseCreateParamsStreaming")

NEWER = "The SDK is newer than the spec, which is of 2026-08-21."
# Facts that only the SDK has: a pattern for the end of the fact, and the reason.
ONLY_IN_SDK = {
    r"\.(access_programs|background_options|image): optional": NEWER,
    r"<(custom|function|function_call|custom_tool_call)>\.async: optional": NEWER,
    r"<image_generation>\.(complexity|frame_count|frame_duration_ms|svg): optional": NEWER,
    r"<image_generation>\.(model|output_format|quality): = '.+'": NEWER,
    r"<image_generation_call>\.(action|background|error|output_format|quality): optional": NEWER,
    r"<image_generation_call>\.(revised_prompt|size|svg_usage): optional": NEWER,
    r"<compaction_trigger>\.id: optional": NEWER,
    r"<configuration_update>\.(id|reasoning|text|type): (optional|required)": NEWER,
    r"\.prompt_cache_breakpoint\.ttl: optional": NEWER,
    r"\.prompt_cache_options\.(comparison_response_id|prewarm): optional": NEWER,
    r"\.prompt_cache_options\.ttl: = '12h'": NEWER,
    r"<web_search_call>\.status: = 'incomplete'": NEWER,
    r"\.model: = 'gpt-.+'": f"{NEWER} Any other name is allowed too.",
    r"\.(top_logprobs|expires_after): null": "The SDK allows null for every optional field of these bodies.",
    r"<output_text>\.logprobs: optional": "Required in the spec; the service accepted items without it, see TOLERATED.",
    r"\.stream: (= True|= False|required)": "The SDK has one type for streams and another for all else.",
    r"\.(parameters|arguments|annotations|input_schema): any": "The spec says an object, the SDK anything.",
    r"<and\|or>\.filters\[\]: any": "The filters may nest; the SDK checks only the outermost.",
}
# Facts that only the spec has.
ONLY_IN_SPEC = {
    r"<output_text>\.logprobs: required": "See above: optional in the SDK.",
    r"\.stream: boolean": "See above: two types in the SDK.",
    r"\.(parameters|arguments|annotations|input_schema)\{\}: any": "See above: anything in the SDK.",
}
# Bodies of issue 19, which the stand-in refused under an SDK whose types were older than the service.
NEW_VALUES: list[tuple[str, dict[str, Any]]] = [
    ("/responses", {**PLAIN, "include": ["code_interpreter_call.outputs"]}),
    # With models that take the values: the strict stand-in refuses them with gpt-4o, as the service does.
    ("/responses", {**PLAIN, "model": "gpt-5", "include": ["reasoning.encrypted_content"], "store": False}),
    ("/responses", {**PLAIN, "model": "gpt-5", "reasoning": {"effort": "minimal"}}),
    ("/responses", {**PLAIN, "model": "gpt-5.6", "reasoning": {"effort": "none", "summary": "auto"}}),
    ("/responses", {**PLAIN, "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}),
    (
        "/responses",
        {**PLAIN, "tools": [{"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}}]},
    ),
    (
        "/responses",
        {
            **PLAIN,
            "tools": [
                {"type": "code_interpreter", "container": {"type": "auto", "network_policy": {"type": "disabled"}}}
            ],
        },
    ),
    (
        "/containers",
        {
            "name": "c",
            "memory_limit": "1g",
            "network_policy": {"type": "allowlist", "allowed_domains": ["example.org"]},
        },
    ),
]

IMPORTS_NO_SDK = """
import json, sys, urllib.error, urllib.request
sys.modules["openai"] = None
from assistants_compat.testing import StandIn, request_types
with StandIn() as upstream:
    before = request_types.description.cache_info().currsize
    body = json.dumps({"model": "m", "input": "x", "foo": 1}).encode()
    headers = {"authorization": "Bearer any", "content-type": "application/json"}
    try:
        urllib.request.urlopen(urllib.request.Request(upstream.base_url + "/responses", body, headers))
    except urllib.error.HTTPError as refusal:
        print(before, refusal.code, json.load(refusal)["error"]["code"])
"""


def test_the_description_says_what_it_is_and_when_it_was_made() -> None:
    """The description names its SDK with the version and a date that is not in the future."""
    assert re.fullmatch(r"openai \d+\.\d+\.\d+", DESCRIPTION.sdk)
    made = dt.date.fromisoformat(DESCRIPTION.made)
    assert made <= dt.datetime.now(dt.timezone.utc).date()


def test_the_description_is_small() -> None:
    """The file stays under 64 kB, because it is in every wheel."""
    assert sdk_request_types.DESCRIPTION.stat().st_size < 64_000


def test_the_description_is_that_of_its_sdk() -> None:
    """Where the installed SDK is the one that was described, describing it again gives the identical file."""
    if f"openai {openai.__version__}" != DESCRIPTION.sdk:
        pytest.skip(f"the description is of {DESCRIPTION.sdk}, and openai {openai.__version__} is installed")
    # In a process of its own: `typing` returns the first of equal annotations, so that the order of a union's or
    # literal's members depends on what was imported before.
    code = f"import sys, sdk_request_types; sys.stdout.write(sdk_request_types.describe({DESCRIPTION.made!r}))"
    command = [sys.executable, "-c", code]
    folder = str(Path(sdk_request_types.__file__).parent)
    environment = {**os.environ, "PYTHONPATH": folder, "PYTHONUTF8": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=True)
    assert done.stdout == sdk_request_types.DESCRIPTION.read_text("utf-8")


def test_every_checked_body_is_described() -> None:
    """Each body that the rules check by its type has that type, and the generator describes no other."""
    checked = {body for body, _, _ in _BODIES.values() if body is not None} | {"ResponseCreateParamsStreaming"}
    assert checked <= set(DESCRIPTION.types)
    assert checked == {body.partition(":")[2] for body in sdk_request_types.BODIES}


@pytest.fixture(scope="module")
def unlike() -> tuple[set[str], set[str]]:
    """Everything about bodies that only the description has, and everything that only the spec has."""
    if not SPEC.exists():
        pytest.skip("the OpenAPI description (../shared) is not there")
    spec, ours, theirs = SpecFacts(json.loads(SPEC.read_text("utf-8"))), set(), set()
    for route, bodies in COMPARED.items():
        described = {fact for body in bodies for fact in facts_of_type(body)}
        specified = set(spec.of_component(_BODIES[route][1]))
        assert len(described & specified) > len(described ^ specified)
        ours |= {f"{route}{fact}" for fact in only_in_first(described, specified)}
        theirs |= {f"{route}{fact}" for fact in only_in_first(specified, described)}
    return ours, theirs


@pytest.mark.parametrize(("side", "reasons"), [(0, ONLY_IN_SDK), (1, ONLY_IN_SPEC)], ids=["sdk", "spec"])
def test_the_description_and_the_spec_agree(unlike, side, reasons) -> None:
    """Fields, literals and scalars of the SDK and of the spec are the same, except for those with a reason."""
    unexplained = {fact for fact in unlike[side] if not any(re.search(f"{end}$", fact) for end in reasons)}
    assert not unexplained
    unused = {end for end in reasons if not any(re.search(f"{end}$", fact) for fact in unlike[side])}
    assert not unused, "reasons for differences that no longer exist"


@pytest.mark.parametrize(("path", "body"), NEW_VALUES, ids=str)
def test_values_that_older_sdks_do_not_know_are_accepted(path, body, call) -> None:
    """What the service knows is accepted, whatever SDK is installed."""
    reply = call(f"POST {path}", body)
    assert reply.status == 200, reply.json


def test_the_installed_sdk_plays_no_part() -> None:
    """Without any SDK a wrong body is refused as ever, and the description is read no earlier than that."""
    done = subprocess.run([sys.executable, "-c", IMPORTS_NO_SDK], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0 400 unknown_parameter\n", "")


class Leaf(TypedDict, total=False):
    from_: Required[Annotated[str, type("PropertyInfo", (), {"alias": "from"})()]]
    kinds: list[Literal["a", "b"]]
    extra: dict[str, object]


class Twig(TypedDict, total=False):
    from_: Required[Annotated[str, type("PropertyInfo", (), {"alias": "from"})()]]
    kinds: list[Literal["a", "b"]]
    extra: dict[str, object]


class Tree(TypedDict):
    left: Tree | Leaf | None
    right: Iterable[Twig]


@pytest.fixture
def forest(monkeypatch):
    """The description of `Tree`, in the place of that of the SDK."""
    monkeypatch.setattr(sdk_request_types, "BODIES", (f"{__name__}:Tree",))
    described = json.loads(sdk_request_types.describe("2026-11-30"))
    monkeypatch.setattr(request_types, "description", lambda: request_types.Description(**described))
    return described["types"]


def test_types_may_contain_themselves_and_equal_ones_are_shared(forest) -> None:
    """A type that contains itself is described by name, and two types with the same fields once."""
    leaf = {"from": "string", "kinds": {"array": {"literal": ["a", "b"]}}, "extra": {"map": "any"}}
    assert forest == {
        "Leaf": {"object": leaf, "required": ["from"]},
        "Tree": {
            "object": {"left": {"union": ["Tree", "Leaf", "null"]}, "right": {"array": "Leaf"}},
            "required": ["left", "right"],
        },
    }
    deep: dict[str, Any] = {"left": {"left": {"left": None, "right": [{}]}, "right": []}, "right": []}
    problem = find_problem(deep, "Tree")
    assert problem is not None
    assert (problem.code, problem.param) == ("missing_required_parameter", "left.left.right[0].from")


def test_a_type_that_cannot_be_described_is_an_error() -> None:
    """The generator stops at a type that it does not know, so that no check is lost in silence."""
    with pytest.raises(TypeError, match="No description for the type <class 'bytes'>"):
        sdk_request_types._node(bytes, {})
