"""The verdict on a run fails when it must: each thing that may go wrong is said."""

from __future__ import annotations

from dataclasses import replace

from indexer.storage.digest import Digest
from tests.chaos import verdict
from tests.chaos.faults import BESIDE, INSIDE
from tests.chaos.reader import doubled, other_records
from tests.chaos.verdict import Letter

PLANTED = {("work", 0, 5): "NOT_AVRO", ("decoded", 1, 9): "OTHER_CHAIN"}
NEVER = 70
FIRST: Letter = ("work", 0, 5, None, "NOT_AVRO", "no")
SECOND: Letter = ("decoded", 1, 9, None, "OTHER_CHAIN", "no")
OF_NEVER: Letter = ("work", 2, 1, NEVER, "RECEIPTS_ROOT_MISMATCH", "no")
DIGEST = Digest({"blocks": 3, "logs": 8}, {"blocks": "a", "logs": "b"})


def letters(*rows: Letter) -> list[str]:
    return verdict.other_letters(rows, PLANTED, NEVER)


def test_the_letters_of_what_was_planted_are_right() -> None:
    assert letters(FIRST, SECOND, OF_NEVER) == []


def test_a_letter_that_nobody_planted_is_said() -> None:
    (said,) = letters(FIRST, SECOND, OF_NEVER, ("work", 0, 6, 12, "NOT_AVRO", "no"))

    assert "nobody planted" in said


def test_what_was_planted_and_became_no_letter_is_said() -> None:
    assert letters(FIRST, OF_NEVER) == ["no letter of what was planted at ('decoded', 1, 9)"]


def test_a_letter_of_another_code_is_said() -> None:
    (said,) = letters(FIRST, ("decoded", 1, 9, None, "NOT_AVRO", "no"), OF_NEVER)

    assert "another code than OTHER_CHAIN" in said


def test_two_letters_of_one_record_are_said() -> None:
    assert letters(FIRST, SECOND, SECOND, OF_NEVER) == ["2 letters of ('decoded', 1, 9)"]


def test_a_block_that_never_verifies_and_has_no_letter_is_said() -> None:
    assert letters(FIRST, SECOND) == ["no letter of block 70, which never verifies"]


def test_a_block_of_a_dead_fork_is_said() -> None:
    chain = {1: "0xa", 2: "0xb"}

    assert verdict.other_blocks(chain, chain.__getitem__) == []
    assert verdict.other_blocks({1: "0xa", 2: "0xdead"}, chain.__getitem__) == ["block 2 is not the chain's"]


def test_the_rows_of_an_undisturbed_index_are_right() -> None:
    assert verdict.other_rows(DIGEST, replace(DIGEST)) == []


def test_a_lost_block_a_doubled_row_and_a_changed_one_are_said() -> None:
    for rows, hashes in (
        ({"blocks": 2, "logs": 8}, {"blocks": "x", "logs": "b"}),
        ({"blocks": 3, "logs": 9}, {"blocks": "a", "logs": "x"}),
        ({"blocks": 3, "logs": 8}, {"blocks": "x", "logs": "b"}),
        ({"blocks": 3}, {"blocks": "a"}),
    ):
        assert len(verdict.other_rows(Digest(rows, hashes), DIGEST)) == 1


def test_missing_heights_are_those_that_are_not_stored() -> None:
    assert verdict.missing(range(5), [0, 1, 3]) == [2, 4]
    assert verdict.missing(range(3), [0, 1, 2]) == []


def test_what_vanished_came_later_or_changed_after_it_was_read_is_said() -> None:
    there = {0: [(0, b"a"), (2, b"b")], 1: [(0, b"c")]}

    assert other_records({0: [(0, b"a"), (2, b"b")], 1: [(0, b"c")]}, there) == []
    for seen in (
        {0: [(0, b"a")], 1: [(0, b"c")]},  # one never came
        {0: [(0, b"a"), (1, b"x"), (2, b"b")], 1: [(0, b"c")]},  # one was of an aborted transaction
        {0: [(0, b"a"), (2, b"x")], 1: [(0, b"c")]},
        {0: [(2, b"b"), (0, b"a")], 1: [(0, b"c")]},
        {0: [(0, b"a"), (2, b"b")]},
        {**there, 2: [(0, b"z")]},
    ):
        assert len(other_records(seen, there)) == 1


def test_a_block_that_was_decoded_more_often_than_asked_for_is_said() -> None:
    allowed = {(7, 0): 2, (8, 1): 1}

    assert doubled({(7, 0): 2, (8, 1): 1}, allowed) == []
    assert doubled({(7, 0): 2, (8, 1): 2}, allowed) == ["block 8, generation 1: 2 records, 1 items"]
    assert doubled({(8, 2): 1}, allowed) == ["block 8, generation 2: 1 records, 0 items"]


def test_a_run_whose_faults_miss_every_transaction_shows_nothing() -> None:
    beside = [place for places in BESIDE.values() for place in places]

    assert verdict.not_hit(verdict.inside(beside)) == [
        "no fault hit inside a transaction of a decoder",
        "no fault hit inside a transaction of a persister",
    ]


def test_a_run_that_hit_a_transaction_of_each_service_is_one() -> None:
    places = [INSIDE["decoder"][0], INSIDE["decoder"][0], INSIDE["persister"][-1], BESIDE["decoder"][0]]

    assert verdict.inside(places) == {"decoder": 2, "persister": 1}
    assert verdict.not_hit(verdict.inside(places)) == []


def test_every_place_at_which_a_fault_may_hit_is_one_that_services_come_by() -> None:
    from indexer.faults import PLACES

    assert {place for places in (*INSIDE.values(), *BESIDE.values()) for place in places} <= set(PLACES)
