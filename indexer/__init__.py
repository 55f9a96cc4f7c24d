"""The shared library of the indexer and its command line."""
