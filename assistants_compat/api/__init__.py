"""The Assistants API: one file per noun, and the table of routes that dispatches to them.

A handler takes a `Call` and the `IO`, and returns a `Reply`, or None for a request that the upstream must answer. It
checks the request, reads or writes the store, and calls `engine` for everything that involves the upstream. Handlers
never import each other, and none of them knows HTTP, an SDK or a database driver. Start reading at `app.py`.
"""
