"""What crosses the wire: the objects of both APIs, ids, requests and their checks, headers and file names.

Plain values and pure functions only: no I/O, no clock, no store.  A shape is written down here once, with its source.
Start reading at `objects.py`, then `exchange.py`.
"""
