"""Proves that the documentation is right: its code runs, and its tables come from the code."""
