"""The services' processes, each with its real loop on ports in memory; killed, they come again in the same slot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any
from unittest.mock import patch

import psycopg

from indexer import caution, codec
from indexer.abi.models import ModelSet
from indexer.caution import Caution, Death, read_marker
from indexer.chain.rules import rules_for
from indexer.checksum import sealed
from indexer.errors import FatalError, IndexerError, NotYetError, OutageError, PoisonError, TransientError
from indexer.inflight import Record, TopicPartition
from indexer.kafka import transactions
from indexer.kafka.transactions import KafkaTransactionSink
from indexer.outputs import Output
from indexer.pipeline import Handled, Offsets, Pace, Pipeline
from indexer.records import BlockRef, BlockWorkItem, DecodedBlock, Header, Proof, Rollback, TokenTransfers
from indexer.replay import run as replay_run
from indexer.replay.run import Replayer
from indexer.rpc.fetch import Fetched, Wanted
from indexer.settings import Settings
from indexer.storage.replays import Run
from indexer.topics import DECODED, DLQ, RETRY, WORK, load_topics, partition_of
from services.decoder.attempts import due_ms
from services.decoder.fetch import BlockHandler as DecoderHandler
from services.decoder.handler import Decoder, Refusal, Task
from services.persister import progress as of_progress
from services.persister import sql
from services.persister.dlq_indexer import LetterHandler, LetterWriter
from services.persister.handler import BlockHandler as PersisterHandler
from services.persister.ledger import Ledger
from services.persister.packed import PackedBlock
from services.persister.progress import Progress
from services.persister.sink import OffsetsSink
from services.persister.store import BlockWriter, Destination
from services.producer import loop as producer_loop
from services.producer import records as follower_records
from services.producer.follower import Follower
from services.producer.loop import ProducerLoop
from services.producer.records import PostgresRecords
from tests.simulation import of_jobs, of_replay
from tests.simulation.kafka import Member, TransactionalProducer
from tests.simulation.laws import GROUP, PARTITIONS
from tests.simulation.of_persister import add_balances, insert_blocks
from tests.simulation.world import CHAIN, REPUBLISH_SECONDS, Process, World

TOPICS = load_topics("", PARTITIONS)
PACE = Pace(seconds=0.2, results=6, back_off_seconds=0.2, most_back_off_seconds=1.0)
LEASE_SECONDS = 4.0


@contextmanager
def ports() -> Iterator[None]:
    """What the services find by name: the tables in memory, and no threads."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(producer_loop, "jobs", of_jobs))
        stack.enter_context(patch.object(follower_records, "jobs", of_jobs))
        stack.enter_context(patch.object(replay_run, "replays", of_replay))
        stack.enter_context(patch.object(caution, "_RECORDS", 8))  # taken alone after a death: 128 take long here
        stack.enter_context(patch.object(transactions, "within", lambda seconds, call, *more: call(*more)))
        stack.enter_context(patch.object(of_progress, "_Clearing", lambda pid, clear: nullcontext()))
        yield


def content_of(ref: BlockRef) -> TokenTransfers:
    """The transfers of a block: another branch, other transfers."""
    seed = ref.number * 7 + int(ref.hash.split()[-1])
    holder, other = (bytes([each % 5 + 1]) * 20 for each in (seed, seed // 5 + 1))
    return TokenTransfers(
        log_index=[0], batch_index=[0], token_address=[b"\x0a" * 20], standard=["erc20"], kind=["transfer"],
        from_address=[holder], to_address=[other], token_id=[0], amount=[seed],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SimulatedDecoder(Decoder):
    """The decoder's core, but that what a block holds follows from its hash; poison is a height."""

    world: World | None = None

    def decode(self, task: Task, fetched: Fetched, lap: Callable[[str], None]) -> Output | Refusal:
        assert self.world is not None
        ref: BlockRef = fetched.block["ref"]  # type: ignore[index]
        item = task.item
        if item.expected_hash is not None and item.expected_hash != ref.hash:
            return Refusal("verify", PoisonError("another hash", code="UNEXPECTED_HASH"))
        if ref.number in self.world.poison:
            return Refusal("verify", PoisonError("not genuine", code="RECEIPTS_ROOT_MISMATCH"))
        header = replace(_HEADER, number=ref.number, hash=ref.hash, parent_hash=ref.parent_hash)
        block = DecodedBlock(
            item.chain_id, header, token_transfers=content_of(ref), proofs=Proof.HEADER_HASH,
            generation=item.generation, job_id=item.job_id, reason=item.reason,
        )  # fmt: skip
        return self._decoded(task, codec.encode_block(block))


_HEADER = Header(
    number=0, hash=b"", parent_hash=b"", sha3_uncles=bytes(32), miner=bytes(20), state_root=bytes(32),
    transactions_root=bytes(32), receipts_root=bytes(32), logs_bloom=bytes(256), difficulty=1, gas_limit=1,
    gas_used=1, timestamp=1, extra_data=b"", size=1,
)  # fmt: skip


class Fetcher:
    """The endpoints: they answer at the next turn, from the chain as it was when they were asked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: list[tuple[Any, list[Fetched | IndexerError]]] = []
        self.requests = self.bytes = 0

    @property
    def in_flight(self) -> Fetcher:
        return self

    def submit(self, key: Any, wanted: Sequence[Wanted], *, exclude: Any = frozenset(), urgent: bool = False) -> bool:
        self._asked.append((key, [self._answer(each) for each in wanted]))
        return True

    def _answer(self, wanted: Wanted) -> Fetched | IndexerError:
        node, number = self._world.node, wanted.number
        if self._world.node_is_away:
            return OutageError("no endpoint answers", code="RPC_DOWN")
        if number > node.head:
            return NotYetError(f"no block {number}", code="NOT_YET")
        ref = node.blocks[number]
        if wanted.expected_hash is None and number > node.final and self._world.rules("5 final"):
            return NotYetError("not final, and no hash is expected", code="NOT_FINAL")
        if wanted.expected_hash not in (None, ref.hash):
            return TransientError("another hash", code="RPC_OTHER_HASH")
        return self.fetched(number)

    def fetched(self, number: int) -> Fetched:
        return Fetched(number, {"ref": self._world.node.blocks[number]}, [], "node", 100)

    def completed(self, timeout: float) -> list[tuple[Any, list[Fetched | IndexerError]]]:
        if not self._world.calm and self._world.chance.random() < 0.2:
            return []  # slow answers: the chain may be another by then
        found, self._asked = self._asked, []
        return found

    def room(self) -> int:
        return 8

    def suggested_batch(self) -> int:
        return 4

    def close(self) -> None:
        self._asked = []


class Consumer(Process):
    """A process that turns a pipeline."""

    pipeline: Pipeline[Any]

    def work(self) -> None:
        self.pipeline.step()

    def stop(self) -> None:
        self.pipeline._close()

    member: Member | None = None

    def evicted(self) -> None:
        self.member.leave()

    def _joins(self, group: str, topics: Sequence[str], **more: Any) -> Member:
        """A killed one is missed when its successor joins: nobody has its partitions before."""
        if self.member is not None:
            self.member.leave()
        self.member = Member(self.world.broker, group, topics, **more)
        return self.member

    def _subscribe(self) -> None:
        self.member.subscribe(self.pipeline)
        self.member.balance(self.world.chance.randrange(4))

    def _careful(self, death: Death | None) -> Caution:
        return Caution(self.name, death, lambda: int(self.world.now * 1000))

    def judge(self, careful: Caution) -> Callable[[Record], PoisonError | None]:
        def judge(record: Record) -> PoisonError | None:
            condemned = careful.condemned(record)
            if condemned is None and record.key in self.world.killers:
                self.world.kill(self, "segmentation fault")
            return condemned

        return judge


class DecoderProcess(Consumer):
    fetcher = Fetcher

    def core(self) -> Decoder:
        return SimulatedDecoder(
            chain=rules_for(CHAIN), models=ModelSet(), wrapped=frozenset(), mode="full", topics=TOPICS,
            partitions=PARTITIONS, topic_ids={name: name for name in TOPICS.names}, world=self.world,
        )  # fmt: skip

    def start(self, death: Death | None) -> None:
        world, careful = self.world, self._careful(death)
        self._joins(
            "decoder", (*WORK, *RETRY), due_ms=due_ms,
            found=lambda source, metadata: careful.found(source, read_marker(metadata)),
        )  # fmt: skip
        sink = KafkaTransactionSink(
            {}, self.member.group_metadata, now=world.clock,
            make=lambda config: TransactionalProducer(world.broker, "decoder", self.name, self.fault),
            describe=lambda source, offset: "" if (m := careful.marker(source, offset)) is None else m.text(),
        )  # fmt: skip
        handler = DecoderHandler(
            self.core(), self.fetcher(world), window=16, window_bytes=10**6, endpoints=1, clock=world.clock,
            now_ms=lambda: int(world.now * 1000), judge=self.judge(careful),
        )  # fmt: skip
        self.pipeline = Pipeline(self.member, handler, sink, world.clock, PACE, caution=careful)
        self._subscribe()


class _Writer(BlockWriter):
    """The store, but that rows go into the tables in memory as they are."""

    def _insert(self, connection: Any, handled: Any, todo: Any, ledger: Ledger) -> None:
        blocks: list[PackedBlock] = [todo.insert[number] for number in sorted(todo.insert)]
        for block in blocks:
            ledger.add(block)
        insert_blocks(connection, [
            {"number": b.number, "hash": b.hash, "generation": b.generation, "reason": b.reason.value,
             "transfers": b.content.token_transfers}  # type: ignore[union-attr]
            for b in blocks
        ])  # fmt: skip
        numbered = {"numbers": [b.number for b in blocks], "jobs": [b.job_id for b in blocks]}
        connection.execute(sql.NOTE_STORED, numbered | {"generations": [b.generation for b in blocks]})

    def _add_balances(self, connection: Any, ledger: Ledger) -> None:
        add_balances(connection, ledger._deltas)


class _Partitions:
    def __call__(self, numbers: set[int]) -> None: ...
    def forget(self) -> None: ...
    def leaf_of(self, first: int, last: int) -> int | None:
        return None


class _Connections:
    def __init__(self, process: Process) -> None:
        self._process = process

    def open(self) -> Any:
        return self._process.connect()

    def end_blockers(self, pid: int) -> None: ...


def _themselves(topics: Collection[str]) -> dict[str, str]:
    """Topics' ids: nobody makes a topic anew here."""
    return {topic: topic for topic in topics}


class PersisterProcess(Consumer):
    writer: type[BlockWriter] = _Writer

    @property
    def native(self) -> ModuleType | None:
        return None

    def start(self, death: Death | None) -> None:
        world, careful = self.world, self._careful(death)
        self._joins(GROUP, (DECODED,))
        to = Destination(CHAIN, GROUP, PARTITIONS, DLQ, lambda topic: topic)
        member = self.member
        sink = OffsetsSink(
            _Connections(self), Progress(GROUP, _themselves, careful.found, careful.marker),
            self.writer(to, _Partitions(), fault=self.fault, now=world.clock, native=self.native),
            lambda handled, offsets: member.commit(offsets), world.clock, fault=self.fault,
        )  # fmt: skip
        handler = PersisterHandler(CHAIN, PARTITIONS, native=self.native, judge=self.judge(careful))
        self.pipeline = Pipeline(self.member, handler, sink, world.clock, PACE, caution=careful)
        self._subscribe()


class LetterProcess(Consumer):
    def start(self, death: Death | None) -> None:
        world = self.world
        self._joins("letters", (DLQ,))
        progress = Progress("letters", _themselves)
        sink = OffsetsSink(
            _Connections(self), progress, LetterWriter(CHAIN, _Partitions()), lambda handled, offsets: None, world.clock
        )
        handler = LetterHandler(CHAIN, lambda topic: topic)
        self.pipeline = Pipeline(self.member, handler, sink, world.clock, PACE)
        self._subscribe()


class RelayProcess(Process):
    """The outbox: read, publish, delete; killed in between it publishes twice."""

    def work(self) -> None:
        with self.connect() as session:
            for key, row in sorted(session.items("outbox"), key=lambda pair: pair[0])[:5]:
                headers = tuple((n, None if text is None else bytes.fromhex(text)) for n, text in row["headers"])
                self.world.broker.append(Record(DLQ, row["partition"], -1, row["key"], row["value"], headers))
                session.fault("between publishing and deleting")
                session.delete("outbox", key)
            session.commit()


@dataclass(slots=True)
class _Messages:
    """The follower's and the producer's messages: in the log before the call returns."""

    process: Process

    def roll_back(self, rollback: Rollback, partitions: Any = None) -> None:
        for partition in range(PARTITIONS) if partitions is None else partitions:
            value = codec.encode_rollback(rollback)
            self._send(Record(DECODED, partition, -1, b"rollback", value, sealed((), value)))

    def publish(self, items: Sequence[BlockWorkItem]) -> None:
        for item in items:
            self.send(WORK[0], item)

    def send(self, topic: str, item: BlockWorkItem) -> None:
        key, value = codec.block_key(item.chain_id, item.number), codec.encode_work_item(item)
        self._send(Record(topic, partition_of(item.number, PARTITIONS), -1, key, value))

    def _send(self, record: Record) -> None:
        self.process.fault("before a record is sent")
        self.process.world.broker.append(record)


class FollowerProcess(Process):
    _at = 0.0

    def start(self, death: Death | None) -> None:
        world = self.world
        self._records = PostgresRecords(
            self.connect(autocommit=True), chain_id=CHAIN, owner=self.owner, group=GROUP, topic=DECODED,  # type: ignore[arg-type]
            partitions=PARTITIONS, lagging=lambda: world.lagging(), lease_seconds=LEASE_SECONDS,
            republish_seconds=REPUBLISH_SECONDS, now=world.clock, wall=world.clock,
        )  # fmt: skip
        self._follower = Follower(world.node, self._records, _Messages(self), world.clock)

    def work(self) -> None:
        if self.world.now < self._at:
            return
        try:
            self._at = self.world.now + self._follower.step()
        except psycopg.OperationalError:
            self._records.reconnect(self.connect(autocommit=True))  # type: ignore[arg-type]
        except (OutageError, TransientError):
            self._at = self.world.now + 0.1


class _Publisher:
    """What services/producer/publisher.py promises: whole stripes, confirmed when the brokers have them."""

    def __init__(self, process: Process) -> None:
        self._messages, self._confirmed = _Messages(process), dict[int, list[int]]()

    def publish(self, lease: Any, stripes: Sequence[Any]) -> None:
        for stripe in stripes:
            for number in stripe.heights():
                item = BlockWorkItem(CHAIN, number, lease.generation, None, lease.id, lease.reason)
                self._messages.send(WORK[1], item)
            self._confirmed.setdefault(lease.id, []).append(stripe.number)

    def confirmed(self) -> dict[int, list[int]]:
        return {job_id: list(stripes) for job_id, stripes in self._confirmed.items()}

    def noted(self, job_id: int, stripes: Sequence[int]) -> None:
        left = [stripe for stripe in self._confirmed.pop(job_id) if stripe not in stripes]
        if left:
            self._confirmed[job_id] = left

    def failed(self, job_id: int) -> bool:
        return False

    def under_way(self, job_id: int) -> set[int]:
        return set(self._confirmed.get(job_id, ()))

    def waiting(self, job_id: int) -> bool:
        return False

    def close(self) -> None: ...


class _Lag:
    def __init__(self, world: World) -> None:
        self._world = world

    def lagging(self, groups: Any, partitions: int) -> set[int]:
        return self._world.lagging()

    def waiting(self, group: str, topics: Any, partitions: int) -> int:
        return 0


_SETTINGS = Settings(chain_id=CHAIN, lease_seconds=LEASE_SECONDS, republish_seconds=REPUBLISH_SECONDS)


class ProducerProcess(Process):
    def start(self, death: Death | None) -> None:
        self._loop = self._made()

    def _made(self) -> ProducerLoop:
        connection: Any = self.connect(autocommit=True)
        lag: Any = _Lag(self.world)
        publisher: Any = _Publisher(self)
        return ProducerLoop(_SETTINGS, connection, publisher, lag, self.owner, PARTITIONS, self.world.clock)

    def work(self) -> None:
        try:
            self._loop.step()
        except psycopg.OperationalError:
            self._loop.reconnect(self.connect(autocommit=True))  # type: ignore[arg-type]


class _Transactions:
    """What indexer/kafka/replay.py does: the run's own transactional id and group."""

    def __init__(self, process: Process, run: Run) -> None:
        world = process.world
        self._group = run.name if world.rules("14 name") else f"dlq-replay-{run.id}"
        self._broker, self._keeps_position = world.broker, world.rules("14 position")
        self._sink = KafkaTransactionSink(
            {}, lambda: b"", now=world.clock, service="replay",
            make=lambda config: TransactionalProducer(
                world.broker, self._group, self._group, lambda place: process.fault(f"{place} of a replay")
            ),
        )  # fmt: skip

    def write(self, handled: Sequence[Handled[Sequence[Output]]], offsets: Offsets) -> None:
        self._sink.write(handled, offsets if self._keeps_position else {})

    def position(self) -> int | None:
        found = self._broker.group(self._group).committed.get(TopicPartition(DLQ, 0))
        return None if found is None else found[0]


class ReplayProcess(Process):
    """An operator who replays what is open, and takes up what a killed run left."""

    def start(self, death: Death | None) -> None:
        self._replayer: Replayer | None = None

    def work(self) -> None:
        try:
            self._step()
        except (psycopg.Error, IndexerError) as error:
            if isinstance(error, FatalError):
                raise
            self._replayer = None

    def _step(self) -> None:
        if self._replayer is not None:
            if self._replayer.step() is None or self._replayer.run.state != "running":
                self._replayer = None
            return
        session = self.connect(autocommit=True)
        of_replay.reopen_overdue(session, 600.0)
        run = of_replay.running(session, CHAIN)
        if run is None and self.world.may_replay():
            run = of_replay.freeze(session, CHAIN)
        if run is not None:
            connection: Any = session
            self._replayer = Replayer(
                connection, run, _Transactions(self, run), TOPICS, PARTITIONS, clock=self.world.clock
            )
        else:
            session.close()


SERVICES: tuple[tuple[type[Process], str], ...] = (
    (FollowerProcess, "follower-0"), (FollowerProcess, "follower-1"), (ProducerProcess, "producer-0"),
    (ProducerProcess, "producer-1"), (DecoderProcess, "decoder-0"), (DecoderProcess, "decoder-1"),
    (PersisterProcess, "persister-0"), (PersisterProcess, "persister-1"), (LetterProcess, "letters-0"),
    (RelayProcess, "relay-0"), (ReplayProcess, "replay-0"),
)  # fmt: skip
