"""What the process provides: worker threads, the clock, new ids, the off switch and per-test overrides.

Nothing here knows either API. Start reading at `clock.py`.
"""
