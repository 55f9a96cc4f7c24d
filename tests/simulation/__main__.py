"""Run seeds on all cores: python -m tests.simulation --seeds 10000 --from 0."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation.seeds import simulate

_TELL = 500  # seeds between two signs of life


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (all cores)")
    parser.add_argument("--without", action="append", default=[], help="take a rule out (tests/simulation/rules.py)")
    args = parser.parse_args()
    began, failed = time.monotonic(), 0
    faults: Counter[str] = Counter()
    seeds = range(args.first, args.first + args.seeds)
    run_one = partial(simulate, without=frozenset(args.without))
    with ProcessPoolExecutor(args.jobs) as pool:
        for done, (seed, run) in enumerate(zip(seeds, pool.map(run_one, seeds, chunksize=10), strict=True), 1):
            faults += run.faults
            if run.wrong:
                failed += 1
                say(f"SEED={seed}: " + "; ".join(run.wrong[:3]))
            if done % _TELL == 0:
                say(f"… {done} seeds, {failed} failed")
    took = time.monotonic() - began
    say(", ".join(f"{count} {name}" for name, count in sorted(faults.items())))
    say(f"{args.seeds} seeds from {args.first}: {failed} failed, {args.seeds / took * 60:.0f} a minute")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
