"""Stores decoded blocks in PostgreSQL together with the offsets they came from."""
