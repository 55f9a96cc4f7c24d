"""The decoder's core: a work item and a node's answers in, records out; pure.

What becomes of a work item:

- fetched, proven, decoded, encoded: a record on `blocks.decoded`
- its bytes cannot be read, or the block cannot be what it claims: a dead letter, with the bytes untouched
- a transient failure: the next tier of `blocks.retry.*`, after the last one a dead letter
- not there yet: `blocks.retry.5s`, and no attempt is counted (PROTOCOL 10)
- another hash than expected: through the tiers, and then nothing at all: it is superseded (PROTOCOL 9)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

from indexer import codec
from indexer.abi.decode import Decoded, all_wrapped, decode_logs
from indexer.abi.models import ModelSet
from indexer.chain.parse import parse_block
from indexer.chain.prove import Proven, Unread, Wanted, genuine_header, prove
from indexer.chain.rules import ChainRules
from indexer.chain.verify import Mode, verify
from indexer.checksum import sealed
from indexer.deadletter import dead_letter_headers
from indexer.errors import IndexerError, NotYetError, PoisonError
from indexer.inflight import Record
from indexer.kafka.config import RECORD_LIMIT
from indexer.limits import HIGHEST
from indexer.outputs import Output
from indexer.records import BlockWorkItem, DecodedBlock
from indexer.rpc.fetch import Fetched
from indexer.rpc.raw import as_json, outlined, transactions_of
from indexer.topics import DECODED, DLQ, RETRY, Topics, partition_of
from services.decoder.attempts import JITTER, Attempts, own_headers, read_attempts, write_attempts

SERVICE = "decoder"
_OTHER_HASH = ("RPC_OTHER_HASH", "UNEXPECTED_HASH")
_ASKED_AGAIN = ("parse", "verify")  # what another endpoint's answers may put right

Lap = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Task:
    """A work item with the record it came in."""

    record: Record
    item: BlockWorkItem
    attempts: Attempts


@dataclass(frozen=True, slots=True)
class Refusal:
    """A block that was fetched and cannot be used."""

    stage: str
    error: PoisonError

    @property
    def may_be_the_nodes_fault(self) -> bool:
        return self.stage in _ASKED_AGAIN


@dataclass(frozen=True, slots=True)
class Decoder:
    """All that the core knows: the chain, the models, the topics."""

    chain: ChainRules
    models: ModelSet
    wrapped: frozenset[bytes]  # the chain's wrapped native coins
    mode: Mode
    topics: Topics
    partitions: int
    topic_ids: Mapping[str, str] = field(default_factory=dict)  # name in Kafka → id
    build: str = ""
    native: ModuleType | None = None  # proves usual blocks faster

    def read(self, record: Record) -> Task:
        """Return the work item of a record; raises PoisonError."""
        item = codec.decode_work_item(record.value or b"")
        if item.chain_id != self.chain.chain_id:
            text = f"a work item of chain {item.chain_id}, we index {self.chain.chain_id}"
            raise PoisonError(text, code="OTHER_CHAIN")
        if not 0 <= item.number < HIGHEST:
            raise PoisonError(f"block {item.number}", code="IMPOSSIBLE_NUMBER")
        return Task(record, item, read_attempts(record, self.topic_ids))

    def decode(self, task: Task, fetched: Fetched, lap: Lap) -> Output | Refusal:
        """Return the record for `blocks.decoded`; `lap` is told when a stage is over."""
        item, stage = task.item, "parse"
        try:
            block = self._usual(item, fetched, lap)
            if block is None:
                header, transactions, logs = parse_block(fetched.raw_block, fetched.raw_receipts, self.chain)
                if header.number != item.number:
                    raise PoisonError(f"asked for block {item.number}, got {header.number}", code="OTHER_NUMBER")
                lap(stage)
                stage = "verify"
                proofs = verify(header, transactions, logs, self.chain, self.mode, item.expected_hash)
                lap(stage)
                block = Proven(header, transactions, logs, proofs)
            stage = "decode"
            decoded = decode_logs(block.logs, item.number, self.models, self.wrapped, block.packed)
            lap(stage)
            stage = "encode"
            output = self._decoded(task, self._encoded(item, block, decoded))
            lap(stage)
        except PoisonError as error:
            return Refusal(stage, error)
        return output

    def _usual(self, item: BlockWorkItem, fetched: Fetched, lap: Lap) -> Proven | None:
        """Return what compiled code has proven; None where there is none, and where it leaves the block to others."""
        if self.native is None or self.mode != "full":
            return None
        own = outlined(fetched.block)
        header = genuine_header(own, self.chain, item.expected_hash)
        lap("parse")
        if header is None or header.number != item.number:
            return None
        answers = Unread(own, transactions_of(fetched.block), as_json(fetched.block), as_json(fetched.receipts))
        wanted = Wanted(all_wrapped(self.models, self.wrapped), self.models.topics)
        block = prove(self.native, header, answers, self.chain, wanted)
        lap("verify")
        return block

    def failed(self, task: Task, error: IndexerError, stage: str, now_ms: int) -> tuple[Output, ...]:
        """Return what is written for an item that could not be fetched, or used, this time."""
        other_hash = task.item.expected_hash is not None and error.code in _OTHER_HASH
        if isinstance(error, NotYetError) and not other_hash:
            return (self._again(task, task.attempts, 0, now_ms),)
        attempts = Attempts(task.attempts.origin, task.attempts.failed + 1, task.attempts.first_failed_ms or now_ms)
        poison = isinstance(error, PoisonError) and not other_hash
        if not poison and task.attempts.failed < len(RETRY):
            return (self._again(task, attempts, task.attempts.failed, now_ms),)
        if other_hash:
            return ()
        return (self._dead(task.record, error, stage, attempts, now_ms),)

    def unreadable(self, record: Record, error: PoisonError, now_ms: int) -> Output:
        """Return the dead letter of a record that is no work item of ours."""
        history = read_attempts(record, self.topic_ids)
        attempts = Attempts(history.origin, history.failed + 1, history.first_failed_ms or now_ms)
        return self._dead(record, error, "read", attempts, now_ms)

    def _encoded(self, item: BlockWorkItem, block: Proven, decoded: Decoded) -> bytes:
        return codec.encode_block(
            DecodedBlock(
                chain_id=item.chain_id,
                header=block.header,
                transactions=block.transactions,
                logs=block.logs,
                token_transfers=decoded.token_transfers,
                decoded_events=decoded.decoded_events,
                proofs=block.proofs,
                undecoded_logs=decoded.undecoded,
                generation=item.generation,
                job_id=item.job_id,
                reason=item.reason,
                model_version=self.models.version,
            ),
            block.packed,
        )

    def _decoded(self, task: Task, value: bytes) -> Output:
        number = task.item.number
        key = codec.block_key(task.item.chain_id, number)
        to = partition_of(number, self.partitions)
        output = Output(self.topics.name(DECODED), to, key, value, sealed(own_headers(task.record), value))
        if output.size > RECORD_LIMIT:
            text = f"block {number} makes a record of {output.size} bytes, the limit is {RECORD_LIMIT}"
            raise PoisonError(text, code="BLOCK_TOO_LARGE")
        return output

    def _again(self, task: Task, attempts: Attempts, tier: int, now_ms: int) -> Output:
        topic = self.topics[RETRY[tier]]
        delay = topic.delay * 1000
        due = now_ms + delay + _jitter(task.item.number, attempts.failed, int(delay * JITTER))
        headers = write_attempts(task.record, attempts, due)
        to = partition_of(task.item.number, self.partitions)
        return Output(topic.name, to, task.record.key, task.record.value, headers)

    def _dead(self, record: Record, error: IndexerError, stage: str, attempts: Attempts, now_ms: int) -> Output:
        headers = dead_letter_headers(
            record,
            error,
            service=SERVICE,
            stage=stage,
            attempts=attempts.failed,
            origin=attempts.origin,
            first_failed_ms=attempts.first_failed_ms,
            last_failed_ms=max(now_ms, attempts.first_failed_ms),  # a clock may have been set back
            build=self.build,
        )
        kept = tuple((name, value) for name, value in headers if not name.startswith("x-retry-"))
        return Output(self.topics.name(DLQ), record.partition, record.key, record.value, kept)


def _jitter(number: int, attempt: int, most: int) -> int:
    """Return 0…most, the same for the same item and attempt, so that the core stays pure."""
    return (number * 2_654_435_761 + attempt * 40_503) % (most + 1)
