"""Proves the pure translators for any input, by properties."""
