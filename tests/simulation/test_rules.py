"""Every rule that the simulation reaches, taken out: a seed fails; and the page that says so names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.simulation.rules import ALL, about
from tests.simulation.seeds import simulate

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "protocol-tests.md").read_text(encoding="utf-8")
SEEDS = [(rule, int(seed)) for rule, seed in re.findall(r"`(\d+ \w+)`: (\d+)", PAGE)]


@pytest.mark.parametrize(("rule", "seed"), SEEDS)
def test_without_the_rule_its_seed_fails(rule: str, seed: int) -> None:
    assert simulate(seed).wrong == []

    assert simulate(seed, without=frozenset([rule])).wrong


def test_the_page_names_rules_that_can_be_taken_out() -> None:
    assert SEEDS
    for rule, _ in SEEDS:
        assert rule in ALL
        assert about(rule).startswith(f"PROTOCOL {rule.split()[0]}")


def test_the_page_names_tests_that_exist() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)\(", sources))

    assert set(re.findall(r"`(test_\w+)`", PAGE)) <= there


def test_every_rule_has_a_line_with_a_seed_or_a_test() -> None:
    rows = {int(number): line for number, line in re.findall(r"^\| (\d+) (\|.*)$", PAGE, re.MULTILINE)}

    assert list(rows) == list(range(1, 19))
    assert all("`test_" in line for line in rows.values())
