"""Hypothesis strategies for every value that travels between the services."""

from __future__ import annotations

from hypothesis import strategies as st

from indexer.records import (
    BlockWorkItem,
    DecodedBlock,
    DecodedEvents,
    Header,
    Logs,
    Outcome,
    Proof,
    Reason,
    Rollback,
    TokenTransfers,
    Transactions,
)

# uint256 and the wei amounts that are usual, with the edges of every width that a column can have
EDGES = [0, 1, 2**8 - 1, 2**8, 2**16 - 1, 2**32, 2**64 - 1, 2**64, 2**128 - 1, 2**128, 2**256 - 1]
uint256 = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**256 - 1))
counter = st.one_of(st.sampled_from([0, 1, 255, 256, 2**32, 2**63 - 1]), st.integers(0, 2**63 - 1))
hashes = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20)
blobs = st.one_of(st.just(b""), st.binary(max_size=200))
texts = st.text(st.characters(codec="utf-8"), max_size=20)
maybe = st.none


def _rows(kind: type, columns: dict[str, st.SearchStrategy]) -> st.SearchStrategy:
    def of_length(n: int) -> st.SearchStrategy:
        lists = {name: st.lists(values, min_size=n, max_size=n) for name, values in columns.items()}
        return st.builds(kind, **lists)

    return st.integers(0, 4).flatmap(of_length)


headers = st.builds(
    Header,
    number=counter, hash=hashes, parent_hash=hashes, sha3_uncles=hashes, miner=addresses, state_root=hashes,
    transactions_root=hashes, receipts_root=hashes, logs_bloom=st.binary(min_size=256, max_size=256),
    difficulty=uint256, gas_limit=counter, gas_used=counter, timestamp=counter, extra_data=blobs, size=counter,
    mix_hash=maybe() | hashes, nonce=maybe() | st.binary(min_size=8, max_size=8),
    base_fee_per_gas=maybe() | uint256, total_difficulty=maybe() | uint256, withdrawals_root=maybe() | hashes,
    blob_gas_used=maybe() | counter, excess_blob_gas=maybe() | counter,
    extra=st.dictionaries(texts, texts, max_size=3), uncles=st.lists(hashes, max_size=2),
)  # fmt: skip
transactions = _rows(
    Transactions,
    {
        "hash": hashes, "type": st.integers(0, 127), "nonce": counter, "from_address": addresses,
        "to_address": maybe() | addresses, "value": uint256, "gas": counter, "gas_price": uint256,
        "max_fee_per_gas": maybe() | uint256, "max_priority_fee_per_gas": maybe() | uint256, "input": blobs,
        "v": uint256, "r": uint256, "s": uint256, "extra": maybe() | texts,
        "receipt_status": maybe() | st.integers(0, 1), "receipt_root": maybe() | hashes,
        "receipt_gas_used": counter, "receipt_cumulative_gas_used": counter,
        "receipt_effective_gas_price": maybe() | uint256, "receipt_contract_address": maybe() | addresses,
        "receipt_extra": maybe() | texts,
    },
)  # fmt: skip
logs = _rows(
    Logs,
    {"log_index": counter, "transaction_index": counter, "address": addresses, "data": blobs}
    | {f"topic{i}": maybe() | hashes for i in range(4)},
)
token_transfers = _rows(
    TokenTransfers,
    {
        "log_index": counter, "batch_index": counter, "token_address": addresses,
        "standard": st.sampled_from(["erc20", "erc721", "erc1155"]),
        "kind": st.sampled_from(["transfer", "deposit", "withdrawal"]),
        "from_address": addresses, "to_address": addresses, "token_id": uint256, "amount": uint256,
    },
)  # fmt: skip
decoded_events = _rows(DecodedEvents, {"log_index": counter, "model": texts, "event": texts, "args": texts})

reasons = st.sampled_from(Reason)
blocks = st.builds(
    DecodedBlock,
    chain_id=counter, header=headers, transactions=transactions, logs=logs, token_transfers=token_transfers,
    decoded_events=decoded_events, proofs=st.integers(0, 2047).map(Proof),
    undecoded_logs=st.lists(st.integers(0, 2**32 - 1), max_size=3), generation=counter,
    job_id=maybe() | counter, reason=reasons, model_version=counter,
)  # fmt: skip
work_items = st.builds(
    BlockWorkItem,
    chain_id=counter, number=counter, generation=counter, expected_hash=maybe() | hashes,
    job_id=maybe() | counter, reason=reasons,
)  # fmt: skip
rollbacks = st.builds(Rollback, chain_id=counter, from_number=counter, generation=counter)
outcomes = st.builds(
    Outcome,
    service=texts, instance=texts, chain_id=counter, stage=texts, partition=st.integers(-1, 2**31 - 1),
    first_block=counter, last_block=counter, blocks=counter, at=st.integers(0, 4 * 10**12), rows=counter,
    bytes=counter, job_id=maybe() | counter, failures=st.dictionaries(texts, counter, max_size=3),
    seconds=st.dictionaries(texts, st.floats(allow_nan=False), max_size=3),
)  # fmt: skip
