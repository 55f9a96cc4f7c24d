"""What an endpoint was asked for, so that tests can prove what was fetched and how often."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Stats:
    """Counters since the start or the last reset."""

    requests: int = 0  # HTTP, those refused by a fault included
    bytes_sent: int = 0
    largest_batch: int = 0
    calls: Counter[str] = field(default_factory=Counter)  # per method
    served: defaultdict[str, dict[int, int]] = field(
        default_factory=lambda: defaultdict(dict)
    )  # per method and block: answers that were not null

    def reset(self) -> None:
        """Count from zero again."""
        self.requests = self.bytes_sent = self.largest_batch = 0
        self.calls.clear()
        self.served.clear()

    def serve(self, method: str, number: int) -> None:
        """Count an answer that told of block `number`."""
        per_block = self.served[method]
        per_block[number] = per_block.get(number, 0) + 1

    def as_json(self, hits: Counter[str], *, blocks: bool) -> dict[str, Any]:
        """The counters; with `blocks` how often each block was told."""
        report: dict[str, Any] = {
            "requests": self.requests,
            "bytes_sent": self.bytes_sent,
            "largest_batch": self.largest_batch,
            "calls": dict(self.calls),
            "blocks_served": {method: len(counts) for method, counts in self.served.items()},
            "most_often": {method: max(counts.values()) for method, counts in self.served.items()},
            "faults_hit": dict(hits),
        }
        if blocks:
            report["blocks"] = {
                method: {str(number): times for number, times in counts.items()}
                for method, counts in self.served.items()
            }
        return report
