"""Proves that the SDK's own tests and examples pass over a wrapped client."""
