"""Proves that import and export reproduce all objects exactly, also after an interruption."""
