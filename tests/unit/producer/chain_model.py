"""A chain that forks, and the follower's tables and topics in memory; each of them may kill the follower."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from indexer.records import BlockRef, BlockWorkItem, Reason, Rollback
from indexer.rpc.heights import HeadView
from services.producer.follower import Change, State, Unsettled
from services.producer.head import Append, Raise, Recorded, Skip, Stop

CHAIN, PARTITIONS, JOB = 31337, 3, 1
Kill = Callable[[str], None]


class KilledError(Exception):
    """The follower's process ends here."""


def ref(number: int, branch: int = 0, parent_branch: int | None = None) -> BlockRef:
    """Block `number` of a branch; its parent is of the same branch unless it says otherwise."""
    parent = branch if parent_branch is None else parent_branch
    return BlockRef(number, _hash(number, branch), _hash(number - 1, parent))


def _hash(number: int, branch: int) -> bytes:
    return b"%32d" % (number * 1000 + branch)


def chain(length: int, first: int = 0) -> list[BlockRef]:
    return [ref(number) for number in range(first, first + length)]


@dataclass(slots=True)
class MemoryNode:
    """A node whose chain the test changes."""

    blocks: list[BlockRef] = field(default_factory=lambda: chain(1))
    window: int = 10  # depth of what is not final
    final: int = 0
    forks: int = 0
    asked: int = 0

    @property
    def head(self) -> int:
        return self.blocks[-1].number

    def grow(self, blocks: int) -> None:
        for _ in range(blocks):
            number = self.head + 1
            self.blocks.append(BlockRef(number, _hash(number, self.forks), self.blocks[-1].hash))
        self.final = max(self.final, self.head - self.window)

    def fork(self, depth: int, length: int) -> None:
        """Replace the highest blocks, never what is final."""
        del self.blocks[max(self.head - depth, self.final) + 1 :]
        self.forks += 1
        self.grow(length)

    def highest(self) -> HeadView:
        return HeadView("node", self.head, self.final)

    def headers(self, endpoint: str, numbers: Sequence[int]) -> dict[int, BlockRef | None]:
        self.asked += 1
        return {number: self.blocks[number] if 0 <= number <= self.head else None for number in numbers}


@dataclass(slots=True)
class World:
    """Tables and topics, with a persister that applies what it is sent when the test says so."""

    kill: Kill = lambda place: None
    next: int = 0
    finalized_to: int = -1
    canonical_to: int = -1
    generation: int = 0
    headers: dict[int, tuple[BlockRef, int]] = field(default_factory=dict)
    rollbacks: list[Rollback] = field(default_factory=list)
    untold: set[int] = field(default_factory=set)  # heights whose stripe is not published
    wanted: set[int] = field(default_factory=set)
    jobs: list[tuple[int, int]] = field(default_factory=list)
    paused: str | None = None
    confirmations: int | None = None
    rollback_to: int | None = None
    wish: str = "running"
    topics: list[list[BlockWorkItem | Rollback]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    applied: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    rows: dict[int, tuple[bytes, int]] = field(default_factory=dict)  # number → hash, generation

    # Records

    def read(self) -> State | None:
        self.kill("read")
        refs = [self.headers[n][0] for n in sorted(self.headers) if n >= self.finalized_to]
        recorded = Recorded(self.next, self.finalized_to, refs)
        return State(JOB, self.wish, recorded, self.confirmations, self.paused, self.rollback_to)

    def record(self, state: State, change: Change, final: int) -> tuple[Rollback | None, list[BlockWorkItem]]:
        self.kill("before record")
        told = self._record(change, final)
        self.kill("after record")
        return told

    def _record(self, change: Change, final: int) -> tuple[Rollback | None, list[BlockWorkItem]]:
        if isinstance(change, Append):
            assert change.refs[0].number == self.next
            self.finalized_to = max(self.finalized_to, min(final, change.refs[-1].number))
            return None, self._enter(change.refs, Reason.HEAD)
        if isinstance(change, Raise):
            self.generation += 1
            self.rollback_to = None
            rollback = Rollback(CHAIN, change.start, self.generation)
            self.rollbacks.append(rollback)
            self.canonical_to = min(self.canonical_to, change.start - 1)
            self.finalized_to = min(self.finalized_to, change.start - 1)
            self.headers = {n: each for n, each in self.headers.items() if n < change.start}
            self.next = change.start
            return rollback, self._enter(change.refs, Reason.REORG)
        if isinstance(change, Skip):
            assert change.first == self.next
            self.jobs.append((change.first, change.past))
            self.finalized_to, self.next = change.past - 1, change.past
        else:
            assert isinstance(change, Stop)
            self.paused = f"below {change.below}"
        return None, []

    def _enter(self, refs: Sequence[BlockRef], reason: Reason) -> list[BlockWorkItem]:
        for each in refs:
            self.headers[each.number] = (each, self.generation)
            self.untold.add(each.number)
            self.wanted.add(each.number)
            self.next = each.number + 1
        return [BlockWorkItem(CHAIN, each.number, self.generation, each.hash, JOB, reason) for each in refs]

    def published(self, items: Sequence[BlockWorkItem]) -> None:
        self.kill("before published")
        self.untold -= {item.number for item in items}

    def settle(self, state: State, final: int | None) -> Unsettled:
        self.kill("settle")
        if final is not None:
            self.finalized_to = max(self.finalized_to, min(final, self.next - 1))
        while self._is_canonical(self.canonical_to + 1):
            self.canonical_to += 1
        least = min(self.finalized_to, self.canonical_to)
        self.headers = {n: each for n, each in self.headers.items() if n >= least}
        lacking = [(r, [p for p in range(PARTITIONS) if self.applied[p] < r.generation]) for r in self.rollbacks]
        items = [
            BlockWorkItem(CHAIN, n, self.headers[n][1], self.headers[n][0].hash, JOB, Reason.HEAD)
            for n in sorted(self.untold)
            if n in self.headers
        ]
        return Unsettled([(r, partitions) for r, partitions in lacking if partitions], items, self._mismatch())

    def _is_canonical(self, number: int) -> bool:
        row, header = self.rows.get(number), self.headers.get(number)
        if row is None or row[1] < self._floor(number):
            return False
        return number <= self.finalized_to if header is None else header[0].hash == row[0]

    def _mismatch(self) -> Raise | None:
        wrong = [
            n
            for n, (header, _) in self.headers.items()
            if n in self.rows and self.rows[n][0] != header.hash and self.rows[n][1] >= self._floor(n)
        ]
        if not wrong:
            return None
        return Raise(min(wrong), tuple(self.headers[n][0] for n in sorted(self.headers) if n >= min(wrong)))

    def _floor(self, number: int) -> int:
        return max((r.generation for r in self.rollbacks if r.from_number <= number), default=0)

    # Messages

    def roll_back(self, rollback: Rollback, partitions: Collection[int] | None = None) -> None:
        for partition in range(PARTITIONS) if partitions is None else partitions:
            self.kill("rollback")
            self.topics[partition].append(rollback)

    def publish(self, items: Sequence[BlockWorkItem]) -> None:
        for item in items:
            self.kill("item")
            self.topics[item.number % PARTITIONS].append(item)

    # the rest of the system

    def work(self, most: int | None = None) -> None:
        """Decode and store what lies in the topics, up to `most` records of each; PROTOCOL 1 and 7."""
        for partition, topic in enumerate(self.topics):
            count = len(topic) if most is None else most
            for record in topic[:count]:
                self._apply(partition, record)
            del topic[:count]

    def _apply(self, partition: int, record: BlockWorkItem | Rollback) -> None:
        if isinstance(record, Rollback):
            gone = [
                n
                for n, (_, generation) in self.rows.items()
                if n >= record.from_number and generation < record.generation and n % PARTITIONS == partition
            ]
            for number in gone:
                del self.rows[number]
                self.untold.add(number)
            self.applied[partition] = max(self.applied[partition], record.generation)
            return
        assert record.expected_hash is not None
        stored = self.rows.get(record.number)
        if record.generation < self._floor(record.number):
            return
        if stored is None or record.generation > stored[1]:
            self.rows[record.number] = (record.expected_hash, record.generation)
        elif stored[0] == record.expected_hash:
            self.rows[record.number] = (stored[0], max(stored[1], record.generation))
