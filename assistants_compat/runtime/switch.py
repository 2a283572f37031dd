"""`ASSISTANTS_COMPAT=off`: the one variable that takes the library out of a program, without an edit or a new build."""

from __future__ import annotations

import logging
import os

from ..errors import SettingsError

log = logging.getLogger("assistants_compat")

SWITCH = "ASSISTANTS_COMPAT"

_OFF, _ON = ("off", "0", "false", "no"), ("", "on", "1", "true", "yes")
_said: list[bool] = []


def is_off() -> bool:
    """Whether the library is switched off, which is said once a process; raises `SettingsError` for any other word."""
    word = os.environ.get(SWITCH, "").strip().lower()
    if word in _ON:
        return False
    if word not in _OFF:
        message = f"ASSISTANTS_COMPAT is {word!r}: 'on' or 'off' is needed."
        raise SettingsError(message)
    if not _said:
        _said.append(True)
        log.warning("ASSISTANTS_COMPAT=off: clients are left as they are, and nothing is answered here.")
    return True
