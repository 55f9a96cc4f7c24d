"""A partition whose records nobody reads lags however long it stands; one that ends in markers does not."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.producer.lag import Stillness

SOURCE = ("blocks.decoded", 3)
PATIENCE = 600.0


@dataclass
class Log:
    """What lies in the partition; offsets that are not named are markers."""

    records: set[int]
    looks: list[tuple[int, int]] = field(default_factory=list)

    def unread(self, source: tuple[str, int], committed: int, end: int) -> bool:
        assert source == SOURCE
        self.looks.append((committed, end))
        return any(committed <= offset < end for offset in self.records)


def test_records_that_nobody_reads_are_lag_for_ever() -> None:
    stillness = Stillness(PATIENCE, Log(set(range(100, 141))).unread)

    assert all(stillness.lags(SOURCE, 100, 140, at) for at in (0.0, 600.0, 1199.0, 1201.0, 1801.0, 2402.0))
    assert all(stillness.lags(SOURCE, 100, 141, at) for at in (2500.0, 3100.0, 3701.0, 9999.0))


def test_markers_at_the_end_are_lag_only_until_nothing_moved_for_a_while() -> None:
    stillness = Stillness(PATIENCE, Log({99}).unread)

    assert [stillness.lags(SOURCE, 100, 140, at) for at in (0.0, 599.0, 600.0, 601.0, 1300.0)] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_lag_of_one_is_looked_at_at_once() -> None:
    assert Stillness(PATIENCE, Log({100}).unread).lags(SOURCE, 100, 101, 0.0)
    assert not Stillness(PATIENCE, Log({99}).unread).lags(SOURCE, 100, 101, 0.0)


def test_a_partition_that_moves_is_not_looked_at_and_one_that_stands_only_now_and_then() -> None:
    log = Log({100, 200})
    stillness = Stillness(PATIENCE, log.unread)

    for at in range(0, 3000, 5):
        assert stillness.lags(SOURCE, 100 + at, 9000 + at, float(at))
    assert log.looks == []

    for at in range(3000, 4500, 5):
        stillness.lags(SOURCE, 3095, 12_000, float(at))
    assert len(log.looks) == 2


def test_a_partition_that_was_read_to_its_end_does_not_lag() -> None:
    assert not Stillness(PATIENCE, Log({99}).unread).lags(SOURCE, 100, 100, 0.0)
