"""Builds blocks as a node answers them, of really signed transactions, with hashes and roots that fit."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from eth_account import Account

from indexer.chain.bloom import to_bytes
from indexer.chain.header import header_hash
from indexer.chain.keccak import keccak256
from indexer.chain.parse import parse_block
from indexer.chain.receipts import encode_receipts
from indexer.chain.rules import ChainRules
from indexer.chain.transactions import encode_transactions
from indexer.chain.trie import ordered_root

Json = dict[str, Any]

ALICE = Account.from_key(b"\x01" * 32)
BOB = "0x" + "80" * 20  # digits only: its checksum spelling is the same
TOKEN = "0x" + "70" * 20
TRANSFER = "0x" + keccak256(b"Transfer(address,address,uint256)").hex()
ACCESS_LIST = [{"address": TOKEN, "storageKeys": ["0x" + "01" * 32, "0x" + "02" * 32]}]
ZEROS = "0x" + "00" * 32


def hexed(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, list):
        return [hexed(item) for item in value]
    if isinstance(value, dict):
        return {name: hexed(item) for name, item in value.items()}
    return hex(value) if isinstance(value, int) and not isinstance(value, bool) else value


def authorization(chain: ChainRules) -> Json:
    """Return an EIP-7702 authorization by Alice."""
    done = ALICE.sign_authorization({"chainId": chain.chain_id, "address": TOKEN, "nonce": 4})
    fields = {"chainId": chain.chain_id, "address": TOKEN, "nonce": 4}
    return {**fields, "yParity": done.y_parity, "r": done.r, "s": done.s}


def signed(chain: ChainRules, **fields: Any) -> tuple[Json, bytes]:
    """Return a transaction as a node answers it, and the raw bytes that eth-account makes of it."""
    unsigned = {"nonce": 7, "gas": 90_000, "to": BOB, "value": 10**15, "data": "0x1234", "chainId": chain.chain_id}
    unsigned |= fields
    done = ALICE.sign_transaction({name: value for name, value in unsigned.items() if value is not None})
    answer = {name: hexed(value) for name, value in unsigned.items()}
    answer["input"] = answer.pop("data")
    answer |= {"from": ALICE.address.lower(), "type": hexed(fields.get("type", 0)), "hash": hexed(done.hash)}
    answer |= {"v": hexed(done.v), "r": hexed(done.r), "s": hexed(done.s)}
    if "gasPrice" not in answer:
        answer["gasPrice"] = hexed(min(unsigned["maxFeePerGas"], 7 + unsigned["maxPriorityFeePerGas"]))
    return answer, bytes(done.raw_transaction)


def receipt_of(transaction: Json, logs: list[Json] | None = None, **fields: Any) -> Json:
    """Return a receipt that fits the transaction, but for gas, which `sealed` adds up."""
    return {
        **{"gasUsed": "0x5208", "status": "0x1", "type": transaction["type"], "contractAddress": None},
        **{"effectiveGasPrice": transaction["gasPrice"], "logs": logs or []},
        **fields,
    }


def a_log(topics: int = 3, data: str = "0x" + "11" * 32, address: str = TOKEN) -> Json:
    return {"address": address, "topics": [TRANSFER, "0x" + "22" * 32, "0x" + "33" * 32, ZEROS][:topics], "data": data}


def sealed(chain: ChainRules, transactions: list[Json], receipts: list[Json], **fields: Any) -> tuple[Json, list[Json]]:
    """Return block and receipts with all positions, hashes and roots put in; `fields` are the header's."""
    block: Json = {
        **dict.fromkeys(("parentHash", "sha3Uncles", "stateRoot", "mixHash"), "0x" + "77" * 32),
        **dict.fromkeys(("transactionsRoot", "receiptsRoot", "hash"), ZEROS),
        **{"number": "0x10", "gasLimit": hex(30_000_000), "timestamp": "0x65000000", "difficulty": "0x0"},
        **{"miner": BOB, "nonce": "0x" + "00" * 8, "extraData": "0xabcd", "size": "0x300", "uncles": []},
        **{"baseFeePerGas": "0x7", "logsBloom": hexed(bytes(256)), "transactions": transactions},
        **{name: hexed(value) for name, value in fields.items()},
    }
    _add_up(block, receipts)
    _place(block, receipts)
    header, columns, logs = parse_block(block, receipts, chain)
    encoded, blooms = encode_receipts(columns, logs)
    in_root = [item for item in encode_transactions(columns, chain) if item is not None]
    header.transactions_root, header.receipts_root = ordered_root(in_root), ordered_root(encoded)
    header.logs_bloom = to_bytes(reduce(or_, blooms, 0))
    block |= {"transactionsRoot": hexed(header.transactions_root), "receiptsRoot": hexed(header.receipts_root)}
    block |= {name: hexed(value) for name, value in fields.items() if name.endswith("Root")}
    header = parse_block(block | {"logsBloom": hexed(header.logs_bloom)}, receipts, chain)[0]
    block |= {"logsBloom": hexed(header.logs_bloom), "hash": hexed(header_hash(header))}
    _place(block, receipts)
    return block, receipts


def _add_up(block: Json, receipts: list[Json]) -> None:
    total = 0
    for receipt in receipts:
        total += int(receipt["gasUsed"], 16)
        receipt["cumulativeGasUsed"] = hex(total)
    block.setdefault("gasUsed", hex(total))


def _place(block: Json, receipts: list[Json]) -> None:
    place, count = {"blockHash": block["hash"], "blockNumber": block["number"]}, 0
    for index, (transaction, receipt) in enumerate(zip(block["transactions"], receipts, strict=True)):
        transaction |= {**place, "transactionIndex": hex(index)}
        receipt |= {**place, "transactionIndex": hex(index), "transactionHash": transaction["hash"]}
        for log in receipt["logs"]:
            log |= {**place, "transactionIndex": hex(index), "transactionHash": transaction["hash"]}
            log |= {"logIndex": hex(count), "removed": False}
            count += 1
