"""When a record that is not due yet is handed out, whatever anybody's clock does meanwhile."""

from __future__ import annotations

import pytest

from indexer.inflight import Record, TopicPartition
from indexer.kafka.holds import Holds

TOPIC, LONGEST, HOUR = "retry", 6.0, 3600.0
SOURCE = TopicPartition(TOPIC, 0)


class Clocks:
    """Ours: the time of day may be stepped, the other goes on."""

    def __init__(self) -> None:
        self.now, self.ahead = 1000.0, 0.0

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now + self.ahead

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def holds(clocks: Clocks) -> Holds:
    return Holds(lambda record: int(record.value or b"0"), {TOPIC: LONGEST}, clocks.wall, clocks.monotonic)


def due_in(clocks: Clocks, seconds: float, *, writer_is_ahead: float = 0.0, partition: int = 0) -> Record:
    """A record whose writer's clock is so far ahead of the true one, as ours is when it is not stepped."""
    at = clocks.wall() - clocks.ahead + writer_is_ahead + seconds
    return Record(TOPIC, partition, 7, b"k", b"%d" % (at * 1000))


def test_what_is_due_is_handed_out(holds: Holds, clocks: Clocks) -> None:
    assert not holds.hold(due_in(clocks, -1))
    assert not holds.hold(Record(TOPIC, 0, 7, b"k", b"0"))
    assert SOURCE not in holds


def test_what_is_not_due_is_held_until_it_is(holds: Holds, clocks: Clocks) -> None:
    record = due_in(clocks, 5)

    assert holds.hold(record)
    assert SOURCE in holds
    clocks.now += 4.9
    assert holds.over() == []
    clocks.now += 0.2
    assert holds.over() == [SOURCE]
    assert not holds.hold(record)


def test_nothing_is_due_by_a_source_without_due_times(clocks: Clocks) -> None:
    holds = Holds(None, {}, clocks.wall, clocks.monotonic)

    assert not holds.hold(due_in(clocks, HOUR))


def test_a_wait_of_unknown_length_may_be_long(clocks: Clocks) -> None:
    holds = Holds(lambda record: int(record.value or b"0"), {}, clocks.wall, clocks.monotonic)
    holds.hold(due_in(clocks, HOUR))

    clocks.now += HOUR - 1

    assert holds.over() == []


def test_our_clock_set_back_does_not_make_a_wait_longer_than_twice_its_tier(holds: Holds, clocks: Clocks) -> None:
    record = due_in(clocks, 5)
    holds.hold(record)

    clocks.ahead = -HOUR
    clocks.now += 5.1
    assert holds.over() == [SOURCE]
    assert holds.hold(record)
    clocks.now += LONGEST + 0.1

    assert holds.over() == [SOURCE]
    assert not holds.hold(record)


def test_our_clock_set_forward_makes_it_due(holds: Holds, clocks: Clocks) -> None:
    record = due_in(clocks, 5)
    holds.hold(record)

    clocks.ahead = HOUR

    assert holds.over() == [SOURCE]
    assert not holds.hold(record)


def test_a_writer_whose_clock_is_ahead_holds_its_partition_up_once(holds: Holds, clocks: Clocks) -> None:
    records = [due_in(clocks, 5 + n / 10, writer_is_ahead=HOUR) for n in range(10)]

    began, waits = clocks.now, 0
    for record in records:
        while holds.hold(record):
            waits += 1
            clocks.now += 0.1
            while not holds.over():
                clocks.now += 0.1

    assert clocks.now - began <= LONGEST + 1.5
    assert waits <= len(records)


def test_the_next_record_of_a_true_clock_waits_as_long_as_it_says(holds: Holds, clocks: Clocks) -> None:
    holds.hold(due_in(clocks, 5, writer_is_ahead=HOUR))
    holds.drop(SOURCE)

    assert holds.hold(due_in(clocks, 5))
    clocks.now += 4.9
    assert holds.over() == []


def test_partitions_do_not_share_what_was_learned(holds: Holds, clocks: Clocks) -> None:
    holds.hold(due_in(clocks, 5, writer_is_ahead=HOUR))
    clocks.now += LONGEST + 0.1

    assert holds.over() == [SOURCE]
    assert holds.hold(due_in(clocks, 5, writer_is_ahead=HOUR, partition=1))


def test_what_is_let_go_is_not_held(holds: Holds, clocks: Clocks) -> None:
    holds.hold(due_in(clocks, 5))

    assert holds.drop(SOURCE)
    assert not holds.drop(SOURCE)
    holds.hold(due_in(clocks, 5))
    holds.clear()
    assert SOURCE not in holds
