"""Saved data in and out of the store: `import` and `export`.

The rules that turn an object into rows live in `engine/saved`; this room reads files, sorts what they hold and writes
it in batches.  Start reading at `import_objects.py`.
"""
