"""Proves that a failing upstream, many callers at once or a refused call lose nothing and leave nothing behind."""
