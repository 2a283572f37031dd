"""Which family of models reasons, and which parameters it takes; a dated table with sources.

The first row whose prefix a model's name has decides, so a longer prefix comes before a shorter one. A prefix ends
where the name ends or has `-`: `gpt-5` is the family of `gpt-5-mini`, and not of `gpt-5.7`. A model that no row names
is unknown: nothing is dropped for it.
"""

from __future__ import annotations

from dataclasses import dataclass

CHECKED = "2026-11-30"
"""When the table was last compared with its sources."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Every value of `reasoning.effort`, from the least to the most."""


@dataclass(frozen=True)
class ModelFamily:
    """What a family of models takes.

    `reasons_by_default`: it reasons when the request has no effort. `efforts` are the values of `reasoning.effort` that
    it takes, empty if it takes none. Sampling parameters (`temperature`, `top_p`) are taken only while it does not
    reason: always by a model that never reasons, at effort `none` by one that has it. `hosted_tools` are the tool types
    it has. `needs_verification`: an organization must be verified to stream it.
    """

    prefix: str
    reasons_by_default: bool
    efforts: tuple[str, ...]
    sources: tuple[str, ...]
    takes_parallel_tool_calls: bool = True
    takes_json_schema: bool = True
    hosted_tools: tuple[str, ...] = ("code_interpreter", "file_search")
    needs_verification: bool = False

    def __post_init__(self) -> None:
        """Refuse a row without a source, and an effort that does not exist."""
        if not self.sources or not all(source.strip() for source in self.sources):
            message = f"the model family {self.prefix!r} has no source"
            raise ValueError(message)
        if not set(self.efforts) <= set(EFFORTS):
            message = f"the model family {self.prefix!r} has an unknown effort"
            raise ValueError(message)

    @property
    def reasons(self) -> bool:
        """Whether the family can reason at all."""
        return self.reasons_by_default or bool(self.efforts)

    def takes_sampling(self, effort: str | None) -> bool:
        """Whether `temperature` and `top_p` are taken at this effort (None: the family's default)."""
        if effort is None:
            return not self.reasons_by_default
        return effort == "none"

    def nearest_effort(self, effort: str) -> str | None:
        """Return the effort that the family takes and that is nearest to this one; None if it takes none.

        Of two that are equally near the higher one counts, so that a model that was to reason a little still reasons
        (`minimal` becomes `low`, and not `none`).
        """
        if effort in self.efforts or effort not in EFFORTS:
            return effort if self.efforts else None
        index = EFFORTS.index(effort)
        by_distance = sorted(self.efforts, key=lambda item: (abs(EFFORTS.index(item) - index), -EFFORTS.index(item)))
        return by_distance[0] if by_distance else None


def family_of(model: str) -> ModelFamily | None:
    """Return the family of a model by its name, or None.

    `ft:gpt-4o-...:org::id` and a gateway's `openai/gpt-4o-...` count as `gpt-4o-...`.
    """
    name = model.rpartition("/")[2].removeprefix("ft:").partition(":")[0]
    return next((family for family in FAMILIES if f"{name}-".startswith(f"{family.prefix}-")), None)


_LOW_TO_HIGH = ("low", "medium", "high")
_LOW_TO_XHIGH = (*_LOW_TO_HIGH, "xhigh")
_LOW_TO_MAX = (*_LOW_TO_XHIGH, "max")

# "measured": recorded answers of the API to one request for each model, with effort none and with temperature 0.5.
_MEASURED = "pydantic-ai, recorded probes for its OpenAI profiles: answers of api.openai.com, 2026-07"
_PROFILES = "pydantic-ai profiles/openai.py: compared with the live Responses API, 2026-07"
_QUOTED = "the API's own refusal, quoted in public: "
_GPT_6 = "51 requests to api.openai.com with gpt-6-luna, -sol and -astra, 2026-09-24 (public test report)"
_GUIDE = "developers.openai.com/api/docs/guides/latest-model and deployment-checklist (GPT-6), 2026-10"
_VERIFY = "Lamb#54, lobehub#9385: 'Your organization must be verified to stream this model' (o3, gpt-5 family)"
_SCHEMA = "OpenAI guide 'Structured outputs' and 5 reports: json_schema begins with gpt-4o-mini and gpt-4o-2024-08-06"
_PARALLEL = "langchain#29704 (o3-mini; others report o1 and o4-mini): 'parallel_tool_calls' is not supported"
_NO_CODE = _QUOTED + "Tool 'code_interpreter' is not supported with gpt-5.2-pro"

_NO_CODE_TOOLS = ("file_search",)

FAMILIES: tuple[ModelFamily, ...] = (
    # The prefixes of `-deep-research` models are here because they begin like the others of their series.
    *(
        ModelFamily(
            prefix,
            reasons_by_default=True,
            efforts=("medium",),
            sources=(_QUOTED + "'o4-mini-deep-research' ... Supported values are: 'medium'.", _SCHEMA, _PARALLEL),
            takes_parallel_tool_calls=False,
            takes_json_schema=False,
        )
        for prefix in ("o3-deep-research", "o4-mini-deep-research")
    ),
    ModelFamily(
        "o1",
        reasons_by_default=True,
        efforts=_LOW_TO_HIGH,
        sources=(_MEASURED, _PARALLEL),
        takes_parallel_tool_calls=False,
    ),
    ModelFamily(
        "o3-mini",
        reasons_by_default=True,
        efforts=_LOW_TO_HIGH,
        sources=(_MEASURED, _PARALLEL),
        takes_parallel_tool_calls=False,
    ),
    ModelFamily(
        "o3",
        reasons_by_default=True,
        efforts=_LOW_TO_HIGH,
        sources=(_MEASURED, _PARALLEL, _VERIFY),
        takes_parallel_tool_calls=False,
        needs_verification=True,
    ),
    ModelFamily(
        "o4",
        reasons_by_default=True,
        efforts=_LOW_TO_HIGH,
        sources=(_MEASURED, _PARALLEL),
        takes_parallel_tool_calls=False,
    ),
    # Azure writes gpt-3.5 without the point.
    *(
        ModelFamily(prefix, reasons_by_default=False, efforts=(), sources=(_SCHEMA,), takes_json_schema=False)
        for prefix in ("gpt-3.5", "gpt-35", "gpt-4")
    ),
    ModelFamily(
        "gpt-4o-2024-05-13",
        reasons_by_default=False,
        efforts=(),
        sources=(_SCHEMA, _MEASURED),
        takes_json_schema=False,
    ),
    ModelFamily("gpt-4o", reasons_by_default=False, efforts=(), sources=(_MEASURED, "OpenAI-DotNet#500")),
    ModelFamily("gpt-4.1", reasons_by_default=False, efforts=(), sources=(_MEASURED, "litellm#38842")),
    ModelFamily("gpt-4.5", reasons_by_default=False, efforts=(), sources=(_PROFILES,)),
    ModelFamily(
        "gpt-5-chat",
        reasons_by_default=False,
        efforts=(),
        sources=(_PROFILES, "reports of 'json_schema' being refused with gpt-5-chat-latest"),
        takes_json_schema=False,
        needs_verification=True,
    ),
    ModelFamily(
        "gpt-5-pro",
        reasons_by_default=True,
        efforts=("high",),
        sources=(_MEASURED, _NO_CODE, _VERIFY),
        hosted_tools=_NO_CODE_TOOLS,
        needs_verification=True,
    ),
    ModelFamily(
        "gpt-5-codex",
        reasons_by_default=True,
        efforts=_LOW_TO_HIGH,
        sources=(_QUOTED + "'gpt-5-codex' ... Supported values are: 'low', 'medium', and 'high'.", _PROFILES, _VERIFY),
        needs_verification=True,
    ),
    ModelFamily(
        "gpt-5",
        reasons_by_default=True,
        efforts=("minimal", *_LOW_TO_HIGH),
        sources=(_MEASURED, _VERIFY),
        needs_verification=True,
    ),
    ModelFamily(
        "gpt-5.1-codex-max",
        reasons_by_default=True,
        efforts=_LOW_TO_XHIGH,
        sources=(_PROFILES, "openai-python, the description of `reasoning.effort`; RayBytes/ChatMock#101"),
    ),
    ModelFamily(
        "gpt-5.1-codex",
        reasons_by_default=True,
        efforts=_LOW_TO_HIGH,
        sources=(_PROFILES, "RayBytes/ChatMock#101"),
    ),
    ModelFamily("gpt-5.1-chat", reasons_by_default=True, efforts=("medium",), sources=(_PROFILES,)),
    ModelFamily(
        "gpt-5.1",
        reasons_by_default=False,
        efforts=("none", *_LOW_TO_HIGH),
        sources=(_MEASURED, _QUOTED + "'gpt-5.1' ... Supported values are: 'none', 'low', 'medium', and 'high'."),
    ),
    ModelFamily(
        "gpt-5.2-pro",
        reasons_by_default=True,
        efforts=("medium", "high", "xhigh"),
        sources=(_MEASURED, _NO_CODE),
        hosted_tools=_NO_CODE_TOOLS,
    ),
    ModelFamily("gpt-5.2-chat", reasons_by_default=True, efforts=("medium",), sources=(_MEASURED,)),
    ModelFamily(
        "gpt-5.2",
        reasons_by_default=False,
        efforts=("none", *_LOW_TO_XHIGH),
        sources=(_MEASURED, "openai-python, the description of `reasoning.effort`"),
    ),
    ModelFamily("gpt-5.3-chat", reasons_by_default=True, efforts=("medium",), sources=(_MEASURED,)),
    ModelFamily(
        "gpt-5.3",
        reasons_by_default=False,
        efforts=("none", *_LOW_TO_XHIGH),
        sources=(_MEASURED, "developers.openai.com/api/docs/models/gpt-5.3-codex"),
    ),
    ModelFamily(
        "gpt-5.4-pro",
        reasons_by_default=True,
        efforts=("medium", "high", "xhigh"),
        sources=(_MEASURED, _NO_CODE),
        hosted_tools=_NO_CODE_TOOLS,
    ),
    ModelFamily(
        "gpt-5.4",
        reasons_by_default=False,
        efforts=("none", *_LOW_TO_XHIGH),
        sources=(_MEASURED, _QUOTED + "'gpt-5.4' ... 'none', 'low', 'medium', 'high', and 'xhigh'."),
    ),
    ModelFamily(
        "gpt-5.5-pro",
        reasons_by_default=True,
        efforts=("medium", "high", "xhigh"),
        sources=(_MEASURED, _NO_CODE),
        hosted_tools=_NO_CODE_TOOLS,
    ),
    ModelFamily(
        "gpt-5.5",
        reasons_by_default=True,
        efforts=("none", *_LOW_TO_XHIGH),
        sources=(_MEASURED, _QUOTED + "'gpt-5.5' ... 'none', 'low', 'medium', 'high', and 'xhigh'."),
    ),
    ModelFamily(
        "gpt-5.6",
        reasons_by_default=True,
        efforts=("none", *_LOW_TO_MAX),
        sources=(
            _MEASURED,
            _QUOTED + "'gpt-5.6-luna' ... 'none', 'low', 'medium', 'high', 'xhigh', and 'max'.",
            "a public conformance matrix of the Responses API, 2026-08-29 (gpt-5.6-terra: top_p 1 is refused too)",
        ),
    ),
    ModelFamily(
        "gpt-6-astra",
        reasons_by_default=True,
        efforts=_LOW_TO_MAX,
        sources=(_GPT_6, _GUIDE, _QUOTED + "'gpt-6-astra' ... 'low', 'medium', 'high', 'xhigh', and 'max'."),
    ),
    *(
        ModelFamily(prefix, reasons_by_default=True, efforts=("none", *_LOW_TO_MAX), sources=(_GPT_6, _GUIDE))
        for prefix in ("gpt-6-sol", "gpt-6-luna")
    ),
    ModelFamily(
        "gpt-6.1-sol",
        reasons_by_default=True,
        efforts=_LOW_TO_MAX,
        sources=(_GUIDE, _QUOTED + "'gpt-6.1-sol' ... 'low', 'medium', 'high', 'xhigh', and 'max'."),
    ),
    ModelFamily(
        "gpt-6.1-terra",
        reasons_by_default=True,
        efforts=("none", *_LOW_TO_MAX),
        sources=("developers.openai.com, the model's page, as apidog.com quotes it, 2026-10-27", _GUIDE),
    ),
)
