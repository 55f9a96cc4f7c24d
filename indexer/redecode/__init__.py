"""Stored logs decoded again, without a node: a wrong ABI was mended, an event or a model was added."""
