"""State: tables, queries over a connection, and the bytes of generated files.

The only room that imports SQLAlchemy, a database driver or object storage.  It knows no HTTP, no SDK and no
translation: rows and bytes go in and come out.  Start reading at `tables.py`, then `queries.py`.
"""
