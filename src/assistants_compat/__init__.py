"""Legacy OpenAI Assistants code over the Responses API: same objects, same errors, same downloads.

::

    client = assistants_compat.wrap(openai.OpenAI())
"""

from .errors import CompatError, SettingsError, StoreError, UnsupportedSdkError
from .intercept import wrap
from .settings import Settings

__version__ = "0.1.0"

__all__ = ["CompatError", "Settings", "SettingsError", "StoreError", "UnsupportedSdkError", "__version__", "wrap"]
