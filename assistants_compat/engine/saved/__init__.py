"""Saved objects of the old API as rows of the store, and rows as such objects; assistants declared in a file.

Import, export and `Settings(assistants=...)` share these rules.  Reading files of saved objects and writing batches
live in `tools/transfer`.  Start reading at `objects.py`.
"""
