"""The persister's statements on the tables in memory: ownership, rows, coverage, rollbacks, letters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import psycopg

from indexer.inflight import TopicPartition
from indexer.records import TokenTransfers
from indexer.storage import headers
from indexer.topics import STRIPE
from services.persister import dlq_indexer, progress, sql
from tests.simulation.database import Row, Session, Statement

FULL = (1 << STRIPE) - 1
EVERY_JOB = -1

# progress.py: who owns a partition (PROTOCOL 2–4)


def _sources(p: Any) -> list[TopicPartition]:
    return [TopicPartition(t, n) for t, n in zip(p["topics"], p["partitions"], strict=True)]


def _end_recorded(s: Session, p: Any) -> list[Any]:
    s.seen = {at: row["pid"] for at in _sources(p) if (row := s.get("consumer_progress", (p["group"], at)))}
    if not s.db.rules("3 end"):
        return []
    ended = [pid for pid in set(s.seen.values()) if pid in s.db.sessions and pid != s.pid]
    for pid in ended:
        s.db.end(pid)
    return [(pid, "persister", True) for pid in ended]


def _take_over(s: Session, p: Any) -> list[Any]:
    rows = []
    for source, topic_id in zip(_sources(p), p["ids"], strict=True):
        key = (p["group"], source)
        holder = s.db.locks.get(("consumer_progress", key))
        if holder not in (None, s) and s.db.rules("3 end"):
            s.db.end(holder.pid)  # what end_blockers() finds with pg_blocking_pids()
        s.lock("consumer_progress", key)
        old = s.get("consumer_progress", key)
        if old is None:
            row: Row = {"epoch": p["now_ms"], "next": 0, "topic_id": topic_id, "applied": 0, "marker": None,
                        "taken": 0}  # fmt: skip
        else:
            by_clock = p["now_ms"] if s.db.rules("3 clock") else 0
            row = {**old, "epoch": max(old["epoch"] + 1, by_clock) if s.db.rules("3 epoch") else old["epoch"]}
        s.put("consumer_progress", key, {
            **row, "pid": s.pid, "taken": row["taken"] + 1, "seen": s.seen.get(source),
        })  # fmt: skip
        marker = row["marker"] or (None, 0, "", "", 0)
        rows.append((*source, row["epoch"], row["next"], row["topic_id"], *marker))
    return rows


def _of_epoch(s: Session, p: Any) -> Iterator[tuple[Any, Row]]:
    for source, epoch in zip(_sources(p), p["epochs"], strict=True):
        key = (p["group"], source)
        row = s.get("consumer_progress", key)
        if row is not None and row["epoch"] == epoch:
            yield key, row


def _record_backend(s: Session, p: Any) -> int:
    found = list(_of_epoch(s, p))
    for key, _ in found:
        s.change("consumer_progress", key, pid=s.pid)
    return len(found)


def _hand_over(s: Session, p: Any) -> int:
    found = list(_of_epoch(s, p))
    for key, _ in found:
        s.change("consumer_progress", key, pid=None)
    return len(found)


def _compare_and_set(s: Session, p: Any) -> int:
    moved = 0
    for at, source in enumerate(_sources(p)):
        key = (p["group"], source)
        s.lock("consumer_progress", key)
        row = s.get("consumer_progress", key)
        same = row is not None and row["epoch"] == p["epochs"][at] and row["next"] == p["starts"][at]
        if row is None or not (same or not s.db.rules("2 compare")):
            continue
        mark = p["markers"][at]
        told = None if mark is None else (mark, p["deaths"][at], p["causes"][at], p["by"][at], p["at"][at])
        s.put("consumer_progress", key, {**row, "next": p["ends"][at], "marker": told})
        moved += 1
    return moved


def _look(s: Session, p: Any) -> list[Any]:
    found = [(source, s.get("consumer_progress", (p["group"], source))) for source in _sources(p)]
    return [(*source, row["epoch"], row["next"]) for source, row in found if row is not None]


# sql.py: rows (PROTOCOL 1, 2, 7)


def _stored_at(s: Session, p: Any) -> list[Any]:
    found = [(number, s.get("blocks", number)) for number in p["numbers"]]
    return [(number, row["hash"], row["generation"], 1) for number, row in found if row is not None]


def _rollbacks(s: Session, p: Any) -> list[Any]:
    return [key for key, _ in s.items("rollbacks")]


def _raise_generation(s: Session, p: Any) -> int:
    for number, generation in zip(p["numbers"], p["generations"], strict=True):
        s.change("blocks", number, generation=generation)
    return len(p["numbers"])


def _delete_transfers(s: Session, p: Any) -> list[Any]:
    gone = []
    for number in p["numbers"]:
        s.lock("blocks", number)
        row = s.get("blocks", number)
        if row is None:
            continue
        t: TokenTransfers = row["transfers"]
        gone += zip(t.token_address, t.token_id, t.from_address, t.to_address, t.amount, strict=True)
        s.change("blocks", number, transfers=TokenTransfers())
    return gone


def _delete_blocks(s: Session, p: Any) -> int:
    for number in p["numbers"]:
        s.delete("blocks", number)
    return len(p["numbers"])


def insert_blocks(s: Session, blocks: Iterable[Row]) -> None:
    """What COPY does: a height that is there already is refused."""
    for row in blocks:
        s.lock("blocks", row["number"])
        if s.get("blocks", row["number"]) is not None:
            raise psycopg.errors.UniqueViolation(f"block {row['number']} is there already")
        s.put("blocks", row["number"], row)


def add_balances(s: Session, changes: dict[Any, int]) -> None:
    for key in sorted(changes):
        s.lock("balances", key)
        before = s.get("balances", key)
        s.put("balances", key, {"balance": (before["balance"] if before else 0) + changes[key]})


def _note_stored(s: Session, p: Any) -> int:
    for number, job, generation in zip(p["numbers"], p["jobs"], p["generations"], strict=True):
        s.put("block_processing", number, {"status": "stored", "job": job, "generation": generation})
    return len(p["numbers"])


def _resolve_letters(s: Session, p: Any) -> int:
    changed = 0
    for key, row in s.items("dead_letters"):
        here = row["number"] in p["numbers"]
        if here and (row["state"] == "replayed" or (row["state"] == "open" and row["number"] in p["written"])):
            s.change("dead_letters", key, state="resolved")
            changed += 1
    return changed


def _masks(p: Any) -> Iterator[tuple[int, int, int]]:
    for stripe, job, mask in zip(p["stripes"], p["jobs"], p["masks"], strict=True):
        yield stripe, job, mask & FULL


def _cover(s: Session, p: Any) -> int:
    for stripe, job, mask in _masks(p):
        for key, row in s.items("job_coverage"):
            if key[1] != stripe:
                continue
            repair = (s.get("processing_jobs", key[0]) or {}).get("reason") == "repair"
            wanted = job == key[0] if repair else job == EVERY_JOB
            if not s.db.rules("12 repair"):
                wanted = wanted or job == EVERY_JOB
            if not s.db.rules("2 coverage"):
                wanted = False
            if wanted:
                s.lock("job_coverage", key)
                row = s.get("job_coverage", key) or row
                s.put("job_coverage", key, {
                    **row, "stored": row["stored"] | (mask & row["wanted"]), "dead": row["dead"] & ~mask,
                })  # fmt: skip
    return 0


def _outbox(s: Session, p: Any) -> int:
    topic, partition, key, value, headers_ = p
    s.put("outbox", s.db.new_id("outbox"), {"topic": topic, "partition": partition, "key": key, "value": value,
                                    "headers": headers_.obj})  # fmt: skip
    return 1


def _know_rollback(s: Session, p: Any) -> int:
    key = (p["from"], p["generation"])
    if not s.db.rules("7 known") or s.get("rollbacks", key) is not None:
        return 0
    s.put("rollbacks", key, {})
    return 1


def _lower_canonical(s: Session, p: Any) -> int:
    state = s.get("chain_state", 0)
    if state is not None and state["canonical_to"] is not None:
        s.change("chain_state", 0, canonical_to=min(state["canonical_to"], p["from"] - 1))
    return 1


def _older_rows(s: Session, p: Any) -> list[Any]:
    if not s.db.rules("7 rows"):
        return []
    return sorted(
        (number,) for number, row in s.items("blocks") if number >= p["from"] and row["generation"] < p["generation"]
    )


def _forget_outcome(s: Session, p: Any) -> int:
    for number in p["numbers"]:
        s.delete("block_processing", number)
    return len(p["numbers"])


def _hold_jobs(s: Session, p: Any) -> int:
    """FOR KEY SHARE keeps out who ends the job, and nobody who renews its lease."""
    held = sorted({job for (job, stripe), _ in s.items("job_coverage") if stripe in p["stripes"]})
    for job in held:
        s.lock("job_ends", job)
    return len(held)


def _uncover(s: Session, p: Any) -> int:
    if not s.db.rules("7 bits"):
        return 0
    for stripe, raw in zip(p["stripes"], p["masks"], strict=True):
        mask = raw & FULL
        for key, row in s.items("job_coverage"):
            if key[1] != stripe or not row["wanted"] & mask:
                continue
            s.lock("job_coverage", key)
            row = s.get("job_coverage", key) or row
            changed = {"stored": row["stored"] & ~mask, "dead": row["dead"] & ~mask, "published_at": None}
            s.put("job_coverage", key, {**row, **changed})
            if (s.get("processing_jobs", key[0]) or {}).get("state") == "done":
                s.change("processing_jobs", key[0], state="queued")
    return 0


def _note_generation(s: Session, p: Any) -> int:
    key = (p["group"], TopicPartition(p["topic"], p["partition"]))
    row = s.get("consumer_progress", key)
    if row is not None:
        s.change("consumer_progress", key, applied=max(row["applied"], p["generation"]))
    return 1


# dlq_indexer.py


def _identity(p: Any) -> Any:
    return (p["origin_topic_id"], p["origin_partition"], p["origin_offset"], p["replay_count"])


def _known(s: Session, p: Any) -> list[Any]:
    return [(1,)] if s.get("dead_letters", _identity(p)) is not None else []


def _note_dead(s: Session, p: Any) -> int:
    s.lock("block_processing", p["number"])
    row = s.get("block_processing", p["number"])
    if row is not None and row["status"] == "stored":
        return 0
    s.put("block_processing", p["number"], {"status": "dead", "job": p["job_id"], "generation": p["generation"]})
    return 1


def _insert_letter(s: Session, p: Any) -> int:
    if s.get("dead_letters", _identity(p)) is not None:
        return 0
    kept = {name: p[name] for name in (*_LETTER, "state", "number", "job_id", "run_id", "replay_count", "code")}
    s.put("dead_letters", _identity(p), {**kept, "id": s.db.new_id("dead_letters"), "replayed_at": 0.0})
    return 1


_LETTER = ("chain_id", "origin_topic", "origin_partition", "origin_offset", "record_key", "record_value",
           "record_headers")  # fmt: skip


def _supersede(s: Session, p: Any) -> int:
    of_run = {row["letter"] for (run, _), row in s.items("replay_items") if run == p["run_id"]}
    for key, row in s.items("dead_letters"):
        older = row["state"] in ("open", "replayed", "quarantined") and row["replay_count"] < p["replay_count"]
        same = key[:3] == _identity(p)[:3] or (row["number"] == p["number"] and row["id"] in of_run)
        if older and same:
            s.change("dead_letters", key, state="superseded")
    return 0


def _die(s: Session, p: Any) -> int:
    for stripe, job, mask in _masks(p):
        for key, row in s.items("job_coverage"):
            if key[1] == stripe and job in (key[0], EVERY_JOB):
                s.lock("job_coverage", key)
                row = s.get("job_coverage", key) or row
                s.put("job_coverage", key, {**row, "dead": row["dead"] | (mask & row["wanted"] & ~row["stored"])})
    return 0


def _expected(s: Session, p: Any) -> list[Any]:
    state = s.get("chain_state", 0)
    found = []
    for number in p["numbers"]:
        header = s.get("headers", number)
        generation = header["generation"] if header else state["generation"] if state else 0
        found.append((number, header["hash"] if header else None, generation))
    return found


STATEMENTS: dict[str, Statement] = {
    progress._END_RECORDED: _end_recorded,
    progress._TAKE_OVER: _take_over,
    progress._RECORD_BACKEND: _record_backend,
    progress._HAND_OVER: _hand_over,
    progress._COMPARE_AND_SET: _compare_and_set,
    progress._LOOK: _look,
    sql.STORED_AT: _stored_at,
    sql.ROLLBACKS: _rollbacks,
    sql.RAISE_GENERATION: _raise_generation,
    sql.DELETE_TRANSFERS: _delete_transfers,
    **{statement: lambda s, p: 0 for statement in sql.DELETE_ROWS[1:]},
    sql.DELETE_ROWS[0]: _delete_blocks,
    sql.NOTE_STORED: _note_stored,
    sql.RESOLVE_LETTERS: _resolve_letters,
    sql.COVER: _cover,
    sql.OUTBOX: _outbox,
    sql.KNOW_ROLLBACK: _know_rollback,
    sql.LOWER_CANONICAL: _lower_canonical,
    sql.OLDER_ROWS: _older_rows,
    sql.FORGET_OUTCOME: _forget_outcome,
    sql.HOLD_JOBS: _hold_jobs,
    sql.UNCOVER: _uncover,
    sql.NOTE_GENERATION: _note_generation,
    dlq_indexer._KNOWN: _known,
    dlq_indexer._NOTE_DEAD: _note_dead,
    dlq_indexer._INSERT: _insert_letter,
    dlq_indexer._SUPERSEDE: _supersede,
    dlq_indexer._DIE: _die,
    headers._EXPECTED: _expected,
}
