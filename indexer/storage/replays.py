"""Replay runs: the frozen selection, how far it came, and what became of its letters.

The position in Kafka is the truth (PROTOCOL 14); what stands here is derived from it, after each transaction and when
a run is taken up again.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from indexer.inflight import Record
from indexer.replay.breaker import Outcomes
from indexer.replay.items import ELSEWHERE, Chosen, Fate, Fresh
from indexer.replay.selection import Selection
from indexer.storage.dead_letters import SELECTED, Row, note_action
from indexer.storage.headers import expected
from indexer.storage.jobs import Connection

_LIVE = "running"
_LOCK = 0x1D8E_0007  # first key of pg_advisory_xact_lock: one takes letters at a time; the second is the chain's hash


@dataclass(frozen=True, slots=True)
class Run:
    """A row of `replay_runs`."""

    id: int
    chain_id: int
    selection: dict[str, Any]
    actor: str
    state: str  # running | stopped | done
    total: int
    position: int
    canary: int
    rate: float | None
    created_at: datetime
    finished_at: datetime | None
    message: str | None
    nonce: str | None

    @property
    def name(self) -> str:
        """Return its transactional id and group: its own for ever, whatever ids a restored database gives out."""
        return f"dlq-replay-{self.id}" if self.nonce is None else f"dlq-replay-{self.id}-{self.nonce}"


def freeze(
    connection: Connection,
    chain_id: int,
    selection: Selection,
    *,
    actor: str,
    canary: int = 0,
    rate: float | None = None,
    most: int | None = None,
) -> Run | None:
    """Freeze the selected letters, lowest block first, as a new run; None when there are none.

    What a run under way has chosen and not come to is left to it. One transaction, the audit's row included.
    """
    with connection.transaction():
        _take_turns(connection, chain_id)
        run = connection.execute(
            "INSERT INTO replay_runs (chain_id, selection, actor, total, canary, rate, nonce)"
            " VALUES (%s, %s, %s, 0, %s, %s, %s) RETURNING id",
            (chain_id, Jsonb(selection.in_words()), actor, canary, rate, secrets.token_hex(8)),
        ).fetchone()
        assert run is not None
        parameters = {**selection.parameters(), "chain": chain_id, "run": run[0], "most": most}
        total = connection.execute(_FREEZE, parameters).rowcount
        if total == 0:
            connection.execute("DELETE FROM replay_runs WHERE id = %s", (run[0],))
            return None
        connection.execute("UPDATE replay_runs SET total = %s WHERE id = %s", (total, run[0]))
        note_action(connection, chain_id, selection, total, {"actor": actor, "action": "replay"}, run[0])
    return find(connection, chain_id, int(run[0]))


def find(connection: Connection, chain_id: int, run: int) -> Run | None:
    with connection.cursor(row_factory=class_row(Run)) as cursor:
        cursor.execute(_FIND, (run, chain_id))
        return cursor.fetchone()


def newest(connection: Connection, chain_id: int, most: int, *, actor: str | None = None) -> list[Run]:
    """Return the newest runs, newest first; with `actor` only those under way that it began."""
    with connection.cursor(row_factory=class_row(Run)) as cursor:
        cursor.execute(_NEWEST, {"chain": chain_id, "most": most, "actor": actor, "live": _LIVE})
        return cursor.fetchall()


def chosen(connection: Connection, run: int, first: int, end: int) -> list[Chosen]:
    """Return the letters at positions `first` to `end`, exclusive, as they are now."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_CHOSEN, {"run": run, "first": first, "end": end}).fetchall()
    return [_chosen(row) for row in rows]


def fresh(connection: Connection, chain_id: int, numbers: Collection[int]) -> Mapping[int, Fresh]:
    """Return what is known now of these heights."""
    heights = expected(connection, chain_id, numbers)
    rows = connection.execute(
        "SELECT number FROM blocks WHERE chain_id = %s AND number = ANY(%s)", (chain_id, list(heights))
    ).fetchall()
    stored = {int(row[0]) for row in rows}
    return {number: Fresh(each.hash, each.generation, number in stored) for number, each in heights.items()}


def mark(connection: Connection, run: Run, fates: Sequence[Fate], position: int) -> None:
    """Note what became of letters, and how far the run is; one transaction, harmless when repeated.

    A letter whose block was stored meanwhile is resolved; one that died again already keeps what the DLQ indexer
    said of it.
    """
    with connection.transaction():
        connection.execute(
            _MARK_ITEMS,
            {
                "run": run.id,
                "positions": [fate.letter.position for fate in fates],
                "outcomes": [fate.outcome for fate in fates],
            },
        )
        new = [fate for fate in fates if fate.letter.outcome is None]
        gone = [fate for fate in new if fate.outcome in ("replayed", "stored")]
        connection.execute(
            _MARK_LETTERS,
            {
                "chain": run.chain_id,
                "ids": [fate.letter.id for fate in gone],
                "repairs": [fate.repair for fate in gone],
            },
        )
        connection.execute("UPDATE replay_runs SET position = greatest(position, %s) WHERE id = %s", (position, run.id))


def go_on(connection: Connection, run: Run) -> None:
    """Say that a run is under way again; one transaction.

    One that was stopped held nothing: what others under way have chosen meanwhile and not come to is left to them.
    """
    with connection.transaction():
        _take_turns(connection, run.chain_id)
        connection.execute(_LEAVE, {"run": run.id, "outcome": ELSEWHERE})
        end(connection, run.id, _LIVE, "")


def end(connection: Connection, run: int, state: str, message: str) -> None:
    """Say that a run ended (done, stopped), or goes on (running)."""
    connection.execute(
        "UPDATE replay_runs SET state = %(state)s, message = %(message)s,"
        " finished_at = CASE WHEN %(state)s = 'running' THEN NULL ELSE clock_timestamp() END WHERE id = %(run)s",
        {"run": run, "state": state, "message": message},
    )


def outcomes(connection: Connection, run: int) -> Outcomes:
    """Return what became of the letters that a run replayed so far."""
    row = connection.execute(_OUTCOMES, (run,)).fetchone()
    assert row is not None
    return Outcomes(*map(int, row))


def passed_by(connection: Connection, run: int) -> dict[str, int]:
    """Return why how many letters of a run were not replayed."""
    rows = connection.execute(
        "SELECT outcome, count(*) FROM replay_items WHERE run_id = %s AND outcome <> 'replayed' GROUP BY outcome",
        (run,),
    ).fetchall()
    return {str(outcome): int(count) for outcome, count in rows}


def held_by_others(connection: Connection, chain_id: int, selection: Selection) -> dict[int, int]:
    """Return run → how many selected letters wait for it."""
    rows = connection.execute(_HELD, {**selection.parameters(), "chain": chain_id}).fetchall()
    return {int(run): int(count) for run, count in rows}


def _take_turns(connection: Connection, chain_id: int) -> None:
    """Wait until nobody else is taking letters: what he took is seen by the next statement."""
    connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, str(chain_id)))


def _chosen(row: Row) -> Chosen:
    headers = tuple((name, None if text is None else bytes.fromhex(text)) for name, text in row["record_headers"])
    record = Record(
        row["origin_topic"],
        row["origin_partition"],
        row["origin_offset"],
        row["record_key"],
        row["record_value"],
        headers,
    )
    return Chosen(
        row["position"],
        row["id"],
        row["state"],
        row["chain_id"],
        row["block_number"],
        row["replay_count"],
        record,
        row["outcome"],
    )


_COLUMNS = ", ".join(each.name for each in fields(Run))  # newer tables may have more

_FIND = f"SELECT {_COLUMNS} FROM replay_runs WHERE id = %s AND chain_id = %s"  # noqa: S608  # constants only

_WAITING = f"""
    SELECT 1 FROM replay_items i JOIN replay_runs r ON r.id = i.run_id
    WHERE i.letter_id = l.id AND i.outcome IS NULL AND r.state = '{_LIVE}'
"""  # noqa: S608  # constants only

_FREEZE = f"""
    INSERT INTO replay_items (run_id, position, letter_id)
    SELECT %(run)s, row_number() OVER (ORDER BY block_number NULLS LAST, id) - 1, id FROM (
        SELECT l.id, l.block_number FROM dead_letters l
        WHERE {SELECTED} AND l.state = %(state)s AND NOT EXISTS ({_WAITING})
        ORDER BY l.block_number NULLS LAST, l.id LIMIT %(most)s
    ) AS chosen
"""  # noqa: S608

_LEAVE = f"""
    UPDATE replay_items mine SET outcome = %(outcome)s
    WHERE mine.run_id = %(run)s AND mine.outcome IS NULL
      AND (SELECT state FROM replay_runs WHERE id = %(run)s) <> '{_LIVE}' AND EXISTS (
        SELECT 1 FROM replay_items i JOIN replay_runs r ON r.id = i.run_id
        WHERE i.letter_id = mine.letter_id AND i.outcome IS NULL AND r.state = '{_LIVE}')
"""  # noqa: S608

_HELD = f"""
    SELECT r.id, count(*) FROM dead_letters l JOIN replay_items i ON i.letter_id = l.id
    JOIN replay_runs r ON r.id = i.run_id
    WHERE {SELECTED} AND l.state = %(state)s AND i.outcome IS NULL AND r.state = '{_LIVE}' GROUP BY r.id
"""  # noqa: S608

_NEWEST = f"""
    SELECT {_COLUMNS} FROM replay_runs WHERE chain_id = %(chain)s
      AND (%(actor)s::text IS NULL OR actor = %(actor)s AND state = %(live)s)
    ORDER BY id DESC LIMIT %(most)s
"""  # noqa: S608

_CHOSEN = """
    SELECT i.position, i.outcome, l.* FROM replay_items i JOIN dead_letters l ON l.id = i.letter_id
    WHERE i.run_id = %(run)s AND i.position >= %(first)s AND i.position < %(end)s ORDER BY i.position
"""

_MARK_ITEMS = """
    UPDATE replay_items i SET outcome = x.outcome
    FROM unnest(%(positions)s::int[], %(outcomes)s::text[]) AS x (position, outcome)
    WHERE i.run_id = %(run)s AND i.position = x.position AND i.outcome IS NULL
"""

_MARK_LETTERS = """
    UPDATE dead_letters l SET replayed_at = clock_timestamp(), state = CASE
        WHEN NOT x.repair AND EXISTS (
            SELECT 1 FROM blocks b WHERE b.chain_id = %(chain)s AND b.number = l.block_number) THEN 'resolved'
        ELSE 'replayed' END
    FROM unnest(%(ids)s::bigint[], %(repairs)s::boolean[]) AS x (id, repair)
    WHERE l.id = x.id AND l.state IN ('open', 'quarantined')
"""

_OUTCOMES = """
    SELECT count(*), count(*) FILTER (WHERE l.state = 'resolved'), count(*) FILTER (WHERE l.state = 'superseded')
    FROM replay_items i JOIN dead_letters l ON l.id = i.letter_id WHERE i.run_id = %s AND i.outcome = 'replayed'
"""
