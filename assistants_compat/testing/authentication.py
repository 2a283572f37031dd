"""Checks the API key of a request, and whether its path belongs to OpenAI or Azure.

The texts of the refusals are those of the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exchange import AZURE_PATHS, Refusal

if TYPE_CHECKING:
    from collections.abc import Collection

    from .exchange import Request

_NO_KEY_MESSAGE = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
    "API from your browser and are prompted for a username and password. You can obtain an API key from "
    "https://platform.openai.com/account/api-keys."
)
_VISIBLE_PREFIX, _VISIBLE_SUFFIX = 8, 4  # as recorded (response_error.yaml)


class KeyCheck:
    """Checks the API key of every request."""

    def __init__(self, keys: Collection[str] | None) -> None:
        """Accept only `keys`, or any key if it is None."""
        self.keys = None if keys is None else frozenset(keys)

    def check(self, request: Request) -> None:
        """Refuse a missing or wrong key (401) and, on Azure, a path or version that does not exist (404 or 400)."""
        path = request.full_path.partition("?")[0]
        is_azure = path.startswith(AZURE_PATHS)
        sent_keys = self._sent_keys(request, is_azure=is_azure)
        if not sent_keys:
            # The text is well known, but no recording holds it.
            raise Refusal(401, _NO_KEY_MESSAGE)
        if self.keys is not None and not self.keys.intersection(sent_keys):
            raise Refusal(401, _wrong_key_message(sent_keys[0]), code="invalid_api_key")
        if is_azure:
            _check_azure_path(request, path)

    def _sent_keys(self, request: Request, *, is_azure: bool) -> list[str]:
        """Return the keys of a request: OpenAI accepts a bearer token, and Azure also the header `api-key`.

        Azure clients of openai 1.40 send both (decision 0005).
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = [token.strip()] if scheme.lower() == "bearer" and token.strip() else []
        key = request.headers.get("api-key")
        return [key, *bearer] if is_azure and key else bearer


def _check_azure_path(request: Request, path: str) -> None:
    """Refuse dated routes and dated versions.

    Dated routes disappeared with the Assistants API, except those for files and vector stores. The v1 routes accept no
    dated version. Source: platform.md sections 8 and 11 (`api-version` is optional, `v1`, `preview` or `latest`;
    containers are 404 on dated routes). The bodies have Azure's usual shape, `code` and `message` only; no recording
    holds them.
    """
    version = request.value("api-version")
    if "/openai/v1/" not in path:
        # The server strips the base of the dated routes that still exist, so an unchanged path is none of them.
        if request.path == path:
            raise _azure_refusal(404, "404", "Resource not found")
    elif version not in {None, "v1", "preview", "latest"}:
        raise _azure_refusal(400, "BadRequest", "API version not supported")


def _azure_refusal(status: int, code: str, message: str) -> Refusal:
    refusal = Refusal(status, message)
    refusal.body = {"error": {"code": code, "message": message}}
    return refusal


def _wrong_key_message(key: str) -> str:
    """Return the 401 text, which shows the key with its middle masked (Source: response_error.yaml)."""
    # A key too short for both visible ends is masked completely.
    hidden = max(0, len(key) - _VISIBLE_PREFIX - _VISIBLE_SUFFIX)
    masked = key[:_VISIBLE_PREFIX] + "*" * hidden + key[-_VISIBLE_SUFFIX:] if hidden else "*" * len(key)
    return (
        f"Incorrect API key provided: {masked}. "
        "You can find your API key at https://platform.openai.com/account/api-keys."
    )
