"""Runs the tests tier by tier, says how long each took, and holds the coverage of what is measured to its bar.

Two processes share the work; where Kafka and PostgreSQL are needed, each process has its own. e2e tests run alone and
unmeasured: tracing slows the services down, and what is killed with -9 leaves no measurement.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from indexer import stack

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / ".local" / "tests"
COVERAGE_BAR = 90  # percent of lines and branches
NOTHING_COLLECTED = 5  # pytest's exit code


@dataclass(frozen=True, slots=True)
class Tier:
    """Folders of tests that run together."""

    folders: tuple[str, ...]
    measured: bool = True
    on_stack: bool = False
    options: tuple[str, ...] = ()


_NO_BARS = ("-m", "not bar")  # figures are for a machine that does nothing else: `make bars`
_BY_TWO = ("-n", "2", "--dist", "worksteal")

TIERS = {
    "unit": Tier(("tests/unit", "tests/simulation", "tests/fuzz", "tests/mutations"), options=_BY_TWO),
    "integration": Tier(("tests/contract", "tests/integration"), on_stack=True, options=(*_NO_BARS, *_BY_TWO)),
    "e2e": Tier(("tests/e2e",), measured=False, on_stack=True, options=_NO_BARS),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a tier: its exit code, time and counts."""

    tier: str
    code: int
    seconds: float
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.code in (0, NOTHING_COLLECTED)


def run(name: str, extra: list[str]) -> Outcome:
    """Run one tier of tests with pytest in a process of its own."""
    tier = TIERS[name]
    report = RESULTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    runner = ["-m", "coverage", "run", "-m", "pytest"] if tier.measured else ["-m", "pytest"]
    command = [sys.executable, *runner, *tier.folders, *tier.options, "--durations=10", f"--junitxml={report}", *extra]
    print(f"== {name} tests", flush=True)
    began = time.monotonic()
    code = subprocess.run(command, cwd=ROOT, env=_environment(), check=False).returncode
    return Outcome(name, code, time.monotonic() - began, counts(report))


def counts(report: Path) -> dict[str, int]:
    """Read how many tests passed, failed and were skipped from pytest's JUnit report; nothing if there is none."""
    if not report.is_file():
        return {}
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))  # noqa: S314 (written by our own pytest)
    total, failed, skipped = (
        sum(int(suite.get(key, 0)) for suite in suites for key in keys)
        for keys in (("tests",), ("failures", "errors"), ("skipped",))
    )
    return {"passed": total - failed - skipped, "failed": failed, "skipped": skipped}


def prepare_stack() -> None:
    """Start and end a stack once: the first on a machine downloads Kafka, which no test's time limit should count."""
    if os.environ.get("INDEXER_TEST_STACK"):
        return
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="indexer-test-", ignore_cleanup_errors=True) as folder:
        stack.start(Path(folder) / "stack", brokers=1, die_with_parent=True, remove_with_parent=True).stop(
            graceful=False
        )
    print(f"== Kafka and PostgreSQL can be started ({time.monotonic() - began:.0f} s)", flush=True)


def _environment() -> dict[str, str]:
    """The processes that tests start elsewhere write their measurements here too."""
    return {**os.environ, "COVERAGE_FILE": str(RESULTS / "coverage")}


def covered() -> bool:
    """Combine the measurements, print what is not covered, and tell whether the bar is met."""
    print("== coverage", flush=True)
    for arguments in (["combine", "--quiet"], ["report", f"--fail-under={COVERAGE_BAR}"]):
        command = [sys.executable, "-m", "coverage", *arguments]
        if subprocess.run(command, cwd=ROOT, env=_environment(), check=False).returncode:
            return False
    return True


def versions() -> Iterator[str]:
    """Yield what the tests run on."""
    yield f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores"
    names = ("confluent-kafka", "psycopg", "sqlalchemy", "aiohttp", "fastavro", "pytest", "hypothesis")
    yield ", ".join(f"{name} {version(name)}" for name in names)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tiers", nargs="+", choices=TIERS)
    parser.add_argument("--no-coverage", action="store_true", help="do not ask for the coverage bar")
    chosen, extra = parser.parse_known_args()
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    print("\n".join(versions()), flush=True)
    if any(TIERS[name].on_stack for name in chosen.tiers):
        prepare_stack()
    outcomes = [run(name, extra) for name in chosen.tiers]
    measured = {"unit", "integration"} <= set(chosen.tiers) and not chosen.no_coverage
    bar_met = covered() if measured else True
    return _conclude(outcomes, bar_met)


def _conclude(outcomes: list[Outcome], bar_met: bool) -> int:
    """Print a line per tier, last a line with the sums; return the exit code."""
    for each in outcomes:
        found = ", ".join(f"{number} {what}" for what, number in each.counts.items()) or "no tests"
        print(f"{each.tier}: {found} in {each.seconds:.0f} s{'' if each.ok else f' (exit code {each.code})'}")
    if not bar_met:
        print(f"coverage is below {COVERAGE_BAR} %, or was not measured")
    sums = {what: sum(each.counts.get(what, 0) for each in outcomes) for what in ("passed", "failed", "skipped")}
    ran = bool(sums["passed"] or sums["failed"])
    print(", ".join(f"{number} {what}" for what, number in sums.items()))
    return 0 if ran and bar_met and all(each.ok for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
