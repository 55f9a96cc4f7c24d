"""Work items on their way to Kafka: an idempotent producer, and which stripes have arrived whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from indexer import codec
from indexer.errors import FatalError
from indexer.jobs.ranges import Stripe
from indexer.kafka import config
from indexer.records import BlockWorkItem, Reason
from indexer.settings import Settings
from indexer.storage.jobs import Lease
from indexer.topics import partition_of_stripe
from services.producer.refusals import asked, final

log = logging.getLogger(__name__)

_WHAT = "work items"
Delivered = Callable[[KafkaError | None, Message | None], None]


class Publisher:
    """Publishes whole stripes and tells which of them the brokers have confirmed."""

    def __init__(
        self,
        settings: Settings,
        topics: dict[str, str],
        partitions: int,
        make: Callable[[dict[str, Any]], Any] = Producer,
    ) -> None:
        """`topics` maps a priority to the topic's full name; all have `partitions` partitions."""
        self._producer = make({**config.producer(settings), "linger.ms": 5})
        self._topics, self._partitions, self._chain_id = topics, partitions, settings.chain_id
        self._waiting: dict[tuple[int, int], int] = {}  # (job, stripe) -> records not confirmed yet
        self._confirmed: dict[int, set[int]] = {}
        self._failed: set[tuple[int, int]] = set()
        self._final: FatalError | None = None

    def publish(self, lease: Lease, stripes: Sequence[Stripe]) -> None:
        """Hand the items of these stripes over; returns before they are confirmed."""
        topic, reason = self._topics[lease.priority], Reason(lease.reason)
        items = BlockWorkItem(self._chain_id, 0, lease.generation, job_id=lease.id, reason=reason)
        for stripe in stripes:
            unit = (lease.id, stripe.number)
            if unit not in self._waiting:
                self._failed.discard(unit)  # all of it goes again
            self._waiting[unit] = self._waiting.get(unit, 0) + stripe.blocks
            self._produce(topic, unit, items, stripe)
        self.poll()

    def confirmed(self) -> dict[int, list[int]]:
        """Return, per job, the stripes confirmed and not noted yet; those that failed are left for republishing."""
        self.poll()
        return {job_id: sorted(stripes) for job_id, stripes in self._confirmed.items()}

    def noted(self, job_id: int, stripes: Sequence[int]) -> None:
        """Forget that these were confirmed: the table says it now."""
        self._confirmed[job_id].difference_update(stripes)
        if not self._confirmed[job_id]:
            del self._confirmed[job_id]

    def poll(self) -> None:
        """Take the brokers' answers; raises FatalError where no second try can help."""
        asked(_WHAT, self._producer.poll, 0)
        if self._final is not None:
            raise self._final

    def failed(self, job_id: int) -> bool:
        """Say, once, whether a stripe of the job did not arrive whole.

        A stripe of which some is still under way is told of when the rest has its answer: until then that some of it
        failed must be known, or the stripe would count as confirmed.
        """
        lost = {unit for unit in self._failed if unit[0] == job_id and unit not in self._waiting}
        self._failed -= lost
        return bool(lost)

    def under_way(self, job_id: int) -> set[int]:
        """Return the stripes of a job that were handed over and are not noted as published yet."""
        waiting = {stripe for job, stripe in self._waiting if job == job_id}
        return waiting | set(self._confirmed.get(job_id, ()))

    def waiting(self, job_id: int) -> bool:
        return any(job == job_id for job, _ in self._waiting)

    def close(self) -> None:
        asked(_WHAT, self._producer.flush, 10)

    def _produce(self, topic: str, unit: tuple[int, int], items: BlockWorkItem, stripe: Stripe) -> None:
        def delivered(error: KafkaError | None, _: Message | None) -> None:
            self._note(unit, error)

        partition = partition_of_stripe(stripe.number, self._partitions)
        heights = list(stripe.heights())
        for number, value in zip(heights, codec.encode_work_items(items, heights), strict=True):
            self._hand_over(topic, partition, codec.block_key(items.chain_id, number), value, delivered)

    def _hand_over(self, topic: str, partition: int, key: bytes, value: bytes, delivered: Delivered) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=delivered)
                return
            except BufferError:
                asked(_WHAT, self._producer.poll, 0.1)
            except KafkaException as error:
                delivered(error.args[0], None)
                return

    def _note(self, unit: tuple[int, int], error: KafkaError | None) -> None:
        if error is not None:
            log.warning("stripe %d of job %d: %s", unit[1], unit[0], error.str())
            self._failed.add(unit)
            self._final = self._final or final(_WHAT, error)
        self._waiting[unit] -= 1
        if self._waiting[unit] == 0:
            del self._waiting[unit]
            if unit not in self._failed:
                self._confirmed.setdefault(unit[0], set()).add(unit[1])
