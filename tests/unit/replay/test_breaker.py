"""When a replay goes on, waits or stops."""

from __future__ import annotations

import pytest

from indexer.replay.breaker import Ahead, Outcomes, Verdict, vanguard, verdict


@pytest.mark.parametrize(
    ("position", "outcomes", "said"),
    [
        (0, Outcomes(), Verdict.GO_ON),
        (10, Outcomes(10, 0, 0), Verdict.WAIT),
        (10, Outcomes(10, 6, 2), Verdict.WAIT),
        (10, Outcomes(10, 8, 2), Verdict.GO_ON),
        (10, Outcomes(10, 0, 5), Verdict.STOP),
        (10, Outcomes(10, 5, 5), Verdict.STOP),
        (10, Outcomes(0, 0, 0), Verdict.GO_ON),  # all of them were stored already
        (1, Outcomes(1, 0, 0), Verdict.GO_ON),
    ],
)
def test_canaries_decide(position: int, outcomes: Outcomes, said: Verdict) -> None:
    assert verdict(position, Ahead(10), outcomes) is said


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        (Outcomes(500, 0, 19), Verdict.GO_ON),
        (Outcomes(500, 19, 20), Verdict.STOP),
        (Outcomes(500, 21, 20), Verdict.GO_ON),
        (Outcomes(500, 0, 0), Verdict.GO_ON),
    ],
)
def test_beyond_them_many_deaths_stop_it(outcomes: Outcomes, said: Verdict) -> None:
    assert verdict(500, None, outcomes) is said
    assert verdict(500, Ahead(20), outcomes) is said


def test_canaries_without_an_outcome_stop_it_in_the_end() -> None:
    assert verdict(10, Ahead(10), Outcomes(10, 9, 0), late=True) is Verdict.STOP
    assert verdict(10, Ahead(10), Outcomes(10, 10, 0), late=True) is Verdict.GO_ON


@pytest.mark.parametrize(
    ("outcomes", "late", "said"),
    [
        (Outcomes(20, 0, 0), False, Verdict.WAIT),
        (Outcomes(20, 9, 0), False, Verdict.WAIT),
        (Outcomes(20, 10, 0), False, Verdict.GO_ON),  # half of them are enough
        (Outcomes(20, 0, 9), False, Verdict.WAIT),
        (Outcomes(20, 1, 9), False, Verdict.STOP),
        (Outcomes(20, 6, 4), False, Verdict.GO_ON),
        (Outcomes(20, 0, 10), False, Verdict.STOP),
        (Outcomes(20, 0, 0), True, Verdict.GO_ON),  # nobody is there who could store them
        (Outcomes(20, 1, 0), True, Verdict.GO_ON),
        (Outcomes(20, 0, 1), True, Verdict.STOP),
        (Outcomes(0, 0, 0), False, Verdict.GO_ON),  # all of them were stored already
    ],
)
def test_where_nobody_asked_for_canaries_half_of_the_first_decide(
    outcomes: Outcomes, late: bool, said: Verdict
) -> None:
    assert verdict(20, Ahead(20, canaries=False), outcomes, late=late) is said


def test_only_of_many_letters_some_go_ahead() -> None:
    assert [vanguard(letters) for letters in (0, 20, 100, 101, 10_000)] == [0, 0, 0, 20, 20]
