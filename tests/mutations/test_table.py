"""The table of mutations fits the code, and leaves no rule out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutations.page import page
from tests.mutations.table import Mutation, StaleError, Table, exists, load, problems
from tests.simulation.rules import ALL

HERE = Path(__file__).resolve().parents[2]
ONE = Mutation("3 part", "what happens", "code.py", "kept", "", ("unit/test_it.py::test_it",))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "code.py").write_text("kept = 1\n")
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "test_it.py").write_text(
        "def test_it(): ...\nclass TestAll:\n    def test_of_a_class(self): ...\n"
    )
    return tmp_path


def of(table: Table, root: Path) -> list[str]:
    return [problem for problem in problems(table, root) if not problem.startswith("rule ")]


def test_every_text_is_there_once_and_every_test_exists() -> None:
    assert list(problems(load())) == []


def test_what_is_asked_for_by_name_is_there() -> None:
    assert {each.bar for each in load().mutations} >= {
        "the compare-and-set",
        "the generation check",
        "the rewind after an abort",
    }


def test_every_switch_of_the_simulation_has_a_mutation_of_its_name() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (HERE / "tests" / "simulation").glob("*.py"))
    asked = set(re.findall(r'rules\("(\d+ \w+)"\)', sources))
    names = {each.name for each in load().mutations}

    assert asked <= set(ALL)
    assert set(ALL) <= names
    assert set(load().seeds) <= set(ALL)


def test_a_text_that_is_not_there_once_is_refused(tree: Path) -> None:
    (tree / "code.py").write_text("kept = kept\n")

    assert of(Table((ONE,), {}), tree) == ["3 part: its text is 2 times in code.py"]
    with pytest.raises(StaleError, match="2 times"):
        ONE.apply(tree)
    assert of(Table((replace(ONE, file="gone.py"),), {}), tree) == ["3 part: its text is 0 times in gone.py"]


def test_a_test_that_does_not_exist_is_refused(tree: Path) -> None:
    for test in (
        "unit/test_it.py::test_gone",
        "unit/test_gone.py::test_it",
        "unit/test_it.py",
        "unit/test_it.py::A::b",
    ):
        assert not exists(tree, test)
    for test in (
        "unit/test_it.py::test_it",
        "unit/test_it.py::test_it[a-b]",
        "unit/test_it.py::TestAll::test_of_a_class",
    ):
        assert exists(tree, test)

    assert of(Table((replace(ONE, tests=("unit/a.py::b",)),), {}), tree) == ["3 part: no test unit/a.py::b"]


def test_what_changes_nothing_or_comes_twice_is_refused(tree: Path) -> None:
    twice = Table((ONE, replace(ONE, becomes="kept")), {})

    assert of(twice, tree) == ["3 part: 2 mutations of this name", "3 part: it changes nothing, or no test is named"]


def test_what_compiled_code_holds_too_is_refused(tree: Path) -> None:
    (tree / "indexer" / "codec").mkdir(parents=True)
    (tree / "indexer" / "codec" / "wire.py").write_text("kept = 1\n")

    [problem] = of(Table((replace(ONE, file="indexer/codec/wire.py"),), {}), tree)

    assert "has a twin" in problem


def test_a_rule_without_a_mutation_is_told(tree: Path) -> None:
    found = [problem for problem in problems(Table((ONE,), {}), tree) if problem.startswith("rule ")]

    assert found == [f"rule {rule}: no mutation" for rule in range(1, 20) if rule != 3]


def test_the_page_names_what_fails() -> None:
    told = page(Table((replace(ONE, bar="the part"),), {"3 part": 7}))

    assert "- the part: `3 part`" in told
    assert told.endswith("| 3 part | [code.py](../../code.py) | what happens | `test_it`, seed 7 |\n")
