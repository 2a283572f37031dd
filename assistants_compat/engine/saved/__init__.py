"""Rules for saved data: objects of the old API as rows of the store and back, and assistants declared in a file.

Import, export and `Settings(assistants=...)` share them. Reading files of saved objects and writing rows in batches
belong to `tools/transfer`. Start reading at `objects.py`.
"""
