"""What an audit found: by kind and by ranges of heights, so that a report stays small; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from indexer.errors import UserError
from indexer.jobs.ranges import Ranges

_EXAMPLES = 20  # of a kind, in words; all are counted
_MOST_RANGES = 100_000  # of a kind: beyond, a repair and another audit find the rest


class Kind(Enum):
    """What can be wrong, and what helps."""

    MISSING = "missing", "not stored, though a job that is done or counted it says so", True
    NOT_ASKED = "not asked for", "in the range that was named, not stored, and wanted by no job", True
    LETTERLESS = "dead without letter", "counted as dead, but there is no dead letter", True
    UNCOUNTED = "not counted", "stored, but a job that is done does not count it", False
    ROWS = "rows", "the stored rows do not come to the block's hash, roots or counts", True
    DERIVED = "derived rows", "transfers, events or marks are not what the stored logs come to", True
    ORPHANS = "rows without block", "rows of a height at which no block is stored", False
    PARENT = "parent link", "the block's parent is not the stored block before it", True
    NODE = "node", "the node has something else there", True
    SECOND_NODE = "second node", "the second node differs from the first: find out which of the two is right", False
    BALANCES = "balances", "not the sum of the transfers of stored blocks", False
    POSITION = "position in Kafka", "stored offsets and Kafka's logs do not fit", False

    def __init__(self, title: str, means: str, requeue: bool) -> None:
        self.title, self.means, self.requeue = title, means, requeue

    @property
    def repaired(self) -> bool:
        """Whether `indexer repair` makes it good; what is not to be fetched again it does itself."""
        return self.requeue or self in (Kind.ORPHANS, Kind.UNCOUNTED, Kind.BALANCES)


@dataclass(slots=True)
class Found:
    """All findings of one kind."""

    count: int = 0
    ranges: list[list[int]] = field(default_factory=list)  # [first, last], in the order of coming
    examples: list[str] = field(default_factory=list)

    def add(self, first: int, last: int) -> None:
        if self.ranges and self.ranges[-1][0] <= first <= self.ranges[-1][1] + 1:
            self.count += max(last - self.ranges[-1][1], 0)
            self.ranges[-1][1] = max(self.ranges[-1][1], last)
            return
        self.count += last - first + 1
        if len(self.ranges) < _MOST_RANGES:
            self.ranges.append([first, last])


@dataclass(slots=True)
class Findings:
    """What is wrong, and what is open with a reason."""

    wrong: dict[Kind, Found] = field(default_factory=dict)
    open: dict[tuple[int | None, str], Found] = field(default_factory=dict)  # (job, why)

    def at(self, kind: Kind, first: int, last: int, text: str = "") -> None:
        """Note heights; `text` says more about them."""
        found = self.wrong.setdefault(kind, Found())
        found.add(first, last)
        if text and len(found.examples) < _EXAMPLES:
            found.examples.append(text)

    def note(self, kind: Kind, text: str) -> None:
        """Note something that has no height."""
        found = self.wrong.setdefault(kind, Found())
        found.count += 1
        if len(found.examples) < _EXAMPLES:
            found.examples.append(text)

    def explain(self, job: int | None, why: str, first: int, last: int) -> None:
        self.open.setdefault((job, why), Found()).add(first, last)

    @property
    def count(self) -> int:
        return sum(found.count for found in self.wrong.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "findings": [
                {
                    "kind": kind.title,
                    "means": kind.means,
                    "count": found.count,
                    "repair": kind.repaired,
                    "ranges": found.ranges,
                    "examples": found.examples,
                }
                for kind, found in self.wrong.items()
            ],
            "open": [
                {"job": job, "why": why, "count": found.count, "ranges": found.ranges}
                for (job, why), found in self.open.items()
            ],
        }


def findings_of(report: Mapping[str, Any]) -> Findings:
    """Return the findings that a report was written from; raises UserError for what is no report."""
    by_title = {kind.title: kind for kind in Kind}
    try:
        wrong = {by_title[e["kind"]]: Found(e["count"], e["ranges"], e["examples"]) for e in report["findings"]}
        return Findings(wrong, {(e["job"], e["why"]): Found(e["count"], e["ranges"]) for e in report["open"]})
    except (KeyError, TypeError):
        raise _no_report() from None


def check_chain(report: Mapping[str, Any], chain_id: int) -> None:
    """Raise UserError for the report of another chain's audit; one of an older release does not say its chain."""
    told = report.get("chain_id", chain_id) if isinstance(report, Mapping) else chain_id
    if told != chain_id:
        text = f"the report is of chain {told!r:.20}, and CHAIN_ID says {chain_id}: its heights mean nothing there"
        raise UserError(text, code="REPORT_OF_OTHER_CHAIN")


def to_repair(report: Mapping[str, Any]) -> Ranges | None:
    """Return the heights that a report asks to fetch again, None without one; raises UserError for what is no report.

    Of a parent link both blocks are in doubt.
    """
    return heights_of(report, *(kind for kind in Kind if kind.requeue))


def heights_of(report: Mapping[str, Any], *kinds: Kind) -> Ranges | None:
    """Return the heights of a report's findings of these kinds, None without one; raises as `to_repair`."""
    by_title = {kind.title: kind for kind in Kind}
    pairs: list[tuple[int, int]] = []
    try:
        for each in report["findings"]:
            if (kind := by_title[each["kind"]]) in kinds:
                below = 1 if kind is Kind.PARENT else 0
                pairs += [(max(int(first) - below, 0), int(last) + 1) for first, last in each["ranges"]]
    except (KeyError, TypeError, ValueError):
        raise _no_report() from None
    return Ranges.of(pairs) if pairs else None


def _no_report() -> UserError:
    return UserError("not the report of `indexer audit --json`", code="BAD_REPORT")


def ranges_of(mask: int, start: int) -> Iterable[tuple[int, int]]:
    """Yield (first, last) of each run of bits in a mask whose bit 0 is height `start`."""
    at = start
    while mask:
        zeros = (mask & -mask).bit_length() - 1
        mask, at = mask >> zeros, at + zeros
        ones = (~mask & (mask + 1)).bit_length() - 1
        yield at, at + ones - 1
        mask, at = mask >> ones, at + ones
