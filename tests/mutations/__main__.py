"""Take rules out and see tests fail: python -m tests.mutations [--rule N] [--list] [--json]."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.mutations.runner import Outcome, Report, needs_stack, run_all
from tests.mutations.table import Mutation, load, problems


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def chosen(rules: Sequence[int], names: Sequence[str], *, without_stack: bool) -> list[Mutation]:
    found = [
        each for each in load().mutations if (not rules or each.rule in rules) and (not names or each.name in names)
    ]
    if not without_stack:
        return found
    here = [replace(each, tests=tuple(test for test in each.tests if not needs_stack([test]))) for each in found]
    return [each for each in here if each.tests]


def line(report: Report) -> str:
    failed = sum(outcome is Outcome.FAILED for outcome in report.outcomes.values())
    verdict = "held" if report.held else "NOT HELD"
    ran = f"{failed}/{len(report.outcomes)} tests fail {report.seconds:6.1f} s"
    return f"{report.mutation.name:<16} {verdict:<9} {ran}  {report.mutation.out}"


def as_json(report: Report) -> dict[str, Any]:
    each = report.mutation
    tests = [
        {"test": f"tests/{test}", "outcome": outcome.value, "said": report.said[test]}
        for test, outcome in report.outcomes.items()
    ]
    return {
        "name": each.name, "rule": each.rule, "out": each.out, "file": each.file, "bar": each.bar,
        "held": report.held, "seconds": round(report.seconds, 1), "tests": tests,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rule", type=int, action="append", default=[], help="only this rule (0: what is of none)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this mutation")
    parser.add_argument("--without-stack", action="store_true", help="only what needs no Kafka and no PostgreSQL")
    parser.add_argument("--list", action="store_true", help="say what there is, run nothing")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    args = parser.parse_args()
    if stale := list(problems(load())):
        say("\n".join(stale))
        return 2
    mutations = chosen(args.rule, args.only, without_stack=args.without_stack)
    if args.list:
        say("\n".join(f"{each.name:<16} {each.file}: {each.out}" for each in mutations))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the copies vanish, and Kafka and PostgreSQL end
    return _run(mutations, quiet=args.json)


def _run(mutations: Sequence[Mutation], *, quiet: bool) -> int:
    reports: list[Report] = []
    unsound: list[str] = []

    def checked(outcomes: Mapping[str, Outcome]) -> None:
        unsound.extend(test for test, outcome in outcomes.items() if outcome is not Outcome.PASSED)
        if not quiet:
            say(f"with nothing taken out {len(outcomes) - len(unsound)} of {len(outcomes)} tests pass")
            for test in unsound:
                say(f"{'':<16} {outcomes[test].value}: {test}")

    def told(report: Report) -> None:
        reports.append(report)
        if not quiet:
            say(line(report))
            for test, outcome in report.outcomes.items():
                if outcome is not Outcome.FAILED:
                    say(f"{'':<16} {outcome.value}: {test}")

    run_all(mutations, checked, told)
    held = sum(report.held for report in reports)
    if quiet:
        say(json.dumps({"mutations": [as_json(each) for each in reports], "unsound": unsound}, indent=2))
    else:
        say(f"{len(reports)} parts of rules taken out: {held} held, {len(reports) - held} not")
    return 0 if reports and held == len(reports) and not unsound else 1


if __name__ == "__main__":
    sys.exit(main())
