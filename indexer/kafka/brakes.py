"""Why a service has stopped taking records, kept where every service can reach it: in a group's metadata in Kafka.

A decoder has no database, so the mark is the metadata of an offset that a group without members commits on the
dead-letter topic. It outlives every process; Kafka forgets such a group after a week without a commit, so who is
stopped commits it again now and then.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from indexer.budget import Budget
from indexer.errors import OutageError
from indexer.kafka import config
from indexer.settings import Settings
from indexer.topics import load_topics

log = logging.getLogger(__name__)

SERVICES = ("decoder", "persister")
_LOOK_SECONDS = 2.0
_AGAIN_SECONDS = 3600.0
_METADATA = 500  # characters; Kafka takes 4 KiB


class Brakes:
    """The mark of one service."""

    def __init__(self, settings: Settings, service: str, wait_seconds: float = 5.0) -> None:
        self._topic, self._wait = load_topics(settings.topic_prefix).dlq, wait_seconds
        self._group = Consumer(
            {
                **config.common(settings),
                "group.id": f"{settings.topic_prefix}budget-{service}",
                "enable.auto.commit": False,
            }
        )

    def read(self) -> str | None:
        """Return why the service is stopped; None when it is not. Raises OutageError."""
        try:
            found = self._group.committed([KafkaPartition(self._topic, 0)], timeout=self._wait)[0]
        except KafkaException as error:
            raise OutageError(f"reading the budget's mark: {error.args[0].str()}", code="KAFKA_DOWN") from error
        if found.error is not None:
            raise OutageError(f"reading the budget's mark: {found.error.str()}", code="KAFKA_DOWN")
        return found.metadata or None

    def put(self, why: str) -> None:
        """Stop the service; an empty text lets it go on. Raises OutageError."""
        mark = KafkaPartition(self._topic, 0, 0, why[:_METADATA])
        try:
            self._group.commit(offsets=[mark], asynchronous=False)
        except KafkaException as error:
            raise OutageError(f"writing the budget's mark: {error.args[0].str()}", code="KAFKA_DOWN") from error

    def close(self) -> None:
        self._group.close()


class BudgetWatch:
    """The pipeline's Watch: counts what died, stops the service for all its processes, and hears when it may go on.

    Until Kafka was asked for the first time nothing is taken: a restart is no way around the mark.
    """

    def __init__(
        self, brakes: Brakes, died: Callable[[Any], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._brakes, self._died, self._clock = brakes, died, clock
        self._budget = Budget()
        self._lock = threading.Lock()
        self._why: str | None = "not asked yet"
        self._unsaid: str | None = None  # what is to be written
        self._said_at = 0.0
        self.outage: str | None = None  # the code of what keeps us from asking
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="budget", daemon=True)
        self._thread.start()

    def held(self) -> bool:
        return self._why is not None

    def stored(self, results: Iterable[Any]) -> None:
        """Count results that were stored."""
        with self._lock:
            self._budget.note(self._died(result) for result in results)
            if self._why is None and self._budget.spent:
                self._why = self._unsaid = self._budget.in_words()
                log.error("%s: stopped until an operator clears it with `indexer dlq resume`", self._why)

    def close(self) -> None:
        self._ended.set()
        self._thread.join(10)
        self._brakes.close()

    def look(self) -> None:
        """Write what is to be said, or read what is said."""
        if self._unsaid is not None:
            self._brakes.put(self._unsaid)
            self._unsaid, self._said_at = None, self._clock()
            return
        why = self._brakes.read()
        with self._lock:
            if self._unsaid is not None:
                return
            if why is None and self._why is not None:
                self._budget.clear()
            elif why is not None and self._why is None:
                log.error("stopped: %s", why)
            self._why = why
        if why is not None and self._clock() - self._said_at > _AGAIN_SECONDS:
            self._brakes.put(why)
            self._said_at = self._clock()

    def _run(self) -> None:
        while True:
            try:
                self.look()
                self.outage = None
            except OutageError as error:
                self.outage = error.code
                log.info("%s", error)
            if self._ended.wait(_LOOK_SECONDS if self._unsaid is None else 0.2):
                return


def stopped(settings: Settings, services: Sequence[str] = SERVICES) -> dict[str, str]:
    """Return service → why it is stopped, for those that are; nothing where Kafka does not answer soon."""
    found = {}
    for service in services:
        brakes = Brakes(settings, service, wait_seconds=2.0)
        try:
            if why := brakes.read():
                found[service] = why
        except OutageError as error:
            log.info("%s", error)
            break
        finally:
            brakes.close()
    return found
