"""A chain that grows and forks while it is served: branches, the head of each, and who is told of new blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from devchain.store import Store

OpenFork = Callable[[Store, int, int], Store]  # a branch, the height where it is left, a salt → the new branch
Listener = Callable[[range], None]  # told the heights that are new, or other than before


class ChainError(ValueError):
    """A fork or a head that the chain cannot have."""


@dataclass(frozen=True, slots=True)
class Reorg:
    """A fork to come: once the head is at `at`, the highest `depth` blocks give way to `length` others."""

    at: int
    depth: int
    length: int


class Chain:
    """The branches of one chain; the last one is the canonical one, the others are what lagging nodes still serve.

    The n-th fork has the salt n, so that seed and order of the forks determine every byte.
    """

    def __init__(
        self,
        trunk: Store,
        *,
        head: int | None = None,
        open_fork: OpenFork | None = None,
        script: Iterable[Reorg] = (),
    ) -> None:
        self.chain_id = trunk.chain_id
        self._branches: list[Store] = [trunk]
        self._heads = [trunk.head if head is None else min(head, trunk.head)]
        self._open_fork = open_fork
        self._script = sorted(script, key=lambda reorg: reorg.at)
        self._listeners: list[Listener] = []

    @property
    def head(self) -> int:
        """The canonical branch's highest block."""
        return self._heads[-1]

    @property
    def forks(self) -> int:
        """How many forks there were."""
        return len(self._branches) - 1

    def branch(self, number: int | None = None) -> Store:
        """The branch of that number, the canonical one without a number."""
        return self._branches[self._checked(number)]

    def head_of(self, number: int | None = None) -> int:
        """How high that branch is; one that was left stays where it was."""
        return self._heads[self._checked(number)]

    def listen(self, listener: Listener) -> None:
        """Have `listener` told of every change of the canonical branch."""
        self._listeners.append(listener)

    def grow(self, blocks: int = 1) -> int:
        """Add blocks, as many as there are, forking where the script says so; returns the head."""
        for _ in range(blocks):
            if self._script and self._script[0].at <= self.head:
                due = self._script.pop(0)
                self.reorg(due.depth, due.length)
            elif self.head < self._branches[-1].head:
                self._heads[-1] += 1
                self._tell(range(self.head, self.head + 1))
        return self.head

    def reorg(self, depth: int, length: int | None = None) -> int:
        """Let the highest `depth` blocks give way to `length` others (one more by default); returns the head.

        Raises ChainError for a fork below the first block, or one that needs more blocks than there are.
        """
        length = depth + 1 if length is None else length
        first, head = self.head - depth + 1, self.head - depth + length
        if self._open_fork is None:
            raise ChainError("a recorded chain cannot fork")
        if depth < 1 or length < 1 or first < 1 or head > self._branches[-1].head:
            raise ChainError(
                f"no fork of {depth} blocks into {length} at head {self.head} of {self._branches[-1].head}"
            )
        self._branches.append(self._open_fork(self._branches[-1], first, len(self._branches)))
        self._heads.append(head)
        self._tell(range(first, head + 1))
        return head

    def _checked(self, number: int | None) -> int:
        if number is None:
            return -1
        if not 0 <= number < len(self._branches):
            raise ChainError(f"no branch {number}: there are {len(self._branches)}")
        return number

    def _tell(self, heights: range) -> None:
        for listener in self._listeners:
            listener(heights)


def seeded_reorgs(seed: int, first: int, last: int, every: int, depth: int) -> list[Reorg]:
    """Forks by chance, on average every `every` blocks, up to `depth` deep; one in three branches is shorter."""
    random = Random(f"reorgs/{seed}")  # noqa: S311 - repeatable on purpose
    found, at = [], first
    while (at := at + random.randint(1, 2 * every - 1)) < last:
        deep = random.randint(1, min(depth, at - 1)) if at > 1 else 1
        found.append(Reorg(at, deep, max(1, deep + random.choice((-1, 0, 1, 1, 2, 2)))))
    return found
