"""Takes mutations out of a throw-away copy of the tree, one at a time, and runs the tests that must fail there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from indexer import stack
from tests.mutations.table import ROOT, Mutation

_TEST_SECONDS = 60  # a rule that is out may let a test wait for ever: that is a failure too
_MOST_SECONDS = 1200
_WITHOUT_STACK = ("unit/", "simulation/", "integration/rpc/")


class Outcome(Enum):
    """What came of a test."""

    PASSED = "passed"
    FAILED = "failed"
    BROKEN = "could not be run"  # not collected, skipped, or an error outside of the test itself


@dataclass(frozen=True, slots=True)
class Report:
    """What came of the tests that hold a part of a rule, while it was out."""

    mutation: Mutation
    outcomes: Mapping[str, Outcome]
    seconds: float
    said: Mapping[str, str] = field(default_factory=dict)  # how they failed

    @property
    def held(self) -> bool:
        return all(outcome is Outcome.FAILED for outcome in self.outcomes.values())


def needs_stack(tests: Sequence[str]) -> bool:
    return any(not test.startswith(_WITHOUT_STACK) for test in tests)


@contextmanager
def copy_of(root: Path = ROOT) -> Iterator[Path]:
    """A copy of what is tracked, or will be, in a folder that vanishes again."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder) / "tree"
        for name in names:
            if name and (root / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, copy / name)
        yield copy


@contextmanager
def services(wanted: bool) -> Iterator[dict[str, str]]:
    """The environment of tests: one Kafka and PostgreSQL for all runs, where they are wanted."""
    if not wanted or os.environ.get("INDEXER_TEST_STACK"):
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="mutation-stack-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "stack"
        running = stack.start(path, brokers=1, die_with_parent=True, remove_with_parent=True)
        try:
            yield {"INDEXER_TEST_STACK": str(path)}
        finally:
            running.stop(graceful=False)


def unchanged(tests: Sequence[str], more: Mapping[str, str], root: Path = ROOT) -> dict[str, Outcome]:
    """Run tests on a copy in which nothing is changed."""
    with copy_of(root) as copy:
        return {test: _worst(found) for test, found in _run(copy, tests, more).items()}


def mutated(mutation: Mutation, more: Mapping[str, str], root: Path = ROOT) -> Report:
    """Run a mutation's tests without what it takes out. Raises StaleError."""
    began = time.monotonic()
    with copy_of(root) as copy:
        mutation.apply(copy)
        found = _run(copy, mutation.tests, more)
    outcomes = {test: _noticed(cases) for test, cases in found.items()}
    said = {test: next((text for _, text in cases if text), "") for test, cases in found.items()}
    return Report(mutation, outcomes, time.monotonic() - began, said)


def run_all(
    mutations: Sequence[Mutation], checked: Callable[[Mapping[str, Outcome]], None], told: Callable[[Report], None]
) -> None:
    """Run everything; `checked` is told first what came of the tests on the unchanged tree."""
    tests = sorted({test for each in mutations for test in each.tests})
    with services(needs_stack(tests)) as more:
        checked(unchanged(tests, more))
        for each in mutations:
            told(mutated(each, more))


Cases = list[tuple[Outcome, str]]  # with what was said; more than one where a test has parameters


def _run(copy: Path, tests: Sequence[str], more: Mapping[str, str]) -> dict[str, Cases]:
    report = copy.parent / "report.xml"
    options = ("-n0", "-p", "no:cacheprovider", "-o", f"timeout={_TEST_SECONDS}", "--hypothesis-seed=0")
    command = [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", *(f"tests/{test}" for test in tests)]
    environment = {**os.environ, **more, "PYTHONPATH": str(copy)}
    subprocess.run(
        command, cwd=copy, env=environment, check=False, timeout=_MOST_SECONDS, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    cases = list(ElementTree.parse(report).getroot().iter("testcase")) if report.is_file() else []
    return {test: [_case(case) for case in cases if _is(case, test)] for test in tests}


def _is(case: ElementTree.Element, test: str) -> bool:
    file, *names = test.split("::")
    where = ".".join(["tests", *Path(file).with_suffix("").parts, *names[:-1]])
    name = case.get("name", "")
    return case.get("classname") == where and (name == names[-1] or name.startswith(f"{names[-1]}["))


def _case(case: ElementTree.Element) -> tuple[Outcome, str]:
    if (failure := case.find("failure")) is not None and case.find("error") is None:
        return Outcome.FAILED, (failure.get("message") or "").split("\n")[0]
    broken = case.find("error") is not None or case.find("skipped") is not None
    return (Outcome.BROKEN if broken else Outcome.PASSED), ""


def _noticed(cases: Cases) -> Outcome:
    """One set of parameters that fails is enough."""
    found = [outcome for outcome, _ in cases]
    if Outcome.FAILED in found:
        return Outcome.FAILED
    return Outcome.PASSED if found and Outcome.BROKEN not in found else Outcome.BROKEN


def _worst(cases: Cases) -> Outcome:
    found = [outcome for outcome, _ in cases]
    if not found or Outcome.BROKEN in found:
        return Outcome.BROKEN
    return Outcome.FAILED if Outcome.FAILED in found else Outcome.PASSED
