"""JSON-RPC: a pool of endpoints that fetches blocks in batches, and its front for plain threads."""
