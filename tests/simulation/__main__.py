"""Run seeds: python -m tests.simulation --seeds 10000 --from 0."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.seeds import simulate

_TELL = 500  # seeds between two signs of life


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--without", action="append", default=[], help="take a rule out (tests/simulation/rules.py)")
    args = parser.parse_args()
    began, failed = time.monotonic(), 0
    faults: Counter[str] = Counter()
    for seed in range(args.first, args.first + args.seeds):
        run = simulate(seed, without=frozenset(args.without))
        faults += run.faults
        if run.wrong:
            failed += 1
            say(f"SEED={seed}: " + "; ".join(run.wrong[:3]))
        if (seed + 1 - args.first) % _TELL == 0:
            say(f"… {seed + 1 - args.first} seeds, {failed} failed")
    took = time.monotonic() - began
    say(", ".join(f"{count} {name}" for name, count in sorted(faults.items())))
    say(f"{args.seeds} seeds from {args.first}: {failed} failed, {args.seeds / took * 60:.0f} a minute")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
