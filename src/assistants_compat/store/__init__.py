"""State: tables, plain functions over a connection, and the bytes of generated files.  No HTTP, no translation."""
