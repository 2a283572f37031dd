"""The refusals that are about the parameters of a response."""

from __future__ import annotations

from .refusals import Refusal, Sign

_VERIFY_TEXT = (
    "Your organization must be verified to stream this model. Please go to:"
    " https://platform.openai.com/settings/organization/general and click on Verify Organization. If you just verified,"
    " it can take up to 15 minutes for access to propagate."
)
_NO_BACKGROUND = (400, 404, 405, 422, 501)  # gateways and self-hosted servers choose one of these
_AFTER_MAPPING = "Every parameter of a model that the caller named: that refusal is passed on to the caller."

PARAMETER_ROWS = (
    Refusal(
        name="sampling_unsupported",
        when="`temperature` or `top_p` is sent to a model that reasons. A `top_p` of 1 is refused too.",
        message="Unsupported parameter: '{param}' is not supported with this model.",
        param="{param}",
        sources=("conformance matrix (gpt-5.6-terra, 2026-08-29)", "pydantic-ai profiles/openai.py", "several reports"),
        outcome="recovered",
        remedy="The parameter is left out; before it is sent if the family of the model is known.",
        keeps=_AFTER_MAPPING,
        scope="model",
        signs=(
            Sign(param=r"(?P<param>temperature|top_p)", words=r"not supported with this model|does not support"),
            Sign(words=r"Unsupported parameter: '(?P<param>temperature|top_p)'"),
            Sign(
                words=r"does not support parameters: .*\b(?P<param>temperature|top_p)\b",
                example="litellm.UnsupportedParamsError: openai does not support parameters: ['top_p'], for model=o3.",
            ),
        ),
        log="the model takes no such parameter; it is left out for this model",
    ),
    Refusal(
        name="effort_value_unsupported",
        when="`reasoning_effort` has a value that the model does not take.",
        message=(
            "Unsupported value: '{value}' is not supported with the '{model}' model. Supported values are: {values}."
        ),
        param="reasoning.effort",
        code="unsupported_value",
        sources=("conformance matrix, 2026-08-29",),
        outcome="recovered",
        remedy="The nearest effort that the family takes is sent; of an unknown family, the effort is left out.",
        keeps=_AFTER_MAPPING,
        scope="model",
        signs=(
            Sign(
                param=r"reasoning\.effort",
                code="unsupported_value",
                words=r"Supported values are: (?P<values>.+?)\.?$",
            ),
            Sign(
                words=r"'reasoning\.effort' does not support .*Supported values are: (?P<values>.+?)\.?$",
                example=(
                    "Unsupported value: 'reasoning.effort' does not support 'none' with this model. Supported values"
                    " are: 'low', 'medium', and 'high'."
                ),
            ),
        ),
        log="the model does not take this reasoning effort; it is left out for this model",
    ),
    Refusal(
        name="effort_unsupported",
        when="`reasoning_effort` is sent to a model that does not reason.",
        message="Unsupported parameter: 'reasoning.effort' is not supported with this model.",
        param="reasoning.effort",
        code="unsupported_parameter",
        sources=("OpenAI-DotNet#500", "BerriAI/litellm#38842", "baml#2708"),
        outcome="recovered",
        remedy="The effort is left out; before it is sent if the family of the model is known.",
        keeps=_AFTER_MAPPING,
        scope="model",
        signs=(
            Sign(param=r"reasoning(?:\.effort)?", code="unsupported_parameter"),
            Sign(words=r"Unsupported parameter: '(?:reasoning|reasoning\.effort|reasoning_effort)'"),
            Sign(
                words=r"does not support parameters: .*\breasoning_effort\b",
                example="litellm.UnsupportedParamsError: openai does not support parameters: ['reasoning_effort']",
            ),
        ),
        log="the model takes no reasoning effort; it is left out for this model",
    ),
    Refusal(
        name="parallel_tool_calls_without_tools",
        when="`parallel_tool_calls` is sent without tools, to a gateway that calls Chat Completions.",
        message=(
            "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are specified."
        ),
        param="parallel_tool_calls",
        sources=("four reports on Chat Completions", "pydantic-ai leaves it out"),
        outcome="avoided",
        remedy="The parameter is left out when a run has no tools.",
        signs=(Sign(words=r"'parallel_tool_calls' is only allowed when 'tools'"),),
    ),
    Refusal(
        name="parallel_tool_calls_unsupported",
        when="`parallel_tool_calls` is sent to a model of the o-series.",
        message="Unsupported parameter: 'parallel_tool_calls' is not supported with this model.",
        param="parallel_tool_calls",
        code="unsupported_parameter",
        sources=("refusals.md row 18: reports on Chat Completions, likely in Responses",),
        outcome="recovered",
        remedy="The parameter is left out; before it is sent if the family of the model is known.",
        keeps=_AFTER_MAPPING,
        scope="model",
        signs=(
            Sign(param="parallel_tool_calls", words=r"not supported|does not support"),
            Sign(words=r"Unsupported parameter: 'parallel_tool_calls'"),
            Sign(
                words=r"does not support parameters: .*\bparallel_tool_calls\b",
                example="litellm.UnsupportedParamsError: openai does not support parameters: ['parallel_tool_calls']",
            ),
        ),
        log="the model takes no `parallel_tool_calls`; it is left out for this model",
    ),
    Refusal(
        name="tool_choice_without_tools",
        when="A tool choice forces a call, and there are no tools.",
        message="Tool choice '{choice}' must be specified with 'tools' parameter.",
        param="tool_choice",
        sources=("six reports, Azure AI Foundry too",),
        outcome="told",
        remedy="A choice is left out where the library itself has left out file search for want of a vector store.",
        signs=(Sign(words=r"Tool choice .*must be specified with 'tools'"),),
    ),
    Refusal(
        name="tool_choice_unknown",
        when="A tool choice names a tool that the run does not have.",
        message="Tool choice '{choice}' not found in 'tools' parameter.",
        param="tool_choice",
        sources=("six reports, Azure AI Foundry too",),
        outcome="told",
        remedy="A choice is left out where the library itself has left out file search for want of a vector store.",
        signs=(Sign(words=r"Tool choice .*not found in 'tools'"),),
    ),
    Refusal(
        name="stream_unverified",
        when="An organization that is not verified streams o3 or a model of the gpt-5 family.",
        message=_VERIFY_TEXT,
        param="stream",
        code="unsupported_value",
        sources=("Lamb#54", "lobehub#9385", "several reports since 2025-04"),
        outcome="recovered",
        remedy="The request is sent without `stream`, and its events are told from the finished response.",
        keeps="All events in the recorded order; the text arrives in one piece.",
        scope="model",
        signs=(
            Sign(words=r"must be verified to stream this model"),
            Sign(
                param="stream",
                code="unsupported_value",
                example="Unsupported value: 'stream' does not support true with this model.",
            ),
        ),
        log="the upstream does not stream this model; runs of this model are streamed from finished responses",
    ),
    Refusal(
        name="background_refused",
        when="The upstream does not know background responses, or not for this project.",
        message="Unsupported parameter: 'background' is not supported with this model.",
        param="background",
        code="unsupported_parameter",
        sources=("platform.md section 5", "vllm entrypoints/openai/responses/serving.py", "gateways.md: six wordings"),
        outcome="recovered",
        remedy="The response is created inline.",
        keeps="`Settings(mode='background')`: there the refusal is passed on to the caller.",
        scope="upstream",
        signs=(
            Sign(status=_NO_BACKGROUND, param="background"),
            Sign(status=_NO_BACKGROUND, param="", words=r"\bbackground\b"),
        ),
        log="the upstream refuses background responses; runs are created inline from now on",
    ),
    Refusal(
        name="parameter_unknown",
        when="A parameter is sent that the service does not know.",
        message="Unknown parameter: '{param}'.",
        param="{param}",
        code="unknown_parameter",
        sources=("conformance matrix, 2026-08-28",),
        outcome="avoided",
        remedy="Requests follow the schema of the service.",
        signs=(Sign(code="unknown_parameter"), Sign(words=r"^Unknown parameter: '")),
    ),
    Refusal(
        name="max_output_tokens_small",
        when="`max_output_tokens` is under 16.",
        message=(
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {value} instead."
        ),
        param="max_output_tokens",
        code="integer_below_min_value",
        sources=("conformance matrix, 2026-08-28",),
        outcome="avoided",
        remedy="At least 16 is sent.",
        signs=(Sign(words=r"Invalid 'max_output_tokens': integer below minimum"),),
    ),
    Refusal(
        name="instructions_too_long",
        when="The instructions have more than 1,048,576 characters.",
        message=(
            "Invalid 'instructions': string too long. Expected a string with maximum length 1048576, but got a string"
            " with length {length} instead."
        ),
        param="instructions",
        code="string_above_max_length",
        sources=("four reports",),
        outcome="avoided",
        remedy="The old limit of 256,000 characters is checked when an assistant or run is created.",
        signs=(Sign(words=r"Invalid 'instructions': string too long"),),
    ),
    Refusal(
        name="json_schema_unsupported",
        when="A JSON schema is asked of a model that has none: gpt-3.5, gpt-4, gpt-5-chat-latest, deep research.",
        message=(
            "Invalid parameter: 'text.format' of type 'json_schema' is not supported with model version `{model}`."
        ),
        param="text.format",
        sources=("five reports",),
        outcome="told",
        remedy=(
            "Use a model that has structured outputs, or `json_object`. The old service refused it too. A model that "
            "replaces another gets `json_object` and the schema in its instructions."
        ),
        signs=(Sign(words=r"'text\.format' of type 'json_schema' is not supported"),),
    ),
)
