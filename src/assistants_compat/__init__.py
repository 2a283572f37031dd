"""Legacy OpenAI Assistants code over the Responses API: same objects, same errors, same downloads.

::

    client = assistants_compat.wrap(openai.OpenAI())
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import CompatError, SettingsError, StoreError, UnsupportedSdkError
from .settings import Settings

if TYPE_CHECKING:
    from .intercept import wrap
    from .links import file_url

__version__ = "0.1.0"

__all__ = [
    "CompatError",
    "Settings",
    "SettingsError",
    "StoreError",
    "UnsupportedSdkError",
    "__version__",
    "file_url",
    "wrap",
]


_LATER = {"file_url": "links", "wrap": "intercept"}


def __getattr__(name: str) -> Any:
    """Load a function when it is first asked for: wrapt alone would triple the time of this import."""
    if name in _LATER:
        return getattr(import_module(f".{_LATER[name]}", __name__), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
