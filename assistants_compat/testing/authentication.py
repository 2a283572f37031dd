"""Who may come in: keys, the two kinds of base, and the answers for everyone else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exchange import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection

    from .exchange import Request

_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
    "API from your browser and are prompted for a username and password. You can obtain an API key from "
    "https://platform.openai.com/account/api-keys."
)
_SHOWN_BEFORE, _SHOWN_AFTER = 8, 4


class Access:
    """Checks the key of every request; without `keys` any key will do."""

    def __init__(self, keys: Collection[str] | None) -> None:
        """Accept these keys, or every key."""
        self.keys = None if keys is None else frozenset(keys)

    def check(self, request: Request) -> None:
        """Refuse what has no key (401), a wrong key (401) or a path outside both bases (404)."""
        path = request.full_path.partition("?")[0]
        is_azure = path.startswith("/openai/")
        given = self._given(request, is_azure=is_azure)
        if not given:
            # A well-known text that no recording holds.
            raise Refusal(401, _NO_KEY)
        if self.keys is not None and not self.keys.intersection(given):
            raise Refusal(401, _wrong(given[0]), code="invalid_api_key")
        if is_azure:
            _check_azure(request, path)

    def _given(self, request: Request, *, is_azure: bool) -> list[str]:
        """OpenAI takes a bearer token, Azure `api-key` too; clients of 1.40 send both (DESIGN.md)."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = [token.strip()] if scheme.lower() == "bearer" and token.strip() else []
        key = request.headers.get("api-key")
        return [key, *bearer] if is_azure and key else bearer


def _check_azure(request: Request, path: str) -> None:
    """The dated routes are gone with the Assistants API, but for files and vector stores; v1 takes no dated version.

    Source: platform.md sections 8 and 11 (`api-version` optional, `v1` or `preview`; containers 404 on dated routes).
    The bodies are Azure's usual ones, with `code` and `message` only; no recording holds them.
    """
    version = request.value("api-version")
    if not path.startswith("/openai/v1/"):
        if request.path == path:
            raise _azure_refusal(404, "404", "Resource not found")
    elif version not in {None, "v1", "preview"}:
        raise _azure_refusal(400, "BadRequest", "API version not supported")


def _azure_refusal(status: int, code: str, message: str) -> Refusal:
    refusal = Refusal(status, message)
    refusal.body = {"error": {"code": code, "message": message}}
    return refusal


def _wrong(key: str) -> str:
    """The key is shown with its middle starred out (Source: response_error.yaml)."""
    hidden = max(0, len(key) - _SHOWN_BEFORE - _SHOWN_AFTER)
    masked = key[:_SHOWN_BEFORE] + "*" * hidden + key[-_SHOWN_AFTER:] if hidden else "*" * len(key)
    return (
        f"Incorrect API key provided: {masked}. "
        "You can find your API key at https://platform.openai.com/account/api-keys."
    )
