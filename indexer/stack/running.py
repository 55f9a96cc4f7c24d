"""Start, find, break and stop a local stack: Kafka and PostgreSQL in one folder."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from indexer.errors import FatalError, UserError
from indexer.stack import coordinators, kafka, layout, postgres, process
from indexer.stack.cache import exclusive
from indexer.stack.layout import Folder, Layout, State

FREE_BYTES = 1 << 30
STOP_SECONDS = 10.0


class RunningStack:
    """A stack whose servers answer, started here or by another process."""

    def __init__(self, folder: Folder, shape: Layout, remove: Path | None = None, *, keep: bool = False) -> None:
        self._folder = folder
        self._layout = shape
        self._remove = remove
        self._keep = keep  # hold on to the lifelines: the servers end with this process
        self._held: list[process.Guarded] = []

    @property
    def data_dir(self) -> Path:
        return self._folder.path

    @property
    def bootstrap_servers(self) -> str:
        return self._state().external_kafka or self._layout.bootstrap_servers

    @property
    def database_url(self) -> str:
        """A libpq URL (`postgresql://…`) of the server's own database."""
        return self._state().external_database or self._layout.database_url

    @property
    def broker_pids(self) -> dict[int, int]:
        """The pid of every broker that was started here and not stopped, by broker id."""
        return {number: found.pid for number, found in self._state().brokers.items() if found.alive()}

    @property
    def postgres_pid(self) -> int | None:
        found = self._state().postgres
        return found.pid if found and found.alive() else None

    def kill_broker(self, number: int) -> None:
        """SIGKILL one broker; returns when it is gone."""
        process.end([self._broker(number)], signal.SIGKILL, STOP_SECONDS)

    def stop_broker(self, number: int) -> None:
        """Shut one broker down in order, its partitions handed over; returns when it is gone."""
        process.end([self._broker(number)], signal.SIGTERM, 30.0)

    def start_broker(self, number: int) -> None:
        """Start a broker that was killed or stopped; returns when the cluster knows it again."""
        if number in self.broker_pids:
            return
        broker = self._layout.brokers[number]
        guarded = kafka.start(self._folder, broker, self._remove)
        self._settle(guarded, lambda: kafka.wait_ready(self._folder, {number: guarded}, self._layout))
        self._update(lambda state: dataclasses.replace(state, brokers={**state.brokers, number: _id(guarded)}))

    def kill_postgres(self) -> None:
        """SIGKILL the database server with all its processes; returns when they are gone."""
        if found := self._state().postgres:
            postgres.kill(found)

    def start_postgres(self) -> None:
        """Start the database server after `kill_postgres`; returns when it has recovered and answers."""
        if self.postgres_pid is not None:
            return
        guarded = postgres.start(self._folder, self._layout, self._remove)
        self._settle(guarded, lambda: postgres.wait_ready(self._folder, guarded, self._layout))
        self._update(lambda state: dataclasses.replace(state, postgres=_id(guarded)))

    def repair(self) -> None:
        """Start the servers of this stack that do not run."""
        state = self._state()
        for broker in [] if state.external_kafka else self._layout.brokers:
            self.start_broker(broker.id)
        if state.external_database is None:
            self.start_postgres()

    def stop(self, *, graceful: bool = True) -> None:
        """End everything that runs in this stack, and forget it; the data stays."""
        with exclusive(self._folder.lock):
            end(self._folder, graceful=graceful)
        for guarded in self._held:
            guarded.close()
        self._held.clear()

    def hold(self, *started: process.Guarded) -> None:
        """Keep servers alive: for as long as this process lives, or from now on without it."""
        if self._keep:
            self._held += started
            return
        for guarded in started:
            guarded.release()

    def _settle(self, guarded: process.Guarded, wait_ready: Callable[[], None]) -> None:
        try:
            wait_ready()
        except BaseException:
            guarded.close()
            raise
        self.hold(guarded)

    def _state(self) -> State:
        state = self._folder.state()
        if state is None:
            raise FatalError(f"the stack in {self.data_dir} was stopped")
        return state

    def _broker(self, number: int) -> process.ProcessId:
        try:
            return self._state().brokers[number]
        except KeyError:
            raise FatalError(f"the stack in {self.data_dir} runs no broker {number}") from None

    def _update(self, change: Callable[[State], State]) -> None:
        with exclusive(self._folder.lock):
            self._folder.save(change(self._state()))


def _id(guarded: process.Guarded) -> process.ProcessId:
    if guarded.process is None:
        raise FatalError("a server ended while it was started")
    return guarded.process


def end(folder: Folder, *, graceful: bool) -> None:
    """End every process of the state file and remove that file. The caller holds the folder's lock."""
    state = folder.state()
    if state is None:
        return
    if not graceful and state.postgres:
        postgres.kill(state.postgres)
    with ThreadPoolExecutor(2) as pool:
        how = signal.SIGTERM if graceful else signal.SIGKILL
        brokers = pool.submit(process.end, state.brokers.values(), how, STOP_SECONDS)
        database = [state.postgres] if state.postgres else []
        process.end(database, signal.SIGINT, STOP_SECONDS)  # "fast": roll back what is open, then shut down
        brokers.result()
    folder.forget_state()


def connect(data_dir: Path) -> RunningStack:
    """The stack that runs in `data_dir`. Raises UserError when none does."""
    folder = Folder(data_dir)
    state, shape = folder.state(), folder.layout()
    if shape is None or state is None or not state.ready:
        raise UserError(f"no stack runs in {data_dir}; start one with `indexer stack up`")
    return RunningStack(folder, shape)


def start(
    data_dir: Path,
    brokers: int | None = None,
    die_with_parent: bool = False,
    *,
    external_kafka: str | None = None,
    external_database: str | None = None,
    remove_with_parent: bool = False,
) -> RunningStack:
    """Start what does not run yet in `data_dir` and return when all of it answers.

    Without `die_with_parent` the servers outlive this process from then on; whatever ends it before, ends them. With
    it they end with this process, and with `remove_with_parent` the folder goes too. The external servers are used
    instead of own ones. `brokers` is 1 or 3 (None: as the folder has it, else 1). Raises UserError for what the user
    must provide.
    """
    folder = Folder(data_dir)
    _refuse_foreign(folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    wanted = State(ready=False, external_kafka=external_kafka, external_database=external_database)
    remove = folder.path if die_with_parent and remove_with_parent else None
    with exclusive(folder.lock):
        shape = _layout(folder, brokers)
        goes_on = _goes_on(folder.state(), wanted, shape)
        if not goes_on:
            shape = _make_room(folder, shape)
        stack = RunningStack(folder, shape, remove, keep=die_with_parent)
        if not goes_on:
            stack.hold(*_start_servers(folder, shape, wanted, remove))
    stack.repair()
    return stack


def _goes_on(state: State | None, wanted: State, shape: Layout) -> bool:
    """True when what runs is what is wanted, and enough of it runs for the rest to join."""
    if state is None or not state.ready:
        return False
    servers = (state.external_kafka, state.external_database)
    if servers != (wanted.external_kafka, wanted.external_database):
        return False
    alive = sum(found.alive() for found in state.brokers.values())
    return state.external_kafka is not None or alive * 2 > len(shape.brokers)


def _make_room(folder: Folder, shape: Layout) -> Layout:
    """End what is left of an earlier start, and give ports that somebody else took meanwhile new numbers."""
    end(folder, graceful=True)
    if not process.wait_for_guards(folder.alive):
        raise UserError(f"another process still uses {folder.path}; choose another --data-dir")
    shape = layout.with_free_ports(shape)
    folder.save(shape)
    return shape


def _start_servers(folder: Folder, shape: Layout, state: State, remove: Path | None) -> list[process.Guarded]:
    """Start both servers side by side; when one fails the other ends too. The state file is complete on return."""
    started: list[process.Guarded] = []
    brokers: dict[int, process.Guarded] = {}

    def start_kafka() -> None:
        kafka.prepare(folder, shape)
        for broker in shape.brokers:
            brokers[broker.id] = kafka.start(folder, broker, remove)
            started.append(brokers[broker.id])
        kafka.wait_ready(folder, brokers, shape)
        coordinators.wait_ready(shape.bootstrap_servers)

    def start_postgres() -> process.Guarded:
        postgres.prepare(folder, shape)
        guarded = postgres.start(folder, shape, remove)
        started.append(guarded)
        postgres.wait_ready(folder, guarded, shape)
        return guarded

    database: Future[process.Guarded] | None = None
    try:
        with ThreadPoolExecutor(1) as pool:
            if state.external_database is None:
                database = pool.submit(start_postgres)
            if state.external_kafka is None:
                start_kafka()
        running = {number: _id(guarded) for number, guarded in brokers.items()}
        found = _id(database.result()) if database else None
        folder.save(dataclasses.replace(state, ready=True, brokers=running, postgres=found))
    except BaseException:
        for guarded in started:
            guarded.close()
        raise
    return started


def _refuse_foreign(folder: Folder) -> None:
    """A folder with other things in it is not ours to fill, nor to remove later."""
    if folder.path.exists() and not folder.is_ours():
        others = [path.name for path in folder.path.iterdir() if path.name not in ("lock", "alive")]
        if others:
            raise UserError(f"{folder.path} is not empty and not a stack's folder; choose another --data-dir")


def _layout(folder: Folder, brokers: int | None) -> Layout:
    shape = folder.layout() or layout.new_layout(brokers or 1)
    layout.check_broker_count(shape, brokers)
    free = shutil.disk_usage(folder.path).free
    if free < FREE_BYTES:
        raise UserError(f"{folder.path} has {free >> 20} MiB of free disk; the stack needs {FREE_BYTES >> 20}")
    return shape


def is_running(data_dir: Path) -> bool:
    """True when every process of the stack in `data_dir` runs."""
    state = Folder(data_dir).state()
    return state is not None and state.ready and all(found.alive() for found in state.processes())


def stop(data_dir: Path) -> None:
    """Stop the stack in `data_dir`, if one runs; the data stays."""
    folder = Folder(data_dir)
    if folder.is_ours():
        with exclusive(folder.lock):
            end(folder, graceful=True)


def wipe(data_dir: Path) -> None:
    """Stop the stack in `data_dir` and remove the folder; refuses a folder that no stack made."""
    folder = Folder(data_dir)
    if not folder.path.exists():
        return
    _refuse_foreign(folder)
    with exclusive(folder.lock):
        end(folder, graceful=False)
        shutil.rmtree(folder.path)
