"""Proves what the process provides: the log and its switch, which every other room writes to."""
