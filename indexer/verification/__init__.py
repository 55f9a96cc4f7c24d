"""Proving what is stored, against itself and against a node."""
