"""State: tables, queries over a connection, and the bytes of generated files.

Only this package imports SQLAlchemy, database drivers and object storage. It knows no HTTP, no SDK and no translation:
rows and bytes go in and come out. Start reading at `tables.py`, then `queries.py`.
"""
