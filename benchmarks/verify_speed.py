"""How long parsing and proving a block take: `python -m benchmarks.verify_speed [--profile]`.

Last, the ways from the bodies of a node's answers to encoded records, with token transfers and no models: Python's,
and that of the compiled code, with answers that were read before and with unread ones.

The block is made here: 40 transactions (half of them EIP-1559) with 65 logs, mostly ERC-20 transfers between
accounts of a pool, every block with other accounts, amounts and nonces, as a node would answer it.
"""

from __future__ import annotations

import cProfile
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import orjson

from indexer import native
from indexer.abi.standards import token_transfers
from indexer.abi.wrapped import wrapped_native
from indexer.chain.bloom import to_bytes
from indexer.chain.header import header_hash
from indexer.chain.keccak import keccak256
from indexer.chain.parse import parse_block
from indexer.chain.prove import Unread, Wanted, genuine_header, prove
from indexer.chain.receipts import encode_receipts
from indexer.chain.rules import rules_for
from indexer.chain.senders import recover_sender
from indexer.chain.transactions import encode_transactions
from indexer.chain.trie import ordered_root
from indexer.chain.verify import check_columns, verify, verify_header, verify_receipts, verify_transactions
from indexer.codec import encode_block
from indexer.records import DecodedBlock
from indexer.rpc.answers import read_body
from indexer.rpc.raw import as_json, outlined, raw_answers, transactions_of

CHAIN = rules_for(43114)
COINS = wrapped_native(43114)
BLOCKS, TRANSACTIONS, LOGS = 300, 40, 65
BATCH = 10
TRANSFER = keccak256(b"Transfer(address,address,uint256)")
ZERO_HASH = bytes(32)
NO_SENDER = 1 << 62  # a sample of one block in so many


def hexed(value: bytes | int) -> str:
    return hex(value) if isinstance(value, int) else "0x" + value.hex()


def make_transaction(rng: random.Random, index: int, pool: list[bytes], tokens: list[bytes]) -> dict[str, Any]:
    data = bytes.fromhex("a9059cbb") + bytes(12) + rng.choice(pool) + rng.randrange(10**20).to_bytes(32, "big")
    common = {
        **{"nonce": hexed(rng.randrange(1000)), "from": hexed(rng.choice(pool)), "to": hexed(rng.choice(tokens))},
        **{"value": "0x0", "gas": hexed(90_000), "input": hexed(data), "transactionIndex": hexed(index)},
        **{"r": hexed(rng.randrange(2**255, 2**256)), "s": hexed(rng.randrange(2**252, 2**255))},
    }
    if index % 2:
        return {**common, "type": "0x0", "gasPrice": hexed(30 * 10**9), "v": hexed(CHAIN.chain_id * 2 + 35)}
    fees = {"maxFeePerGas": hexed(30 * 10**9), "maxPriorityFeePerGas": hexed(10**9), "gasPrice": hexed(26 * 10**9)}
    return {
        **common,
        **fees,
        "type": "0x2",
        "chainId": hexed(CHAIN.chain_id),
        "accessList": [],
        "v": "0x1",
        "yParity": "0x1",
    }


def make_block(rng: random.Random, number: int, pool: list[bytes], tokens: list[bytes]) -> bytes:
    """Return both answers of a node as one JSON array, correct but for the senders' signatures."""
    transactions = [make_transaction(rng, index, pool, tokens) for index in range(TRANSACTIONS)]
    receipts: list[dict[str, Any]] = []
    log_index = 0
    for index, transaction in enumerate(transactions):
        logs = []
        for _ in range(2 if index < LOGS - TRANSACTIONS else 1):
            accounts = [hexed(bytes(12) + rng.choice(pool)) for _ in range(2)]
            logs.append(
                {
                    **{"address": transaction["to"], "topics": [hexed(TRANSFER), *accounts], "removed": False},
                    **{"data": hexed(rng.randrange(10**20).to_bytes(32, "big")), "logIndex": hexed(log_index)},
                    "transactionIndex": hexed(index),
                }
            )
            log_index += 1
        receipts.append(
            {
                **{"transactionIndex": hexed(index), "type": transaction["type"], "status": "0x1", "logs": logs},
                **{"gasUsed": hexed(50_000), "cumulativeGasUsed": hexed(50_000 * (index + 1))},
                **{
                    "effectiveGasPrice": transaction["gasPrice"],
                    "contractAddress": None,
                    "logsBloom": "0x" + "00" * 256,
                },
                **{"from": transaction["from"], "to": transaction["to"]},
            }
        )
    block: dict[str, Any] = {
        **{"number": hexed(number), "gasLimit": hexed(15_000_000), "gasUsed": hexed(50_000 * TRANSACTIONS)},
        **{"timestamp": hexed(1_700_000_000 + number), "difficulty": "0x1", "size": hexed(20_000), "uncles": []},
        **dict.fromkeys(("parentHash", "sha3Uncles", "stateRoot", "mixHash", "extDataHash"), hexed(ZERO_HASH)),
        **{"miner": hexed(bytes(20)), "nonce": hexed(bytes(8)), "extraData": hexed(bytes(80))},
        **{"baseFeePerGas": hexed(25 * 10**9), "extDataGasUsed": "0x0", "blockGasCost": "0x0"},
        **dict.fromkeys(("transactionsRoot", "receiptsRoot", "hash"), hexed(ZERO_HASH)),
        **{"logsBloom": hexed(bytes(256)), "transactions": transactions},
    }
    seal(block, receipts)
    return orjson.dumps([block, receipts])


def seal(block: dict[str, Any], receipts: list[dict[str, Any]]) -> None:
    """Put in the hashes and roots, bottom up."""

    def name(item: dict[str, Any], index: int) -> None:
        item.update({"blockHash": block["hash"], "blockNumber": block["number"]})
        if "gasUsed" in item or "topics" in item:
            item["transactionHash"] = block["transactions"][index]["hash"]

    def name_all() -> None:
        for index, (transaction, receipt) in enumerate(zip(block["transactions"], receipts, strict=True)):
            for item in (transaction, receipt, *receipt["logs"]):
                name(item, index)

    for index, transaction in enumerate(block["transactions"]):
        transaction["hash"] = hexed(index.to_bytes(32, "big"))
    name_all()
    header, transactions, logs = parse_block(block, receipts, CHAIN)
    encoded = [item or b"" for item in encode_transactions(transactions, CHAIN)]
    for transaction, item in zip(block["transactions"], encoded, strict=True):
        transaction["hash"] = hexed(keccak256(item))
    encoded_receipts, blooms = encode_receipts(transactions, logs)
    bits = 0
    for bloom in blooms:
        bits |= bloom
    header.transactions_root, header.receipts_root = ordered_root(encoded), ordered_root(encoded_receipts)
    header.logs_bloom = to_bytes(bits)
    block["transactionsRoot"], block["receiptsRoot"] = hexed(header.transactions_root), hexed(header.receipts_root)
    block["logsBloom"], block["hash"] = hexed(header.logs_bloom), hexed(header_hash(header))
    name_all()


Stage = tuple[str, Callable[[Any], Any]]

# Each stage takes what the one before it gave, block by block, as in the decoder: what it reads is still warm.
PIPELINE: list[Stage] = [
    ("orjson.loads", orjson.loads),
    ("parse", lambda item: parse_block(item[0], item[1], CHAIN)),
    (
        "verify, full, no sender",
        lambda item: (item, verify(item[0], item[1], item[2], CHAIN, sender_sample_every=NO_SENDER))[0],
    ),
]
PARTS: list[Stage] = [
    ("  columns", lambda item: check_columns(*item)),
    ("  header", lambda item: verify_header(item[0])),
    ("  transactions", lambda item: verify_transactions(item[0], item[1], CHAIN)),
    ("  receipts and logs", lambda item: verify_receipts(item[0], item[1], item[2], CHAIN)),
    ("verify, consistency", lambda item: verify(item[0], item[1], item[2], CHAIN, mode="consistency")),
    ("one sender", lambda item: recover_sender(item[1], 0, CHAIN)),
]


def measure(raw: list[bytes], rounds: int = 5) -> dict[str, float]:
    """Return the CPU seconds that all blocks took in each stage, in the best of some rounds."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        spent: Counter[str] = Counter()
        for item in raw:
            for name, work in (*PIPELINE, *PARTS):
                start = time.process_time_ns()
                result = work(item)
                spent[name] += time.process_time_ns() - start
                item = result if (name, work) in PIPELINE else item
        for name, nanoseconds in spent.items():
            best[name] = min(best.get(name, float("inf")), nanoseconds / 1e9)
    return best


def record_in_python(item: Any) -> bytes:
    header, transactions, logs = parse_block(item[0], item[1], CHAIN)
    proofs = verify(header, transactions, logs, CHAIN, sender_sample_every=NO_SENDER)
    transfers = token_transfers(logs, COINS)
    return encode_block(DecodedBlock(CHAIN.chain_id, header, transactions, logs, transfers, proofs=proofs))


def record_by_compiled_code(module: ModuleType, block: Any, receipts: Any) -> bytes:
    own = outlined(block)
    header = genuine_header(own, CHAIN)
    answers = Unread(own, transactions_of(block), as_json(block), as_json(receipts))
    proven = header and prove(module, header, answers, CHAIN, Wanted(COINS), NO_SENDER)
    if not proven:
        raise ValueError("a usual block was left to Python")
    record = DecodedBlock(CHAIN.chain_id, proven.header, proven.transactions, proven.logs, proofs=proven.proofs)
    return encode_block(record, proven.packed)


def bodies(raw: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Return what a node answers to batches: for blocks, and for their receipts."""
    answers = list(map(orjson.loads, raw))
    return [
        (_body([block for block, _ in part]), _body([receipts for _, receipts in part]))
        for part in (answers[at : at + BATCH] for at in range(0, len(answers), BATCH))
    ]


def _body(results: list[Any]) -> bytes:
    return orjson.dumps([{"jsonrpc": "2.0", "id": index, "result": each} for index, each in enumerate(results)])


def read(body: bytes) -> list[Any]:
    return read_body(body, 0, BATCH)  # type: ignore[return-value]  # a list, where the node answers well


def unread(module: ModuleType, body: bytes) -> list[Any]:
    found = raw_answers(body, 0, BATCH, module.split)
    if found is None:
        raise ValueError("a usual answer was left to Python")
    return list(found)


def compare(raw: list[bytes], rounds: int = 7) -> None:
    """Print the CPU time of each way to a block's record, in the best of some rounds."""
    module = native.load("auto")
    ways: dict[str, tuple[Callable[[bytes], list[Any]], Callable[[Any, Any], bytes]]] = {
        "body → record, Python": (read, lambda block, receipts: record_in_python((block, receipts)))
    }
    if module is None:
        print("the compiled code is not built")
    else:
        ways["  compiled, read before"] = (read, partial(record_by_compiled_code, module))
        ways["  compiled, unread"] = (partial(unread, module), partial(record_by_compiled_code, module))
    answered = bodies(raw)
    for name, (cut, record) in ways.items():
        best, best_cut = float("inf"), float("inf")
        for _ in range(rounds):
            spent = 0
            start = time.process_time_ns()
            for blocks, receipts in answered:
                begun = time.process_time_ns()
                pairs = deque(zip(cut(blocks), cut(receipts), strict=True))
                spent += time.process_time_ns() - begun
                while pairs:
                    record(*pairs.popleft())  # as in the decoder, where an answer is freed before the next is read
            best = min(best, (time.process_time_ns() - start) / 1e6)
            best_cut = min(best_cut, spent / 1e6)
        print(f"{name:<28}{best / BLOCKS:8.3f} ms a block, {best_cut / BLOCKS:.3f} of it for what a node sent")


def main() -> None:
    rng = random.Random(1)
    pool, tokens = [rng.randbytes(20) for _ in range(5000)], [rng.randbytes(20) for _ in range(50)]
    raw = [make_block(rng, number, pool, tokens) for number in range(BLOCKS)]
    print(f"{BLOCKS} blocks of {TRANSACTIONS} transactions and {LOGS} logs, {len(raw[0]) / 1000:.0f} kB of JSON each")
    if "--profile" in sys.argv:
        with cProfile.Profile() as profile:
            measure(raw, rounds=1)
        profile.print_stats("tottime")
    for name, seconds in measure(raw).items():
        print(f"{name:<28}{seconds / BLOCKS * 1000:8.3f} ms a block")
    compare(raw)


if __name__ == "__main__":
    main()
