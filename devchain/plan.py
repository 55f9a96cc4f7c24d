"""What happens in each block, decided in order because every transfer needs a balance; rendering is left to others.

A planned transaction is a tuple `(kind, sender, nonce, arguments)`; `render.py` knows the kinds. Holders and tokens
are numbers (see `universe.py`), `None` standing for the zero address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from devchain.ledger import Key, Ledger, holding_key
from devchain.params import ChainParams
from devchain.universe import COLD, ERC20, ERC721, ERC1155, FIRST_POOL, POOLS, SIGNERS, WETH

Planned = tuple[str, int, int, tuple[Any, ...]]

# 40 transactions with 65 logs: (kind, how often, logs of each)
BENCH_BLOCK = (
    ["erc20"] * 25 + ["deposit", "withdraw"] + ["swap"] * 6 + ["erc721"] * 3 + ["erc1155"] * 2
    + ["erc1155_batch", "airdrop"]
)  # fmt: skip
SMALL_BLOCK = ["erc20", "erc20", "native"]
MIXED_WEIGHTS = {
    "erc20": 36, "native": 16, "swap": 9, "erc721": 8, "erc1155": 5, "erc1155_batch": 3, "deposit": 4,
    "withdraw": 3, "burn": 2, "airdrop": 2, "failed": 5, "create": 3, "failed_create": 1, "oddity": 3,
}  # fmt: skip
_MIXED_BAG = [kind for kind, weight in MIXED_WEIGHTS.items() for _ in range(weight)]
AIRDROP_SIZE = 5
HUGE_TRANSACTION_BYTES = 2_300  # of JSON that one ERC-20 transfer makes at least: transaction, receipt and log
LARGEST_COLLECTION = 4_000


def _random(params: ChainParams, number: int) -> Random:
    """Chance from block `number` on: the trunk's, or a fork's own."""
    trunk = replace(params, forks=()).identity()
    return Random(trunk + params.salt(number))  # noqa: S311 - repeatable on purpose


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The transactions of one block and the balances that they leave behind."""

    number: int
    transactions: list[Planned]
    balances: dict[Key, int]


class Planner:
    """Decides block after block; the same parameters give the same plans."""

    def __init__(self, params: ChainParams) -> None:
        self._params = params
        self._random = _random(params, 0)
        self._nonces = [0] * SIGNERS
        self._ledger = Ledger()
        self._kinds: dict[str, Callable[[], tuple[int, tuple[Any, ...]]]] = {
            kind: getattr(self, f"_{kind}") for kind in MIXED_WEIGHTS
        }

    def blocks(self) -> Iterator[BlockPlan]:
        """All blocks from genesis on."""
        forks = {height for height, _ in self._params.forks}
        for number in range(self._params.blocks + 1):
            if number in forks:
                self._random = _random(self._params, number)
            kinds = self._choose_kinds(number) if number else []
            transactions = [self._transaction(kind) for kind in kinds]
            yield BlockPlan(number, transactions, self._ledger.take_touched())

    def _choose_kinds(self, number: int) -> list[str]:
        if number == self._params.huge_at:
            return ["erc20"] * (self._params.huge_bytes // HUGE_TRANSACTION_BYTES + 1)
        profile = self._params.profile
        if profile == "empty":
            return []
        if profile == "small":
            return SMALL_BLOCK
        if profile == "mixed":
            return [_MIXED_BAG[self._below(len(_MIXED_BAG))] for _ in range(self._mixed_size(number))]
        kinds = list(BENCH_BLOCK)
        self._random.shuffle(kinds)
        return kinds

    def _mixed_size(self, number: int) -> int:
        if number % 500 == 250:
            return 500
        if self._random.random() < 0.12:
            return 0
        return 1 + int(30 * self._random.random() ** 2)

    def _transaction(self, kind: str) -> Planned:
        sender, arguments = self._kinds[kind]()
        nonce = self._nonces[sender]
        self._nonces[sender] = nonce + 1
        return kind, sender, nonce, arguments

    def _below(self, limit: int) -> int:
        return int(self._random.random() * limit)

    def _signer(self) -> int:
        return self._below(SIGNERS)

    def _recipient(self) -> int:
        """Mostly somebody who can pass it on."""
        if self._random.random() < 0.9:
            return self._below(SIGNERS)
        return SIGNERS + self._below(COLD)

    def _holding(self, token: int, mint_share: float = 0.04) -> Key | None:
        """A holding that can be moved; None where tokens are to be minted instead."""
        holdings = self._ledger.movable.get(token)
        if holdings is None or len(holdings.keys) < 2 or self._random.random() < mint_share:
            return None
        return holdings.keys[self._below(len(holdings.keys))]

    def _part(self, balance: int) -> int:
        """Some of a balance: now and then all of it, or nothing."""
        draw = self._random.random()
        if draw < 0.03:
            return balance
        if draw < 0.035:
            return 0
        return balance * (1 + self._below(400)) // 1000

    def _minted(self, token: int) -> int:
        if token == ERC20[-1]:
            return self._random.getrandbits(230)  # a token with amounts far beyond 128 bits
        return 10**18 + self._random.getrandbits(50 + 3 * (token % 16))

    def _native(self) -> tuple[int, tuple[Any, ...]]:
        return self._signer(), (self._recipient(), self._random.getrandbits(62))

    def _erc20_token(self) -> int:
        """Few tokens have most of the traffic."""
        return ERC20[int(len(ERC20) * self._random.random() ** 2)]

    def _erc20(self) -> tuple[int, tuple[Any, ...]]:
        token, target = self._erc20_token(), self._recipient()
        key = self._holding(token)
        source = None if key is None else key & 0xFFFFFF
        amount = self._minted(token) if key is None else self._part(self._ledger.balance(key))
        self._ledger.move(token, source, target, amount)
        spender = source if source is not None and self._random.random() < 0.9 else self._signer()
        return spender, (token, source, target, amount)

    def _airdrop(self) -> tuple[int, tuple[Any, ...]]:
        token = self._erc20_token()
        key = self._holding(token, mint_share=0)
        source = None if key is None else key & 0xFFFFFF
        parts = []
        for _ in range(AIRDROP_SIZE):
            amount = self._minted(token) if key is None else self._ledger.balance(key) // 50
            target = self._recipient()
            self._ledger.move(token, source, target, amount)
            parts.append((target, amount))
        return self._signer() if source is None else source, (token, source, tuple(parts))

    def _burn(self) -> tuple[int, tuple[Any, ...]]:
        token = self._erc20_token()
        key = self._holding(token, mint_share=0)
        if key is None:
            return self._signer(), (token, self._signer(), 0)
        source, amount = key & 0xFFFFFF, self._part(self._ledger.balance(key))
        self._ledger.move(token, source, None, amount)
        return source, (token, source, amount)

    def _deposit(self) -> tuple[int, tuple[Any, ...]]:
        owner, amount = self._signer(), 10**15 + self._random.getrandbits(64)
        self._ledger.move(WETH, None, owner, amount)
        return owner, (owner, amount)

    def _withdraw(self) -> tuple[int, tuple[Any, ...]]:
        key = self._holding(WETH, mint_share=0)
        if key is None:
            owner, amount = self._signer(), 0
        else:
            owner, amount = key & 0xFFFFFF, self._part(self._ledger.balance(key))
            self._ledger.move(WETH, owner, None, amount)
        return owner, (owner, amount)

    def _swap(self) -> tuple[int, tuple[Any, ...]]:
        """One token into a pool, the pool's other one out of it; a pool that runs dry is filled by a mint."""
        pool = self._below(POOLS)
        tokens = (WETH if pool % 3 == 0 else ERC20[pool % len(ERC20)], ERC20[(pool * 5 + 7) % len(ERC20)])
        direction = self._below(2)
        token_in, token_out = tokens[direction], tokens[1 - direction]
        holder = FIRST_POOL + pool
        key = self._holding(token_in, mint_share=0)
        source = self._signer() if key is None else key & 0xFFFFFF
        amount_in = 0 if key is None else self._part(self._ledger.balance(key))
        self._ledger.move(token_in, source, holder, amount_in)
        reserve = self._ledger.balance(holding_key(token_out, holder))
        amount_out = reserve * (1 + self._below(30)) // 1000
        self._ledger.move(token_out, holder, source, amount_out)
        reserves = tuple(self._ledger.balance(holding_key(token, holder)) for token in tokens)
        return source, (holder, tokens, direction, source, amount_in, amount_out, reserves)

    def _erc721(self) -> tuple[int, tuple[Any, ...]]:
        token = ERC721[self._below(len(ERC721))]
        owners = self._ledger.nfts.setdefault(token, [])
        target = self._signer()
        if len(owners) < 3 or (len(owners) < LARGEST_COLLECTION and self._random.random() < 0.3):
            owners.append(target)
            self._ledger.move(token, None, target, 1)
            return self._signer(), (token, None, target, len(owners) - 1)
        token_id = self._below(len(owners))
        source, owners[token_id] = owners[token_id], target
        self._ledger.move(token, source, target, 1)
        return source, (token, source, target, token_id)

    def _erc1155(self) -> tuple[int, tuple[Any, ...]]:
        token, target = ERC1155[self._below(len(ERC1155))], self._recipient()
        key = self._holding(token, mint_share=0.15)
        if key is None:
            source, token_id, amount = None, self._below(500), 1 + self._random.getrandbits(20)
        else:
            source, token_id = key & 0xFFFFFF, key >> 24 & 0xFFFFFFF
            amount = self._part(self._ledger.balance(key))
        self._ledger.move(token, source, target, amount, token_id)
        return self._signer() if source is None else source, (token, source, target, token_id, amount)

    def _erc1155_batch(self) -> tuple[int, tuple[Any, ...]]:
        """A batch mint, or what one holder has of up to three ids."""
        token, target = ERC1155[self._below(len(ERC1155))], self._recipient()
        key = self._holding(token, mint_share=0.3)
        if key is None:
            source = None
            items = [(self._below(500), 1 + self._random.getrandbits(16)) for _ in range(1 + self._below(4))]
        else:
            source = key & 0xFFFFFF
            ids = {key >> 24 & 0xFFFFFFF, self._below(500), self._below(500)}
            items = [(i, self._ledger.balance(holding_key(token, source, i)) // 3) for i in sorted(ids)]
        for token_id, amount in items:
            self._ledger.move(token, source, target, amount, token_id)
        return self._signer() if source is None else source, (token, source, target, tuple(items))

    def _failed(self) -> tuple[int, tuple[Any, ...]]:
        return self._signer(), (self._erc20_token(), self._recipient(), self._random.getrandbits(80))

    def _create(self) -> tuple[int, tuple[Any, ...]]:
        return self._signer(), (self._random.getrandbits(64), 40 + self._below(600))

    _failed_create = _create

    def _oddity(self) -> tuple[int, tuple[Any, ...]]:
        return self._signer(), (self._below(5), self._random.getrandbits(120))
