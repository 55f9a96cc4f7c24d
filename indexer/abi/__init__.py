"""Decoding of logs: token standards that are built in, and events that models name; pure, no client library."""
