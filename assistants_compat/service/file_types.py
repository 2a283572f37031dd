"""Which files the Files API takes with the purpose `assistants`.

Source: the refusal "Invalid extension vb. Supported formats: ..." (openai/openai-dotnet#270, called a limitation of the
REST API by its maintainer; microsoft/agent-framework#2469 has the same list in 2025), "File is empty." for 0 bytes
(openai/openai-go#434), and reports that capital letters are refused. Code Interpreter itself reads files of any kind.
"""

from __future__ import annotations

ASSISTANTS_EXTENSIONS = (
    *("c", "cpp", "css", "csv", "doc", "docx", "gif", "go", "html", "java", "jpeg", "jpg", "js", "json", "md", "pdf"),
    *("php", "pkl", "png", "pptx", "py", "rb", "tar", "tex", "ts", "txt", "webp", "xlsx", "xml", "zip"),
)
"""The extensions that are taken, in lower case only, in the order of the refusal."""

SEARCHABLE_EXTENSIONS = (
    *("c", "cpp", "cs", "css", "doc", "docx", "go", "html", "java", "js", "json", "md", "pdf", "php", "pptx"),
    *("py", "rb", "sh", "tex", "ts", "txt"),
)
"""The extensions that vector stores take (Source: OpenAI guide "File search"; row 24 of refusals.md)."""


def extension_of(filename: str) -> str:
    """Return what follows the last dot of a file's name as it is written, or "" without one."""
    name = filename.rpartition("/")[2]
    return name.rpartition(".")[2] if "." in name else ""


def is_taken_for_assistants(filename: str, size: int | None) -> bool:
    """Whether the Files API takes a file of this name and size; None is an unknown size."""
    return size != 0 and extension_of(filename).lower() in ASSISTANTS_EXTENSIONS


def with_lower_case_extension(filename: str) -> str:
    """Return the name with an extension that is taken: `R.CSV` becomes `R.csv`, other names stay."""
    extension = extension_of(filename)
    if extension.lower() not in ASSISTANTS_EXTENSIONS:
        return filename
    return filename[: len(filename) - len(extension)] + extension.lower()
