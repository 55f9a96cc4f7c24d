"""A JSON-RPC node for development and tests."""
