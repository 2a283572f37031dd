"""Facts about the Responses service as data: what it refuses, and which model takes which parameter.

Each fact names its public source. No I/O here, and no import from another room: the engine, the stand-in, the
documentation and `doctor` all read the same rows. Start reading at `refusals.py`, which says what a row is.
"""
