"""Results leave in offset order, and never for a partition that left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.inflight import InFlight, Record, TopicPartition

P0, P1 = TopicPartition("work", 0), TopicPartition("work", 1)


def record(source: TopicPartition, offset: int) -> Record:
    return Record(source.topic, source.partition, offset, None, b"value")


def under_way(*records: tuple[TopicPartition, int]) -> InFlight[str]:
    flight: InFlight[str] = InFlight()
    for source, offset in records:
        flight.add(record(source, offset))
    return flight


def test_a_finished_record_waits_for_the_one_before_it() -> None:
    flight = under_way((P0, 5), (P0, 6))

    flight.finish(P0, 6, "six")

    assert not flight.has_ready()
    assert flight.take_ready() == []
    assert flight.lowest_waiting(P0) == 5


def test_a_finished_prefix_leaves_in_order() -> None:
    flight = under_way((P0, 5), (P0, 6), (P0, 7))

    flight.finish(P0, 6, "six")
    flight.finish(P0, 5, "five")

    assert flight.take_ready() == ["five", "six"]
    assert flight.lowest_waiting(P0) == 7
    assert (len(flight), flight.unfinished, flight.finished) == (1, 1, 0)


def test_partitions_do_not_wait_for_one_another() -> None:
    flight = under_way((P0, 5), (P1, 9))

    flight.finish(P1, 9, "nine")

    assert flight.take_ready() == ["nine"]
    assert flight.lowest_waiting(P1) is None


def test_a_result_that_nobody_waits_for_is_dropped() -> None:
    flight = under_way((P0, 5))
    flight.forget([P0])

    assert not flight.finish(P0, 5, "five")
    assert not flight.finish(P1, 1, "one")
    assert len(flight) == 0


def test_a_second_result_for_the_same_record_is_dropped() -> None:
    flight = under_way((P0, 5))

    assert flight.finish(P0, 5, "five")
    assert not flight.finish(P0, 5, "five again")
    assert flight.take_ready() == ["five"]


def test_a_record_may_be_under_way_only_once() -> None:
    flight = under_way((P0, 5))

    with pytest.raises(ValueError, match="under way already"):
        flight.add(record(P0, 5))


def test_limits_hold_and_the_partition_that_filled_them_comes_last_next_time() -> None:
    flight = under_way((P0, 0), (P0, 1), (P0, 2), (P1, 0))
    for source, offset in ((P0, 0), (P0, 1), (P0, 2), (P1, 0)):
        flight.finish(source, offset, f"{source.partition}/{offset}", size=10)

    assert flight.take_ready(most=2) == ["0/0", "0/1"]
    assert flight.take_ready(most_bytes=10) == ["1/0"]
    assert flight.finished_bytes == 10


@given(st.permutations(range(8)), st.integers(min_value=1, max_value=8))
def test_whatever_the_order_of_finishing_offsets_leave_in_order(order: list[int], most: int) -> None:
    flight = under_way(*((P0, offset) for offset in range(8)))
    left: list[str] = []

    for offset in order:
        flight.finish(P0, offset, str(offset), size=1)
        left += flight.take_ready(most)
    while flight.has_ready():
        left += flight.take_ready(most)

    assert left == [str(offset) for offset in range(8)]
    assert (len(flight), flight.finished, flight.finished_bytes) == (0, 0, 0)
