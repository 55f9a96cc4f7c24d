"""The follower's thread: its own connections, so that no backfill stands in the head's way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from indexer.errors import FatalError, OutageError, TransientError, UserError
from indexer.records import BlockRef
from indexer.rpc.facade import RpcClient
from indexer.rpc.heights import HeadView
from indexer.rpc.settings import RpcSettings
from indexer.settings import Settings
from indexer.storage import engine
from indexer.topics import DECODED, PERSISTER_GROUP, RETRY, WORK, Topics
from services.producer.follower import Follower, Pulse
from services.producer.lag import LagReader
from services.producer.messages import KafkaMessages
from services.producer.new_heads import NewHeads
from services.producer.records import PostgresRecords

log = logging.getLogger(__name__)

_MOST_PAUSE_SECONDS = 5.0
_LONG_PAUSE_SECONDS = 1.0  # what went wrong so often is no mishap
_TOLD_PAUSE_SECONDS = 1.0  # between looks while a WebSocket tells new heads


@dataclass(slots=True)
class Endpoints:
    """The chain's nodes, connected to when a job first asks for them: without one, a producer needs none."""

    settings: Settings
    client: RpcClient | None = None

    def highest(self) -> HeadView:
        return self._connected().highest()

    def headers(self, endpoint: str, numbers: Sequence[int]) -> dict[int, BlockRef | None]:
        return self._connected().headers(endpoint, numbers)

    def close(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None

    def _connected(self) -> RpcClient:
        if self.client is None:
            confirmations = None if self.settings.confirmations < 0 else self.settings.confirmations
            rpc = RpcSettings(max_rps=self.settings.rpc_max_rps or None, confirmations=confirmations)
            client = RpcClient(self.settings.rpc_urls, rpc)
            try:
                client.check_chain(self.settings.chain_id)
            except BaseException as error:
                client.close()
                if isinstance(error, FatalError):
                    raise UserError(str(error), code=error.code) from error
                raise
            self.client = client
        return self.client


class HeadLoop:
    """Runs the follower on a thread of its own until `stop`."""

    def __init__(self, settings: Settings, topics: Topics, partitions: int, owner: str) -> None:
        self._settings, self._topics, self._partitions, self._owner = settings, topics, partitions, owner
        self._wake, self._ending = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="head", daemon=True)
        self.pulse = Pulse()

    def start(self) -> None:
        self._thread.start()

    def failed(self) -> bool:
        return self._failure is not None

    def stop(self) -> None:
        """End the thread; raises what ended it before, but not that a database was away at the end."""
        self._ending.set()
        self._wake.set()
        self._thread.join(20)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            if self._settings.rpc_urls:
                self._follow()
        except (psycopg.OperationalError, OutageError) as error:
            if not self._ending.is_set():
                self._failure = error
                return
            log.warning("database: %s; ending without it, a lease runs out by itself", type(error).__name__)
        except BaseException as error:
            self._failure = error

    def _follow(self) -> None:
        node, heads = Endpoints(self._settings), NewHeads(self._settings.rpc_ws_url, self._wake)
        records = self._records()
        work, decoded = self._topics.work[0], self._topics.name(DECODED)
        messages = KafkaMessages(self._settings, work, decoded, self._partitions)
        follower = Follower(node, records, messages, time.monotonic, self.pulse)
        pause = 0.0
        try:
            while not self._ending.is_set():
                pause = self._turn(follower, records, pause)
                if self.pulse.head >= 0:
                    heads.listen()
                self._wake.wait(_TOLD_PAUSE_SECONDS if heads.alive and pause > 0 else pause)
                self._wake.clear()
            records.release()
        finally:
            heads.close()
            node.close()

    def _turn(self, follower: Follower, records: PostgresRecords, pause: float) -> float:
        """Take one step; what is away is waited for, ever longer."""
        try:
            idle = follower.step()
            self.pulse.outage = None
            return idle
        except psycopg.OperationalError as error:
            log.warning("database: %s; connecting again", type(error).__name__)
            records.reconnect(engine.reconnect(self._settings, "follower", self._ending.is_set, autocommit=True))
            return 0.0
        except (OutageError, TransientError) as error:
            longer = min(max(2 * pause, 0.1), _MOST_PAUSE_SECONDS)
            self.pulse.outage = error.code if longer >= _LONG_PAUSE_SECONDS else self.pulse.outage
            log.log(logging.WARNING if longer >= _LONG_PAUSE_SECONDS else logging.INFO, "%s [%s]", error, error.code)
            return longer

    def _records(self) -> PostgresRecords:
        settings, lag = self._settings, LagReader(self._settings)
        groups = {"decoder": (*WORK, *RETRY), PERSISTER_GROUP: (DECODED,)}
        return PostgresRecords(
            engine.reconnect(settings, "follower", self._ending.is_set, autocommit=True),
            chain_id=settings.chain_id,
            owner=self._owner,
            group=settings.topic_prefix + PERSISTER_GROUP,
            topic=self._topics.name(DECODED),
            partitions=self._partitions,
            lagging=lambda: lag.lagging(groups, self._partitions),
            lease_seconds=settings.lease_seconds,
            republish_seconds=settings.republish_seconds,
        )
