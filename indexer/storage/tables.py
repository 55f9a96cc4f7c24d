"""The tables, as SQLAlchemy sees them; Alembic's migrations make them, a test compares the two.

Names of columns are those of ethereum-etl wherever it has one. Hashes and addresses are bytea, amounts numeric(78,0)
(uint256), sums of amounts plain numeric, times of blocks Unix seconds.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BIT, INT8MULTIRANGE, JSONB

metadata = MetaData()
Amount = Numeric(78, 0)
Bytes = LargeBinary
By_block: dict[str, Any] = {"postgresql_partition_by": "RANGE (block_number)"}


def _key(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger, primary_key=True, autoincrement=False) for name in names]


blocks = Table(
    "blocks",
    metadata,
    *_key("chain_id", "number"),
    Column("hash", Bytes, nullable=False),
    Column("parent_hash", Bytes, nullable=False),
    Column("nonce", Bytes),
    Column("sha3_uncles", Bytes, nullable=False),
    Column("logs_bloom", Bytes, nullable=False),
    Column("transactions_root", Bytes, nullable=False),
    Column("state_root", Bytes, nullable=False),
    Column("receipts_root", Bytes, nullable=False),
    Column("miner", Bytes, nullable=False),
    Column("difficulty", Amount, nullable=False),
    Column("total_difficulty", Amount),
    Column("size", BigInteger, nullable=False),
    Column("extra_data", Bytes, nullable=False),
    Column("gas_limit", BigInteger, nullable=False),
    Column("gas_used", BigInteger, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("transaction_count", Integer, nullable=False),
    Column("log_count", Integer, nullable=False),
    Column("base_fee_per_gas", Amount),
    Column("mix_hash", Bytes),
    Column("withdrawals_root", Bytes),
    Column("blob_gas_used", BigInteger),
    Column("excess_blob_gas", BigInteger),
    Column("extra", JSONB),  # the chain's own header fields, under their RPC names
    Column("uncles", ARRAY(Bytes)),
    Column("proofs", Integer, nullable=False),  # indexer.records.Proof
    Column("undecoded_logs", Integer, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("model_version", BigInteger, nullable=False),
    Column("stored_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    postgresql_partition_by="RANGE (number)",
)

transactions = Table(
    "transactions",
    metadata,
    *_key("chain_id", "block_number"),
    Column("transaction_index", Integer, primary_key=True, autoincrement=False),
    Column("hash", Bytes, nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("from_address", Bytes, nullable=False),
    Column("to_address", Bytes),
    Column("value", Amount, nullable=False),
    Column("gas", BigInteger, nullable=False),
    Column("gas_price", Amount, nullable=False),
    Column("max_fee_per_gas", Amount),
    Column("max_priority_fee_per_gas", Amount),
    Column("input", Bytes, nullable=False),
    Column("v", Amount, nullable=False),
    Column("r", Bytes, nullable=False),
    Column("s", Bytes, nullable=False),
    Column("extra", JSONB),  # accessList, blobVersionedHashes, authorizationList, sourceHash …
    Column("receipt_status", SmallInteger),
    Column("receipt_root", Bytes),
    Column("receipt_gas_used", BigInteger, nullable=False),
    Column("receipt_cumulative_gas_used", BigInteger, nullable=False),
    Column("receipt_effective_gas_price", Amount),
    Column("receipt_contract_address", Bytes),
    Column("receipt_extra", JSONB),
    **By_block,
)

logs = Table(
    "logs",
    metadata,
    *_key("chain_id", "block_number"),
    Column("log_index", Integer, primary_key=True, autoincrement=False),
    Column("transaction_index", Integer, nullable=False),
    Column("address", Bytes, nullable=False),
    Column("topic0", Bytes),
    Column("topic1", Bytes),
    Column("topic2", Bytes),
    Column("topic3", Bytes),
    Column("data", Bytes, nullable=False),
    **By_block,
)

token_transfers = Table(
    "token_transfers",
    metadata,
    *_key("chain_id", "block_number"),
    Column("log_index", Integer, primary_key=True, autoincrement=False),
    Column("batch_index", Integer, primary_key=True, autoincrement=False),
    Column("token_address", Bytes, nullable=False),
    Column("from_address", Bytes, nullable=False),
    Column("to_address", Bytes, nullable=False),
    Column("standard", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("token_id", Amount, nullable=False),
    Column("amount", Amount, nullable=False),
    **By_block,
)

decoded_events = Table(
    "decoded_events",
    metadata,
    *_key("chain_id", "block_number"),
    Column("log_index", Integer, primary_key=True, autoincrement=False),
    Column("model", Text, primary_key=True),
    Column("event", Text, nullable=False),
    Column("args", JSONB, nullable=False),
    **By_block,
)

block_processing = Table(
    "block_processing",
    metadata,
    *_key("chain_id", "block_number"),
    Column("status", Text, nullable=False),  # stored | dead
    Column("job_id", BigInteger),
    Column("generation", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("code", Text),  # of the last failure
    Column("first_outcome_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    **By_block,
)

transaction_processing = Table(
    "transaction_processing",
    metadata,
    *_key("chain_id", "block_number"),
    Column("transaction_index", Integer, primary_key=True, autoincrement=False),
    Column("code", Text, primary_key=True),  # UNDECODED_LOG
    Column("log_indexes", ARRAY(Integer), nullable=False),
    **By_block,
)

balances = Table(
    "balances",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("token_address", Bytes, primary_key=True),
    Column("token_id", Amount, primary_key=True),
    Column("holder", Bytes, primary_key=True),
    Column("balance", Numeric, nullable=False),
)

_FOLLOWS = "reason = 'head' AND state IN ('queued', 'running', 'paused', 'cancelling')"

processing_jobs = Table(
    "processing_jobs",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # queued | running | paused | cancelling | cancelled | done
    Column("priority", Text, nullable=False),  # high | normal | low
    Column("strategy", Text, nullable=False),  # entry point of group indexer.strategies
    Column("reason", Text, nullable=False, server_default="backfill"),
    Column("blocks", INT8MULTIRANGE, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("window_blocks", Integer, nullable=False),
    Column("rate", Double),  # blocks a second at most; NULL: no limit
    Column("position", JSONB),  # the strategy's own cursor: where publishing goes on
    Column("published", BigInteger, nullable=False, server_default="0"),  # items whose stripe was published
    Column("exhausted", BigInteger, nullable=False, server_default="0"),  # 1: the strategy has no more stripes
    Column("lease_owner", Text),
    Column("lease_epoch", BigInteger, nullable=False, server_default="0"),
    Column("lease_until", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("message", Text),
    Column("confirmations", Integer),  # of a job that follows the head; NULL: what the node calls finalized
    Index("processing_jobs_state", "state"),
    Index("processing_jobs_follower", "chain_id", unique=True, postgresql_where=text(_FOLLOWS)),
)

job_coverage = Table(
    "job_coverage",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("stripe", BigInteger, primary_key=True, autoincrement=False),  # height // 64
    Column("chain_id", BigInteger, nullable=False),
    # bit i, counted from the right, is height stripe * 64 + i
    Column("wanted", BIT(64), nullable=False),
    Column("stored", BIT(64), nullable=False),
    Column("dead", BIT(64), nullable=False),
    Column("published_at", DateTime(timezone=True)),  # NULL: recorded, not published yet
    Index("job_coverage_stripe", "chain_id", "stripe"),
    Index("job_coverage_open", "job_id", "published_at", postgresql_where=text("(stored | dead) <> wanted")),
    Index("job_coverage_dead", "job_id", postgresql_where=text("dead <> 0::bigint::bit(64)")),
)

consumer_progress = Table(
    "consumer_progress",
    metadata,
    Column("consumer_group", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("topic_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("backend_pid", Integer),
    Column("backend_start", DateTime(timezone=True)),
    Column("marker", BigInteger),
    Column("deaths", Integer, nullable=False, server_default="0"),
    Column("marker_by", Text),
    Column("marker_at", DateTime(timezone=True)),
    Column("death_cause", Text),
    Column("applied_generation", BigInteger, nullable=False, server_default="0"),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

chain_state = Table(
    "chain_state",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("generation", BigInteger, nullable=False, server_default="0"),
    Column("finalized_to", BigInteger),
    Column("canonical_to", BigInteger),
    Column("paused", Text),  # why an operator has to look, or NULL
)

headers = Table(
    "headers",
    metadata,
    *_key("chain_id", "number"),
    Column("hash", Bytes, nullable=False),
    Column("parent_hash", Bytes, nullable=False),
    Column("generation", BigInteger, nullable=False),
)

rollbacks = Table("rollbacks", metadata, *_key("chain_id", "from_number", "generation"))

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("origin_topic", Text, nullable=False),
    Column("origin_topic_id", Text, nullable=False),
    Column("origin_partition", Integer, nullable=False),
    Column("origin_offset", BigInteger, nullable=False),
    Column("replay_count", Integer, nullable=False),
    Column("block_number", BigInteger),
    Column("job_id", BigInteger),
    # open | resolved | replayed | superseded (by a newer letter) | quarantined | dropped
    Column("state", Text, nullable=False, server_default="open"),
    Column("service", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("error_class", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_failed_at", DateTime(timezone=True)),
    Column("last_failed_at", DateTime(timezone=True)),
    Column("record_key", Bytes),
    Column("record_value", Bytes),
    Column("record_headers", JSONB, nullable=False),  # [[name, hex], …], in order, as on the topic
    Column("indexed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("run_id", BigInteger),  # of the replay that it died in
    Column("replayed_at", DateTime(timezone=True)),
    Index(
        "dead_letters_origin",
        "origin_topic_id",
        "origin_partition",
        "origin_offset",
        "replay_count",
        unique=True,
    ),
    Index("dead_letters_state", "chain_id", "state"),
    Index("dead_letters_fingerprint", "fingerprint"),
    Index("dead_letters_block", "chain_id", "block_number"),
    Index("dead_letters_run", "run_id", postgresql_where=text("run_id IS NOT NULL")),
)

replay_runs = Table(
    "replay_runs",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("selection", JSONB, nullable=False),  # what was asked for, in words
    Column("actor", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="running"),  # running | stopped | done
    Column("total", Integer, nullable=False),
    Column("position", Integer, nullable=False, server_default="0"),  # derived from the group's offset in Kafka
    Column("canary", Integer, nullable=False, server_default="0"),
    Column("rate", Double),  # letters a second
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    Column("message", Text),
    Column("nonce", Text),  # of its name in Kafka: a restored database gives ids out again; NULL: before revision 0005
)

# the frozen selection: position counts from 0
replay_items = Table(
    "replay_items",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("letter_id", BigInteger, nullable=False),
    Column("outcome", Text),  # replayed | why it was passed by; NULL: not yet
    Index("replay_items_letter", "letter_id"),
)

letter_actions = Table(
    "letter_actions",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("selection", JSONB, nullable=False),
    Column("letters", Integer, nullable=False),
    Column("run_id", BigInteger),
    Column("note", Text),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("record_key", Bytes),
    Column("record_value", Bytes),
    Column("record_headers", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# writer: the command that audits, and an operator's wishes (storage/audits.py)
audits = Table(
    "audits",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("from_number", BigInteger, nullable=False),
    Column("to_number", BigInteger, nullable=False),
    Column("state", Text, nullable=False, server_default="running"),  # what else: storage/audits.py
    Column("next_number", BigInteger, nullable=False),  # all below was looked at
    Column("findings", BigInteger, nullable=False, server_default="0"),
    Column("report", JSONB),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
