"""Proves that a streamed run sends the recorded events, and is completed whatever its consumer does."""
