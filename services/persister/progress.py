"""Who owns a partition and how far it came: the rows of `consumer_progress` (PROTOCOL 2–4)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum

import psycopg

from indexer.caution import Marker
from indexer.errors import FatalError
from indexer.inflight import TopicPartition
from indexer.pipeline import Offsets
from indexer.storage.engine import Connection

log = logging.getLogger(__name__)

_LOOK_FOR_BLOCKERS_SECONDS = 0.3


@dataclass(slots=True)
class Owned:
    """What we remember of a partition of ours."""

    epoch: int
    next_offset: int


class Found(Enum):
    """What a look at the table says about a write whose fate is unknown."""

    WRITTEN = "every partition is at our end"
    UNTOUCHED = "every partition is at our start"
    FOREIGN = "another epoch, or an offset that is neither: it is not ours any more"


class Progress:
    """The rows of one consumer group that this process owns."""

    def __init__(
        self,
        group: str,
        topic_ids: Callable[[Collection[str]], Mapping[str, str]],
        found: Callable[[TopicPartition, Marker | None], None] = lambda source, marker: None,
        marker: Callable[[TopicPartition, int], Marker | None] = lambda source, offset: None,
    ) -> None:
        """`found` is told the markers of records that were under way alone, `marker` gives those to be stored."""
        self.group = group
        self._topic_ids, self._tell_found, self.marker = topic_ids, found, marker
        self.owned: dict[TopicPartition, Owned] = {}

    def take_over(
        self, connection: Connection, sources: Collection[TopicPartition], now_ms: int, clear: Callable[[int], None]
    ) -> dict[TopicPartition, int]:
        """Make the partitions ours and return where to start; commits.

        First the recorded back-end of a predecessor is ended, if it lives: a frozen process keeps its locks through
        every time-out. `clear(pid)` is called again and again while we wait: it ends what still blocks back-end `pid`.
        Raises FatalError TOPIC_RECREATED, with nothing changed.
        """
        chosen = sorted(sources)
        ids = self._topic_ids({source.topic for source in chosen})
        parameters = self._keys(chosen) | {
            "ids": [ids.get(source.topic, "") for source in chosen],
            "now_ms": now_ms,
        }
        for pid, name, _ in connection.execute(_END_RECORDED, parameters).fetchall():
            log.warning("ended the back-end %d of a predecessor (%s)", pid, name)
        connection.commit()
        with _Clearing(connection.info.backend_pid, clear):
            rows = connection.execute(_TAKE_OVER, parameters).fetchall()
        found = {TopicPartition(topic, partition): row for topic, partition, *row in rows}
        for source in chosen:
            _refuse_recreated(source, str(found[source][2]), ids.get(source.topic, ""))
        connection.commit()
        self.owned |= {source: Owned(int(row[0]), int(row[1])) for source, row in found.items()}
        for source, row in found.items():
            self._tell_found(source, None if row[3] is None else Marker(*row[3:]))
        return {source: self.owned[source].next_offset for source in chosen}

    def record_backend(self, connection: Connection) -> None:
        """Record our back-end for everything that is still ours, after a reconnect; commits."""
        if self.owned:
            chosen = sorted(self.owned)
            epochs = [self.owned[source].epoch for source in chosen]
            connection.execute(_RECORD_BACKEND, self._keys(chosen) | {"epochs": epochs})
        connection.commit()

    def hand_over(self, connection: Connection, sources: Collection[TopicPartition]) -> None:
        """Clear our back-end where it is recorded for partitions that we give up in order; commits."""
        chosen = sorted(source for source in sources if source in self.owned)
        if chosen:
            epochs = [self.owned[source].epoch for source in chosen]
            connection.execute(_HAND_OVER, self._keys(chosen) | {"epochs": epochs})
            connection.commit()
        self.forget(sources)

    def forget(self, sources: Collection[TopicPartition]) -> None:
        for source in sources:
            self.owned.pop(source, None)

    def owned_from(self, source: TopicPartition) -> int:
        """Return the offset that we remember; -1 for what is not ours."""
        mine = self.owned.get(source)
        return -1 if mine is None else mine.next_offset

    def offsets(self) -> dict[TopicPartition, int]:
        """Return the offsets that we remember of all that is ours."""
        return {source: mine.next_offset for source, mine in self.owned.items()}

    def compare_and_set(self, connection: Connection, ends: Offsets) -> bool:
        """Move all partitions to their ends; False when one was not where we remember it, or not ours."""
        chosen = sorted(ends)
        if any(source not in self.owned for source in chosen):
            return False
        moved = connection.execute(
            _COMPARE_AND_SET,
            self._keys(chosen)
            | {
                "epochs": [self.owned[source].epoch for source in chosen],
                "starts": [self.owned[source].next_offset for source in chosen],
                "ends": [ends[source] for source in chosen],
            }
            | _columns([self.marker(source, ends[source]) for source in chosen]),
        ).rowcount
        return moved == len(chosen)

    def look(self, connection: Connection, ends: Offsets) -> Found:
        """Compare the table with what we remember and with where we wanted to go."""
        chosen = sorted(ends)
        rows = connection.execute(_LOOK, self._keys(chosen)).fetchall()
        connection.rollback()
        found = {TopicPartition(topic, partition): (epoch, at) for topic, partition, epoch, at in rows}
        ours = [self.owned.get(source) for source in chosen]
        if any(mine is None or found.get(s, (None,))[0] != mine.epoch for s, mine in zip(chosen, ours, strict=True)):
            return Found.FOREIGN
        if all(mine and found[s][1] == mine.next_offset for s, mine in zip(chosen, ours, strict=True)):
            return Found.UNTOUCHED  # also where the end is the start: doing it again is safe, leaving it is not
        if all(found[source][1] == ends[source] for source in chosen):
            return Found.WRITTEN
        return Found.FOREIGN

    def moved(self, ends: Offsets) -> None:
        """Remember the ends of a write that was committed."""
        for source, end in ends.items():
            self.owned[source].next_offset = end

    def _keys(self, chosen: list[TopicPartition]) -> dict[str, object]:
        return {
            "group": self.group,
            "topics": [source.topic for source in chosen],
            "partitions": [source.partition for source in chosen],
        }


def end_blockers(connection: Connection, pid: int, application_prefix: str) -> None:
    """End what blocks back-end `pid`, if it is one of our own service's (PROTOCOL 3)."""
    rows = connection.execute(_END_BLOCKERS, {"pid": pid, "prefix": application_prefix}).fetchall()
    for blocker, name, _ in rows:
        log.warning("ended the back-end %d (%s), which held locks of a partition that is ours now", blocker, name)


def _columns(markers: list[Marker | None]) -> dict[str, object]:
    return {
        "markers": [None if m is None else m.offset for m in markers],
        "deaths": [0 if m is None else m.deaths for m in markers],
        "causes": [None if m is None else m.cause for m in markers],
        "by": [None if m is None else m.by for m in markers],
        "at": [None if m is None else m.at_ms for m in markers],
    }


def _refuse_recreated(source: TopicPartition, recorded: str, present: str) -> None:
    if present and recorded != present:
        raise FatalError(
            f"topic {source.topic} was deleted and made again: the stored offsets belong to the old one. To begin at"
            f" its first record, run `indexer db forget-offsets {source.topic}`; what the old topic still held is"
            " published again by the jobs' coverage",
            code="TOPIC_RECREATED",
        )


class _Clearing:
    """Calls `clear` from time to time on a thread of its own, while the caller may be waiting for a lock."""

    def __init__(self, pid: int, clear: Callable[[int], None]) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(pid, clear), name="clear-the-way", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self, pid: int, clear: Callable[[int], None]) -> None:
        while not self._done.wait(_LOOK_FOR_BLOCKERS_SECONDS):
            try:
                clear(pid)
            except (psycopg.Error, Exception) as error:
                log.warning("looking for what blocks us: %s", type(error).__name__)


_CHOSEN = "unnest(%(topics)s::text[], %(partitions)s::int[]) AS x (topic, partition)"
_CHOSEN_EPOCH = "unnest(%(topics)s::text[], %(partitions)s::int[], %(epochs)s::bigint[]) AS x (topic, partition, epoch)"
_SAME = "p.consumer_group = %(group)s AND p.topic = x.topic AND p.partition = x.partition"
_MY_START = "(SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())"

# Who is to be ended is chosen first and for good (MATERIALIZED, and the end in the select list): in a WHERE clause the
# planner may ask pg_terminate_backend before any other condition, and so end everybody's connections.
_END_RECORDED = f"""
    WITH chosen AS MATERIALIZED (
        SELECT DISTINCT a.pid, a.application_name
        FROM {_CHOSEN} JOIN consumer_progress p ON {_SAME}
        JOIN pg_stat_activity a ON a.pid = p.backend_pid AND a.backend_start = p.backend_start
        WHERE a.pid <> pg_backend_pid()
    )
    SELECT pid, application_name, pg_terminate_backend(pid) FROM chosen
"""  # noqa: S608  # constants only

_TAKE_OVER = f"""
    INSERT INTO consumer_progress AS p
        (consumer_group, topic, partition, topic_id, epoch, next_offset, backend_pid, backend_start)
    SELECT %(group)s, x.topic, x.partition, x.id, %(now_ms)s, 0, pg_backend_pid(), {_MY_START}
    FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(ids)s::text[]) AS x (topic, partition, id)
    ORDER BY x.topic, x.partition
    ON CONFLICT (consumer_group, topic, partition) DO UPDATE
    SET epoch = greatest(p.epoch + 1, excluded.epoch), backend_pid = excluded.backend_pid,
        backend_start = excluded.backend_start, updated_at = now(),
        topic_id = CASE WHEN p.topic_id = '' THEN excluded.topic_id ELSE p.topic_id END
    RETURNING topic, partition, epoch, next_offset, topic_id, marker, deaths, coalesce(death_cause, ''),
              coalesce(marker_by, ''), coalesce((extract(epoch FROM marker_at) * 1000)::bigint, 0)
"""  # noqa: S608

_RECORD_BACKEND = f"""
    UPDATE consumer_progress p SET backend_pid = pg_backend_pid(), backend_start = {_MY_START}
    FROM {_CHOSEN_EPOCH} WHERE {_SAME} AND p.epoch = x.epoch
"""  # noqa: S608

_HAND_OVER = f"""
    UPDATE consumer_progress p SET backend_pid = NULL, backend_start = NULL
    FROM {_CHOSEN_EPOCH} WHERE {_SAME} AND p.epoch = x.epoch
"""  # noqa: S608

_COMPARE_AND_SET = f"""
    UPDATE consumer_progress p SET next_offset = x.end_offset, updated_at = now(), marker = x.marker,
           deaths = x.deaths, death_cause = x.cause, marker_by = x.by, marker_at = to_timestamp(x.at / 1000.0)
    FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(epochs)s::bigint[], %(starts)s::bigint[],
                %(ends)s::bigint[], %(markers)s::bigint[], %(deaths)s::int[], %(causes)s::text[], %(by)s::text[],
                %(at)s::bigint[])
         AS x (topic, partition, epoch, start_offset, end_offset, marker, deaths, cause, by, at)
    WHERE {_SAME} AND p.epoch = x.epoch AND p.next_offset = x.start_offset
"""  # noqa: S608

_LOOK = f"""
    SELECT p.topic, p.partition, p.epoch, p.next_offset FROM {_CHOSEN} JOIN consumer_progress p ON {_SAME}
"""  # noqa: S608

_END_BLOCKERS = """
    WITH chosen AS MATERIALIZED (
        SELECT pid, application_name FROM pg_stat_activity
        WHERE pid = ANY(pg_blocking_pids(%(pid)s)) AND starts_with(application_name, %(prefix)s)
    )
    SELECT pid, application_name, pg_terminate_backend(pid) FROM chosen
"""
