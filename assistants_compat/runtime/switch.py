"""`ASSISTANTS_COMPAT=off`: switches the library off without a code change or a new build."""

from __future__ import annotations

import logging
import os

from ..errors import SettingsError

log = logging.getLogger("assistants_compat")

SWITCH_VARIABLE = "ASSISTANTS_COMPAT"

_OFF, _ON = ("off", "0", "false", "no"), ("", "on", "1", "true", "yes")
_logged: list[bool] = []  # not empty once this process has logged the warning


def is_off() -> bool:
    """Whether the library is switched off; the first call of a process that finds it off logs a warning.

    Raises `SettingsError` for an unknown value.
    """
    value = os.environ.get(SWITCH_VARIABLE, "").strip().lower()
    if value in _ON:
        return False
    if value not in _OFF:
        message = f"ASSISTANTS_COMPAT={value!r} is not valid; expected on or off."
        raise SettingsError(message)
    if not _logged:
        _logged.append(True)
        log.warning("ASSISTANTS_COMPAT=off: clients are not wrapped, and their Assistants calls go to the service.")
    return True
