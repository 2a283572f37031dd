"""What crosses the wire: API objects, ids, legacy requests and their checks, headers and file names.

Plain values and pure functions only: no I/O, no clock, no store. Each shape is defined here once, with its source.
Start reading at `objects.py`, then `exchange.py`.
"""
