"""The life of a run, one file per step: create, ask upstream, refresh, finish, submit tool outputs, cancel, stream.

A run keeps one id over any number of upstream responses, which are called rounds. Routes and request bodies of the
legacy API belong in `api/runs.py`, not here. Start reading at `create.py`, then `refresh.py` and `finish.py`.
"""
