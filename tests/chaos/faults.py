"""Carries faults out on a running deployment, and ends those that end; nothing here waits."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import psycopg
from confluent_kafka import KafkaError, Message, Producer

from devchain.client import Devchain, DevchainError, Remote
from indexer import stack
from indexer.errors import IndexerError
from indexer.local.supervisor import Child
from indexer.storage import engine
from indexer.topics import load_topics
from tests.chaos.plan import Fault
from tests.chaos.poison import POISON, Poison, poison
from tests.chaos.reader import Origin
from tests.support.e2e_services import Services

SERVICES = ("producer", "decoder", "persister")
INSIDE = {  # a transaction is open
    "decoder": ("decoder.between-produce-and-commit",),
    "persister": ("persister.before-copy", "persister.inside-copy", "persister.between-copy-and-commit"),
}
BESIDE = {  # none is open yet, or none any more
    "producer": ("producer.between-publish-and-record",),
    "decoder": ("decoder.before-transaction", "decoder.after-commit"),
    "persister": ("persister.before-transaction", "persister.between-commit-and-offset"),
}
STEPS = (2.0, 45.0, 900.0, 3600.0, 8 * 3600.0, 30 * 86400.0)  # seconds that a clock is set forward or back
RPC = {"429": "p_429", "503": "p_5xx", "up": "p_hangup", "off": "p_truncated"}


class Faults:
    """Every kind of the plan, by name."""

    def __init__(self, servers: stack.RunningStack, running: Services, node: Devchain, never: Collection[int]) -> None:
        """`never` are the heights that no endpoint ever tells as they are."""
        self._servers, self._running, self._node = servers, running, node
        self._brokers, self._never = len(servers.broker_pids), dict.fromkeys(never, -1)
        self._topics = load_topics(running.settings.topic_prefix)
        self._ends: list[tuple[float, Callable[[], object]]] = []
        self._pool = ThreadPoolExecutor(2)
        self._away: dict[str, Future[None]] = {}  # servers that were killed and come back
        self._producer = Producer(
            {"bootstrap.servers": servers.bootstrap_servers, "enable.idempotence": True, "log_level": 0}
        )
        self._extra = 5  # slots of those that come and go
        self.planted: dict[Origin, str] = {}  # the code of the letter that must come of it
        self.done: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()

    def begin(self, fault: Fault) -> None:
        """Carry a fault out; one that cannot be now (its server is away already) is counted as skipped."""
        word, _, rest = fault.kind.partition(" ")
        try:
            carried_out = self._carried_out(fault, word, rest)
        except (psycopg.OperationalError, IndexerError, DevchainError, OSError):
            carried_out = False
        (self.done if carried_out else self.skipped)[fault.kind] += 1

    def turn(self) -> None:
        """End what is due."""
        self._producer.poll(0)
        for child in self._running.children:
            child.quick_deaths = min(child.quick_deaths, 1)  # those are our own doing
        now = time.monotonic()
        due = [end for at, end in self._ends if at <= now]
        self._ends = [(at, end) for at, end in self._ends if at > now]
        for end in due:
            with suppress(ProcessLookupError):
                end()

    def finish(self) -> None:
        """End all faults; every server runs afterwards."""
        self._ends = [(0.0, end) for _, end in self._ends]
        self.turn()
        for service in SERVICES:
            self._thaw_all(service)
        for place in self._running.hooks.iterdir():
            if ".fired." not in place.name:
                place.unlink()
        for future in self._away.values():
            future.result(90)
        nodes: tuple[Devchain | Remote, ...] = (self._node, self._twin)
        for each in nodes:
            each.faults(p_429=0, p_5xx=0, p_hangup=0, p_truncated=0, next_stall=0, lag=0, branch=None)
        self._producer.flush(60)
        self._running.dismiss()

    def close(self) -> None:
        self._pool.shutdown(wait=True)

    @property
    def _twin(self) -> Remote:
        assert self._node.twin is not None
        return self._node.twin

    def _later(self, seconds: float, end: Callable[[], object]) -> bool:
        self._ends.append((time.monotonic() + seconds, end))
        return True

    def _carried_out(self, fault: Fault, word: str, rest: str) -> bool:
        match word:
            case "kill" | "freeze" if rest.split()[0] in SERVICES:
                return self._strike(fault, word, *rest.split(" ", 1))
            case "kill":
                return self._kill_server(fault, rest)
            case "cut":
                return self._cut(fault)
            case "node":
                return self._node_fault(fault, rest)
            case "twin":
                return self._twin_fault(fault, rest)
            case "another":
                return self._join(fault, rest.split()[0])
            case "clock":
                return self._step_clock(fault, rest.split()[2])
            case _ if fault.kind in POISON:
                return self._plant(poison(fault.kind, fault.chance, self._topics, int(time.time() * 1000)))
            case _:
                depth = 1 + fault.chance % 6
                return self._node.reorg(depth, max(1, depth + fault.chance // 8 % 4 - 1)) > 0

    # processes

    def _strike(self, fault: Fault, word: str, service: str, where: str = "") -> bool:
        if where:
            places = (INSIDE if where.startswith("inside") else BESIDE)[service]
            place = places[fault.chance % len(places)]
            self._running.order(place, "kill" if word == "kill" else "stop")
            return word == "kill" or self._later(fault.lasts + 1.0, lambda: self._thaw_all(service))
        child = self._one(fault, service)
        if child is None or child.pid is None:
            return False
        if word == "kill":
            os.kill(child.pid, signal.SIGKILL)
            self.kills[service] += 1
            return True
        os.kill(child.pid, signal.SIGSTOP)
        return self._later(fault.lasts, lambda: _continue(child))

    def _one(self, fault: Fault, service: str) -> Child | None:
        alive = [child for child in self._running.children if child.service == service and child.pid is not None]
        return alive[fault.chance % len(alive)] if alive else None

    def _step_clock(self, fault: Fault, service: str) -> bool:
        """Set the clock of one process forward or back: every other time for a while, else for as long as it lives."""
        child = self._one(fault, service)
        if child is None or child.pid is None:
            return False
        seconds = STEPS[fault.chance // 4 % len(STEPS)] * (-1 if fault.chance // 32 % 2 else 1)
        order = self._running.order(f"clock.{child.pid}", str(seconds))
        return bool(fault.chance // 64 % 2) or self._later(fault.lasts, lambda: order.unlink(missing_ok=True))

    def _thaw_all(self, service: str) -> None:
        for child in self._running.children:
            if child.service == service:
                _continue(child)

    def _join(self, fault: Fault, service: str) -> bool:
        self._extra += 1
        child = self._running.alone(service, self._extra)
        return self._later(fault.lasts + 5.0, lambda: _signal(child, signal.SIGTERM))

    # servers

    def _kill_server(self, fault: Fault, which: str) -> bool:
        before = self._away.get(which)
        if before is not None and not before.done():
            return False
        self._away[which] = self._pool.submit(self._away_for, which, fault.chance % self._brokers, fault.lasts)
        return True

    def _away_for(self, which: str, number: int, seconds: float) -> None:
        servers = self._servers
        if which == "broker":
            servers.kill_broker(number)
        else:
            servers.kill_postgres()
        time.sleep(seconds)
        if which == "broker":
            servers.start_broker(number)
        else:
            servers.start_postgres()

    def _cut(self, fault: Fault) -> bool:
        with engine.connect(self._running.settings, "chaos", autocommit=True, check=False) as connection:
            cut = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid %% 2 = %s",
                (fault.chance % 2,),
            )
            return len(cut.fetchall()) > 0

    # nodes

    def _node_fault(self, fault: Fault, rest: str) -> bool:
        who: Devchain | Remote = (self._node, self._twin)[fault.chance % 2]
        if rest == "stalls":
            return bool(who.faults(next_stall=2))
        name = RPC[rest.split()[-1]]
        who.faults(**{name: 0.7})
        return self._later(fault.lasts, lambda: who.faults(**{name: 0}))

    def _twin_fault(self, fault: Fault, rest: str) -> bool:
        if rest == "lies":
            head = int(self._node.call("eth_blockNumber"), 16)
            heights = [height for height in range(head - 40, head + 10, 3) if height > 0]
            return bool(self._twin.faults(alter_log=dict.fromkeys(heights, 2) | self._never))
        name, value = ("lag", 1 + fault.chance % 6) if rest == "lags" else ("branch", self._dead_branch())
        self._twin.faults(**{name: value})
        return self._later(fault.lasts, lambda: self._twin.faults(**{name: 0 if name == "lag" else None}))

    def _dead_branch(self) -> int:
        return max(self.done["fork"] - 1, 0)

    # poison

    def _plant(self, what: Poison) -> bool:
        topic = self._topics.name(what.role)

        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            if what.code is not None:
                self.planted[topic, int(message.partition() or 0), int(message.offset() or 0)] = what.code

        self._producer.produce(
            topic, what.value, what.key, what.partition, headers=list(what.headers), on_delivery=delivered
        )
        return True


def _continue(child: Child) -> None:
    _signal(child, signal.SIGCONT)


def _signal(child: Child, number: signal.Signals) -> None:
    if child.pid is not None:
        os.kill(child.pid, number)
