"""Proves the functions beside a wrapped client: downloads, settling, Conversations, and the next request."""
