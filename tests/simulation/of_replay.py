"""What indexer/storage/replays.py says of replay runs, on the tables in memory: the same functions (PROTOCOL 14–16)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from indexer.inflight import Record
from indexer.replay.breaker import Outcomes
from indexer.replay.items import Chosen, Fate, Fresh
from indexer.storage import headers
from indexer.storage.replays import Run
from tests.simulation.database import Row, Session


def freeze(s: Session, chain_id: int) -> Run | None:
    """Freeze the open letters about a block that no other run under way holds."""

    def choose(s: Session, p: Any) -> list[int]:
        taken = {
            row["letter"]
            for (run, _), row in s.items("replay_items")
            if row["outcome"] is None and (s.get("replay_runs", run) or {})["state"] == "running"
        }
        about = [row for _, row in s.items("dead_letters") if row["number"] is not None]
        letters = [row for row in about if row["state"] == "open" and row["id"] not in taken]
        if not letters:
            return []
        run = s.db.new_id("replay_runs")
        for position, row in enumerate(sorted(letters, key=lambda row: (row["number"], row["id"]))):
            s.put("replay_items", (run, position), {"letter": row["id"], "outcome": None})
        nonce = f"{s.db.number():x}"
        s.put("replay_runs", run, {"state": "running", "total": len(letters), "position": 0, "nonce": nonce})
        return [run]

    found = s.run(choose).fetchone()
    return None if found is None else find(s, chain_id, found)


def find(s: Session, chain_id: int, run: int) -> Run | None:
    row = s.get("replay_runs", run)
    if row is None:
        return None
    began = datetime(2026, 1, 1, tzinfo=UTC)
    return Run(
        run, chain_id, {}, "simulation", row["state"], row["total"], row["position"], 0, None, began, None, None,
        row["nonce"],
    )  # fmt: skip


def running(s: Session, chain_id: int) -> Run | None:
    """Return a run that somebody left."""
    left = [run for run, row in s.items("replay_runs") if row["state"] == "running"]
    return find(s, chain_id, left[0]) if left else None


def chosen(s: Session, run: int, first: int, end: int) -> list[Chosen]:
    letters = {row["id"]: row for _, row in s.items("dead_letters")}
    return [_chosen(at, letters[row["letter"]], row["outcome"]) for at, row in _items(s, run) if first <= at < end]


def fresh(s: Session, chain_id: int, numbers: Collection[int]) -> Mapping[int, Fresh]:
    heights = headers.expected(s, chain_id, numbers)  # type: ignore[arg-type]
    if not s.db.rules("15 fresh"):
        return {number: Fresh(b"\x01" * 32, 0, False) for number in heights}
    return {n: Fresh(each.hash, each.generation, s.get("blocks", n) is not None) for n, each in heights.items()}


def mark(s: Session, run: Run, fates: Sequence[Fate], position: int) -> None:
    with s.transaction():
        for fate in fates:
            item = s.get("replay_items", (run.id, fate.letter.position))
            if item is not None and item["outcome"] is None:
                s.change("replay_items", (run.id, fate.letter.position), outcome=fate.outcome)
        new = [fate for fate in fates if fate.letter.outcome is None]
        gone = {fate.letter.id: fate.repair for fate in new if fate.outcome in ("replayed", "stored")}
        for key, row in s.items("dead_letters"):
            if row["id"] in gone and row["state"] in ("open", "quarantined"):
                stored = not gone[row["id"]] and s.get("blocks", row["number"]) is not None
                s.change("dead_letters", key, state="resolved" if stored else "replayed", replayed_at=s.db.now())
        row = s.get("replay_runs", run.id)
        assert row is not None
        s.change("replay_runs", run.id, position=max(row["position"], position))


def end(s: Session, run: int, state: str, message: str) -> None:
    s.run(lambda s, p: s.change("replay_runs", run, state=state))


def outcomes(s: Session, run: int) -> Outcomes:
    letters = {row["id"]: row["state"] for _, row in s.items("dead_letters")}
    states = [letters[row["letter"]] for _, row in _items(s, run) if row["outcome"] == "replayed"]
    return Outcomes(len(states), states.count("resolved"), states.count("superseded"))


def passed_by(s: Session, run: int) -> dict[str, int]:
    passed = [row["outcome"] for _, row in _items(s, run) if row["outcome"] not in (None, "replayed")]
    return {outcome: passed.count(outcome) for outcome in set(passed)}


def reopen_overdue(s: Session, seconds: float) -> None:
    """What indexer/storage/dead_letters.py does: a replayed letter without an outcome is open again."""

    def reopen(s: Session, p: Any) -> None:
        for key, row in s.items("dead_letters"):
            if row["state"] == "replayed" and row["replayed_at"] < s.db.now() - seconds and s.db.rules("16 reopen"):
                s.change("dead_letters", key, state="open")

    s.run(reopen)


def _items(s: Session, run: int) -> list[tuple[int, Row]]:
    found = [(key[1], row) for key, row in s.items("replay_items") if key[0] == run]
    return sorted(found, key=lambda pair: pair[0])


def _chosen(position: int, row: Row, outcome: str | None) -> Chosen:
    stored = tuple((name, None if text is None else bytes.fromhex(text)) for name, text in row["record_headers"].obj)
    record = Record(
        row["origin_topic"], row["origin_partition"], row["origin_offset"], row["record_key"], row["record_value"],
        stored,
    )  # fmt: skip
    return Chosen(
        position, row["id"], row["state"], row["chain_id"], row["number"], row["replay_count"], record, outcome
    )
