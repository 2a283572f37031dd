"""Proves that wrapped clients pass calls and answers on unchanged: credentials, other HTTP traffic, cancellation."""
