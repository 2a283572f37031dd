"""Proves that cassettes are read, scrubbed, checked and converted without losing or leaking anything."""
