"""Turns the objects of one API into those of the other, as pure functions.

No clock, no randomness, no I/O: time and ids are arguments.  Functions that convert are named `x_from_y`.  Start
reading at `request.py` (what a run sends), then `output.py` and `run_events.py` (what comes back).
"""
