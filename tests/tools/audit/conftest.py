"""Proves that an audit finds each use of the Assistants API and reports correctly what becomes of it."""
