"""The record that kills is found, its neighbour is not condemned (PROTOCOL 17)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from indexer.caution import DEATHS, QUICK_MS, Caution, Death, Marker, after, read_marker
from indexer.inflight import Record, TopicPartition

P0, P1 = TopicPartition("work", 0), TopicPartition("work", 1)
SEGFAULT = Death("Segmentation fault", 10_000)
STARTED = 12_000


def record(offset: int, partition: int = 0) -> Record:
    return Record("work", partition, offset, None, b"")


def marker(**fields: object) -> Marker:
    known = Marker(5, deaths=1, cause="Segmentation fault", by="a", at_ms=9_000)
    return replace(known, **fields)  # type: ignore[arg-type]


def test_a_quick_death_of_the_same_cause_counts() -> None:
    assert after(marker(), SEGFAULT, "a", STARTED).deaths == 2


def test_a_death_of_another_cause_begins_anew() -> None:
    counted = after(marker(deaths=2), Death("ZeroDivisionError", 10_000), "a", STARTED)

    assert (counted.deaths, counted.cause) == (1, "ZeroDivisionError")


@pytest.mark.parametrize(
    ("death", "slot", "at_ms"),
    [
        (None, "a", 9_000),  # it ended in order
        (Death("killed", 10_000, counts=False), "a", 9_000),
        (SEGFAULT, "b", 9_000),  # another slot's marker: nobody knows what became of it
        (SEGFAULT, "a", STARTED),  # our own, of this life
        (Death("Segmentation fault", 9_000 + QUICK_MS + 1), "a", 9_000),  # it waited for something else
        (SEGFAULT, "a", 11_999 + 5_000),  # marked after the death
    ],
)
def test_any_other_death_counts_for_nothing(death: Death | None, slot: str, at_ms: int) -> None:
    known = marker(at_ms=at_ms)

    assert after(known, death, slot, STARTED) == known


def test_a_process_whose_predecessor_died_takes_records_alone_for_a_while() -> None:
    cautious = Caution("a", SEGFAULT, lambda: STARTED)
    assert cautious.alone()

    for offset in range(128):
        cautious.done(P0, offset)

    assert not cautious.alone()


@pytest.mark.parametrize("death", [None, Death("killed", 1, counts=False)])
def test_after_an_orderly_end_or_a_kill_from_outside_it_does_not(death: Death | None) -> None:
    assert not Caution("a", death, lambda: STARTED).alone()


def test_a_marker_that_is_found_makes_it_careful_whoever_died() -> None:
    cautious = Caution("b", None, lambda: STARTED)

    cautious.found(P0, marker())

    assert cautious.alone()


def test_nothing_is_condemned_by_a_clock_that_was_set_back() -> None:
    now = [STARTED]
    cautious = Caution("a", SEGFAULT, lambda: now[0])
    now[0] = SEGFAULT.at_ms - 500  # before the death, and before this process began

    for _ in range(DEATHS + 1):  # goes back to the committed offset again and again, as brokers that fail make it do
        cautious.take(record(5))
        cautious.found(P0, cautious.marker(P0, 5))

    assert cautious.condemned(record(5)) is None


def test_a_record_is_condemned_after_three_deaths_and_no_other_is() -> None:
    cautious = Caution("a", SEGFAULT, lambda: STARTED)
    cautious.found(P0, marker(deaths=DEATHS - 1))

    condemned = cautious.condemned(record(5))

    assert condemned is not None
    assert condemned.code == "KILLS_PROCESS"
    assert "3 times" in str(condemned)
    assert "Segmentation fault" in str(condemned)
    assert cautious.condemned(record(6)) is None
    assert cautious.condemned(record(5, partition=1)) is None


def test_two_deaths_are_not_enough() -> None:
    cautious = Caution("a", SEGFAULT, lambda: STARTED)
    cautious.found(P0, marker(deaths=DEATHS - 2))

    assert cautious.condemned(record(5)) is None


def test_a_marked_record_keeps_its_count_and_an_unmarked_one_begins_at_none() -> None:
    cautious = Caution("a", SEGFAULT, lambda: STARTED)
    cautious.found(P0, marker())

    cautious.take(record(5))
    assert cautious.marker(P0, 5) == marker(deaths=2, at_ms=STARTED)
    cautious.done(P0, 5)
    cautious.take(record(6))

    assert cautious.marker(P0, 6) == Marker(6, by="a", at_ms=STARTED)


def test_a_record_before_the_marked_one_begins_at_none() -> None:
    cautious = Caution("a", SEGFAULT, lambda: STARTED)
    cautious.found(P0, marker())

    cautious.take(record(4))

    assert cautious.marker(P0, 4) == Marker(4, by="a", at_ms=STARTED)


def test_a_marker_goes_only_with_the_offset_of_its_record() -> None:
    cautious = Caution("a", None, lambda: STARTED)
    cautious.take(record(5))

    assert cautious.marker(P0, 6) is None
    assert cautious.marker(P1, 5) is None


def test_a_marker_that_was_not_come_to_is_not_forgotten() -> None:
    cautious = Caution("a", None, lambda: STARTED)
    cautious.found(P1, marker(offset=9))

    assert cautious.marker(P1, 9) == marker(offset=9)


def test_a_marker_travels_as_text() -> None:
    assert read_marker(marker().text()) == marker()
    for text in ("", None, "x", "[1]", "[" * 4096, '{"a": 1}', '{"offset": "5"}', '{"offset": 5, "deaths": null}'):
        assert read_marker(text) is None
