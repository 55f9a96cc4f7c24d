"""Decoding a range again: stripe by stripe, read and decode without locks, then write what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from indexer.audit.rows import Decoding, StoredBlock
from indexer.redecode.changes import Fate, Redecoded, redecode
from indexer.storage import auditing, redecoding
from indexer.storage.engine import Connection
from indexer.storage.redecoding import Owner
from indexer.storage.stored import load_blocks
from indexer.topics import STRIPE, partition_of

_TRIES = 5
_COUNTED = {
    Fate.SAME: "right already",
    Fate.MARK: "only marked",
    Fate.REWRITE: "changed",
    Fate.NEWER: "of newer models",
}


@dataclass(slots=True)
class Redecode:
    """One run; whatever is done is committed, so it may end anywhere and be started again."""

    connection: Connection
    chain_id: int
    decoding: Decoding
    owner: Owner
    partitions: int
    dry_run: bool = False
    done: Counter[str] = field(default_factory=Counter)

    def run(self, first: int, last: int) -> Iterator[int]:
        """Decode the stored blocks from first to last, yielding after each stripe up to where everything is done."""
        at = first
        while at <= last:
            end = min(at // STRIPE * STRIPE + STRIPE - 1, last)
            self._stripe(at, end)
            at = end + 1
            yield at

    def _stripe(self, first: int, last: int) -> None:
        """A block that is replaced between reading and writing is read again."""
        left: set[int] | None = None
        for _ in range(_TRIES):
            left = self._attempt(first, last, left)
            if not left:
                return
        self.done["replaced meanwhile"] += len(left or ())

    def _attempt(self, first: int, last: int, only: set[int] | None) -> set[int]:
        with auditing.snapshot(self.connection):
            blocks = [
                block
                for block in load_blocks(self.connection, self.chain_id, first, last)
                if only is None or block.header.number in only
            ]
        made = [redecode(block, self.decoding) for block in blocks]
        todo = [new for _, new in made if new is not None]
        replaced: set[int] = set()
        if todo and not self.dry_run:
            partition = partition_of(first, self.partitions)
            version = self.decoding.models.version
            replaced = redecoding.write(self.connection, self.chain_id, self.owner, partition, version, todo)
        for block, (fate, new) in zip(blocks, made, strict=True):
            if block.header.number not in replaced:
                self._count(block, fate, new)
        return replaced

    def _count(self, block: StoredBlock, fate: Fate, new: Redecoded | None) -> None:
        self.done["blocks"] += 1
        self.done[_COUNTED[fate]] += 1
        self.done["events before"] += len(block.events)
        self.done["events after"] += len(block.events if new is None else new.decoded.decoded_events.log_index)
