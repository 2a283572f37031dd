"""Translates objects between the Assistants API and the Responses API, in pure functions.

No clock, no randomness and no I/O: the time and new ids are arguments. Converters are named `x_from_y`. Start reading
at `request.py` (what a run sends), then `output.py` and `run_events.py` (what comes back).
"""
