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
    from .conversations import Moved, from_conversation, to_conversation
    from .downloads import download_files
    from .installing import install, uninstall
    from .intercept import wrap
    from .links import file_url
    from .native import responses_request
    from .settling import Settled, settle

__version__ = "0.1.0"

__all__ = [
    "CompatError",
    "DownloadError",
    "LegacyCall",
    "Moved",
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


_LATER = {
    "Moved": "conversations",
    "Settled": "settling",
    "download_files": "downloads",
    "file_url": "links",
    "from_conversation": "conversations",
    "install": "installing",
    "responses_request": "native",
    "settle": "settling",
    "to_conversation": "conversations",
    "uninstall": "installing",
    "wrap": "intercept",
}


def __getattr__(name: str) -> Any:
    """Load a function when it is first asked for: wrapt alone would triple the time of this import."""
    if name == "azure":
        return import_module(".azure", __name__)
    if name in _LATER:
        return getattr(import_module(f".{_LATER[name]}", __name__), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
