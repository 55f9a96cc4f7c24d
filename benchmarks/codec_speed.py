"""How long a block of 40 transactions, 65 logs and 50 transfers takes to encode and to decode, and how big it is.

Run: python benchmarks/codec_speed.py [--transactions 40] [--logs 65] [--transfers 50] [--events 0]
"""

from __future__ import annotations

import argparse
import random
import time
import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from indexer.checksum import is_sealed, sealed
from indexer.codec import decode_record, encode_block
from indexer.inflight import Record
from indexer.records import DecodedBlock, DecodedEvents, Header, Logs, Proof, TokenTransfers, Transactions

Item = TypeVar("Item")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("transactions", 40), ("logs", 65), ("transfers", 50), ("events", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    blocks = [block(n, args.transactions, args.logs, args.transfers, args.events) for n in range(50)]
    values = [encode_block(each) for each in blocks]
    assert [decode_record(value) for value in values] == blocks
    size = sum(map(len, values)) / len(values)
    packed = sum(len(zlib.compress(value, 1)) for value in values) / len(values)
    print(f"CPU: encode {best(encode_block, blocks):.3f} ms, decode {best(decode_record, values):.3f} ms a block")
    records = [Record("", 0, 0, None, value, sealed((), value)) for value in values]
    both = best(lambda value: sealed((), value), values), best(is_sealed, records)
    print(f"     checksum: write {both[0]:.3f} ms, compare {both[1]:.3f} ms a block")
    print(f"{size:,.0f} bytes a block, {packed:,.0f} deflated")


def best(work: Callable[[Item], object], items: Sequence[Item], rounds: int = 40) -> float:
    """Return the best of many rounds, in CPU ms an item: other work on the machine only ever adds."""
    found = []
    for _ in range(rounds):
        started = time.process_time()
        for item in items:
            work(item)
        found.append((time.process_time() - started) / len(items) * 1000)
    return min(found)


def block(number: int, transactions: int, logs: int, transfers: int, events: int) -> DecodedBlock:
    """Return a block as a busy chain makes them: EIP-1559 transactions that call tokens."""
    rng = random.Random(number)
    tokens = [rng.randbytes(20) for _ in range(8)]
    holders = [rng.randbytes(20) for _ in range(60)]
    return DecodedBlock(
        chain_id=43114,
        header=header(number, rng),
        transactions=transaction_rows(transactions, rng, tokens, holders),
        logs=log_rows(logs, rng, tokens, holders),
        token_transfers=transfer_rows(transfers, rng, tokens, holders),
        decoded_events=DecodedEvents(
            list(range(events)), ["dex"] * events, ["Swap"] * events, ['{"amount0":"1"}'] * events
        ),
        proofs=Proof(511),
        job_id=7,
    )


def header(number: int, rng: random.Random) -> Header:
    h = rng.randbytes
    return Header(
        number, h(32), h(32), h(32), h(20), h(32), h(32), h(32), h(256), 1, 15_000_000, 9_000_000,
        1_700_000_000 + number, b"", 60_000, h(32), bytes(8), 25 * 10**9,
        extra={"extDataHash": "0x" + h(32).hex(), "blockGasCost": "0x0"},
    )  # fmt: skip


def transaction_rows(n: int, rng: random.Random, tokens: list[bytes], holders: list[bytes]) -> Transactions:
    price = [rng.randrange(25 * 10**9, 60 * 10**9) for _ in range(n)]
    return Transactions(
        hash=[rng.randbytes(32) for _ in range(n)],
        type=[2] * n,
        nonce=[rng.randrange(10_000) for _ in range(n)],
        from_address=[rng.choice(holders) for _ in range(n)],
        to_address=[rng.choice(tokens) if i % 40 else None for i in range(n)],
        value=[rng.choice((0, 0, rng.randrange(10**20))) for _ in range(n)],
        gas=[rng.randrange(21_000, 400_000) for _ in range(n)],
        gas_price=price,
        max_fee_per_gas=[2 * each for each in price],
        max_priority_fee_per_gas=[10**9] * n,
        input=[rng.randbytes(4) + bytes(12) + rng.randbytes(20) + bytes(24) + rng.randbytes(8) for _ in range(n)],
        v=[rng.randrange(2) for _ in range(n)],
        r=[rng.getrandbits(256) for _ in range(n)],
        s=[rng.getrandbits(255) for _ in range(n)],
        extra=[None] * n,
        receipt_status=[int(rng.random() > 0.02) for _ in range(n)],
        receipt_root=[None] * n,
        receipt_gas_used=[rng.randrange(21_000, 200_000) for _ in range(n)],
        receipt_cumulative_gas_used=[100_000 * i for i in range(n)],
        receipt_effective_gas_price=[*price],
        receipt_contract_address=[None if i % 40 else rng.randbytes(20) for i in range(n)],
        receipt_extra=[None] * n,
    )


def log_rows(n: int, rng: random.Random, tokens: list[bytes], holders: list[bytes]) -> Logs:
    topics = [rng.randbytes(32) for _ in range(3)]
    return Logs(
        log_index=list(range(n)),
        transaction_index=[i // 2 for i in range(n)],
        address=[rng.choice(tokens) for _ in range(n)],
        topic0=[rng.choice(topics) for _ in range(n)],
        topic1=[bytes(12) + rng.choice(holders) for _ in range(n)],
        topic2=[bytes(12) + rng.choice(holders) if i % 10 else None for i in range(n)],
        topic3=[bytes(31) + rng.randbytes(1) if i % 6 == 1 else None for i in range(n)],
        data=[bytes(24) + rng.randbytes(8) if i % 5 else rng.randbytes(128) for i in range(n)],
    )


def transfer_rows(n: int, rng: random.Random, tokens: list[bytes], holders: list[bytes]) -> TokenTransfers:
    return TokenTransfers(
        log_index=list(range(n)),
        batch_index=[0] * n,
        token_address=[rng.choice(tokens) for _ in range(n)],
        standard=[rng.choice(("erc20", "erc20", "erc721")) for _ in range(n)],
        kind=["transfer"] * n,
        from_address=[rng.choice(holders) for _ in range(n)],
        to_address=[rng.choice(holders) for _ in range(n)],
        token_id=[0] * n,
        amount=[rng.randrange(10**22) for _ in range(n)],
    )


if __name__ == "__main__":
    main()
