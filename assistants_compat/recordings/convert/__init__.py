"""Converts a recording of Assistants traffic into one of the Responses API that gives a test the same answers.

The recorded calls are played through a wrapped client, so the library makes the upstream requests itself. Only the
upstream's responses are rebuilt from the old recording. Start reading at `play.py`.
"""
