"""Proves request checks, headers and file names for any input, by properties."""
