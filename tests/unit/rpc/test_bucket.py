"""The deployment-wide rate."""

from __future__ import annotations

import pytest

from indexer.rpc.bucket import RateLimit, TokenBucket


def test_a_second_of_calls_may_go_at_once_then_the_rate_holds() -> None:
    bucket = TokenBucket(10.0, now=0.0)

    assert bucket.take(10, now=0.0) == 0.0
    assert bucket.take(5, now=0.0) == pytest.approx(0.5)
    assert bucket.take(5, now=0.5) == 0.0


def test_a_batch_larger_than_the_bucket_runs_into_debt() -> None:
    bucket = TokenBucket(10.0, now=0.0)

    assert bucket.take(50, now=0.0) == 0.0
    assert bucket.take(1, now=4.0) > 0.0
    assert bucket.take(1, now=4.2) == 0.0


def test_over_time_the_rate_is_kept() -> None:
    bucket = TokenBucket(100.0, now=0.0)
    now, taken = 0.0, 0

    while now < 100.0:
        wait = bucket.take(7, now)
        taken += 7 if wait == 0.0 else 0
        now += wait

    assert taken <= 100.0 * 100 + 100 + 7
    assert taken >= 100.0 * 100 * 0.99


def test_without_a_limit_nothing_waits() -> None:
    limit = RateLimit(None, head_reserve=0.1, now=0.0)

    assert limit.take(10**9, now=0.0, urgent=False) == 0.0


def test_a_smaller_share_is_slower_at_once() -> None:
    limit = RateLimit(100.0, head_reserve=0.0, now=0.0)
    limit.set_share(0.1, now=0.0)

    assert limit.take(10, now=0.0, urgent=False) == 0.0
    assert limit.take(10, now=0.0, urgent=False) == pytest.approx(1.0)


def test_a_process_without_partitions_is_slow_but_never_stuck() -> None:
    limit = RateLimit(10.0, head_reserve=0.1, now=0.0)
    limit.set_share(0.0, now=0.0)
    limit.take(1, now=0.0, urgent=False)

    assert 0.0 < limit.take(1, now=0.0, urgent=False) < 60.0


def test_the_head_has_a_part_that_bulk_calls_cannot_use() -> None:
    limit = RateLimit(100.0, head_reserve=0.1, now=0.0)
    while limit.take(10, now=0.0, urgent=False) == 0.0:
        pass

    assert limit.take(5, now=0.0, urgent=True) == 0.0


def test_urgent_calls_may_use_the_rest_too() -> None:
    limit = RateLimit(100.0, head_reserve=0.1, now=0.0)

    granted = sum(limit.take(10, now=0.0, urgent=True) == 0.0 for _ in range(10))

    assert granted == 10
