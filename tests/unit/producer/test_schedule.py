"""How much of a job may be published now."""

from __future__ import annotations

import pytest

from services.producer.schedule import Allowance, Measured, stripes_now


def test_the_window_is_never_below_one_stripe_per_partition() -> None:
    assert stripes_now(window=1, under_way=0, parked=0, partitions=12, batch_size=10_000) == 12


def test_a_full_window_lets_nothing_out() -> None:
    assert stripes_now(window=2000, under_way=1990, parked=0, partitions=12, batch_size=100) == 0


def test_a_batch_is_published_between_two_looks() -> None:
    assert stripes_now(window=2000, under_way=0, parked=0, partitions=12, batch_size=100) == 2
    assert stripes_now(window=2000, under_way=0, parked=0, partitions=12, batch_size=1) == 1


def test_what_is_parked_does_not_count_but_lets_only_one_window_more_out() -> None:
    assert stripes_now(window=2000, under_way=2000, parked=640, partitions=12, batch_size=10_000) == 10
    assert stripes_now(window=2000, under_way=4000, parked=90_000, partitions=12, batch_size=10_000) == 0


def test_without_a_rate_everything_may_go() -> None:
    assert Allowance().take(None, now=0.0, wanted=640) == 640


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), float("-inf")])
def test_a_stored_rate_that_cannot_be_kept_is_no_limit(rate: float) -> None:
    allowance = Allowance()

    assert [allowance.take(rate, now=now, wanted=640) for now in (0.0, 1.0, 2.0)] == [640, 640, 640]


def test_a_stored_job_that_nobody_checked_asks_for_no_more_than_an_option_may() -> None:
    most = stripes_now(window=2**31 - 1, under_way=0, parked=0, partitions=12, batch_size=2**31 - 1)

    assert most == -(-100_000 // 64)


def test_a_rate_is_kept_over_time() -> None:
    allowance = Allowance()

    granted = sum(allowance.take(200.0, now=tick / 10, wanted=640) // 64 * 64 for tick in range(101))

    assert 200 * 10 - 200 <= granted <= 200 * 10


def test_a_pause_is_not_made_up_for_by_a_flood() -> None:
    allowance = Allowance()
    allowance.take(128.0, now=0.0, wanted=640)

    assert allowance.take(128.0, now=1000.0, wanted=10_000) == 128


def test_with_nothing_measured_two_stripes_may_be_under_way() -> None:
    assert Measured().room(under_way=0) == 2
    assert Measured().room(under_way=100) == 0


def test_about_a_second_of_the_measured_work_may_be_under_way() -> None:
    measured = Measured()
    for tick in range(101):
        measured.note(tick / 10, stored=64 * tick)

    assert measured.room(under_way=0) == 10
    assert measured.room(under_way=320) == 5
    assert measured.room(under_way=2000) == 0


def test_what_was_measured_long_ago_does_not_count() -> None:
    measured = Measured()
    for now, stored in ((0.0, 0), (1.0, 6400), (10.0, 6400), (12.0, 6400)):
        measured.note(now, stored)

    assert measured.room(under_way=0) == 2
