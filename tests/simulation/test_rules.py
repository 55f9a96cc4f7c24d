"""Every rule that the simulation reaches, taken out: a seed fails (tests/mutations/rules.toml says which)."""

from __future__ import annotations

import pytest

from tests.mutations.table import load
from tests.simulation.rules import ALL, about
from tests.simulation.seeds import simulate

SEEDS = sorted(load().seeds.items())


@pytest.mark.parametrize(("rule", "seed"), SEEDS)
def test_without_the_rule_its_seed_fails(rule: str, seed: int) -> None:
    assert simulate(seed).wrong == []

    assert simulate(seed, without=frozenset([rule])).wrong


def test_a_rule_that_can_be_taken_out_says_where_it_is_held() -> None:
    for rule in ALL:
        assert about(rule).startswith(f"PROTOCOL {rule.split()[0]}")
