"""Priorities: earlier topics preferred as far as their weight goes, none starved."""

from __future__ import annotations

from indexer.inflight import Record, TopicPartition
from indexer.kafka.shelves import Shelves, size

HIGH, LOW = TopicPartition("high", 0), TopicPartition("low", 0)


def record(source: TopicPartition, offset: int, length: int = 0) -> Record:
    return Record(source.topic, source.partition, offset, None, bytes(length))


def filled(high: int = 0, low: int = 0, **options: int) -> Shelves:
    shelves = Shelves({"high": 3, "low": 1}, options.get("most_bytes", 10**6))
    for offset in range(high):
        shelves.put(record(HIGH, offset))
    for offset in range(low):
        shelves.put(record(LOW, offset))
    return shelves


def test_topics_share_by_weight_even_when_one_is_taken_at_a_time() -> None:
    shelves = filled(high=40, low=40)

    taken = [shelves.choose(1, 10**6)[0].topic for _ in range(40)]

    assert taken.count("low") == 10


def test_a_topic_alone_gets_everything() -> None:
    shelves = filled(low=10)

    assert len(shelves.choose(100, 10**6)) == 10


def test_order_within_a_partition_is_kept() -> None:
    shelves = filled(high=10, low=10)

    taken = shelves.choose(20, 10**6)

    for source in (HIGH, LOW):
        assert [each.offset for each in taken if each.source == source] == list(range(10))


def test_bytes_limit_what_is_taken_but_one_record_always_comes() -> None:
    shelves = Shelves({"high": 3, "low": 1}, 10**6)
    for offset in range(3):
        shelves.put(record(HIGH, offset, 1000))

    assert [each.offset for each in shelves.choose(10, 1)] == [0]
    assert [each.offset for each in shelves.choose(10, 1500)] == [1, 2]


def test_a_shelf_is_full_by_records_or_bytes_and_half_empty_later() -> None:
    shelves = filled(high=256)
    assert shelves.full("high")
    assert not shelves.full("low")
    assert not shelves.half_empty("high")

    shelves.choose(128, 10**6)
    assert shelves.half_empty("high")

    shelves = Shelves({"high": 1}, 1000)
    shelves.put(record(HIGH, 0, 1000))
    assert shelves.full("high")


def test_a_partition_that_left_is_dropped_and_no_other() -> None:
    shelves = filled(high=3, low=2)
    other = TopicPartition("high", 1)
    shelves.put(record(other, 7))

    shelves.drop([HIGH])

    assert shelves.end(HIGH) is None
    assert (shelves.end(other), shelves.end(LOW)) == (8, 2)
    assert len(shelves) == 3
    assert shelves.size == sum(map(size, shelves.choose(10, 10**6)))


def test_dropping_a_partition_of_an_unknown_topic_does_nothing() -> None:
    shelves = filled(high=1)

    shelves.drop([TopicPartition("elsewhere", 0)])

    assert len(shelves) == 1
