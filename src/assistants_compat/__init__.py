"""Legacy OpenAI Assistants code over the Responses API: same objects, same errors, same downloads.

::

    client = assistants_compat.wrap(openai.OpenAI())
"""

from typing import TYPE_CHECKING, Any

from .errors import CompatError, SettingsError, StoreError, UnsupportedSdkError
from .settings import Settings

if TYPE_CHECKING:
    from .intercept import wrap

__version__ = "0.1.0"

__all__ = ["CompatError", "Settings", "SettingsError", "StoreError", "UnsupportedSdkError", "__version__", "wrap"]


def __getattr__(name: str) -> Any:
    """Load `wrap` when it is first asked for: wrapt would triple the time of this import."""
    if name == "wrap":
        from .intercept import wrap  # noqa: PLC0415 - see above

        return wrap
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
