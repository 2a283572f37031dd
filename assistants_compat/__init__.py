"""Legacy OpenAI Assistants code over the Responses API: same objects, same errors, same downloads.

::

    client = assistants_compat.wrap(openai.OpenAI())
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import CompatError, DownloadError, SettingsError, SignInError, StoreError, UnsupportedSdkError
from .settings import LegacyCall, Settings, StoredFile

if TYPE_CHECKING:
    from . import azure as azure
    from .doors.install import install, uninstall
    from .doors.wrap import wrap
    from .tools.conversations import Moved, from_conversation, to_conversation
    from .tools.downloads import download_files
    from .tools.file_links import file_url
    from .tools.request_preview import ResponsesRequest, responses_request
    from .tools.settle import Settled, settle

__version__ = "0.1.0"

__all__ = [
    "CompatError",
    "DownloadError",
    "LegacyCall",
    "Moved",
    "ResponsesRequest",
    "Settings",
    "SettingsError",
    "Settled",
    "SignInError",
    "StoreError",
    "StoredFile",
    "UnsupportedSdkError",
    "__version__",
    "download_files",
    "file_url",
    "from_conversation",
    "install",
    "responses_request",
    "settle",
    "to_conversation",
    "uninstall",
    "wrap",
]


_MODULES_BY_NAME = {
    "Moved": "tools.conversations",
    "ResponsesRequest": "tools.request_preview",
    "Settled": "tools.settle",
    "download_files": "tools.downloads",
    "file_url": "tools.file_links",
    "from_conversation": "tools.conversations",
    "install": "doors.install",
    "responses_request": "tools.request_preview",
    "settle": "tools.settle",
    "to_conversation": "tools.conversations",
    "uninstall": "doors.install",
    "wrap": "doors.wrap",
}


def __getattr__(name: str) -> Any:
    """Load a function when it is first asked for: wrapt alone would triple the time of this import."""
    if name == "azure":
        return import_module(".azure", __name__)
    if name in _MODULES_BY_NAME:
        return getattr(import_module(f".{_MODULES_BY_NAME[name]}", __name__), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    """Return the public names alone: the rooms of the package are importable, but not meant for users."""
    return sorted([*__all__, "azure"])
