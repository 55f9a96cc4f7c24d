"""The control laws of an endpoint, without a clock or a network."""

from __future__ import annotations

import asyncio

import pytest

from indexer.rpc.control import Aimd, BatchLimit, Breaker, BreakerState, Health
from indexer.rpc.slots import Rank, Slots


class TestAimd:
    def test_one_more_after_a_window_of_good_answers(self) -> None:
        aimd = Aimd(start=4, maximum=16)

        for _ in range(5):
            aimd.succeeded(limit_reached=True, now=0.0)

        assert aimd.limit == 5

    def test_an_idle_limit_does_not_grow(self) -> None:
        aimd = Aimd(start=4, maximum=16)

        for _ in range(100):
            aimd.succeeded(limit_reached=False, now=0.0)

        assert aimd.limit == 4

    def test_overload_halves_once_for_all_requests_under_way_together(self) -> None:
        aimd = Aimd(start=8, maximum=16)

        news = [aimd.overloaded(started=1.0, now=2.0, rate=False), aimd.overloaded(started=1.5, now=2.1, rate=True)]

        assert news == [True, False]
        assert aimd.limit == 4

    def test_never_below_one_nor_above_the_maximum(self) -> None:
        aimd = Aimd(start=4, maximum=1)

        for now in range(10):
            aimd.succeeded(limit_reached=True, now=0.0)
            aimd.overloaded(started=now, now=now, rate=False)

        assert aimd.limit == 1

    def test_refused_for_its_rate_even_one_at_a_time_leaves_gaps(self) -> None:
        aimd = Aimd(start=1, maximum=4)

        aimd.overloaded(started=0.0, now=0.0, rate=True)
        aimd.overloaded(started=1.0, now=1.0, rate=True)

        assert aimd.limit == 1
        assert aimd.gap(0.1) == pytest.approx(0.3)
        assert aimd.gap(100.0) == 1.0

    def test_a_failing_node_is_not_slowed_down_below_one(self) -> None:
        aimd = Aimd(start=1, maximum=4)

        for now in range(5):
            aimd.overloaded(started=now, now=now, rate=False)

        assert aimd.gap(0.1) == 0.0

    def test_gaps_close_slowly_and_quickly_once_the_node_is_content(self) -> None:
        soon, later = Aimd(start=1, maximum=4), Aimd(start=1, maximum=4)
        for aimd in (soon, later):
            aimd.overloaded(started=0.0, now=0.0, rate=True)

        for _ in range(5):
            soon.succeeded(limit_reached=True, now=1.0)
            later.succeeded(limit_reached=True, now=20.0)

        assert soon.gap(0.1) > 0.0
        assert later.gap(0.1) == 0.0


class TestBatchLimit:
    def test_refusals_halve_it(self) -> None:
        limit = BatchLimit(1000)

        limit.refused(100, now=0.0)

        assert limit.size == 50

    def test_a_limit_that_the_refusal_names_is_taken(self) -> None:
        limit = BatchLimit(1000)

        limit.refused(100, now=0.0, named=30)

        assert limit.size == 30

    def test_it_grows_back_slowly_and_stays_below_what_was_refused(self) -> None:
        limit = BatchLimit(1000)
        limit.refused(100, now=0.0)

        sizes = []
        for _ in range(50):
            limit.taken(limit.size, now=1.0)
            sizes.append(limit.size)

        assert sizes[0] == 55
        assert sizes[-1] == 99

    def test_an_old_refusal_is_forgotten(self) -> None:
        limit = BatchLimit(1000, forget_seconds=600)
        limit.refused(100, now=0.0)

        for _ in range(100):
            limit.taken(limit.size, now=601.0)

        assert limit.size == 1000

    def test_it_grows_from_one_too(self) -> None:
        limit = BatchLimit(8)
        for size in (8, 4, 2, 1):
            limit.refused(size, now=0.0)

        for _ in range(50):
            limit.taken(1, now=601.0)

        assert limit.size > 1

    def test_small_batches_say_nothing_about_the_limit(self) -> None:
        limit = BatchLimit(1000)
        limit.refused(100, now=0.0)

        limit.taken(3, now=1.0)

        assert limit.size == 50


class TestBreaker:
    def test_it_opens_after_failures_in_a_row(self) -> None:
        breaker = _breaker()

        _fail(breaker, times=2)
        breaker.succeeded()
        _fail(breaker, times=2)
        assert breaker.state(0.0) is BreakerState.CLOSED

        _fail(breaker, times=1)
        assert breaker.state(0.5) is BreakerState.OPEN
        assert not breaker.enter(0.5)
        assert breaker.ready_at(0.5) == 1.0

    def test_half_open_lets_one_trial_through(self) -> None:
        breaker = _breaker()
        _fail(breaker, times=3)

        assert breaker.state(1.0) is BreakerState.HALF_OPEN
        assert [breaker.enter(1.0), breaker.enter(1.0)] == [True, False]
        assert breaker.ready_at(1.0) > 1.0

    def test_a_good_trial_closes_it(self) -> None:
        breaker = _breaker()
        _fail(breaker, times=3)
        breaker.enter(1.0)

        breaker.succeeded()

        assert breaker.state(1.0) is BreakerState.CLOSED
        assert breaker.ready_at(1.0) == 1.0

    def test_bad_trials_keep_it_open_for_longer_up_to_a_limit(self) -> None:
        breaker = _breaker()
        _fail(breaker, times=3)

        pauses = []
        now = 1.0
        for _ in range(4):
            breaker.enter(now)
            breaker.failed(now)
            pauses.append(breaker.ready_at(now) - now)
            now = breaker.ready_at(now)

        assert pauses == [2.0, 4.0, 5.0, 5.0]

    def test_a_trial_without_a_verdict_makes_room_for_the_next(self) -> None:
        breaker = _breaker()
        _fail(breaker, times=3)
        breaker.enter(1.0)

        breaker.undecided()

        assert breaker.enter(1.0)


def _breaker() -> Breaker:
    return Breaker(failures=3, open_seconds=1.0, open_max_seconds=5.0)


def _fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed(0.0)


class TestHealth:
    def test_latency_is_a_moving_average(self) -> None:
        health = Health()

        health.succeeded(1.0, now=1.0)
        health.succeeded(2.0, now=2.0)

        assert health.latency_seconds == pytest.approx(1.2)
        assert health.last_success == 2.0

    def test_failures_cost(self) -> None:
        good, bad = Health(), Health()
        good.succeeded(0.1, now=0.0)
        bad.succeeded(0.05, now=0.0)

        for _ in range(5):
            bad.failed()

        assert bad.score() > good.score()


class TestSlots:
    def test_the_head_goes_first_then_what_was_begun(self) -> None:
        served: list[str] = []

        async def scenario() -> None:
            slots = Slots(lambda: 1)
            await slots.take(Rank.NEW)

            async def enter(name: str, rank: Rank) -> None:
                await slots.take(rank)
                served.append(name)
                slots.give_back()

            callers = [("new", Rank.NEW), ("receipts", Rank.FINISHING), ("head", Rank.URGENT)]
            tasks = [asyncio.create_task(enter(name, rank)) for name, rank in callers]
            await asyncio.sleep(0)
            assert slots.waiting == 3
            slots.give_back()
            await asyncio.gather(*tasks)
            assert slots.in_use == 0

        asyncio.run(scenario())

        assert served == ["head", "receipts", "new"]

    def test_a_cancelled_waiter_loses_no_place(self) -> None:
        async def scenario(*, handed_over: bool) -> None:
            slots = Slots(lambda: 1)
            await slots.take(Rank.NEW)
            waiter = asyncio.create_task(slots.take(Rank.NEW))
            await asyncio.sleep(0)
            if handed_over:
                slots.give_back()
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
            if not handed_over:
                slots.give_back()
            assert slots.in_use == 0
            await asyncio.wait_for(slots.take(Rank.NEW), 1)

        asyncio.run(scenario(handed_over=True))
        asyncio.run(scenario(handed_over=False))
