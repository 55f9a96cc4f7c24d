"""Each case of decide() and plan(), under its name in the docstring."""

from __future__ import annotations

from typing import Any

from indexer.records import Reason
from services.persister.decide import Stored, Verdict, decide, floor_of, plan
from services.persister.packed import PackedBlock, packed
from tests.support.blocks import BlockMaker

maker = BlockMaker(transactions=1, logs=1, transfers=1)


def make(number: int, **how: Any) -> PackedBlock:
    return packed(maker(number, **how))


def stored(block: PackedBlock, generation: int = 0, model_version: int = 1) -> Stored:
    return Stored(block.hash, generation, model_version)


def test_the_floor_is_the_highest_generation_of_a_rollback_at_or_below() -> None:
    rollbacks = [(10, 5), (20, 9), (5, 3)]

    assert [floor_of(n, rollbacks) for n in (4, 5, 10, 19, 20, 99)] == [0, 3, 5, 5, 9, 9]


def test_of_a_generation_below_the_floor_is_refused() -> None:
    assert decide(make(7, generation=4), None, floor=5) is Verdict.REFUSE


def test_nothing_stored_at_its_height_is_stored() -> None:
    assert decide(make(7, generation=5), None, floor=5) is Verdict.STORE


def test_its_hash_stored_is_kept() -> None:
    assert decide(make(7), stored(make(7)), floor=0) is Verdict.KEEP


def test_its_hash_stored_and_a_repair_is_replaced() -> None:
    assert decide(make(7, reason=Reason.REPAIR), stored(make(7)), floor=0) is Verdict.REPLACE


def test_its_hash_stored_by_an_older_model_version_is_replaced() -> None:
    block = make(7, model_version=2)

    assert decide(block, stored(block), floor=0) is Verdict.REPLACE
    assert decide(make(7, model_version=1), stored(block, model_version=2), floor=0) is Verdict.KEEP


def test_another_hash_stored_and_its_generation_is_higher_is_replaced() -> None:
    assert decide(make(7, fork=1, generation=1), stored(make(7)), floor=0) is Verdict.REPLACE


def test_another_hash_stored_a_repair_of_the_same_generation_is_replaced() -> None:
    repair = make(7, fork=1, reason=Reason.REPAIR)

    assert decide(repair, stored(make(7)), floor=0) is Verdict.REPLACE
    assert decide(repair, stored(make(7), generation=1), floor=0) is Verdict.REFUSE


def test_another_hash_stored_otherwise_is_refused() -> None:
    assert decide(make(7, fork=1), stored(make(7)), floor=0) is Verdict.REFUSE
    assert decide(make(7, fork=1), stored(make(7), generation=1), floor=0) is Verdict.REFUSE


def test_several_of_one_height_are_decided_one_after_another() -> None:
    first, other, newer = make(7), make(7, fork=1), make(7, fork=2, generation=1)

    todo = plan([first, other, newer], {}, [])

    assert todo.insert == {7: newer}
    assert todo.refused == [other]
    assert todo.covered == [first, newer]
    assert todo.delete == set()


def test_rows_in_the_database_are_deleted_once_whatever_follows() -> None:
    before, one, two = make(7), make(7, fork=1, generation=1), make(7, fork=2, generation=2)

    todo = plan([one, two], {7: stored(before)}, [])

    assert (todo.delete, todo.insert) == ({7}, {7: two})


def test_a_repair_deletes_also_where_no_block_is_stored() -> None:
    assert plan([make(7, reason=Reason.REPAIR)], {}, []).delete == {7}
    assert plan([make(7)], {}, []).delete == set()


def test_a_kept_row_gets_the_higher_generation_and_never_a_lower_one() -> None:
    block = make(7)

    assert plan([make(7, generation=4)], {7: stored(block, generation=2)}, []).raise_generation == {7: 4}
    assert plan([make(7, generation=1)], {7: stored(block, generation=2)}, []).raise_generation == {}


def test_a_block_inserted_in_this_batch_gets_the_higher_generation_of_its_repeat() -> None:
    todo = plan([make(7), make(7, generation=3)], {}, [])

    assert todo.insert[7].generation == 3
    assert todo.raise_generation == {}


def test_a_repair_of_an_older_generation_keeps_the_higher_one() -> None:
    todo = plan([make(7, reason=Reason.REPAIR)], {7: stored(make(7), generation=6)}, [])

    assert todo.insert[7].generation == 6


def test_a_refused_block_covers_nothing() -> None:
    todo = plan([make(7)], {}, [(5, 1)])

    assert (todo.insert, todo.covered, len(todo.refused)) == ({}, [], 1)
