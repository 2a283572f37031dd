"""Recordings as files: VCR.py's YAML, and what a converted recording says beside its exchanges."""
