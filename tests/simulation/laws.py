"""What no transaction may do, looked at when it is committed: most of it heals later, and is seen here all the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from indexer.inflight import TopicPartition
from indexer.topics import DECODED, STRIPE, partition_of

Row = dict[str, Any]
Key = Any
Tables = Mapping[str, Mapping[Key, Row]]
Changes = Mapping[tuple[str, Key], Row | None]

GROUP, PARTITIONS = "persister", 2


@dataclass(slots=True)
class GivenOut:
    """What must never come twice, whatever was restored since."""

    epochs: set[tuple[Key, int]] = field(default_factory=set)
    generations: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction that is about to be committed."""

    tables: Tables
    changes: Changes
    pid: int  # of its back-end
    alive: Collection[int]  # back-ends
    given_out: GivenOut

    def of(self, table: str) -> Iterator[tuple[Key, Row | None, Row | None]]:
        """Yield (key, row before, row after) of what it changes."""
        for (name, key), row in self.changes.items():
            if name == table:
                yield key, self.tables[table].get(key), row

    def after(self, table: str) -> dict[Key, Row]:
        rows = dict(self.tables[table])
        for key, _, row in self.of(table):
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        return rows


def broken(commit: Commit) -> Iterator[str]:
    """Yield a line for every law that the transaction breaks."""
    yield from _ownership(commit)
    yield from _slots(commit)
    yield from _bits(commit)
    yield from _follower(commit)


def _ownership(commit: Commit) -> Iterator[str]:
    for key, old, row in commit.of("consumer_progress"):
        if row is None:
            continue
        if old is not None and row["next"] < old["next"]:
            yield f"{key} was moved back to {row['next']}: it had another owner by then"
        if row["applied"] > (old or {"applied": 0})["applied"] and not any(
            generation == row["applied"] for _, generation in commit.after("rollbacks")
        ):
            yield f"{key} applied rollback {row['applied']}, which nobody knows"
        if row["taken"] == (old or {"taken": 0})["taken"]:
            continue
        if (key, row["epoch"]) in commit.given_out.epochs:
            yield f"{key}: epoch {row['epoch']} was given out twice"
        commit.given_out.epochs.add((key, row["epoch"]))
        if old is not None and old["pid"] == row["seen"] != commit.pid and old["pid"] in commit.alive:
            yield f"{key} was taken over while its predecessor's back-end {old['pid']} lives"


def _slots(commit: Commit) -> Iterator[str]:
    changed = list(commit.of("blocks"))
    if not changed:
        return
    rollbacks, progress = commit.after("rollbacks"), commit.after("consumer_progress")
    for number, old, row in changed:
        if row is None:
            continue
        owner = (GROUP, TopicPartition(DECODED, partition_of(number, PARTITIONS)))
        applied = progress.get(owner, {"applied": 0})["applied"]
        if any(start <= number and row["generation"] < g <= applied for start, g in rollbacks):
            yield f"block {number} of generation {row['generation']} fills a slot that a rollback emptied"
        if old is None:
            continue
        repaired = row["reason"] == "repair" and row["generation"] == old["generation"]
        if row["hash"] != old["hash"] and row["generation"] <= old["generation"] and not repaired:
            yield f"block {number} was replaced by another that is no younger"


def _bits(commit: Commit) -> Iterator[str]:
    coverage = list(commit.of("job_coverage"))
    gone = [number for number, _, row in commit.of("blocks") if row is None]
    if coverage:
        yield from _set(commit, coverage)
    for (job, stripe), row in commit.after("job_coverage").items() if gone else ():
        for number in gone:
            if number // STRIPE == stripe and row["stored"] >> number % STRIPE & 1:
                yield f"job {job} still counts block {number}, which goes"


def _set(commit: Commit, coverage: list[tuple[Key, Row | None, Row | None]]) -> Iterator[str]:
    blocks = commit.after("blocks")
    for (job, stripe), old, row in coverage:
        new = 0 if row is None else row["stored"] & ~(old or {"stored": 0})["stored"]
        repair = bool(new) and commit.after("processing_jobs").get(job, {}).get("reason") == "repair"
        for number in _heights(stripe, new):
            if number not in blocks:
                yield f"job {job} counts block {number} as stored, and it is not"
            elif repair and ("blocks", number) not in commit.changes:
                yield f"repair {job} counts block {number}, which was not written again"


def _heights(stripe: int, mask: int) -> Iterator[int]:
    return (stripe * STRIPE + at for at in range(STRIPE) if mask >> at & 1)


def _follower(commit: Commit) -> Iterator[str]:
    for job, old, row in commit.of("processing_jobs"):
        moved = row is not None and old is not None and row["position"] != old["position"]
        if moved and row["reason"] == "head" and row["by"] != (row["owner"], row["epoch"]):
            yield f"job {job} was moved by {row['by']}, whose lease it is not"
    for _, old, row in commit.of("chain_state"):
        generation = 0 if row is None else row["generation"]
        if generation == (old or {"generation": 0})["generation"]:
            continue
        if generation in commit.given_out.generations:
            yield f"generation {generation} was given out twice"
        commit.given_out.generations.add(generation)
