"""Proves what each command prints, where it prints it and how it exits."""
