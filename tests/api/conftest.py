"""Proves that each endpoint answers as the old service did, for both kinds of client and both databases."""
