"""Functions that a program or operator calls on a wrapped client, beside the API's own requests.

They download files, settle unwatched runs, sign file links and move threads to Conversations. `transfer/` imports and
exports saved data; `audit/` analyses code bases. Tools do not import each other: they share only `upstream.py` and
`progress.py`. Command lines live in `cli/`. Start reading at `downloads.py`.
"""
