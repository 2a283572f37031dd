"""The checks of `doctor --live`: what the service refuses, asked with the user's own key.

A check is data (`check.py`): a question, an estimate of its price, a function that sends its requests, and a pure
function that judges the answers. Each topic has a file of checks; `catalogue.py` lists them all. `bench.py` is all the
I/O there is: it sends, records and deletes. `verdicts.py` keeps every answer that proves nothing (429, 5xx, 401, no
connection) from becoming a verdict. `report.py` writes what a user can attach to a report. Start reading at `check.py`.
"""
