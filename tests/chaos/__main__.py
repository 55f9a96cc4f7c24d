"""`make chaos SEED=1 MINUTES=3`: everything is killed, frozen, cut and poisoned; nothing may be lost or doubled."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from tests.chaos.storm import Report, Weather, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--brokers", type=int, default=3)
    parser.add_argument("--protocol", choices=("classic", "consumer"), default="classic")
    parser.add_argument("--quiet", type=float, default=400.0, help="seconds that all may take after the last fault")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--keep", type=Path, default=Path(".local/chaos"), help="where evidence of a failure goes")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    weather = Weather(
        chosen.seed, 60 * chosen.minutes, chosen.brokers, protocol=chosen.protocol, quiet_seconds=chosen.quiet
    )
    report = run(weather, chosen.keep)
    sys.stdout.write((json.dumps(asdict(report), indent=2) if chosen.json else in_words(report)) + "\n")
    return 1 if report.problems else 0


def in_words(report: Report) -> str:
    lines = [
        f"SEED={report.seed}: {sum(report.faults.values())} faults of {report.kinds} kinds in {report.seconds:.0f} s"
    ]
    lines += [f"  {count:3d}  {kind}" for kind, count in sorted(report.faults.items())]
    lines += [f"{name}: {value}" for name, value in report.figures.items()]
    lines += [f"started again: {report.restarts}", f"skipped: {report.skipped}"]
    lines += [f"PROBLEM: {problem}" for problem in report.problems] or ["nothing lost, nothing doubled"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
