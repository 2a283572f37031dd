"""What a program or operator asks of a wrapped client beside its API requests.

Downloads, settling, links to files, moving threads to Conversations, `transfer/` for saved data, `audit/` for code
bases.  Tools do not import each other; `upstream.py` and `progress.py` are what they share.  Command lines live in
`cli/`.  Start reading at `downloads.py`.
"""
