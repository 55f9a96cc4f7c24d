"""How far consumers are behind, on a real broker: a record is lag however long it lies there, a marker is not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from indexer.settings import Settings
from indexer.topics import DECODED, load_topics
from services.producer.lag import LagReader
from tests.support.kafka_topics import TestKafka
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration
PARTITIONS = 12


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_unread_records_lag_for_ever_and_aborted_ones_with_their_markers_do_not(deployment: Settings) -> None:
    kafka, decoded = TestKafka(deployment.kafka_bootstrap_servers), load_topics(deployment.topic_prefix).decoded
    group, clock = deployment.topic_prefix + "persister", Clock()
    reader = LagReader(replace(deployment, republish_seconds=600.0), clock)

    def behind(at: float) -> set[int] | None:
        clock.now = at
        return reader.lagging({"persister": (DECODED,)}, PARTITIONS)

    # a partition of a new topic has no leader at first: then nothing is known
    wait_for(lambda: reader.waiting("persister", (DECODED,), PARTITIONS) == 0 and reader.outage is None)
    for partition in (3, 4, 5):
        kafka.produce_in_transaction(decoded, partition, b"read")
        kafka.commit(group, decoded, partition, 1)
    kafka.produce_in_transaction(decoded, 4, b"undone", b"undone", abort=True)
    kafka.produce_in_transaction(decoded, 5, b"unread")

    assert behind(0.0) == {4, 5}  # at 3 there is one offset more, and a look says that it is a marker
    assert behind(601.0) == {5}
    assert behind(1300.0) == {5}


def test_of_partitions_that_the_brokers_do_not_tell_about_nothing_is_known(deployment: Settings) -> None:
    reader = LagReader(deployment)

    assert reader.lagging({"persister": (DECODED,)}, PARTITIONS + 1) is None
