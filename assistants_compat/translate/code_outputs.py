"""Tells whether a response has lost what its code printed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..wire.objects import as_object_list

_PRINTS = re.compile(r"\b(?:print|display|show)\(")


def lacks_code_outputs(response: Mapping[str, Any]) -> bool:
    """Whether code of this response printed or showed something, and no call of it has outputs.

    In early 2026 the outputs of background responses were empty (refusal `code_outputs_missing`). Code that prints
    nothing has no outputs either, so the code itself has to say that there should be some. Outputs that nobody asked
    for are null (recorded).
    """
    calls = [item for item in as_object_list(response.get("output")) if item.get("type") == "code_interpreter_call"]
    if any(call.get("outputs") for call in calls):
        return False
    return any(call.get("outputs") == [] and _PRINTS.search(str(call.get("code") or "")) for call in calls)
