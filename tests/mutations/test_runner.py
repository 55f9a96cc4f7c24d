"""A mutation is held when every test that it names fails without it, and for no other reason."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutations import __main__ as command
from tests.mutations import runner
from tests.mutations.runner import Outcome, Report, copy_of, mutated, needs_stack, unchanged
from tests.mutations.table import Mutation, Table

ONE = Mutation("3 part", "it is wrong", "code.py", "return 1", "return 2", ("unit/test_it.py::test_held",))
CODE = "def f():\n    return 1\n"
TESTS = """
import pytest
from code_of_it import f

def test_held(): assert f() == 1
def test_blind(): assert f() > 0
def test_skipped(): pytest.skip("not here")

@pytest.fixture
def torn(): raise ValueError

def test_torn(torn): ...

@pytest.mark.parametrize("n", [1, 2])
def test_of_two(n): assert f() <= n
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own."""
    root = tmp_path_factory.mktemp("tree")
    (root / "code_of_it.py").write_text(CODE)
    (root / "tests" / "unit").mkdir(parents=True)
    (root / "tests" / "__init__.py").touch()
    (root / "tests" / "unit" / "__init__.py").touch()
    (root / "tests" / "unit" / "test_it.py").write_text(TESTS)
    (root / ".gitignore").write_text("__pycache__\n")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def of(*tests: str) -> Mutation:
    return replace(ONE, file="code_of_it.py", tests=tuple(f"unit/test_it.py::{test}" for test in tests))


def outcomes(tree: Path, *tests: str) -> list[Outcome]:
    return list(mutated(of(*tests), {}, tree).outcomes.values())


def test_a_test_that_fails_holds_its_rule_and_says_how(tree: Path) -> None:
    report = mutated(of("test_held"), {}, tree)

    assert report.held
    assert "assert 2 == 1" in report.said["unit/test_it.py::test_held"]
    assert (tree / "code_of_it.py").read_text() == CODE  # the copy was changed


def test_passing_skipped_and_torn_tests_hold_nothing(tree: Path) -> None:
    found = mutated(of("test_held", "test_blind", "test_skipped", "test_torn", "test_gone"), {}, tree)

    assert not found.held
    assert list(found.outcomes.values()) == [Outcome.BROKEN] * 5  # pytest runs nothing where one does not exist
    assert outcomes(tree, "test_held", "test_blind", "test_skipped", "test_torn") == [
        Outcome.FAILED,
        Outcome.PASSED,
        Outcome.BROKEN,
        Outcome.BROKEN,
    ]


def test_one_set_of_parameters_that_fails_is_enough(tree: Path) -> None:
    assert outcomes(tree, "test_of_two", "test_of_two[2]") == [Outcome.FAILED, Outcome.PASSED]


def test_code_that_cannot_be_read_any_more_holds_nothing(tree: Path) -> None:
    torn = replace(of("test_held"), becomes="return (")

    assert mutated(torn, {}, tree).outcomes == {"unit/test_it.py::test_held": Outcome.BROKEN}


def test_with_nothing_taken_out_every_set_of_parameters_must_pass(tree: Path) -> None:
    tests = [f"unit/test_it.py::{name}" for name in ("test_held", "test_of_two", "test_skipped")]

    assert list(unchanged(tests, {}, tree).values()) == [Outcome.PASSED, Outcome.PASSED, Outcome.BROKEN]


def test_a_copy_has_what_is_tracked_or_will_be_and_vanishes(tree: Path) -> None:
    (tree / "__pycache__").mkdir(exist_ok=True)
    (tree / "__pycache__" / "x.pyc").touch()

    with copy_of(tree) as copy:
        found = {str(path.relative_to(copy)) for path in copy.rglob("*.py*")}

    assert {"code_of_it.py", "tests/unit/test_it.py"} <= found
    assert "__pycache__/x.pyc" not in found
    assert not copy.exists()


def test_only_tests_of_kafka_and_postgresql_need_them() -> None:
    assert not needs_stack(["unit/test_life.py::test_x", "integration/rpc/test_faults.py::test_x"])
    assert needs_stack(["unit/test_life.py::test_x", "integration/test_source.py::test_x"])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the command on a table of two, whose runs come out as they are told."""

    def runs(*arguments: str, held: Outcome = Outcome.FAILED, sound: Outcome = Outcome.PASSED) -> tuple[int, str]:
        table = Table((ONE, replace(ONE, name="4 other", tests=("integration/test_it.py::test_it",))), {})
        monkeypatch.setattr(command, "load", lambda: table)
        monkeypatch.setattr(command, "problems", lambda table: iter(()))

        def run_all(mutations: list[Mutation], checked: Callable[..., None], told: Callable[..., None]) -> None:
            checked({test: sound for each in mutations for test in each.tests})
            for each in mutations:
                told(Report(each, dict.fromkeys(each.tests, held), 1.5, dict.fromkeys(each.tests, "assert 2 == 1")))

        monkeypatch.setattr(command, "run_all", run_all)
        monkeypatch.setattr("signal.signal", lambda *_: None)
        monkeypatch.setattr("sys.argv", ["mutations", *arguments])
        return command.main(), capsys.readouterr().out

    return runs


def test_a_table_tells_people_what_was_held(run: Callable[..., tuple[int, str]]) -> None:
    code, told = run()

    assert code == 0
    assert "3 part           held      1/1 tests fail    1.5 s  it is wrong" in told
    assert told.endswith("2 parts of rules taken out: 2 held, 0 not\n")


def test_what_is_not_held_is_an_error(run: Callable[..., tuple[int, str]]) -> None:
    code, told = run("--rule", "3", held=Outcome.PASSED)

    assert code == 1
    assert "NOT HELD" in told
    assert "passed: unit/test_it.py::test_held" in told
    code, told = run("--rule", "3", sound=Outcome.FAILED)
    assert code == 1
    assert "with nothing taken out 0 of 1 tests pass\n                 failed: unit/test_it.py::test_held\n" in told


def test_json_has_each_test_and_what_it_said(run: Callable[..., tuple[int, str]]) -> None:
    code, told = run("--json", "--without-stack")

    found = json.loads(told)
    assert (code, [each["name"] for each in found["mutations"]], found["unsound"]) == (0, ["3 part"], [])
    assert found["mutations"][0]["tests"] == [
        {"test": "tests/unit/test_it.py::test_held", "outcome": "failed", "said": "assert 2 == 1"}
    ]


def test_a_list_runs_nothing(run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--list", "--only", "4 other") == (0, "4 other          code.py: it is wrong\n")


def test_a_stack_that_is_there_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXER_TEST_STACK", "/somewhere")

    with runner.services(wanted=True) as more:
        assert more == {}
