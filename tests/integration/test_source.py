"""What only a real Kafka shows of the source: due times, priorities, lost offsets, missing topics, large records."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from indexer.errors import FatalError, OutageError
from indexer.inflight import Record, TopicPartition
from indexer.kafka import config
from indexer.kafka import source as source_module
from indexer.settings import Settings
from tests.contract.test_source import PROTOCOLS, Heard, OnKafka, poll_until, polled, values

pytestmark = pytest.mark.integration


@pytest.fixture(params=PROTOCOLS, ids="-".join)
def world(request: pytest.FixtureRequest, kafka: str, topic_prefix: str) -> Iterator[OnKafka]:
    made = OnKafka(kafka, topic_prefix, *request.param)
    yield made
    made.close()


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def due(record: Record) -> int:
    return int(dict(record.headers).get("due", b"0") or 0)


def later(seconds: float) -> list[tuple[str, bytes]]:
    return [("due", b"%d" % ((time.time() + seconds) * 1000))]


def test_a_record_waits_until_it_is_due_and_holds_back_what_is_behind_it(world: OnKafka) -> None:
    clock = Clock()
    world.produce(0, b"due")
    world.kafka.produce(world.topic, 0, b"later", headers=later(3600))
    world.produce(0, b"behind")
    world.produce(1, b"elsewhere")
    source = world.source(due_ms=due, now=clock)
    source.subscribe(Heard())

    assert sorted(values(polled(source, 2))) == [b"due", b"elsewhere"]
    assert source.position(TopicPartition(world.topic, 0)) == 1

    clock.ahead = 3601
    assert values(polled(source, 2)) == [b"later", b"behind"]
    assert source.position(TopicPartition(world.topic, 0)) == 3


def test_what_is_not_due_is_still_there_after_a_rewind_and_for_another_owner(world: OnKafka) -> None:
    clock = Clock()
    world.kafka.produce(world.topic, 0, b"later", headers=later(3600))
    source = world.source(due_ms=due, now=clock)
    source.subscribe(Heard())
    assert polled(source, 1, seconds=2) == []

    source.rewind()
    assert polled(source, 1, seconds=1) == []
    source.rejoin()
    assert polled(source, 1, seconds=2) == []
    clock.ahead = 3601

    assert values(polled(source, 1)) == [b"later"]


def test_a_retry_of_a_writer_whose_clock_is_ahead_waits_no_longer_than_its_tier(world: OnKafka) -> None:
    world.kafka.produce(world.topic, 0, b"later", b"and this", headers=later(3600))
    source = world.source(due_ms=due, longest={world.topic: 2.0})
    source.subscribe(Heard())

    assert polled(source, 1, seconds=1) == []
    assert values(polled(source, 2)) == [b"later", b"and this"]


def test_partitions_are_taken_over_although_the_clock_was_set_back(world: OnKafka) -> None:
    clock, listener = Clock(), Heard()
    listener.error = OutageError("away", code="DATABASE_DOWN")
    world.produce(0, b"a")
    source = world.source(now=clock)
    source.subscribe(listener)
    poll_until(source, lambda: source._untaken)

    clock.ahead, listener.error = -3600.0, None

    assert values(polled(source, 1)) == [b"a"]


def test_a_clock_set_forward_misses_no_topic(world: OnKafka) -> None:
    clock = Clock()
    source = world.source(now=clock)
    source.subscribe(Heard())
    clock.ahead = 3600.0
    world.produce(0, b"a")

    assert values(polled(source, 1)) == [b"a"]


def test_earlier_topics_are_preferred_and_later_ones_do_not_starve(world: OnKafka) -> None:
    low = world.topic + "-low"
    world.kafka.create(low)
    world.produce(0, *[b"high"] * 300)
    world.kafka.produce(low, 0, *[b"low"] * 300)
    listener = Heard()
    source = world.source({world.topic: 8, low: 2})
    source.subscribe(listener)
    poll_until(source, lambda: listener.owned)
    poll_until(source, lambda: all(source._shelves._shelves[t].records for t in (world.topic, low)))

    taken: list[bytes] = []
    while len(taken) < 100:
        taken += values(list(source.poll(1, 0.1)))

    assert 75 <= taken.count(b"high") <= 85
    assert len(polled(source, 500)) == 500


def test_more_than_fits_the_shelves_arrives_whole_and_in_order(world: OnKafka) -> None:
    world.produce(0, *(b"%d" % n for n in range(2000)))
    low = world.topic + "-low"
    world.kafka.create(low)
    source = world.source({world.topic: 8, low: 2})
    source.subscribe(Heard())
    found: list[bytes] = []

    deadline = time.monotonic() + 30
    while len(found) < 2000 and time.monotonic() < deadline:
        found += values(list(source.poll(50, 0.1)))

    assert found == [b"%d" % n for n in range(2000)]


def test_offsets_that_retention_took_lead_to_the_oldest_record(world: OnKafka, caplog: Any) -> None:
    world.produce(0, *(b"%d" % n for n in range(20)))
    world.commit(0, 5)
    world.kafka.delete_records(world.topic, 0, 15)
    source = world.source()
    source.subscribe(Heard())

    assert values(polled(source, 5)) == [b"%d" % n for n in range(15, 20)]
    assert "offset 5 is gone" in caplog.text


def test_a_committed_offset_beyond_the_end_leads_to_the_oldest_record(world: OnKafka, caplog: Any) -> None:
    world.produce(0, b"a", b"b")
    world.commit(0, 100)
    listener = Heard()
    source = world.source()
    source.subscribe(listener)

    assert values(polled(source, 2)) == [b"a", b"b"]
    assert "offset 100 is gone" in caplog.text
    assert "lost" in listener.events


def test_both_partitions_go_on_after_one_of_them_lost_its_offset(world: OnKafka) -> None:
    world.produce(0, *(b"%d" % n for n in range(20)))
    world.produce(1, b"x", b"y")
    world.commit(0, 5)
    world.kafka.delete_records(world.topic, 0, 15)
    source = world.source()
    source.subscribe(Heard())

    assert len(polled(source, 7)) == 7
    world.produce(0, b"20")
    world.produce(1, b"z")

    assert sorted(values(polled(source, 2))) == [b"20", b"z"]


def test_a_topic_that_is_not_there_ends_the_process(world: OnKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "_MISSING_SECONDS", 0.5)
    missing = world.topic + "-missing"
    source = world.source({world.topic: 1, missing: 1})
    source.subscribe(Heard())

    with pytest.raises(FatalError, match=f"no topic {missing}"):
        polled(source, 1, seconds=20)


@pytest.mark.parametrize("size", [config.RECORD_LIMIT - 1000])
def test_a_record_of_the_largest_size_comes_through(kafka: str, topic_prefix: str, size: int) -> None:
    world = OnKafka(kafka, topic_prefix, "classic", "range")
    large = topic_prefix + "large"
    world.kafka.create(large, settings={"max.message.bytes": str(config.RECORD_LIMIT)})
    value = os.urandom(size)
    world.kafka.produce(large, 0, b"small", value, b"small")
    source = world.source({large: 1})
    source.subscribe(Heard())

    found = values(polled(source, 3))

    assert [len(each) for each in found] == [5, size, 5]
    assert found[1] == value
    world.close()


def test_a_second_member_gets_half_and_a_member_that_closes_gives_it_back(world: OnKafka) -> None:
    first, second = Heard(), Heard()
    one, two = world.source(), world.source()
    one.subscribe(first)
    poll_until(one, lambda: len(first.owned) == 2)
    two.subscribe(second)

    def both() -> bool:
        one.poll(0, 0.02)
        two.poll(0, 0.02)
        return len(first.owned) == 1 and len(second.owned) == 1

    deadline = time.monotonic() + 30
    while not both():
        assert time.monotonic() < deadline
    world._sources.remove(one)
    one.close()
    poll_until(two, lambda: len(second.owned) == 2, 30)

    assert first.owned == set()


def test_a_partition_that_left_while_it_was_paused_flows_again_when_it_comes_back(world: OnKafka) -> None:
    sent = [[b"%d-%d" % (partition, n) for n in range(400)] for partition in range(2)]
    low = world.topic + "-low"
    world.kafka.create(low)
    first, second = Heard(), Heard()
    one, two = world.source({world.topic: 8, low: 2}), world.source({world.topic: 8, low: 2})
    one.subscribe(first)
    poll_until(one, lambda: len(first.owned) == 4)
    for partition in range(2):
        world.produce(partition, *sent[partition])
    poll_until(one, lambda: one._full)
    two.subscribe(second)
    poll_until(one, lambda: (two.poll(0, 0.02), second.owned)[1], 30)
    world._sources.remove(two)
    two.close()
    poll_until(one, lambda: len(first.owned) == 4, 30)

    found = polled(one, 800)

    assert sorted(values(found)) == sorted(sent[0] + sent[1])


def test_the_configuration_of_kip_848_has_none_of_the_classic_settings() -> None:
    made = config.consumer(Settings(kafka_bootstrap_servers="x:1", group_protocol="consumer"), "g", "range")

    assert not {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"} & set(made)
    assert made["group.remote.assignor"] == "range"
