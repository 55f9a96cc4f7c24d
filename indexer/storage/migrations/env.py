"""Alembic's entry: runs the revisions on the connection that `indexer.storage.migrate` hands over."""

from __future__ import annotations

from alembic import context

from indexer.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table="schema_revision"
)
with context.begin_transaction():
    context.run_migrations()
