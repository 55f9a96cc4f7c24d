"""A deployment under seeded faults: a backfill and a forking head, then what must be true when all is quiet again."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from devchain.client import Devchain
from indexer import stack
from indexer.errors import IndexerError
from indexer.settings import Settings
from indexer.storage import engine, following, jobs, migrate
from indexer.storage.digest import Digest, digest
from tests.chaos import verdict
from tests.chaos.evidence import collect
from tests.chaos.faults import Faults
from tests.chaos.plan import schedule
from tests.chaos.reader import Reader
from tests.support.deployment import own_database, own_topics
from tests.support.e2e_kafka import Cluster
from tests.support.e2e_services import Services, services
from tests.support.following import CHAIN_ID

log = logging.getLogger("chaos")

FINALITY = 16  # deeper than any fork of the plan
GROWS_SECONDS = 0.5
SERVICES = {"producer": 1, "decoder": 2, "persister": 2}


@dataclass(frozen=True, slots=True)
class Weather:
    """How a run is made."""

    seed: int
    seconds: float
    brokers: int
    rate: float = 15.0  # blocks of the backfill a second, so that it lasts
    quiet_seconds: float = 400.0  # that everything may take after the last fault: a retry waits up to a minute
    protocol: str = "classic"

    @property
    def backfill(self) -> int:
        return int(self.seconds * self.rate) + 300


@dataclass(slots=True)
class Report:
    """What a run came to; `problems` is empty when nothing was lost or doubled."""

    seed: int
    seconds: float
    faults: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> int:
        return len(self.faults)


def run(weather: Weather, keep: Path) -> Report:
    """Run it all on servers of its own; what is collected of a failure goes below `keep`."""
    report = Report(weather.seed, weather.seconds)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="indexer-chaos-")))
        servers = stack.start(folder / "stack", weather.brokers, die_with_parent=True, remove_with_parent=True)
        opened.callback(servers.stop, graceful=False)
        chain = weather.backfill + int(weather.seconds / GROWS_SECONDS) + 150
        node = opened.enter_context(
            Devchain.simulated(
                profile="small",
                blocks=chain,
                head=weather.backfill,
                chain_id=CHAIN_ID,
                ethereum=True,
                twin_lag=0,
                cache=folder / "chain",
            )
        )
        settings = opened.enter_context(_deployment(servers, weather))
        storm = Storm(weather, servers, node, opened.enter_context(_services(settings, node, folder)), report)
        storm.blow(keep)
        if not report.problems:
            report.problems += storm.compare(opened.enter_context(_deployment(servers, weather)), folder / "fresh")
    return report


@contextmanager
def _deployment(servers: stack.RunningStack, weather: Weather) -> Iterator[Settings]:
    with own_database(servers.database_url, "template0") as empty:
        migrate.migrate(empty)
        chosen = replace(empty, chain_id=CHAIN_ID, lease_seconds=2.0, group_protocol=weather.protocol)
        with own_topics(chosen, servers.bootstrap_servers) as settings:
            yield settings


@contextmanager
def _services(settings: Settings, node: Devchain, folder: Path) -> Iterator[Services]:
    assert node.twin is not None
    more = {"RPC_TIMEOUT_SECONDS": "3", "REPUBLISH_SECONDS": "30"}
    with services(settings, node, folder / "services", **more) as running:
        running.ask(node.url, node.twin.url)
        yield running


@dataclass(slots=True)
class Storm:
    """One run on servers that are there."""

    weather: Weather
    servers: stack.RunningStack
    node: Devchain
    running: Services
    report: Report

    def blow(self, keep: Path) -> None:
        """Let the faults come, wait until all is quiet, and look at everything."""
        cluster = Cluster(self.running.settings)
        never = self.weather.backfill // 2
        self._each_node(finality=FINALITY, alter_log={never: -1})
        reader = Reader(self.servers.bootstrap_servers, cluster.topics.decoded, cluster.partitions)
        faults = Faults(self.servers, self.running, self.node, [never])
        try:
            self._begin()
            self._under(faults)
            began = time.monotonic()
            log.info("the time of faults is over")
            faults.finish()
            self._each_node(alter_log={never: -1})
            self.running.database = engine.connect(self.running.settings, "test", autocommit=True)
            self._until_quiet(cluster, faults, never, keep)
            self.report.figures["seconds until quiet"] = round(time.monotonic() - began, 1)
            self._look(cluster, reader, faults, never)
        finally:
            faults.close()
            reader.close()

    def compare(self, fresh: Settings, folder: Path) -> list[str]:
        """Index the winning chain anew, undisturbed, and say what differs."""
        log.info("quiet; indexing the winning chain anew")
        self._each_node(finality=0)
        found = _digest(self.running)
        head = int(self.node.call("eth_blockNumber"), 16)
        self.running.kill()
        with services(fresh, self.node, folder) as calm:
            job = calm.queue([(0, head + 1)])
            calm.start(producer=1, decoder=1, persister=1)
            calm.until(lambda: calm.is_done(job), 240, "the fresh index is done")
            wanted = _digest(calm)
        return verdict.other_rows(found, wanted)

    def _each_node(self, **faults: Any) -> None:
        assert self.node.twin is not None
        self.node.faults(**faults)
        self.node.twin.faults(**faults)

    def _begin(self) -> None:
        running = self.running
        following.start(running.database, CHAIN_ID, 0, None)
        running.start(**SERVICES)
        running.until(lambda: len(self._jobs()) == 2, 60, "the backfill is queued")
        backfill = next(job for job in self._jobs() if job.reason == "backfill")
        jobs.change_job(running.database, CHAIN_ID, backfill.id, {"rate": self.weather.rate})
        running.until(lambda: running.stored() > 0, 60, "blocks are stored")

    def _under(self, faults: Faults) -> None:
        """Grow the chain and let the faults come; whatever falls is started again."""
        plan, began, grown = schedule(self.weather.seed, self.weather.seconds), time.monotonic(), 0
        while (now := time.monotonic() - began) < self.weather.seconds:
            while plan and plan[0].at <= now:
                log.info("%6.1f s: %s", now, plan[0].kind)
                faults.begin(plan.pop(0))
            if now / GROWS_SECONDS > grown:
                self.node.grow()
                grown += 1
            faults.turn()
            self.running.until(lambda: True, 1, "")  # starts again what fell
            time.sleep(0.05)
        self.report.faults, self.report.skipped = dict(faults.done), dict(faults.skipped)

    def _all_told(self, cluster: Cluster, faults: Faults) -> bool:
        """True when no work item waits to be read, and every letter has arrived."""
        letters = self._number("SELECT count(*) FROM dead_letters")
        return letters > len(faults.planted) and cluster.work_topics_are_read()

    def _until_quiet(self, cluster: Cluster, faults: Faults, never: int, keep: Path) -> None:
        log.info("all faults ended; waiting until all is quiet")
        head = int(self.node.call("eth_blockNumber"), 16)
        expected = [number for number in range(head + 1) if number != never]

        def quiet() -> bool:
            for child in self.running.children:
                child.quick_deaths = min(child.quick_deaths, 1)
            time.sleep(0.25)
            with suppress(psycopg.OperationalError, IndexerError):
                state = following.following(self.running.database, CHAIN_ID)
                followed = state is not None and state.tip == head and state.canonical_to == never - 1  # up to the hole
                others = all(job.state == "done" for job in self._jobs() if job.reason != "head")
                return followed and others and self._heights() == expected and self._all_told(cluster, faults)
            return False

        try:
            self.running.until(quiet, self.weather.quiet_seconds, "everything is stored and read")
        except AssertionError as error:
            missing = verdict.missing(expected, self._heights())
            kept = collect(self.running, keep / f"seed-{self.weather.seed}")
            what = f"{str(error).splitlines()[0]}; {len(missing)} blocks missing: {missing[:20]}; see {kept}"
            self.report.problems.append(what)

    def _look(self, cluster: Cluster, reader: Reader, faults: Faults, never: int) -> None:
        report, running = self.report, self.running
        report.problems += verdict.problems(running, self.node, cluster, reader, faults.planted, never)
        report.figures |= {"forks": faults.done["fork"], "letters planted": len(faults.planted) + 1}
        report.figures |= verdict.figures(running, cluster, reader, self.servers.data_dir)
        report.restarts = {child.name: child.restarts for child in running.children}

    def _jobs(self) -> list[jobs.JobStatus]:
        return jobs.all_jobs(self.running.database, CHAIN_ID)

    def _heights(self) -> list[int]:
        return [int(row[0]) for row in self.running.database.execute("SELECT number FROM blocks ORDER BY 1").fetchall()]

    def _number(self, query: str) -> int:
        row = self.running.database.execute(query).fetchone()
        return int(row[0]) if row else 0


def _digest(running: Services) -> Digest:
    with engine.connect(running.settings, "test", autocommit=True) as connection:
        return digest(connection, CHAIN_ID)
