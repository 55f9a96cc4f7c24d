"""Judges items one by one, each from a seed of its own."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

SLOW_SECONDS = 5.0  # in one item: a hang, or something that grows faster than its input


@dataclass(slots=True)
class Report:
    """What came of a run."""

    fates: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    items: int = 0
    seconds: float = 0.0
    slowest: float = 0.0

    def __str__(self) -> str:
        fates = ", ".join(f"{count:,} {fate}" for fate, count in self.fates.most_common(12))
        rate = self.items / self.seconds if self.seconds else 0
        return f"{self.items:,} items, {rate:,.0f} a second, slowest {self.slowest * 1000:.0f} ms: {fates}"


def run(name: str, judge: Callable[[random.Random], str], items: int, first: int = 0) -> Report:
    """Judge items with the seeds `first` …; a judge returns a fate, or raises what nobody expects."""
    report = Report(items=items)
    began = time.monotonic()
    for seed in range(first, first + items):
        started = time.process_time()
        try:
            report.fates[judge(random.Random(seed))] += 1
        except Exception as error:
            report.wrong.append(f"{name} SEED={seed}: {type(error).__name__}: {error}"[:600])
        took = time.process_time() - started
        report.slowest = max(report.slowest, took)
        if took > SLOW_SECONDS:
            report.wrong.append(f"{name} SEED={seed}: took {took:.1f} s")
    report.seconds = time.monotonic() - began
    return report
