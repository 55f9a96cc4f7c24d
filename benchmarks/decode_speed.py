"""How long decoding takes: milliseconds of CPU per block of 65 logs, 50 of them token transfers, and with models."""

from __future__ import annotations

import time

from indexer.abi.compile import compile_event
from indexer.abi.decode import decode_logs
from indexer.abi.models import Model, ModelSet, wrapped_native
from indexer.abi.signatures import parse_signature
from indexer.abi.standards import TRANSFER, TRANSFER_BATCH
from indexer.records import Logs

ROUNDS = 2_000
SWAP = compile_event(
    parse_signature(
        "event Swap(address indexed sender, uint256 amount0In, uint256 amount1In, uint256 amount0Out,"
        " uint256 amount1Out, address indexed to)"
    )
)
ERC20 = compile_event(parse_signature("event Transfer(address indexed from, address indexed to, uint256 value)"))
NOTE = compile_event(parse_signature("event Note(uint256 indexed id, string text, uint256[] numbers)"))


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def block_of_65_logs() -> Logs:
    """40 ERC-20, 8 ERC-721 transfers, a WAVAX deposit, an ERC-1155 batch of two; 10 swaps, 2 notes, 3 others."""
    logs = Logs()
    wavax = next(iter(wrapped_native(43114)))
    deposit = bytes.fromhex("e1fffcc4923d04b559f4d29a8bfc6cda04eb5b0d3c460751c2402c5c5cc9109c")
    note = b"".join(map(word, (64, 128, 5))) + b"hello".ljust(32, b"\0") + b"".join(map(word, (3, 1, 2, 3)))
    batch = b"".join(map(word, (64, 160, 2, 7, 8, 2, 70, 80)))
    for i in range(40):
        add(logs, i % 7, (TRANSFER, word(10**40 + i), word(10**41 + i)), word(10**20 + i))
    for i in range(8):
        add(logs, 9, (TRANSFER, word(10**40 + i), word(10**41 + i), word(i)), b"")
    add(logs, int.from_bytes(wavax, "big"), (deposit, word(5)), word(10**18))
    add(logs, 8, (TRANSFER_BATCH, word(1), word(2), word(3)), batch)
    for i in range(10):
        add(logs, 20, (SWAP.topic0, word(10**40), word(10**41)), word(10**20 + i) * 4)
    for i in range(2):
        add(logs, 21, (NOTE.topic0, word(i)), note)
    for i in range(3):
        add(logs, 22, (word(i + 2**200),), word(i))
    return logs


def add(logs: Logs, address: int, topics: tuple[bytes, ...], data: bytes) -> None:
    one, two, three, four = (*topics, None, None, None)[:4]
    logs.log_index.append(len(logs.log_index))
    logs.transaction_index.append(0)
    logs.address.append(address.to_bytes(20, "big"))
    logs.topic0.append(one)
    logs.topic1.append(two)
    logs.topic2.append(three)
    logs.topic3.append(four)
    logs.data.append(data)


def measure(title: str, logs: Logs, models: ModelSet) -> None:
    wrapped = wrapped_native(43114)
    decoded = decode_logs(logs, 1, models, wrapped)
    best = min(_seconds(logs, models, wrapped) for _ in range(5))
    rows = f"{len(decoded.token_transfers.log_index)} transfers, {len(decoded.decoded_events.log_index)} events"
    print(f"{title:<42} {best / ROUNDS * 1000:.3f} ms a block ({rows})")


def _seconds(logs: Logs, models: ModelSet, wrapped: frozenset[bytes]) -> float:
    begin = time.process_time()
    for _ in range(ROUNDS):
        decode_logs(logs, 1, models, wrapped)
    return time.process_time() - begin


def main() -> None:
    logs = block_of_65_logs()
    pair = Model("pair", 1, (SWAP,), {(20).to_bytes(20, "big"): 0})
    notes = Model("notes", 1, (NOTE,), None)
    transfers = Model("transfers", 1, (ERC20,), None)
    measure("standards, no model", logs, ModelSet())
    measure("and one model: 10 Swaps", logs, ModelSet((pair,)))
    measure("and two: 2 events with a string and an array", logs, ModelSet((pair, notes)))
    measure("and every ERC-20 Transfer once more", logs, ModelSet((pair, notes, transfers)))


if __name__ == "__main__":
    main()
