"""Proves that settings, Azure sign-in and imports work, in any environment of a program."""
