"""Blocks that look like a chain's, made from a seed: what tests and benchmarks of the storing side feed on."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from indexer.records import (
    DecodedBlock,
    DecodedEvents,
    Header,
    Logs,
    Proof,
    Reason,
    TokenTransfers,
    Transactions,
)

CHAIN = 43114
TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")


@dataclass(slots=True)
class BlockMaker:
    """Makes blocks; the same seed, number and fork give the same block."""

    transactions: int = 3
    logs: int = 4
    transfers: int = 3
    holders: int = 20
    tokens: int = 3
    seed: int = 1
    chain_id: int = CHAIN
    events: bool = True
    _addresses: list[bytes] = field(default_factory=list)

    def __call__(
        self,
        number: int,
        *,
        fork: int = 0,
        generation: int = 0,
        job_id: int | None = None,
        reason: Reason = Reason.BACKFILL,
        model_version: int = 1,
    ) -> DecodedBlock:
        rng = random.Random(f"{self.seed}/{number}/{fork}")
        if not self._addresses:
            pool = random.Random(self.seed)
            self._addresses = [pool.randbytes(20) for _ in range(self.holders + self.tokens)]
        tokens, holders = self._addresses[: self.tokens], [*self._addresses[self.tokens :], bytes(20)]
        return DecodedBlock(
            chain_id=self.chain_id,
            header=_header(rng, number, fork),
            transactions=_transactions(rng, self.transactions, holders),
            logs=_logs(rng, self.logs, self.transactions, tokens, holders),
            token_transfers=_transfers(rng, min(self.transfers, self.logs), tokens, holders),
            decoded_events=_events(1 if self.events and self.logs else 0),
            proofs=Proof.CONSISTENT | Proof.HEADER_HASH,
            undecoded_logs=[self.logs - 1] if self.events and self.logs else [],
            generation=generation,
            job_id=job_id,
            reason=reason,
            model_version=model_version,
        )


def _header(rng: random.Random, number: int, fork: int) -> Header:
    return Header(
        number=number, hash=rng.randbytes(32), parent_hash=rng.randbytes(32), sha3_uncles=rng.randbytes(32),
        miner=rng.randbytes(20), state_root=rng.randbytes(32), transactions_root=rng.randbytes(32),
        receipts_root=rng.randbytes(32), logs_bloom=rng.randbytes(256), difficulty=1, gas_limit=15_000_000,
        gas_used=8_000_000, timestamp=1_700_000_000 + 2 * number + fork, extra_data=rng.randbytes(80), size=20_000,
        mix_hash=bytes(32), nonce=bytes(8), base_fee_per_gas=25_000_000_000, extra={"extDataHash": "0x" + "56" * 32},
        uncles=[rng.randbytes(32)] if number % 3 == 0 else [],
    )  # fmt: skip


def _transactions(rng: random.Random, count: int, holders: list[bytes]) -> Transactions:
    pick = rng.choice
    return Transactions(
        hash=[rng.randbytes(32) for _ in range(count)],
        type=[2 if i % 2 else 0 for i in range(count)],
        nonce=[rng.randrange(10_000) for _ in range(count)],
        from_address=[pick(holders) for _ in range(count)],
        to_address=[pick(holders) if i % 7 else None for i in range(count)],
        value=[rng.randrange(10**20) if i % 3 else 0 for i in range(count)],
        gas=[21_000 + rng.randrange(10**6) for _ in range(count)],
        gas_price=[25_000_000_000 + rng.randrange(10**9) for _ in range(count)],
        max_fee_per_gas=[50_000_000_000 if i % 2 else None for i in range(count)],
        max_priority_fee_per_gas=[1_500_000_000 if i % 2 else None for i in range(count)],
        input=[rng.randbytes(68) for _ in range(count)],
        v=[1 if i % 2 else 86_263 for i in range(count)],
        r=[rng.getrandbits(256) for _ in range(count)],
        s=[rng.getrandbits(255) for _ in range(count)],
        extra=['{"accessList":[]}' if i % 2 else None for i in range(count)],
        receipt_status=[1 if i % 11 else 0 for i in range(count)],
        receipt_root=[None] * count,
        receipt_gas_used=[21_000 + rng.randrange(10**5) for _ in range(count)],
        receipt_cumulative_gas_used=[21_000 * (i + 1) for i in range(count)],
        receipt_effective_gas_price=[25_000_000_000 + rng.randrange(10**9) for _ in range(count)],
        receipt_contract_address=[None if i % 7 else rng.randbytes(20) for i in range(count)],
        receipt_extra=[None] * count,
    )


def _word(address: bytes) -> bytes:
    return bytes(12) + address


def _logs(rng: random.Random, count: int, transactions: int, tokens: list[bytes], holders: list[bytes]) -> Logs:
    return Logs(
        log_index=list(range(count)),
        transaction_index=[i * transactions // count for i in range(count)],
        address=[rng.choice(tokens) for _ in range(count)],
        topic0=[TRANSFER if i % 9 else None for i in range(count)],
        topic1=[_word(rng.choice(holders)) if i % 9 else None for i in range(count)],
        topic2=[_word(rng.choice(holders)) if i % 9 else None for i in range(count)],
        topic3=[None] * count,
        data=[rng.randbytes(32) for _ in range(count)],
    )


def _transfers(rng: random.Random, count: int, tokens: list[bytes], holders: list[bytes]) -> TokenTransfers:
    return TokenTransfers(
        log_index=list(range(count)),
        batch_index=[0] * count,
        token_address=[rng.choice(tokens) for _ in range(count)],
        standard=["erc721" if i % 10 == 9 else "erc20" for i in range(count)],
        kind=["transfer"] * count,
        from_address=[rng.choice(holders) for _ in range(count)],
        to_address=[rng.choice(holders) for _ in range(count)],
        token_id=[rng.randrange(1, 1000) if i % 10 == 9 else 0 for i in range(count)],
        amount=[1 if i % 10 == 9 else rng.randrange(10**22) for i in range(count)],
    )


def _events(count: int) -> DecodedEvents:
    return DecodedEvents(
        log_index=list(range(count)),
        model=["dex"] * count,
        event=["Swap"] * count,
        args=['{"amount0":"1","who":"0x00"}'] * count,
    )
