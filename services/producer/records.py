"""What the follower records, in PostgreSQL: headers, generations, its job's coverage, and how far all is trusted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from indexer.clock import wall as time_of_day
from indexer.jobs.ranges import Ranges, Stripe
from indexer.records import BlockRef, BlockWorkItem, Reason, Rollback
from indexer.storage import jobs
from indexer.storage.headers import expected
from indexer.storage.jobs import Connection
from indexer.topics import STRIPE, partition_of
from services.producer import follow_sql as sql
from services.producer.follower import Change, LeaseLost, State, Unsettled
from services.producer.head import Append, Raise, Recorded, Skip, Stop

log = logging.getLogger(__name__)

_LOOK_FOR_LOST_SECONDS = 5.0
Lagging = Callable[[], "set[int] | None"]  # partitions at which decoders or persisters lag; None: nobody knows


class PostgresRecords:
    """The tables of one chain, written by whoever holds the lease of the job that follows it."""

    def __init__(
        self,
        connection: Connection,
        *,
        chain_id: int,
        owner: str,
        group: str,
        topic: str,
        partitions: int,
        lagging: Lagging,
        lease_seconds: float = 10.0,
        republish_seconds: float = 600.0,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time_of_day,  # what a generation is made of
    ) -> None:
        """`connection` is in autocommit mode; `group` and `topic` are the persisters' and what they read."""
        self._connection, self._lagging, self._partitions = connection, lagging, partitions
        self._lease_seconds, self._republish_seconds = lease_seconds, republish_seconds
        self._now, self._wall = now, wall
        self._named: dict[str, Any] = {"chain_id": chain_id, "owner": owner, "group": group, "topic": topic}
        self._lease: dict[str, Any] | None = None  # job and epoch
        self._renew_at = self._lost_at = 0.0

    def reconnect(self, connection: Connection) -> None:
        self._connection = connection

    # reading

    def read(self) -> State | None:
        if self._lease is None and not self._take():
            return None
        if self._now() >= self._renew_at:
            self._renew()
        row = self._connection.execute(sql.STATE, self._all()).fetchone()
        if row is None:
            self._lease = None
            return None
        job, wish, confirmations, position, finalized_to, paused = row
        refs = self._connection.execute(sql.WINDOW, self._all()).fetchall()
        recorded = Recorded(
            next=int(position["next"]),
            finalized_to=-1 if finalized_to is None else int(finalized_to),
            refs=[BlockRef(int(number), bytes(hash_), bytes(parent)) for number, hash_, parent in refs],
        )
        return State(
            job=int(job),
            wish="running" if wish == "queued" else wish,
            recorded=recorded,
            confirmations=confirmations,
            paused=paused,
            rollback_to=position.get("rollback_to"),
        )

    def _take(self) -> bool:
        row = self._connection.execute(sql.TAKE, self._all() | {"seconds": self._lease_seconds}).fetchone()
        if row is None:
            return False
        self._lease = {"job": int(row[0]), "epoch": int(row[1])}
        self._renew_at = self._now() + self._lease_seconds / 4
        log.info("job %d: following chain %d", row[0], self._named["chain_id"])
        return True

    def _renew(self) -> None:
        self._renew_at = self._now() + self._lease_seconds / 4
        self._connection.execute(sql.RENEW, self._all() | {"seconds": self._lease_seconds})

    def release(self) -> None:
        """Give the lease back, so that the next one need not wait for its end."""
        if self._lease is not None:
            self._connection.execute(sql.RELEASE, self._all())
            self._lease = None

    # changes

    def record(self, state: State, change: Change, final: int) -> tuple[Rollback | None, list[BlockWorkItem]]:
        with self._connection.transaction():
            if isinstance(change, Append):
                return None, self._append(change, final)
            if isinstance(change, Raise):
                return self._raise(state, change)
            if isinstance(change, Skip):
                self._skip(change)
            else:
                self._stop(change)
        return None, []

    def _append(self, change: Append, final: int) -> list[BlockWorkItem]:
        # A crash of the database may take this back: then it is seen, recorded and told again.
        self._connection.execute("SET LOCAL synchronous_commit = off")
        first, past = change.refs[0].number, change.refs[-1].number + 1
        self._move({"next": past}, first, past)
        self._trust(min(final, past - 1), first - 1)
        return self._enter(change.refs, Reason.HEAD)

    def _raise(self, state: State, change: Raise) -> tuple[Rollback, list[BlockWorkItem]]:
        start = change.start
        past = start + len(change.refs)
        self._move({"next": past}, start, past)
        row = self._connection.execute(
            sql.RAISE, self._all() | {"from": start, "now_ms": int(self._wall() * 1000)}
        ).fetchone()
        assert row is not None
        generation = int(row[0])
        self._connection.execute(sql.FORGET_HEADERS, self._all() | {"from": start})
        if not change.refs:
            self._connection.execute(sql.KEEP_PARENT, self._all() | {"from": start})
        items = self._enter(change.refs, Reason.REORG)
        self._connection.execute(sql.PUBLISH_AGAIN, self._all() | {"stripe": start // STRIPE})
        return Rollback(self._named["chain_id"], start, generation), items

    def _skip(self, change: Skip) -> None:
        """Leave what is final and missing to a job of its own, and go on behind it: no gap, no overlap."""
        self._move({"next": change.past}, change.past, change.past)
        self._trust(change.past - 1, change.first - 1)
        blocks = Ranges.of([(change.first, change.past)])
        job = jobs.create_job(self._connection, jobs.NewJob(self._named["chain_id"], blocks))
        log.info("job %d: blocks %d to %d, which are final", job, change.first, change.past - 1)

    def _stop(self, change: Stop) -> None:
        why = (
            f"the node has another block {change.below}, which was final: the fork goes beyond the window. If the node"
            " is wrong, put it right and run `indexer follow --go-on`; if it is right, say up to which block both"
            " agree: `indexer follow --go-on --rollback-to N`"
        )
        self._held(self._connection.execute(sql.SAY, self._all() | {"message": why}).rowcount)
        self._connection.execute(sql.PAUSE, self._all() | {"message": why})

    def _move(self, position: dict[str, int], first: int, past: int) -> None:
        """Compare-and-set on the lease; the job's blocks end before `past`, those from `first` on among them."""
        named = {"position": Jsonb(position), "first": first, "past": past}
        self._held(self._connection.execute(sql.MOVE, self._all() | named).rowcount)

    def _held(self, rows: int) -> None:
        if rows == 0:
            self._lease = None
            raise LeaseLost("the lease of the job that follows the chain is another's")

    def _trust(self, final: int, below: int) -> None:
        self._connection.execute(sql.TRUST, self._all() | {"final": final, "below": below})

    def _enter(self, refs: Sequence[BlockRef], reason: Reason) -> list[BlockWorkItem]:
        """Enter headers and coverage; return the items that say both hash and generation as they are entered."""
        if not refs:
            return []
        rows = self._connection.execute(
            sql.ENTER_HEADERS,
            self._all()
            | {
                "numbers": [ref.number for ref in refs],
                "hashes": [ref.hash for ref in refs],
                "parents": [ref.parent_hash for ref in refs],
            },
        ).fetchall()
        blocks = Ranges.of([(refs[0].number, refs[-1].number + 1)])
        stripes = [blocks.stripe(index) for index in range(blocks.stripe_count)]
        named = {"stripes": [s.number for s in stripes], "masks": [jobs.signed(s.wanted) for s in stripes]}
        self._connection.execute(sql.WANT, self._all() | named)
        return [self._item(int(number), hash_, int(generation), reason) for number, hash_, generation in rows]

    def _item(self, number: int, hash_: bytes | None, generation: int, reason: Reason) -> BlockWorkItem:
        assert self._lease is not None
        expected_hash = None if hash_ is None else bytes(hash_)
        return BlockWorkItem(self._named["chain_id"], number, generation, expected_hash, self._lease["job"], reason)

    def published(self, items: Sequence[BlockWorkItem]) -> None:
        assert self._lease is not None
        stripes = sorted({item.number // STRIPE for item in items})
        jobs.mark_published(self._connection, self._lease["job"], stripes)

    # settling

    def settle(self, state: State, final: int | None) -> Unsettled:
        if final is not None:
            self._connection.execute(sql.FINAL, self._all() | {"final": final})
        self._connection.execute(sql.RAISE_CANONICAL, self._all())
        self._connection.execute(sql.PRUNE, self._all())
        if state.wish == "cancelling":
            self._connection.execute(sql.END, self._all() | {"seconds": self._republish_seconds})
        return Unsettled(self._rollbacks(), self._untold(state), self._mismatch(state))

    def _rollbacks(self) -> list[tuple[Rollback, list[int]]]:
        rows = self._connection.execute(sql.NOT_APPLIED, self._all() | {"last": self._partitions - 1}).fetchall()
        return [(Rollback(self._named["chain_id"], int(start), int(g)), list(lacking)) for start, g, lacking in rows]

    def _untold(self, state: State) -> list[BlockWorkItem]:
        """Return what was recorded and not published, and what was published and got lost (PROTOCOL 9, 11)."""
        untold = jobs.unpublished(self._connection, state.job)
        stripes = list(untold)
        if self._now() >= self._lost_at:
            self._lost_at = self._now() + min(_LOOK_FOR_LOST_SECONDS, self._republish_seconds)
            overdue = jobs.overdue(self._connection, state.job, self._republish_seconds)
            behind = self._lagging() if overdue else None
            if behind is not None:
                stripes += [s for s in overdue if partition_of(s.number * STRIPE, self._partitions) not in behind]
        heights = {number for stripe in stripes for number in stripe.heights() if number < state.recorded.next}
        heights |= self._doomed(untold)
        if not heights:
            return []
        known = expected(self._connection, self._named["chain_id"], heights)
        return [
            self._item(number, told.hash, told.generation, Reason.HEAD)
            for number, told in sorted(known.items())
            if told.hash is not None or number <= state.recorded.finalized_to
        ]

    def _doomed(self, untold: Sequence[Stripe]) -> set[int]:
        """Return the heights there that count as stored only until a rollback under way arrives.

        Its follower may have died before it told their new blocks; once the bits are gone it would be too late, since
        what is appended meanwhile marks the whole stripe as told.
        """
        if not untold:
            return set()
        named = self._all() | {"stripes": [stripe.number for stripe in untold]}
        return {int(row[0]) for row in self._connection.execute(sql.DOOMED, named)}

    def _mismatch(self, state: State) -> Raise | None:
        row = self._connection.execute(sql.MISMATCH, self._all()).fetchone()
        if row is None or row[0] is None:
            return None
        start = min(int(row[0]), state.recorded.next)  # a forgotten fork may lie above what a restored database knows
        rows = self._connection.execute(sql.HEADERS_FROM, self._all() | {"from": start}).fetchall()
        refs = [BlockRef(int(number), bytes(hash_), bytes(parent)) for number, hash_, parent in rows]
        return Raise(refs[0].number if refs else start, tuple(refs))

    def _all(self) -> dict[str, Any]:
        return self._named | (self._lease or {"job": None, "epoch": None})
