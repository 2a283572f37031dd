"""The refusals that are about tools, files, models and rights, and the answers that are remembered like a refusal."""

from __future__ import annotations

from .file_types import ASSISTANTS_EXTENSIONS
from .refusals import Refusal, Sign

_SCOPE = r"[a-z_]+(?:\.[a-z_]+)+"
SCOPES = rf"Missing scopes?:\s*(?P<scopes>{_SCOPE}(?:\s*,\s*{_SCOPE})*)"
_FILE_FORMATS = ", ".join(f'"{extension}"' for extension in ASSISTANTS_EXTENSIONS)

TOOL_ROWS = (
    # --- tools
    Refusal(
        name="vector_stores_too_many",
        when="More than two vector stores are searched.",
        message="Invalid input: maximum of 2 vector stores allowed.",
        param="tools",
        code="integer_above_max_value",
        sources=("measured on gpt-5.4-mini, 2026-08-18", "open-chat-studio#3815", "three more reports"),
        outcome="avoided",
        remedy="At most two are sent: the newest of the assistant's and the thread's.",
        signs=(Sign(words=r"maximum of (?P<max>\d+) vector stores? allowed"),),
    ),
    Refusal(
        name="hosted_tool_unsupported",
        when="A model does not have a tool of the service; pro models, for example, have no Code Interpreter.",
        message="Hosted tool '{tool}' is not supported with {model}.",
        param="tools",
        sources=("refusals.md row 26: reports on gpt-5.2-pro",),
        outcome="told",
        remedy="Use another model for this assistant.",
        signs=(
            Sign(words=r"Hosted tool '(?P<tool>[^']+)' is not supported with"),
            Sign(
                words=r"Tool '(?P<tool>[^']+)' is not supported with",
                example="Tool 'code_interpreter' is not supported with gpt-5.2-pro.",
            ),
        ),
    ),
    Refusal(
        name="zero_retention_code",
        when="A project with zero data retention uses Code Interpreter.",
        message="Code interpreter tool cannot be used for this organization due to Zero Data Retention.",
        param="tools",
        sources=("seen live once: refusals.md row 27",),
        outcome="told",
        remedy="Code Interpreter needs a project without zero data retention.",
        signs=(Sign(words=r"Code interpreter .*Zero Data Retention"),),
    ),
    Refusal(
        name="tool_choice_hosted",
        when="Until October 2025 gpt-5 took no tool choice but `auto` beside tools of the service.",
        message=(
            "Tool choices other than 'auto' are not supported with model '{model}' and the following tool types:"
            " 'code_interpreter', 'file_search'."
        ),
        param="tool_choice",
        sources=("openai-python#2537", "recorded since: it is accepted"),
        outcome="told",
        remedy="The service no longer refuses it.",
        signs=(Sign(words=r"Tool choices other than 'auto' are not supported"),),
        stand_in=False,
    ),
    Refusal(
        name="tools_too_many",
        when="A run has more than 128 tools.",
        message="Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with"
        " length {length} instead.",
        param="tools",
        code="array_above_max_length",
        sources=("several reports",),
        outcome="avoided",
        remedy="The same limit is checked when an assistant is created.",
        signs=(Sign(words=r"Invalid 'tools': array too long"),),
    ),
    Refusal(
        name="tool_name_invalid",
        when="A function's name has a character that is not allowed.",
        message=(
            "Invalid 'tools[{index}].name': string does not match pattern. Expected a string that matches the pattern"
            " '^[a-zA-Z0-9_-]+$'."
        ),
        param="tools[{index}].name",
        code="invalid_value",
        sources=("several reports",),
        outcome="told",
        remedy="Rename the function. The old service refused it when the assistant was created.",
        signs=(Sign(words=r"Invalid 'tools\[\d+\]\.(?:function\.)?name'"),),
    ),
    Refusal(
        name="tool_description_too_long",
        when="The description of a function has more than 1,024 characters.",
        message=(
            "Invalid 'tools[{index}].function.description': string too long. Expected a string with maximum length"
            " 1024, but got a string with length {length} instead."
        ),
        param="tools[{index}].function.description",
        code="string_above_max_length",
        sources=("two reports; another has 1,048,576",),
        outcome="told",
        remedy="Shorten the description.",
        signs=(Sign(words=r"Invalid 'tools\[\d+\]\.(?:function\.)?description': string too long"),),
        stand_in=False,
    ),
    Refusal(
        name="function_schema_invalid",
        when="A function with `strict: true` has a schema that is not strict.",
        message=(
            "Invalid schema for function '{function}': In context=(), 'additionalProperties' is required to be supplied"
            " and to be false."
        ),
        param="tools[{index}].parameters",
        code="invalid_function_parameters",
        sources=("conformance matrix, 2026-08-28", "areev#244", "several reports"),
        outcome="told",
        remedy="Correct the schema. The old service refused it when the assistant was created.",
        signs=(Sign(code="invalid_function_parameters"), Sign(words=r"Invalid schema for function '")),
    ),
    # --- files and vector stores
    Refusal(
        name="vector_store_gone",
        when="A vector store that an assistant or thread searches was deleted.",
        message="Vector store with id '{store}' not found.",
        status=404,
        sources=(
            "assumed: refusals.md, live check 18; the form is that of the Responses API's own 404 (platform.md, 4)",
        ),
        outcome="recovered",
        remedy="The store is left out, and file search with it if there is no other one.",
        scope="upstream",
        signs=(
            Sign(
                status=(400, 404),
                words=r"vector.?store\b.*?(?P<store>vs_\w+).*(?:not found|not exist|deleted|no such)",
            ),
        ),
        log="a vector store that no longer exists upstream is not searched",
        is_loss=True,
        stand_in=False,
    ),
    Refusal(
        name="file_extension",
        when="A file is uploaded whose extension the Files API does not take; upper case counts as another one.",
        message="Invalid extension {extension}. Supported formats: " + _FILE_FORMATS,
        sources=("openai-dotnet#270", "agent-framework#2469"),
        outcome="recovered",
        remedy="A generated file is put into the container instead.",
        signs=(Sign(words=r"Invalid extension (?P<extension>\S*)\. Supported formats"),),
    ),
    Refusal(
        name="file_empty",
        when="A file of 0 bytes is uploaded.",
        message="File is empty.",
        sources=("advisingapp#2796", "openai-go#434"),
        outcome="recovered",
        remedy="An empty generated file is put into the container, or left out of a search.",
        signs=(Sign(words=r"^File is empty"),),
    ),
    Refusal(
        name="file_ids_too_many",
        when="A vector store is created with more files than one request takes.",
        message=(
            "Invalid 'file_ids': array too long. Expected an array with maximum length {max}, but got an array with"
            " length {length} instead."
        ),
        param="file_ids",
        code="array_above_max_length",
        sources=("open-chat-studio#954",),
        outcome="avoided",
        remedy="The store is created with the first files; the others follow in batches.",
        signs=(Sign(words=r"Invalid 'file_ids': array too long\. .*maximum length (?P<max>\d+)"),),
    ),
    Refusal(
        name="file_not_searchable",
        when="A file is added to a vector store, and its type cannot be searched.",
        message=(
            "Files with extensions [{extension}] are not supported for retrieval. See"
            " https://platform.openai.com/docs/assistants/tools/file-search/supported-files"
        ),
        param="file_ids",
        code="unsupported_file",
        sources=("refusals.md row 24: quoted; undocumented types since 2026-08-30",),
        outcome="told",
        remedy="Use a type of file that file search supports. The old service refused such a file too.",
        signs=(Sign(words=r"Files with extensions \[(?P<extension>[^\]]*)\] are not supported for retrieval"),),
    ),
    Refusal(
        name="files_not_found",
        when="A vector store is created with the id of a file that does not exist.",
        message="Files [{files}] were not found",
        status=404,
        sources=("azure-sdk-for-net#47121",),
        outcome="told",
        remedy="Correct the file id, which the caller named.",
        signs=(Sign(status=(400, 404), words=r"Files \[(?P<files>[^\]]*)\] were not found"),),
    ),
    Refusal(
        name="vision_purpose",
        when="A file is uploaded to Azure with the purpose `vision`.",
        message="Invalid value for purpose.",
        code="invalidPayload",
        sources=("azure-sdk-for-net#44913", "learn.microsoft.com question 2260127"),
        outcome="recovered",
        remedy="The image is sent as a data URL.",
        scope="upstream",
        signs=(
            Sign(words=r"Invalid value for purpose"),
            Sign(words=r"contains an invalid purpose", example="purpose contains an invalid purpose"),
        ),
        log="the upstream takes no files for vision; generated images are sent as data URLs",
    ),
    # --- models, rights and content
    Refusal(
        name="model_unknown",
        when="The project has no such model.",
        message="The requested model '{model}' does not exist.",
        param="model",
        code="model_not_found",
        sources=("recorded (pydantic-ai)", "conformance matrix, 2026-08-28"),
        outcome="told",
        remedy="Name another model, or map the old name with `Settings(models=...)`.",
        signs=(
            Sign(status=(400, 404), code="model_not_found"),
            Sign(status=(400, 404), words=r"The (?:requested )?model '[^']*' does not exist"),
        ),
    ),
    Refusal(
        name="scope_missing",
        when="A restricted key lacks a right that Responses, containers or vector stores need.",
        message=(
            "You have insufficient permissions for this operation. Missing scopes: {scopes}. Check that you have the"
            " correct role in your organization, and if you're using a restricted API key, that it has the necessary"
            " scopes."
        ),
        status=401,
        sources=("several reports",),
        outcome="told",
        remedy="Give the key the scopes that the message names.",
        signs=(Sign(status=(401, 403), words=SCOPES),),
    ),
    Refusal(
        name="content_filter",
        when="The content filter refuses the input: Azure with `content_filter`, OpenAI with `invalid_prompt`.",
        message=(
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please"
            " modify your prompt and retry."
        ),
        param="prompt",
        code="content_filter",
        sources=("inspect_ai source",),
        outcome="told",
        remedy="The refusal is passed on, and there is no run.",
        signs=(
            Sign(code="content_filter"),
            Sign(code="invalid_prompt", example="Invalid prompt: your prompt was flagged."),
            Sign(code="cyber_policy", example="This request was flagged."),
        ),
    ),
    Refusal(
        name="cancel_synchronous",
        when="A response is cancelled that does not run in the background.",
        message="Cannot cancel a synchronous response.",
        sources=("vllm and sglang, which mirror the service",),
        outcome="avoided",
        remedy="Only background responses are cancelled.",
        signs=(Sign(words=r"Cannot cancel a synchronous response"),),
    ),
    Refusal(
        name="mutually_exclusive",
        when="`previous_response_id` and `conversation` are sent together.",
        message=(
            "Mutually exclusive parameters: ''. Ensure you are only providing one of: 'pre..._id' or 'conversation'."
        ),
        code="mutually_exclusive_parameters",
        sources=("conformance matrix, 2026-08-28",),
        outcome="avoided",
        remedy="A run never uses a conversation.",
        signs=(Sign(code="mutually_exclusive_parameters"), Sign(words=r"^Mutually exclusive parameters")),
    ),
    Refusal(
        name="conversation_locked",
        when="Two requests use one conversation at the same time.",
        message="Another process is currently operating on this conversation. Please retry in a few seconds.",
        code="conversation_locked",
        sources=("platform.md section 7",),
        outcome="avoided",
        remedy="A run never uses a conversation.",
        signs=(
            Sign(status=(400, 409), code="conversation_locked"),
            Sign(words=r"Another process is currently operating on this conversation"),
        ),
    ),
    # --- answers that are no refusals, and are remembered like one
    Refusal(
        name="code_outputs_missing",
        when="In early 2026 the outputs of code were empty in background responses, even with the `include`.",
        message="`code_interpreter_call.outputs` is [] in a background response.",
        sources=("community.openai.com 1372536",),
        outcome="recovered",
        remedy="The response is retrieved once more. Once `doctor --live` has found it, runs with code go inline.",
        scope="upstream",
        log="background responses of the upstream have no outputs of code; runs with code are created inline",
        stand_in=False,
    ),
    Refusal(
        name="response_not_served",
        when="A gateway accepts a background response, and has no route to retrieve it.",
        message="GET /responses/{response} is not served: 404, 405 or 501.",
        status=404,
        sources=("gateways.md F6: aimock --record",),
        outcome="recovered",
        remedy="The run is created again inline, or fails if its code may have run; later runs are created inline.",
        scope="upstream",
        log="the upstream cannot retrieve background responses; runs are created inline from now on",
        stand_in=False,
    ),
    Refusal(
        name="conversation_forgotten",
        when="A gateway accepts `previous_response_id` and sends its model only the newest items: LiteLLM's bridge.",
        message="GET /responses/{response} is not served, and an unknown `previous_response_id` is accepted.",
        status=500,
        sources=("BerriAI/litellm#11204", "BerriAI/litellm#26167", "gateways.md F1"),
        outcome="recovered",
        remedy="The items of the thread and of the run are sent instead of `previous_response_id`.",
        scope="upstream",
        log="the upstream forgets what was said before; later rounds of runs send the run's own items from now on",
        stand_in=False,
    ),
    Refusal(
        name="background_stream_error",
        when="Background streams ended with an error of the service, in waves, in May 2026.",
        message="An error occurred while processing your request. (wfr_…)",
        sources=("community.openai.com 1380931",),
        outcome="told",
        remedy="The run fails with that text.",
        stand_in=False,
    ),
    Refusal(
        name="azure_no_responses",
        when="Azure has no Responses API for gpt-3.5-turbo, gpt-4 and gpt-4-turbo.",
        message="(no public text)",
        sources=("truefoundry/models#2007, after Microsoft's list of 2026-08",),
        outcome="told",
        remedy="Deploy a newer model, and map the old name with `Settings(models=...)`.",
        stand_in=False,
    ),
    Refusal(
        name="effort_with_functions",
        when="One report says that gpt-5.2 and 5.4 refuse `reasoning.effort` beside functions.",
        message="(no public text)",
        sources=("refusals.md row 57: one report, weak",),
        outcome="told",
        remedy="The refusal is passed on.",
        stand_in=False,
    ),
)
