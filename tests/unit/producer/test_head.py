"""What the follower decides: the cases of `next_step`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from indexer.records import BlockRef
from services.producer.head import (
    GAP,
    Append,
    Ask,
    Raise,
    Recorded,
    Skip,
    Step,
    Stop,
    Told,
    Wait,
    next_look,
    next_step,
)
from tests.unit.producer.chain_model import chain, ref

OURS = chain(10, first=90)  # 90 … 99
WINDOW = Recorded(next=100, finalized_to=90, refs=OURS)


def decided(recorded: Recorded, blocks: list[BlockRef], head: int | None = None, final: int = 90) -> Step:
    """The step after every question was answered from `blocks`."""
    known = {each.number: each for each in blocks}
    told = Told(blocks[-1].number if head is None else head, final)
    while isinstance(step := next_step(recorded, told), Ask):
        told = Told(told.head, final, {**told.refs, **{n: known.get(n) for n in step.numbers}})
    return step


def test_our_tip_and_nothing_more_is_to_wait_for() -> None:
    assert decided(WINDOW, OURS) == Wait("no new block")


def test_what_follows_our_tip_is_appended() -> None:
    longer = chain(12, first=90)

    assert decided(WINDOW, longer) == Append(tuple(longer[10:]))


def test_a_lagging_node_is_no_reorg() -> None:
    assert isinstance(decided(WINDOW, OURS[:5]), Wait)
    assert isinstance(decided(WINDOW, chain(5, first=80)), Wait)


def test_another_hash_is_a_fork_from_the_lowest_block_that_differs() -> None:
    fork = [*OURS[:6], ref(96, 1, 0), *(ref(n, 1) for n in range(97, 103))]

    assert decided(WINDOW, fork) == Raise(96, tuple(fork[6:10]))


def test_a_shorter_branch_wins_too() -> None:
    fork = [*OURS[:6], ref(96, 1, 0)]

    assert decided(WINDOW, fork) == Raise(96, (fork[-1],))


def test_a_fork_below_what_was_final_stops_the_chain() -> None:
    assert decided(WINDOW, [ref(n, 1) for n in range(80, 103)]) == Stop(90)


def test_a_fork_below_where_following_began_is_a_fork() -> None:
    young = Recorded(next=100, finalized_to=80, refs=OURS)
    fork = [ref(n, 1) for n in range(85, 103)]

    assert decided(young, fork, final=80) == Raise(90, tuple(fork[5:15]))


def test_answers_that_do_not_link_are_asked_for_again() -> None:
    of_two_nodes = [*OURS[:6], ref(96, 1, 0), ref(97, 2), ref(98, 1), ref(99, 1)]
    behind_the_tip = [*OURS, ref(100, 1)]

    for blocks in (of_two_nodes, behind_the_tip):
        step = decided(WINDOW, blocks)
        assert isinstance(step, Wait)
        assert step.again


def test_a_block_that_is_missing_below_the_head_is_asked_for_again() -> None:
    for blocks in (OURS[:9], [ref(n, 1) for n in (97, 98, 99)]):
        step = decided(WINDOW, blocks, head=99)
        assert isinstance(step, Wait)
        assert step.again


@pytest.mark.parametrize("number", [90, 94, 98])
@pytest.mark.parametrize("longer", [0, 3])
def test_a_header_that_was_altered_is_replaced_by_the_nodes(number: int, longer: int) -> None:
    refs = [*OURS[: number - 90], replace(OURS[number - 90], hash=b"?" * 32), *OURS[number - 89 :]]
    altered = Recorded(next=100, finalized_to=90, refs=refs)

    step = decided(altered, chain(10 + longer, first=90))

    assert isinstance(step, Raise)
    assert step.start in (number - 1, number)
    assert step.refs == tuple(OURS[step.start - 90 :])


def test_a_fork_and_an_altered_header_end_with_the_nodes_chain() -> None:
    refs = [*OURS[:3], replace(OURS[3], hash=b"?" * 32), *OURS[4:]]
    fork = [*OURS[:8], ref(98, 1, 0), ref(99, 1)]

    first = decided(Recorded(next=100, finalized_to=90, refs=refs), fork)
    assert first == Raise(98, tuple(fork[8:]))
    second = decided(Recorded(next=100, finalized_to=90, refs=[*refs[:8], *fork[8:]]), fork)
    assert second == Raise(93, tuple(fork[3:]))


def test_an_altered_header_waits_for_a_node_that_lags() -> None:
    refs = [*OURS[:3], replace(OURS[3], hash=b"?" * 32), *OURS[4:]]

    assert isinstance(decided(Recorded(next=100, finalized_to=90, refs=refs), OURS[:8]), Wait)


def test_following_begins_where_it_is_told() -> None:
    assert decided(Recorded(next=95), OURS) == Append(tuple(OURS[5:]))
    assert decided(Recorded(next=200), OURS) == Wait("no new block")


def test_much_that_is_final_is_left_to_a_job_of_its_own() -> None:
    far = [*OURS, ref(5000)]

    assert decided(WINDOW, far, final=99 + GAP + 1) == Skip(100, 99 + GAP + 1)
    assert decided(Recorded(next=0), far, final=4000) == Skip(0, 4000)


def test_a_fork_is_told_before_anything_is_skipped() -> None:
    fork = [*OURS[:6], ref(96, 1, 0), *(ref(n, 1) for n in range(97, 100)), ref(5000)]

    assert decided(WINDOW, fork, final=4000) == Raise(96, tuple(fork[6:10]))


def test_looks_are_rare_before_a_block_is_due_and_frequent_when_it_is() -> None:
    assert next_look(since_head=0.0, interval=12.0) == 1.0
    assert next_look(since_head=8.9, interval=12.0) < 0.2
    assert next_look(since_head=0.2, interval=0.5) <= 0.18
    assert next_look(since_head=0.5, interval=0.5) == 0.05
    assert next_look(since_head=100.0, interval=0.5) == 1.0
