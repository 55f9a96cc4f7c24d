"""A node over real blocks of devchain: its chain grows and forks, and who asks may get a laggard's answers.

A branch's blocks follow from the forks below them, so that all examples of a test share what was built once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson

from devchain.body import BodyBuilder, seal
from devchain.header import GENESIS_PARENT
from devchain.params import ChainParams
from devchain.plan import BlockPlan, Planner
from devchain.universe import WETH, Universe
from indexer.records import BlockRef
from indexer.rpc.heights import HeadView
from tests.simulation.world import CHAIN

TRUNK = ChainParams(seed=4, profile="mixed", blocks=240, chain_id=CHAIN, ethereum=True)
WRAPPED = frozenset({Universe(TRUNK).tokens[WETH]})


class Block(NamedTuple):
    """A block and what a node says of it."""

    ref: BlockRef
    json: dict[str, Any]
    receipts: list[dict[str, Any]]


class _Branch:
    """The plans of one branch, made as far as somebody asked."""

    def __init__(self, params: ChainParams) -> None:
        self._more: Iterator[BlockPlan] = Planner(params).blocks()
        self._plans: list[BlockPlan] = []

    def plan(self, number: int) -> BlockPlan:
        while len(self._plans) <= number:
            self._plans.append(next(self._more))
        return self._plans[number]


@cache
def _builder() -> BodyBuilder:
    return BodyBuilder(TRUNK)


@cache
def _branch(params: ChainParams) -> _Branch:
    return _Branch(params)


@cache
def _built(forks: tuple[tuple[int, int], ...], number: int) -> Block:
    parent = _block(forks, number - 1).ref.hash if number else GENESIS_PARENT
    own = ChainParams(**{**_TRUNK, "forks": forks})
    own_hash, block, receipts = seal(_builder().build(_branch(own).plan(number)), parent)
    return Block(BlockRef(number, own_hash, parent), orjson.loads(block), orjson.loads(receipts))


_TRUNK = {name: getattr(TRUNK, name) for name in ("seed", "profile", "blocks", "chain_id", "ethereum")}


def _block(forks: tuple[tuple[int, int], ...], number: int) -> Block:
    """The block at a height of the branch with these forks (height, salt)."""
    return _built(tuple(fork for fork in forks if fork[0] <= number), number)


class Branches:
    """What MemoryNode promises, with blocks that can be proven; `chain` is the one that wins."""

    def __init__(self, length: int, window: int) -> None:
        self.window, self.forks, self.lag = window, 0, 0
        self.params = TRUNK
        self.chain = [_block((), number) for number in range(length)]
        self.missed: list[Block] | None = None  # what a node has that missed the last forks
        self._final = self._missed_final = length - 1 - window

    # the chain

    def grow(self, blocks: int) -> None:
        for _ in range(blocks):
            self.chain.append(_block(self.params.forks, len(self.chain)))
        self._final = max(self._final, len(self.chain) - 1 - self.window)

    def fork(self, depth: int, length: int) -> None:
        """Replace the highest blocks, never what is final."""
        first = max(len(self.chain) - depth, self._final + 1)
        self.forks += 1
        self.params = self.params.forked(first, self.forks)
        del self.chain[first:]
        self.grow(length)

    # who answers

    def miss(self) -> None:
        """From now on one answers that hears of no fork and of no block."""
        if self.missed is None:
            self.missed, self._missed_final = list(self.chain), self._final

    def fall_behind(self, blocks: int) -> None:
        self.lag = blocks

    def heal(self) -> None:
        self.missed, self.lag = None, 0

    @property
    def told(self) -> list[Block]:
        """The chain as whoever answers has it."""
        chain = self.chain if self.missed is None else self.missed
        return chain[: len(chain) - self.lag]

    @property
    def head(self) -> int:
        return len(self.told) - 1

    @property
    def final(self) -> int:
        return min(self._final if self.missed is None else self._missed_final, self.head)

    @property
    def blocks(self) -> list[BlockRef]:
        return [block.ref for block in self.told]

    def highest(self) -> HeadView:
        return HeadView("node", self.head, self.final)

    def headers(self, endpoint: str, numbers: Sequence[int]) -> dict[int, BlockRef | None]:
        told = self.told
        return {number: told[number].ref if 0 <= number < len(told) else None for number in numbers}

    def alone(self) -> Branches:
        """A node that never had another chain than the one that won."""
        node = Branches(0, self.window)
        node.chain, node._final = list(self.chain), len(self.chain) - 1
        return node
