"""A fixed budget of seeds; `make simulate` runs more. A seed that fails is run again with --seeds 1 --from SEED."""

from __future__ import annotations

import pytest

from tests.simulation.seeds import simulate

SEEDS, SHARE = 300, 25


@pytest.mark.parametrize("first", range(0, SEEDS, SHARE))
def test_nothing_is_lost_doubled_or_of_a_branch_that_lost(first: int) -> None:
    wrong = {seed: run.wrong for seed in range(first, first + SHARE) if (run := simulate(seed)).wrong}

    assert wrong == {}


def test_a_seed_is_the_same_run_every_time() -> None:
    one, again = simulate(7), simulate(7)

    assert (one.faults, one.ended) == (again.faults, again.ended)


def test_the_seeds_meet_every_kind_of_fault() -> None:
    met = sum((simulate(seed).faults for seed in range(12)), simulate(12).faults)

    assert set(met) >= {
        "killed", "frozen", "cut off", "outcome unknown", "fork", "queue", "cancel", "be_away", "rebalance",
        "keep_less", "restore", "poison", "plant", "stop",
    }  # fmt: skip
