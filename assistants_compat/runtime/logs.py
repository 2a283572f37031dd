"""The library's loggers, and `ASSISTANTS_COMPAT_LOG`, which prints them as the SDK's own `OPENAI_LOG` does.

`assistants_compat` gets warnings and errors. Below it, `.runs` gets one line (INFO) when a run starts and one when it
ends. `.calls` gets one line (DEBUG) for each Assistants call that is answered here, `.requests` one for each upstream
request. No line ever contains message text, file names, keys, bodies or query strings.
"""

from __future__ import annotations

import logging
import os
import re

from ..errors import SettingsError

LOG_VARIABLE = "ASSISTANTS_COMPAT_LOG"

library = logging.getLogger("assistants_compat")
runs = logging.getLogger("assistants_compat.runs")
calls = logging.getLogger("assistants_compat.calls")
requests = logging.getLogger("assistants_compat.requests")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


def level_from_environment() -> int | None:
    """Return the level that `ASSISTANTS_COMPAT_LOG` names, or None; raises `SettingsError` for an invalid one."""
    level = os.environ.get(LOG_VARIABLE, "").strip().lower()
    if level and level not in _LEVELS:
        message = f"{LOG_VARIABLE}={level!r} is not valid; expected debug, info or warning."
        raise SettingsError(message)
    return _LEVELS.get(level)


def set_up_from_environment() -> None:
    """Print the library's log to stderr at the level of `ASSISTANTS_COMPAT_LOG`; without it, change nothing.

    Like the SDK, this leaves handlers that the program has set up as they are.
    """
    level = level_from_environment()
    if level is None:
        return
    logging.basicConfig(
        format="[%(asctime)s - %(name)s:%(lineno)d - %(levelname)s] %(message)s", datefmt="%Y-%m-%d %H:%M:%S"
    )
    library.setLevel(level)


def loggable_path(path: str) -> str:
    """Return a path for the log; a part that does not look like a name or an id becomes `?`, for it may be a text."""
    parts = path.partition("?")[0].strip("/").split("/")
    return "/" + "/".join(part if _ID.fullmatch(part) else "?" for part in parts)
