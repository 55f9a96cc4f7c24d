"""The persister's core: a record's bytes in, a block for the store (or what is wrong with it) out; pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import ModuleType

from indexer.abi.wrapped import wrapped_native
from indexer.chain.rules import rules_for
from indexer.checksum import is_sealed
from indexer.errors import PoisonError
from indexer.inflight import Record, TopicPartition
from indexer.limits import HIGHEST
from indexer.pipeline import Handled
from indexer.records import DecodedBlock, Rollback
from indexer.tally import Work
from indexer.topics import partition_of
from services.persister import packed
from services.persister.packed import PackedBlock
from services.persister.proving import Prover

_MOST_PENDING = 128


@dataclass(frozen=True, slots=True)
class Item:
    """A record and what it carries; a PoisonError makes it a dead letter."""

    record: Record
    value: PackedBlock | Rollback | PoisonError


def read(
    record: Record, prover: Prover, partitions: int, native: ModuleType | None = None
) -> PackedBlock | Rollback | PoisonError:
    """Return what `record` carries.

    - bytes that are not those of its checksum: poison
    - bytes that are no block and no rollback: poison
    - a height that no chain has: poison, before tables are made for it
    - another chain's block: poison (deployments that share a cluster differ in the topics' prefix)
    - a block in another partition than its height's: poison, since that partition's owner would not know of it
    - a block without a checksum: proven as if a node had sent it; poison where it is not genuine
    """
    try:
        whole = is_sealed(record)
        value = packed.read(record.value or b"", native if whole else None)
        wrong = _misplaced(value, record, prover.chain.chain_id, partitions)
        if wrong is None and not whole and isinstance(value, PackedBlock):
            assert isinstance(value.content, DecodedBlock)
            value.content.proofs = prover.proven(value.content)
    except PoisonError as error:
        return error
    return wrong or value


def _misplaced(value: PackedBlock | Rollback, record: Record, chain_id: int, partitions: int) -> PoisonError | None:
    if value.chain_id != chain_id:
        return PoisonError(f"a record of chain {value.chain_id}, we index {chain_id}", code="OTHER_CHAIN")
    number = value.number if isinstance(value, PackedBlock) else value.from_number
    if not 0 <= number < HIGHEST:
        return PoisonError(f"block {number}", code="IMPOSSIBLE_NUMBER")
    if isinstance(value, PackedBlock) and partition_of(number, partitions) != record.partition:
        return PoisonError(f"block {number} in partition {record.partition}", code="WRONG_PARTITION")
    return None


class BlockHandler:
    """The pipeline's Handler: decodes when asked for results, so that records wait as bytes."""

    def __init__(
        self,
        chain_id: int,
        partitions: int,
        work: Work | None = None,
        native: ModuleType | None = None,
        judge: Callable[[Record], PoisonError | None] = lambda record: None,
        prover: Prover | None = None,
    ) -> None:
        """Without a `prover`, blocks without a checksum are proven by the chain's rules and decoded without models."""
        self._native, self._judge = native, judge
        self._prover = prover or Prover(rules_for(chain_id), wrapped=wrapped_native(chain_id))
        self._partitions, self._work = partitions, work or Work()
        self._pending: list[Record] = []

    def submit(self, records: Sequence[Record]) -> None:
        self._pending += records

    def completed(self, timeout: float) -> list[Handled[Item]]:
        if not self._pending:
            return []
        lap = self._work.stopwatch()
        pending, self._pending = self._pending, []
        handled = [self._handled(record) for record in pending]
        lap("decode")
        return handled

    def _handled(self, record: Record) -> Handled[Item]:
        value = self._judge(record) or read(record, self._prover, self._partitions, self._native)
        urgent = isinstance(value, Rollback) or (isinstance(value, PackedBlock) and value.reason.is_urgent)
        return Handled(record.source, record.offset, Item(record, value), len(record.value or b""), urgent)

    def room(self) -> int:
        return _MOST_PENDING - len(self._pending)

    def forget(self, sources: Collection[TopicPartition]) -> None:
        gone = set(sources)
        self._pending = [record for record in self._pending if record.source not in gone]

    def close(self) -> None:
        self._pending = []
