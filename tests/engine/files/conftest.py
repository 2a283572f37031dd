"""Proves that generated files, containers, uploads and vector stores are where the old service had them."""
