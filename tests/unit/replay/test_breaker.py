"""When a replay goes on, waits or stops."""

from __future__ import annotations

import pytest

from indexer.replay.breaker import Outcomes, Verdict, verdict


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
    assert verdict(position, 10, outcomes) is said


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
    assert verdict(500, 0, outcomes) is said
