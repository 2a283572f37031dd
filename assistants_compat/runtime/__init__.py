"""What the process provides: worker threads, the clock and new ids, the off switch, and a test's overrides.

Nothing here knows either API.  Start reading at `clock.py`.
"""
