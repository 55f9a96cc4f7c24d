"""Revisions of the database; see `indexer.storage.migrate`."""
