"""Replay of dead letters: a frozen selection, published again as fresh work items, each once (PROTOCOL 14–16)."""
