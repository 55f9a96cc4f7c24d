"""The follower's statements on the tables in memory: lease, headers, generations, what is trusted (PROTOCOL 5–8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from indexer.inflight import TopicPartition
from indexer.topics import STRIPE
from services.producer import follow_sql as sql
from tests.simulation.database import Row, Session, Statement, first

FULL = (1 << STRIPE) - 1
LIVE = ("queued", "running", "paused", "cancelling")


def _held(s: Session, p: Any) -> Row | None:
    s.lock("processing_jobs", p["job"])
    row = s.get("processing_jobs", p["job"])
    ours = row is not None and row["owner"] == p["owner"] and row["epoch"] == p["epoch"]
    return row if ours or (row is not None and not s.db.rules("6 lease")) else None


def _take(s: Session, p: Any) -> list[Any]:
    for job, row in sorted(s.items("processing_jobs"), key=first):
        free = row["until"] is None or row["until"] < s.db.now()
        if row["reason"] == "head" and row["state"] in ("queued", "running", "cancelling") and free:
            state = "running" if row["state"] == "queued" else row["state"]
            s.change("processing_jobs", job, owner=p["owner"], epoch=row["epoch"] + 1, state=state,
                     until=s.db.now() + p["seconds"])  # fmt: skip
            return [(job, row["epoch"] + 1)]
    return []


def _renew(s: Session, p: Any) -> int:
    row = _held(s, p)
    if row is not None:
        state = "running" if row["state"] == "queued" else row["state"]
        s.change("processing_jobs", p["job"], until=s.db.now() + p["seconds"], state=state)
    return int(row is not None)


def _state(s: Session, p: Any) -> list[Any]:
    row = s.get("processing_jobs", p["job"])
    if row is None or (row["owner"], row["epoch"]) != (p["owner"], p["epoch"]) or row["state"] not in LIVE:
        return []
    chain = s.get("chain_state", 0)
    final, paused = (chain["finalized_to"], chain["paused"]) if chain else (None, None)
    return [(p["job"], row["state"], None, row["position"], final, paused)]


def _window(s: Session, p: Any) -> list[Any]:
    chain = s.get("chain_state", 0)
    final = -1 if chain is None or chain["finalized_to"] is None else chain["finalized_to"]
    return [(n, h["hash"], h["parent"]) for n, h in sorted(s.items("headers"), key=first) if n >= final]


def _headers_from(s: Session, p: Any) -> list[Any]:
    return [(n, h["hash"], h["parent"]) for n, h in sorted(s.items("headers"), key=first) if n >= p["from"]]


def _move(s: Session, p: Any) -> int:
    row = _held(s, p)
    if row is None:
        return 0
    position = p["position"].obj
    blocks = {n for n in row["blocks"] if n < p["past"]} | set(range(p["first"], p["past"]))
    s.change("processing_jobs", p["job"], position=position, blocks=blocks, by=(p["owner"], p["epoch"]))
    return 1


def _trust(s: Session, p: Any) -> int:
    s.lock("chain_state", 0)
    old = s.get("chain_state", 0)
    if old is None:
        s.put("chain_state", 0, {"generation": 0, "finalized_to": p["final"], "canonical_to": p["below"],
                                 "paused": None})  # fmt: skip
        return 1
    final = p["final"] if old["finalized_to"] is None else max(old["finalized_to"], p["final"])
    canonical = p["below"] if old["canonical_to"] is None else old["canonical_to"]
    s.put("chain_state", 0, {**old, "finalized_to": final, "canonical_to": canonical})
    return 1


def _raise(s: Session, p: Any) -> list[Any]:
    s.lock("chain_state", 0)
    old = s.get("chain_state", 0)
    below = p["from"] - 1
    known = max((generation for (_, generation), _ in s.items("rollbacks")), default=-1) + 1
    clock = p["now_ms"] if s.db.rules("6 clock") else 0
    before = old or {"generation": -1, "finalized_to": below, "canonical_to": below, "paused": None}
    generation = max(before["generation"] + 1, clock, known if s.db.rules("6 highest") else 0)
    s.put("chain_state", 0, {
        **before, "generation": generation, "finalized_to": min(before["finalized_to"], below),
        "canonical_to": min(before["canonical_to"], below),
    })  # fmt: skip
    if s.db.rules("6 pair"):
        s.put("rollbacks", (p["from"], generation), {})
    return [(generation,)]


def _forget_headers(s: Session, p: Any) -> int:
    gone = [n for n, _ in s.items("headers") if n >= p["from"]]
    for number in gone:
        s.delete("headers", number)
    return len(gone)


def _keep_parent(s: Session, p: Any) -> int:
    number = p["from"] - 1
    chain, block = s.get("chain_state", 0), s.get("blocks", number)
    if chain is None or block is None or s.get("headers", number) is not None:
        return 0
    s.put("headers", number, {"hash": block["hash"], "parent": block["parent"], "generation": chain["generation"]})
    return 1


def _enter_headers(s: Session, p: Any) -> list[Any]:
    chain = s.get("chain_state", 0)
    if chain is None:
        return []
    found = []
    for number, hash_, parent in sorted(zip(p["numbers"], p["hashes"], p["parents"], strict=True)):
        s.put("headers", number, {"hash": hash_, "parent": parent, "generation": chain["generation"]})
        found.append((number, hash_, chain["generation"]))
    return found


def want(s: Session, job: int, stripe: int, mask: int, stored: int = 0) -> Row:
    """Enter a stripe of a job, or more of it."""
    s.lock("job_coverage", (job, stripe))
    old = s.get("job_coverage", (job, stripe))
    before = old or {"wanted": 0, "stored": stored & mask, "dead": 0}
    row = {**before, "wanted": before["wanted"] | mask, "published_at": None}
    s.put("job_coverage", (job, stripe), row)
    return row


def _want(s: Session, p: Any) -> int:
    for stripe, mask in zip(p["stripes"], p["masks"], strict=True):
        want(s, p["job"], stripe, mask & FULL)
    return len(p["stripes"])


def _publish_again(s: Session, p: Any) -> int:
    for (job, stripe), row in s.items("job_coverage"):
        if stripe >= p["stripe"] and job != p["job"] and row["stored"] | row["dead"] != row["wanted"]:
            s.change("job_coverage", (job, stripe), published_at=None)
    return 0


def _say(s: Session, p: Any) -> int:
    return int(_held(s, p) is not None)


def _pause(s: Session, p: Any) -> int:
    s.change("chain_state", 0, paused=p["message"])
    return 1


def _final(s: Session, p: Any) -> int:
    row, chain = _held(s, p), s.get("chain_state", 0)
    if row is None or chain is None:
        return 0
    final = min(p["final"], row["position"]["next"] - 1)
    if chain["finalized_to"] < final:
        s.change("chain_state", 0, finalized_to=final)
    return 1


def _rolled_back(s: Session, number: int, generation: int) -> bool:
    return any(start <= number and raised > generation for (start, raised), _ in s.items("rollbacks"))


def _raise_canonical(s: Session, p: Any) -> int:
    chain = s.get("chain_state", 0)
    if chain is None:
        return 0
    at = chain["canonical_to"]
    while (row := s.get("blocks", at + 1)) is not None:
        header = s.get("headers", at + 1)
        same = at + 1 <= chain["finalized_to"] if header is None else header["hash"] == row["hash"]
        if s.db.rules("8 canonical") and (not same or _rolled_back(s, at + 1, row["generation"])):
            break
        at += 1
    if at > chain["canonical_to"]:
        s.change("chain_state", 0, canonical_to=at)
    return 1


def _prune(s: Session, p: Any) -> int:
    chain = s.get("chain_state", 0)
    if chain is None:
        return 0
    gone = [n for n, _ in s.items("headers") if n < min(chain["finalized_to"], chain["canonical_to"])]
    for number in gone:
        s.delete("headers", number)
    return len(gone)


def _not_applied(s: Session, p: Any) -> list[Any]:
    if not s.db.rules("7 again"):
        return []
    found = []
    for start, generation in sorted((key for key, _ in s.items("rollbacks")), key=lambda key: key[1]):
        lacking = [
            n
            for n in range(p["last"] + 1)
            if generation
            > (s.get("consumer_progress", (p["group"], TopicPartition(p["topic"], n))) or {"applied": 0})["applied"]
        ]
        if lacking:
            found.append((start, generation, lacking))
    return found


def _doomed(s: Session, p: Any) -> list[Any]:
    rows = ((number, s.get("blocks", number)) for number, _ in s.items("headers") if number // STRIPE in p["stripes"])
    return [(number,) for number, row in rows if row is not None and _rolled_back(s, number, row["generation"])]


def _of_another_branch(s: Session) -> Iterator[int]:
    for number, header in s.items("headers"):
        row = s.get("blocks", number)
        if row is not None and row["hash"] != header["hash"] and not _rolled_back(s, number, row["generation"]):
            yield number


def _wrong(s: Session) -> Iterator[int]:
    yield from _of_another_branch(s)
    for number, header in s.items("headers"):
        if _rolled_back(s, number, header["generation"]):
            yield number
    chain = s.get("chain_state", 0)
    if chain is not None:
        yield from (start for (start, generation), _ in s.items("rollbacks") if generation > chain["generation"])


def _mismatch(s: Session, p: Any) -> list[Any]:
    if not s.db.restored:
        rows = {number: s.get("blocks", number) or {} for number in _of_another_branch(s)}
        wrong = (number for number, row in rows.items() if row["hash"] != s.db.final(number))
        s.db.notes += (f"block {number} is of another branch than its header, and not final" for number in wrong)
    return [(min(_wrong(s), default=None) if s.db.rules("8 mismatch") else None,)]


def _end(s: Session, p: Any) -> int:
    row = _held(s, p)
    if row is None or row["state"] != "cancelling":
        return 0
    for (job, stripe), cover in s.items("job_coverage"):
        missing = cover["wanted"] & ~(cover["stored"] | cover["dead"])
        late = (s.db.now() if cover["published_at"] is None else cover["published_at"]) <= s.db.now() - p["seconds"]
        known = any(n // STRIPE == stripe and missing >> n % STRIPE & 1 for n, _ in s.items("headers"))
        if job == p["job"] and known and not late:
            return 0
    s.change("processing_jobs", p["job"], state="cancelled", owner=None, until=None)
    return 1


STATEMENTS: dict[str, Statement] = {
    sql.TAKE: _take,
    sql.RENEW: _renew,
    sql.STATE: _state,
    sql.WINDOW: _window,
    sql.HEADERS_FROM: _headers_from,
    sql.MOVE: _move,
    sql.TRUST: _trust,
    sql.RAISE: _raise,
    sql.FORGET_HEADERS: _forget_headers,
    sql.KEEP_PARENT: _keep_parent,
    sql.ENTER_HEADERS: _enter_headers,
    sql.WANT: _want,
    sql.PUBLISH_AGAIN: _publish_again,
    sql.SAY: _say,
    sql.PAUSE: _pause,
    sql.FINAL: _final,
    sql.RAISE_CANONICAL: _raise_canonical,
    sql.PRUNE: _prune,
    sql.NOT_APPLIED: _not_applied,
    sql.DOOMED: _doomed,
    sql.MISMATCH: _mismatch,
    sql.END: _end,
    "SET LOCAL synchronous_commit = off": lambda s, p: 0,
}
