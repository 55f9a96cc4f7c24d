"""Which tables are partitioned by block number, apart from their columns: SQLAlchemy takes long to import."""

from __future__ import annotations

# range-partitioned by block number, and their deferred indexes: they serve the questions of readers and no more
BLOCK_TABLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "blocks": (("hash",),),
    "transactions": (("hash",), ("from_address", "block_number"), ("to_address", "block_number")),
    "logs": (("address", "topic0", "block_number"),),
    "token_transfers": (
        ("token_address", "block_number"),
        ("from_address", "block_number"),
        ("to_address", "block_number"),
    ),
    "decoded_events": (("model", "event", "block_number"),),
    "block_processing": (),
    "transaction_processing": (),
}
