"""The life of a run, one file per step: create, ask upstream, refresh, finish, submit tool outputs, cancel, stream.

A run has one id over any number of upstream responses, called rounds.  Nothing here knows routes or request bodies of
the legacy API; `api/runs.py` does.  Start reading at `create.py`, then `refresh.py` and `finish.py`.
"""
