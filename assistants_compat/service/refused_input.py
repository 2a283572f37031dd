"""The refusals that are about the input of a response: its messages and items, earlier responses, and containers."""

from __future__ import annotations

from .refusals import Refusal, Sign

_FILE_STATUS = (400, 404)
_ANY_REFUSAL = (400, 404, 422)  # gateways and self-hosted servers change the status

INPUT_ROWS = (
    Refusal(
        name="json_word_missing",
        when="JSON mode is on, and the word `json` is only in the instructions.",
        message=(
            "Response input messages must contain the word 'json' in some form to use 'text.format' of type"
            " 'json_object'."
        ),
        param="input",
        sources=("pydantic-ai models/openai.py, comment on JSON mode", "several reports"),
        outcome="avoided",
        remedy="The instructions are sent as a developer message of the input instead.",
        signs=(Sign(words=r"must contain the word '?json"),),
    ),
    Refusal(
        name="input_empty",
        when="A run has no message to send: an empty thread, or one whose messages were deleted.",
        message="One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation' must be provided.",
        code="missing_required_parameter",
        sources=("pydantic-ai#3470", "conformance matrix of 2026-08-28"),
        outcome="avoided",
        remedy="One empty user message is sent.",
        signs=(
            Sign(words=r'One of "input" or "previous_response_id"'),
            Sign(code="missing_required_parameter", param="input", example="Missing required parameter: 'input'."),
        ),
    ),
    Refusal(
        name="context_too_long",
        when="The thread does not fit the model's context window.",
        message="Your input exceeds the context window of this model. Please adjust your input and try again.",
        param="input",
        code="context_length_exceeded",
        sources=(
            "recorded: see platform.md, section 10",
            "BerriAI/litellm ContextWindowExceededError",
            "vllm entrypoints/openai/responses/serving.py at 0001948b",
        ),
        outcome="recovered",
        remedy="With `truncation_strategy: auto`, whole turns are dropped from the middle until the rest fits.",
        keeps="The first and the newest turns. Without `auto` the refusal is passed on to the caller.",
        signs=(
            Sign(status=(400, 404, 413, 422), code="context_length_exceeded"),
            Sign(
                status=(400, 404, 413, 422),
                words=r"context_length_exceeded|maximum context|exceeds the context window|ContextWindowExceeded",
                example="litellm.ContextWindowExceededError: This model's maximum context length is 8192 tokens.",
            ),
            Sign(
                status=_ANY_REFUSAL,
                words=r"max_model_len",
                example="The engine prompt length 9001 exceeds the max_model_len 8192. Please reduce prompt.",
            ),
        ),
    ),
    Refusal(
        name="input_array_too_long",
        when="A thread has more than 16,384 input items.",
        message=(
            "Invalid 'input': array too long. Expected an array with maximum length 16384, but got an array with length"
            " {length} instead."
        ),
        param="input",
        code="array_above_max_length",
        sources=("refusals.md row 39: a report on the length of `input`",),
        outcome="recovered",
        remedy="With the truncation strategy `auto`, whole turns are dropped from the middle before the input is sent.",
        keeps="The first and the newest turns.",
        signs=(
            Sign(param="input", code="array_above_max_length"),
            Sign(words=r"Invalid 'input': array too long"),
        ),
    ),
    Refusal(
        name="zero_retention_previous_response",
        when="A project with zero data retention continues a response by `previous_response_id`.",
        message="Previous response cannot be used for this organization due to Zero Data Retention.",
        param="previous_response_id",
        code="unsupported_parameter",
        sources=("openai/codex README", "3 more reports", "xAI: the same as a 404"),
        outcome="recovered",
        remedy="The items of the thread and of the run are sent instead of `previous_response_id`.",
        keeps="Everything that the run said; its hidden reasoning is lost.",
        scope="upstream",
        signs=(
            Sign(status=_ANY_REFUSAL, param="previous_response_id", code="unsupported_parameter"),
            Sign(status=_ANY_REFUSAL, words=r"Previous response.*Zero Data Retention"),
            Sign(
                status=(400, 404, 422, 501),
                words=r"previous_?\s?response(_id)?\b.*not (?:supported|allowed|available|implemented)",
                example="previous_response_id is not supported.",
            ),
        ),
        log="the upstream continues no response; later rounds of runs send the run's own items from now on",
    ),
    Refusal(
        name="responses_not_kept",
        when="A server accepts `store: true` and keeps no response: a vLLM server as it comes.",
        message="Response with id '{response}' not found.",
        param="response_id",
        code="404",
        status=404,
        sources=("vllm entrypoints/openai/responses/serving.py at 0001948b",),
        outcome="recovered",
        remedy="The items of the thread and of the run are sent instead of `previous_response_id`.",
        keeps="Everything that the run said.",
        scope="upstream",
        signs=(
            Sign(status=(400, 404), param="response_id"),
            Sign(status=(400, 404), param="", words=r"^(?!.*previous).*Response with id '[^']*' not found"),
        ),
        log="the upstream keeps no responses; later rounds of runs send the run's own items from now on",
        stand_in=False,
    ),
    Refusal(
        name="previous_response_gone",
        when="The response of the last round was deleted, is older than 30 days, or belongs to another project.",
        message="Previous response with id '{response}' not found.",
        param="previous_response_id",
        code="previous_response_not_found",
        sources=("several reports", "recorded: see platform.md, section 4"),
        outcome="recovered",
        remedy="The items of the thread and of the run are sent instead of `previous_response_id`.",
        keeps="Everything that the run said; its hidden reasoning is lost.",
        signs=(
            Sign(status=_ANY_REFUSAL, code="previous_response_not_found"),
            Sign(status=_ANY_REFUSAL, words=r"previous.?response.*not found"),
            Sign(status=_ANY_REFUSAL, param="previous_response_id"),
        ),
    ),
    Refusal(
        name="item_not_found",
        when="Reasoning or the call of a hosted tool is replayed, and the service does not keep it.",
        message="Item with id '{item}' not found.",
        param="input",
        status=404,
        sources=("conformance matrix, 5.5.6-A", "openai-agents-python#1603", "inspect_ai source"),
        outcome="recovered",
        remedy="The items of earlier runs are left out; code that ran goes along as text.",
        keeps="All messages, and the run's own function calls.",
        scope="thread",
        signs=(
            Sign(status=(400, 404), words=r"Item with id '?(?P<item>[\w-]+)'? not found"),
            Sign(
                status=(400, 404),
                words=r"Items are not persisted when `store` is set to false",
                example=(
                    "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false."
                    " Try again with `store` set to true, or remove this item from your input."
                ),
            ),
        ),
    ),
    Refusal(
        name="item_without_pair",
        when="A code call is replayed without its reasoning, or reasoning without the item after it.",
        message="Item '{item}' of type '{type}' was provided without its required '{pair_type}' item: '{pair}'.",
        param="input",
        sources=("pydantic-ai cassette thinking_with_modified_history",),
        outcome="recovered",
        remedy="The tool items of earlier runs are left out.",
        keeps="All messages.",
        scope="thread",
        signs=(
            Sign(words=r"Item '(?P<item>[^']+)' of type .*without its required"),
            Sign(
                words=r"without its required",
                example="Item 'rs_1' of type 'reasoning' was provided without its required following item.",
            ),
        ),
    ),
    Refusal(
        name="function_output_missing",
        when="A function call is replayed without its output, or an output without its call.",
        message="No tool output found for function call {call}.",
        param="input",
        sources=("several reports",),
        outcome="recovered",
        remedy="The tool items of earlier runs are left out.",
        keeps="All messages, and the calls of the run itself.",
        scope="thread",
        signs=(
            Sign(words=r"No tool output found for function call (?P<call>[\w-]+)"),
            Sign(
                words=r"No tool call found for function call output",
                example="No tool call found for function call output with call_id call_1.",
            ),
        ),
    ),
    Refusal(
        name="duplicate_item",
        when="The same item id is sent twice.",
        message="Duplicate item found with id {item}. Remove duplicate items from your input and try again.",
        param="input",
        sources=("ten reports",),
        outcome="recovered",
        remedy="No ids are sent but those of code calls; should they be refused, these are left out.",
        keeps="All messages.",
        scope="thread",
        signs=(Sign(words=r"Duplicate item found with id (?P<item>[\w-]+)"),),
    ),
    Refusal(
        name="encrypted_unsupported",
        when="Encrypted reasoning is requested of a model that does not reason.",
        message="Encrypted content is not supported with this model.",
        param="include",
        sources=("hermes-agent#23450",),
        outcome="recovered",
        remedy="The reasoning is not requested of a model that is known not to reason, or that has refused it.",
        scope="model",
        signs=(
            Sign(words=r"Encrypted content is not supported"),
            Sign(
                param=r"include(?:\[\d+\])?",
                words=r"not supported.*reasoning\.encrypted_content|reasoning\.encrypted_content.*not supported",
                example="Including 'reasoning.encrypted_content' is not supported with this model.",
            ),
        ),
        log="the model returns no encrypted reasoning; it is no longer requested of it",
    ),
    Refusal(
        name="encrypted_unverified",
        when="Encrypted reasoning comes back under another key, organization or model.",
        message="The encrypted content {content} could not be verified. Reason: {reason}.",
        code="invalid_encrypted_content",
        sources=("eight reports",),
        outcome="recovered",
        remedy="The reasoning is left out, in any round.",
        keeps="All messages and function calls.",
        scope="thread",
        signs=(
            Sign(status=_ANY_REFUSAL, code="invalid_encrypted_content"),
            Sign(status=_ANY_REFUSAL, words=r"encrypted content.*could not be (?:verified|decrypted|parsed)"),
        ),
    ),
    Refusal(
        name="encrypted_of_stored",
        when="Encrypted reasoning is requested when a stored response is retrieved.",
        message="Encrypted content cannot be requested for persisted responses.",
        param="include",
        sources=("pydantic-ai profiles/openai.py", "four live reports"),
        outcome="avoided",
        remedy="A retrieved response is never asked for it.",
        signs=(Sign(words=r"Encrypted content cannot be requested for persisted responses"),),
    ),
    Refusal(
        name="container_file_gone",
        when="A file that the thread gives to Code Interpreter was deleted.",
        message="File '{file}' not found.",
        param="tools[{index}].container.file_ids",
        sources=("assumed: refusals.md, live check 15; the Files API's own 404 is recorded (openai-dotnet)",),
        outcome="recovered",
        remedy="The file is left out of the container.",
        scope="upstream",
        signs=(
            Sign(
                status=_FILE_STATUS,
                param=r"tools\[\d+\]\.container\.file_ids(?:\[\d+\])?",
                words=r"(?P<file>file-?_?[A-Za-z0-9]{4,})",
            ),
        ),
        log="a file that no longer exists upstream is left out of the container",
        is_loss=True,
        stand_in=False,
    ),
    Refusal(
        name="container_id_invalid",
        when="A gateway hands out container ids that the service does not take back.",
        message=(
            "Invalid 'tools[{index}].container': string too long. Expected a string with maximum length 64, but got a"
            " string with length {length} instead."
        ),
        param="tools[{index}].container",
        code="string_above_max_length",
        sources=("BerriAI/litellm#30781", "BerriAI/litellm PR #30942"),
        outcome="recovered",
        remedy="An id of more than 64 characters is never sent. After a refusal the next container is taken.",
        keeps="The files of the thread, which are copied to the new container; replayed code calls are left out.",
        scope="container",
        signs=(
            Sign(status=_ANY_REFUSAL, param=r"(?:tools|input)\[\d+\]\.container(?:_id)?"),
            Sign(status=_ANY_REFUSAL, words=r"Invalid '(?:tools|input)\[\d+\]\.container(?:_id)?'"),
            Sign(
                status=_ANY_REFUSAL,
                words=r"Expected container_id: cntr_|Invalid container[ _]?id",
                example="Invalid container id.",
            ),
        ),
    ),
    Refusal(
        name="container_gone",
        when="A container was idle for 20 minutes, or was deleted.",
        message="Container is expired.",
        sources=("several reports",),
        outcome="recovered",
        remedy="The next container gets the files of the thread; replayed code calls are left out.",
        keeps="The files. What the code kept in memory is lost, as it was in the old service.",
        scope="container",
        signs=(
            Sign(status=_ANY_REFUSAL, words=r"Container is expired"),
            # The text for a deleted one is not known.
            Sign(
                status=_ANY_REFUSAL,
                words=r"\bcontainer\b.*\b(?:expired|not found|not exist)",
                example="Container with id 'cntr_1' not found.",
            ),
        ),
    ),
    Refusal(
        name="image_unavailable",
        when="A message of the thread has the URL of an image that can no longer be downloaded.",
        message="Error while downloading {url}.",
        param="url",
        code="invalid_value",
        sources=("vercel/ai#8857", "learn.microsoft.com question 12548455", "SDK and spec: type ResponseError"),
        outcome="recovered",
        remedy="The request is sent again; then with `[image no longer available]` in place of the image.",
        keeps="The images of the newest message.",
        signs=(
            Sign(words=r"(?:Error|Timeout) while downloading (?P<url>\S+?)\.?(?:\s|$)"),
            Sign(
                code="invalid_image_url",
                words=r"(?P<url>https?://[^\s'\"]+?)\.?(?:[\s'\"]|$)",
                example="Timeout while downloading https://example.com/a.png.",
            ),
            Sign(code="invalid_image_url", example="The image URL is invalid."),
            # The error of a response that has failed, in the background for example.
            Sign(
                code="failed_to_download_image",
                words=r"(?P<url>https?://[^\s'\"]+?)\.?(?:[\s'\"]|$)",
                example="Failed to download image from https://example.com/a.png.",
            ),
            Sign(code="failed_to_download_image", example="Failed to download image."),
        ),
    ),
    Refusal(
        name="image_file_gone",
        when="An image of the thread was uploaded, and its file was deleted.",
        message="No such File object: {file}",
        param="id",
        status=404,
        sources=(
            "recorded for the Files API (openai-dotnet DownloadFileCanParseServiceError); assumed for `input_image`",
            "SDK and spec: type ResponseError",
        ),
        outcome="recovered",
        remedy="The image is replaced by `[image no longer available]`.",
        keeps="The images of the newest message.",
        signs=(
            Sign(status=_FILE_STATUS, words=r"No such File object: (?P<file>\S+)"),
            Sign(
                status=_FILE_STATUS,
                words=r"\bfile\b[^.]*?(?P<file>file-[\w-]+).*(?:not found|does not exist|not exist|deleted|expired)",
                example="The file with id 'file-abc123' was not found.",
            ),
            # The error of a response that has failed.
            Sign(status=_FILE_STATUS, code="image_file_not_found", example="The image file was not found."),
        ),
        stand_in=False,
    ),
    Refusal(
        name="arguments_too_long",
        when="A stored function call has more than 1 MiB of arguments.",
        message=(
            "Invalid 'input[{index}].arguments': string too long. Expected a string with maximum length 1048576, but"
            " got a string with length {length} instead."
        ),
        param="input[{index}].arguments",
        code="string_above_max_length",
        sources=("openai/codex#13270", "inspect_ai source", "four more reports"),
        outcome="avoided",
        remedy="Such a call and its output are left out of later runs.",
        signs=(Sign(words=r"Invalid 'input\[\d+\]\.arguments': string too long"),),
    ),
    Refusal(
        name="call_id_too_long",
        when="A gateway has made call ids of more than 64 characters.",
        message=(
            "Invalid 'input[{index}].call_id': string too long. Expected a string with maximum length 64, but got a"
            " string with length {length} instead."
        ),
        param="input[{index}].call_id",
        code="string_above_max_length",
        sources=("six reports",),
        outcome="recovered",
        remedy="Ids in the history are shortened, alike for call and output; else the tool items are left out.",
        keeps="All messages.",
        scope="thread",
        signs=(Sign(words=r"Invalid 'input\[\w+\]\.call_id': string too long"),),
    ),
    Refusal(
        name="assistant_input_text",
        when="A message of the assistant is sent with a part of the user's type.",
        message="Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.",
        param="input[{index}].content[{part}]",
        code="invalid_value",
        sources=("several reports",),
        outcome="avoided",
        remedy="A message of the assistant is sent as a plain string.",
        signs=(Sign(words=r"Invalid value: 'input_text'\. Supported values are: 'output_text'"),),
    ),
    Refusal(
        name="item_id_prefix",
        when="An item has an id that another server made.",
        message="Invalid 'input[{index}].id': '{item}'. Expected an ID that begins with '{prefix}'.",
        param="input[{index}].id",
        code="invalid_value",
        sources=("several reports",),
        outcome="recovered",
        remedy="No ids are sent but those of code calls; should they be refused, these are left out.",
        keeps="All messages.",
        scope="thread",
        signs=(Sign(words=r"Invalid 'input\[\d+\]\.id'"),),
    ),
    Refusal(
        name="input_file_type",
        when="An image is sent as `input_file`.",
        message="Invalid input: Expected file type to be a supported format: .pdf but got {extension}.",
        param="input",
        sources=("openai-dotnet#709",),
        outcome="avoided",
        remedy="`input_file` is never sent.",
        signs=(Sign(words=r"Expected file type to be a supported format"),),
    ),
    Refusal(
        name="images_too_many",
        when="A thread has more images than Azure takes (50; OpenAI 1,500).",
        message="Too many images in request. Max is {max}.",
        sources=("one report, Azure",),
        outcome="told",
        remedy="Set `truncation_strategy` to the last messages.",
        signs=(Sign(words=r"Too many images in request\. Max is (?P<max>\d+)"),),
    ),
)
