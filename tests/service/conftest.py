"""Proves that the facts about the service have sources, agree with the recordings and are recognized."""
