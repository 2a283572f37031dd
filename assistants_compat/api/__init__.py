"""The Assistants API: one file per noun, and the table of routes that dispatches to them.

A handler takes a `Call` and the `IO`, and returns a `Reply`.  It checks the request, reads or writes the store, and
calls `engine` for everything that involves the upstream.  Handlers never import each other, and no handler knows HTTP,
an SDK or a database driver.  Start reading at `app.py`.
"""
