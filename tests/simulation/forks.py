"""Real blocks through the real services on ports in memory, while the chain forks as a list of steps says."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from indexer import codec, native
from indexer.abi.compile import compile_event
from indexer.abi.models import Model, ModelSet
from indexer.abi.signatures import parse_signature
from indexer.chain.rules import rules_for
from indexer.inflight import TopicPartition
from indexer.records import DecodedBlock, Rollback
from indexer.rpc.fetch import Fetched
from indexer.topics import DECODED, DLQ, WORK
from services.decoder.handler import Decoder
from services.persister.rows import COLUMNS
from services.persister.store import BlockWriter
from tests.simulation.branches import WRAPPED, Branches
from tests.simulation.checks import progress
from tests.simulation.database import Database, Session
from tests.simulation.laws import PARTITIONS
from tests.simulation.of_rows import STATEMENTS, RowDatabase, Values
from tests.simulation.processes import (
    TOPICS,
    DecoderProcess,
    Fetcher,
    FollowerProcess,
    PersisterProcess,
    ports,
)
from tests.simulation.world import CHAIN, FIRST, KilledError, Process, World
from tests.support.ledger_oracle import positions

WINDOW = 8
LENGTH = FIRST + WINDOW  # nothing is final but what lies below: forks may replace all that is indexed
_WHILE_FROZEN = 5  # steps
Step = tuple[Any, ...]  # a name of STEPS and what it takes
Rows = dict[str, dict[int, list[Values]]]  # table → height → rows

MODELS = ModelSet(
    tuple(
        Model(name, 1, (compile_event(parse_signature(event)),), None)
        for name, event in (
            ("pools", "event Swap(address indexed, uint256, uint256, uint256, uint256, address indexed)"),
            ("wrong", "event Sync(uint112 indexed, uint112)"),  # its logs have no such topic: they fit nothing
        )
    )
)


class _Blocks(Fetcher):
    """Endpoints that answer with real blocks."""

    def fetched(self, number: int) -> Fetched:
        node: Any = self._world.node
        _, block, receipts = node.told[number]
        return Fetched(number, block, receipts, "node", 10_000)


class _Decoder(DecoderProcess):
    fetcher = _Blocks

    def core(self) -> Decoder:
        return Decoder(
            chain=rules_for(CHAIN), models=MODELS, wrapped=WRAPPED, mode="full", topics=TOPICS, partitions=PARTITIONS,
            topic_ids={name: name for name in TOPICS.names}, native=_native(self.world),
        )  # fmt: skip


class _Persister(PersisterProcess):
    writer = BlockWriter

    @property
    def native(self) -> ModuleType | None:
        return _native(self.world)


def _native(world: World) -> ModuleType | None:
    """Compiled code where it is built, and its twin in Python: either in its turn."""
    return native.load("auto") if world.seed % 2 else None


ONE_OF_EACH: tuple[tuple[type[Process], str], ...] = (
    (FollowerProcess, "follower-0"), (_Decoder, "decoder-0"), (_Persister, "persister-0"),
)  # fmt: skip
SERVICES = (*ONE_OF_EACH, (FollowerProcess, "follower-1"), (_Decoder, "decoder-1"), (_Persister, "persister-1"))


class ForkWorld(World):
    """A world in which nothing happens but what the steps say."""

    def __init__(self, seed: int, node: Branches, services: Iterable[tuple[type[Process], str]] = SERVICES) -> None:
        self.branches = node
        self.countdown, self.stroke, self.place = 0, "", ""
        self.steps: deque[Step] = deque()
        self._of_the_chain: dict[str, Callable[..., None]] = {
            "grow": node.grow, "fork": node.fork, "miss": node.miss, "heal": node.heal, "lag": node.fall_behind,
        }  # fmt: skip
        more: Any = {"node": node}
        World.__init__(self, seed, services=tuple(services), **more)

    def tables(self) -> Database:
        return RowDatabase(STATEMENTS, self.clock, rules=self.rules, final=self.final_hash)

    def play(self, steps: Iterable[Step]) -> None:
        self.steps.extend(steps)
        while self.steps:
            self.step()

    def step(self) -> None:
        name, *more = self.steps.popleft()
        if name == "turn":
            self._turns(*more)
        elif name == "kill":
            self._end(*more)
        elif name == "strike":
            self.stroke, self.countdown, self.place = (*more, "")[:3]
        elif name == "wait":
            self.now += more[0]
        else:
            self._of_the_chain[name](*more)

    def _turns(self, who: str, times: int) -> None:
        for _ in range(times):
            for process in self.processes:
                if process.name.startswith(who) and not process.frozen:
                    process.turn()
            self.now += 0.5

    def _end(self, who: str) -> None:
        """SIGKILL, frozen or not."""
        for process in self.processes:
            if not process.name.startswith(who):
                continue
            if process.frozen:
                process.doomed = True
                for session in list(process.sessions):
                    session.close()
            else:
                process.end()

    def fault(self, process: Process, place: str, session: Session | None) -> None:
        if process.doomed:
            raise KilledError
        if self.calm or not self.countdown or not place.startswith(self.place):
            return
        self.countdown -= 1
        if self.countdown:
            return
        self.faults[f"{process.name.split('-')[0]} {self.stroke} {place}"] += 1
        if self.stroke == "kill":
            self.kill(process, "killed", counts=False)
        elif self.stroke == "freeze":
            self._freeze(process)
        elif session is not None:
            session.close()

    def _freeze(self, process: Process) -> None:
        """The next steps happen while it stands still, and others have its partitions."""
        process.frozen = True
        process.evicted()
        for _ in range(min(_WHILE_FROZEN, len(self.steps))):
            self.step()
        process.frozen = False
        if process.doomed:
            raise KilledError

    # the end

    def settled(self) -> ForkWorld:
        """Let everything have its effect, and nothing be wrong with how far it is."""
        self.branches.heal()
        self.settle(rounds=600, blocks=0)
        assert progress(self) == []
        assert self.database.tables["outbox"] == {}
        assert all(self.broker.log(TopicPartition(DLQ, n)) == [] for n in range(PARTITIONS))
        return self

    def is_stored(self) -> bool:
        """Tell whether the chain that won is stored, and nothing else."""
        ours = [row["hash"] for _, row in sorted(self.database.tables["blocks"].items())]
        return ours == [block.ref.hash for block in self.branches.chain[FIRST:]]

    def slow_blocks(self) -> int:
        """How many blocks of a losing branch came behind the rollback that ended it."""
        slow = 0
        for source in self.broker.sources((DECODED,)):
            rollbacks: list[Rollback] = []
            for record in self.broker.log(source):
                value = None if record is None else codec.decode_record(record.value or b"")
                if isinstance(value, Rollback):
                    rollbacks.append(value)
                elif isinstance(value, DecodedBlock):
                    number, generation = value.header.number, value.generation
                    slow += any(r.from_number <= number and generation < r.generation for r in rollbacks)
        return slow

    def _state(self) -> object:
        """What must stand still at the end; a block that a shorter chain has no more is waited for without end."""
        tables = self.database.tables
        logs = [len(self.broker.log(source)) for source in self.broker.sources((*WORK, DECODED))]
        masks = [(key, row["stored"]) for key, row in tables["job_coverage"].items()]
        return logs, masks, list(tables["blocks"]), tables["chain_state"], len(tables["headers"])

    def rows(self) -> Rows:
        tables = self.database.tables
        return {table: {number: row["rows"] for number, row in sorted(tables[table].items())} for table in COLUMNS}

    def balances(self) -> dict[tuple[bytes, int, bytes], int]:
        return {key: row["balance"] for key, row in self.database.tables["balances"].items() if row["balance"]}

    def outcomes(self) -> dict[int, str]:
        return {number: row["status"] for number, row in sorted(self.database.tables["block_processing"].items())}


def played(seed: int, steps: Sequence[Step]) -> ForkWorld:
    """Let the steps happen; at first everything there is is stored."""
    with _quietly():
        world = ForkWorld(seed, Branches(LENGTH, WINDOW))
        world.play([("turn", "", 6), *steps])
        return world


def settled(world: ForkWorld) -> ForkWorld:
    """Let everything have its effect."""
    with _quietly():
        return world.settled()


def fresh(world: ForkWorld) -> ForkWorld:
    """Index the chain that won, and no other, into empty tables."""
    with _quietly():
        return ForkWorld(world.seed, world.branches.alone(), ONE_OF_EACH).settled()


def recomputed(world: ForkWorld) -> dict[tuple[bytes, int, bytes], int]:
    """The balances that the logs of the chain come to, read by nothing of the indexer."""
    chain = world.branches.chain[FIRST:]
    logs = (log for block in chain for receipt in block.receipts for log in receipt["logs"])
    found = positions(logs)
    return {
        (bytes.fromhex(token[2:]), token_id, bytes.fromhex(holder[2:])): amount
        for (token, holder, token_id), amount in found.items()
        if amount
    }


@contextmanager
def _quietly() -> Iterator[None]:
    logging.disable(logging.ERROR)
    try:
        with ports():
            yield
    finally:
        logging.disable(logging.NOTSET)
