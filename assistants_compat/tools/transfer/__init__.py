"""Imports saved data into the store and exports it again: the commands `import` and `export`.

The rules that turn an object into a row live in `engine/saved`. This package reads files, finds the objects in whatever
shape they were saved, sorts them and writes the rows in batches. Start reading at `import_objects.py`.
"""
