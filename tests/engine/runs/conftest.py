"""Proves how a run proceeds: its modes, tool outputs, cancelling, and items that the upstream no longer accepts."""
