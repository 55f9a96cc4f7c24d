"""The world of one seed: a chain, a broker, a database, processes, and what befalls them.

A frozen process is a call that takes long: while it lasts, the rest of the world turns inside of it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field

import psycopg

from indexer import codec
from indexer.caution import Death
from indexer.errors import IndexerError
from indexer.inflight import Record, TopicPartition
from indexer.jobs.ranges import Ranges
from indexer.storage.jobs import NewJob
from indexer.topics import DECODED, DLQ, RETRY, WORK
from services.producer.lag import Stillness
from tests.simulation import of_follower, of_jobs, of_persister
from tests.simulation.database import Backup, Database, Session
from tests.simulation.kafka import Broker, unknown_outcome
from tests.simulation.laws import GROUP, PARTITIONS
from tests.unit.producer.chain_model import MemoryNode, chain

CHAIN = 31337
REPUBLISH_SECONDS = 600.0
FIRST, LENGTH, WINDOW = 60, 66, 6  # following begins at FIRST: stripes 0 and 1 meet at 64
_NESTED = 3
_RARE, _WORSE = (of_jobs.LOOKED, "after the commit of a replay"), 10  # come to so rarely that they need worse luck
_QUIET, _LEAPS = 7, 2  # rounds in which nothing happens, and long pauses after which nothing does


class KilledError(BaseException):
    """A process ends here, without a word."""


class NeverSettlesError(Exception):
    """Something goes on for ever."""


class Process:
    """One process of a service; `start` makes it, `work` is one turn of it."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.alive = self.frozen = self.doomed = False
        self.lives = 0
        self.sessions: list[Session] = []
        self.death: Death | None = None

    @property
    def owner(self) -> str:
        return f"{self.name}.{self.lives}"

    def start(self, death: Death | None) -> None: ...
    def work(self) -> None: ...
    def stop(self) -> None: ...
    def evicted(self) -> None: ...

    def connect(self, *, autocommit: bool = False) -> Session:
        if self.world.database_is_away:
            raise psycopg.OperationalError("the database is away")
        session = self.world.database.open(lambda session, place: self.fault(place, session), autocommit=autocommit)
        self.sessions = [each for each in self.sessions if not each.closed] + [session]
        return session

    def fault(self, place: str, session: Session | None = None) -> None:
        self.world.fault(self, place, session)

    def turn(self) -> None:
        if not self.alive:
            self.lives += 1
            self.doomed = False
            death, self.death = self.death, None
            self.alive = True
            if not self._guarded(lambda: self.start(death)):
                self.end()
        else:
            self._guarded(self.work)

    def _guarded(self, step: Callable[[], None]) -> bool:
        try:
            step()
            return True
        except KilledError:
            self.end()
        except (IndexerError, psycopg.Error, AssertionError) as error:
            self.world.ended[f"{self.name}: {type(error).__name__}: {getattr(error, 'code', '')} {error}"[:200]] += 1
            if self.world.calm and self.world.strict:
                raise
            self.end()
        return False

    def end(self) -> None:
        for session in self.sessions:
            session.close()
        self.sessions = []
        self.alive = self.doomed = False


@dataclass(slots=True)
class World:
    """All that a seed decides about."""

    seed: int
    without: frozenset[str] = frozenset()  # rules that are taken out
    services: Collection[tuple[type[Process], str]] = ()
    strict: bool = True
    now: float = 1_000_000.0
    calm: bool = False
    node_is_away: bool = False
    database_is_away: bool = False
    node: MemoryNode = field(default_factory=lambda: MemoryNode(chain(LENGTH), WINDOW, LENGTH - 1 - WINDOW))
    chance: random.Random = field(init=False)
    database: Database = field(init=False)
    broker: Broker = field(init=False)
    processes: list[Process] = field(init=False)
    poison: set[int] = field(default_factory=set)
    poisoned: set[int] = field(default_factory=set)  # ever
    killers: set[bytes] = field(default_factory=set)  # keys of records that kill who takes them
    planted: set[tuple[str, int, int]] = field(default_factory=set)  # where bytes lie that nobody can read
    backup: Backup | None = None
    faults: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    depth: int = 0
    stillness: Stillness = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.database = self.tables()
        topics = dict.fromkeys((*WORK, *RETRY, DECODED, DLQ), PARTITIONS)
        self.broker = Broker(topics, self.clock, self.rules)
        self.stillness = Stillness(REPUBLISH_SECONDS, self._unread)
        self.processes = [kind(self, name) for kind, name in self.services]
        with self.operator() as session:
            of_jobs.follow(session, FIRST)

    def tables(self) -> Database:
        statements = of_persister.STATEMENTS | of_follower.STATEMENTS
        return Database(statements, self.clock, rules=self.rules, final=self.final_hash)

    def rules(self, rule: str) -> bool:
        return rule not in self.without

    def clock(self) -> float:
        return self.now

    def final_hash(self, number: int) -> bytes | None:
        return self.node.blocks[number].hash if number <= self.node.final else None

    def operator(self) -> AbstractContextManager[Session]:
        return _closing(self.database.open(lambda session, place: None, autocommit=True))

    # what the services ask

    def lagging(self) -> set[int]:
        if not self.rules("11 lag"):
            return set()
        behind = set()
        for group, topics in (("decoder", (*WORK, *RETRY)), (GROUP, (DECODED,))):
            for source in self.broker.sources(topics):
                committed = max(self.broker.committed(group, source), self.broker.start(source))
                if self.stillness.lags(source, committed, len(self.broker.log(source)), self.now):
                    behind.add(source.partition)
        return behind

    def _unread(self, source: tuple[str, int], committed: int, end: int) -> bool:
        return any(record is not None for record in self.broker.log(TopicPartition(*source))[committed:end])

    def may_replay(self) -> bool:
        return not (self.poison or self.killers) if self.calm else self.chance.random() < 0.02

    # what befalls them

    def fault(self, process: Process, place: str, session: Session | None) -> None:
        if process.doomed:
            raise KilledError
        if self.calm:
            return
        luck = self.chance.random() / (_WORSE if place in _RARE else 1)
        if luck < 0.004:
            self.faults["killed"] += 1
            self.kill(process, "killed", counts=False)
        elif luck < 0.010 and self.depth < _NESTED:
            self._freeze(process)
        elif luck < 0.014 and session is not None:
            self.faults["cut off"] += 1
            session.close()
        elif luck < 0.02 and session is None and place.startswith("after the commit"):
            self.faults["outcome unknown"] += 1
            raise unknown_outcome()

    def kill(self, process: Process, cause: str, *, counts: bool = True) -> None:
        process.death = Death(cause, int(self.now * 1000), counts)
        process.doomed = True
        raise KilledError

    def _freeze(self, process: Process) -> None:
        self.faults["frozen"] += 1
        process.frozen = True
        self.depth += 1
        if self.chance.random() < 0.7:
            process.evicted()
        for _ in range(self.chance.choice((3, 10, 30))):
            self.turn()
        self.depth -= 1
        process.frozen = False
        if process.doomed:
            raise KilledError

    def turn(self) -> None:
        """One process takes a turn, or something happens."""
        self.now += self.chance.choice((0.01, 0.05, 0.2, 0.5))
        if self.chance.random() < 0.12:
            self.happen()
        able = [each for each in self.processes if not each.frozen]
        if able:
            self.chance.choice(able).turn()

    def happen(self) -> None:
        events: tuple[tuple[Callable[[], None], int], ...] = (
            (self._grow, 10), (self._fork, 4), (self._queue, 3), (self._cancel, 1), (self._be_away, 2),
            (self._rebalance, 2), (self._keep_less, 1), (self._back_up, 2), (self._restore, 1), (self._poison, 2),
            (self._plant, 1), (self._leap, 1), (self._stop, 2), (self._kill_frozen, 1),
        )  # fmt: skip
        event = self.chance.choices([each for each, _ in events], [weight for _, weight in events])[0]
        self.faults[event.__name__.strip("_")] += 1
        event()

    def _grow(self) -> None:
        self.node.grow(self.chance.randint(1, 2))

    def _fork(self) -> None:
        depth = self.chance.randint(1, WINDOW)
        self.node.fork(depth, self.chance.randint(max(depth - 1, 1), depth + 2))

    def _queue(self) -> None:
        starts = [self.chance.randrange(FIRST - 6, self.node.head) for _ in range(2)]
        blocks = Ranges.of((start, start + self.chance.randint(1, 3)) for start in starts)
        reason = self.chance.choice(("backfill", "backfill", "repair"))
        with self.operator() as session:
            of_jobs.create_job(session, NewJob(CHAIN, blocks, reason=reason))

    def _cancel(self) -> None:
        with self.operator() as session:
            rows = session.items("processing_jobs")
            able = [n for n, row in rows if row["reason"] != "head" and row["state"] in ("queued", "running")]
            if able:
                job = self.chance.choice(able)
                with suppress(psycopg.errors.LockNotAvailable):
                    session.run(lambda s, p: s.change("processing_jobs", job, state="cancelling"))

    def _be_away(self) -> None:
        self.node_is_away = self.chance.random() < 0.3 and not self.node_is_away
        self.database_is_away = self.chance.random() < 0.2 and not self.database_is_away
        if self.database_is_away:
            for pid in list(self.database.sessions):
                self.database.end(pid)

    def _rebalance(self) -> None:
        name = self.chance.choice(("decoder", GROUP))
        topics = (*WORK, *RETRY) if name == "decoder" else (DECODED,)
        self.broker.group(name).balance(self.broker.sources(topics), self.chance.randrange(4))

    def _keep_less(self) -> None:
        source = self.chance.choice(self.broker.sources((*WORK, *RETRY, DECODED)))
        length = len(self.broker.log(source))
        self.broker.forget(source, self.chance.randint(0, length))

    def _back_up(self) -> None:
        self.backup = self.database.backup()

    def _restore(self) -> None:
        if self.backup is not None and self.rules("no restores"):
            self.database.restore(self.backup)
            self.backup = None

    def _poison(self) -> None:
        if self.chance.random() < 0.3:
            self.poison.clear()
            return
        number = self.chance.randrange(FIRST - 6, self.node.head + 3)
        if self.chance.random() < 0.3:
            self.killers.add(codec.block_key(CHAIN, number))
        else:
            self.poison.add(number)
        self.poisoned.add(number)

    def _plant(self) -> None:
        source = self.chance.choice(self.broker.sources((WORK[1], DECODED)))
        self.planted.add((*source, len(self.broker.log(source))))
        self.broker.append(Record(*source, -1, None, b"nobody can read this"))

    def _leap(self) -> None:
        self.now += self.chance.choice((5.0, 30.0, 120.0, 700.0))

    def _stop(self) -> None:
        """Stop a process in order."""
        process = self.chance.choice(self.processes)
        if process.alive and not process.frozen:
            process._guarded(process.stop)
            process.end()

    def _kill_frozen(self) -> None:
        for process in self.processes:
            if process.frozen:
                process.doomed = True
                process.death = Death("killed", int(self.now * 1000), counts=False)
                for session in process.sessions:
                    session.close()
                return

    # the end

    def settle(self, rounds: int = 1500, blocks: int = WINDOW + 3) -> None:
        """No more faults: let everything have its effect; long pauses let what is overdue be seen."""
        self.calm, self.node_is_away, self.database_is_away = True, False, False
        if self.chance.random() < 0.5:
            self.poison.clear()
            self.killers.clear()
        self.node.grow(blocks)
        quiet = leaps = 0
        before: object = None
        at_leap: object = None
        for _ in range(rounds):
            for process in self.processes:
                self.now += 0.05
                process.turn()
            self.now += 0.5
            state = self._state()
            quiet = quiet + 1 if state == before else 0
            before = state
            if quiet == _QUIET:
                leaps, quiet = (leaps + 1 if state == at_leap else 1), 0
                if leaps > _LEAPS:
                    return
                self.now, at_leap = self.now + 700.0, state
        raise NeverSettlesError(f"still not quiet after {rounds} rounds")

    def _state(self) -> object:
        tables = self.database.tables
        logs = sum(map(len, self.broker.logs.values())), sum(each.lives for each in self.processes)
        jobs = [(job, row["state"]) for job, row in tables["processing_jobs"].items()]
        letters = sorted((row["id"], row["state"]) for row in tables["dead_letters"].values())
        masks = [(key, row["stored"], row["dead"]) for key, row in tables["job_coverage"].items()]
        return logs, jobs, letters, masks, len(tables["headers"]), len(tables["blocks"])


@contextmanager
def _closing(session: Session) -> Iterator[Session]:
    try:
        yield session
    finally:
        session.close()
