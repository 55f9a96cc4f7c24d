"""Rules that can be taken out of a run: by a switch in the ports in memory, or in the pure function that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from indexer import caution
from indexer.caution import Caution, Marker
from indexer.errors import TransientError
from indexer.records import Reason
from indexer.replay import run as replay_run
from indexer.replay.items import Fate
from services.decoder.handler import Decoder
from services.persister import decide
from services.persister.decide import Verdict
from services.producer import follower, head
from services.producer.follower import Follower

SWITCHES: dict[str, str] = {
    "2 compare": "PROTOCOL 2: the compare-and-set on (epoch, next_offset); services/persister/progress.py",
    "2 coverage": "PROTOCOL 2: coverage goes with the rows; services/persister/sql.py COVER",
    "3 end": "PROTOCOL 3: the recorded back-end and whoever blocks us is ended; services/persister/progress.py",
    "3 epoch": "PROTOCOL 3: epochs grow; services/persister/progress.py",
    "3 clock": "PROTOCOL 3: epochs grow by the clock; services/persister/progress.py",
    "5 final": "PROTOCOL 5: without an expected hash only what is final counts; indexer/rpc/attempt.py",
    "6 clock": "PROTOCOL 6: a generation is above the clock; services/producer/follow_sql.py RAISE",
    "6 highest": "PROTOCOL 6: a generation is above all that are known; services/producer/follow_sql.py RAISE",
    "6 lease": "PROTOCOL 6: nothing is recorded without the lease; services/producer/follow_sql.py",
    "6 pair": "PROTOCOL 6: a rollback is recorded with its generation; services/producer/follow_sql.py RAISE",
    "7 known": "PROTOCOL 7: a rollback that nobody knows is entered; services/persister/sql.py KNOW_ROLLBACK",
    "7 rows": "PROTOCOL 7: a rollback empties; services/persister/sql.py OLDER_ROWS",
    "7 bits": "PROTOCOL 7: a rollback clears bits; services/persister/sql.py UNCOVER",
    "7 again": "PROTOCOL 7: a rollback is sent until every partition has it; follow_sql.py NOT_APPLIED",
    "8 mismatch": "PROTOCOL 8: stored rows are compared with the headers; follow_sql.py MISMATCH",
    "8 canonical": "PROTOCOL 8: canonical rises over rows that are the headers'; follow_sql.py RAISE_CANONICAL",
    "11 again": "PROTOCOL 11: what is unresolved is published again; indexer/storage/jobs.py overdue",
    "11 lag": "PROTOCOL 11: nothing is published again where somebody lags; services/producer/lag.py",
    "12 lock": "PROTOCOL 12: the block's row is locked while its bit is set; indexer/storage/jobs.py open_stripes",
    "12 repair": "PROTOCOL 12: a repair is covered by its own; services/persister/sql.py COVER",
    "12 skip": "PROTOCOL 12: a repair is not skipped since its blocks are stored; indexer/storage/jobs.py",
    "14 name": "PROTOCOL 14: a run has its group and transactional id for ever; indexer/storage/replays.py",
    "14 position": "PROTOCOL 14: the position is committed with the items; indexer/replay/run.py",
    "16 reopen": "PROTOCOL 16: a replay without outcome is open again; indexer/storage/dead_letters.py",
}


def _decide(change: Callable[..., Verdict]) -> Any:
    own = decide.decide
    return patch.object(decide, "decide", lambda block, stored, floor: change(own, block, stored, floor))


def _never_replaces(own: Any, block: Any, stored: Any, floor: int) -> Verdict:
    verdict: Verdict = own(block, stored, floor)
    return Verdict.REFUSE if verdict is Verdict.REPLACE and stored.hash != block.hash else verdict


def _always_replaces(own: Any, block: Any, stored: Any, floor: int) -> Verdict:
    verdict: Verdict = own(block, stored, floor)
    return Verdict.REPLACE if verdict is Verdict.REFUSE and stored and block.generation >= floor else verdict


def _counts_missing(self: Decoder, task: Any, error: Any, stage: str, now_ms: int) -> Any:
    return _FAILED(self, task, TransientError(str(error), code="COUNTED"), stage, now_ms)


def _buries_superseded(self: Decoder, task: Any, error: Any, stage: str, now_ms: int) -> Any:
    if error.code in ("RPC_OTHER_HASH", "UNEXPECTED_HASH"):
        error = TransientError(str(error), code="BURIED")
    return _FAILED(self, task, error, stage, now_ms)


_FAILED, _DONE, _FATE = Decoder.failed, Caution.done, replay_run.fate_of


def _no_marker(marker: Marker, death: Any, slot: str, started_ms: int) -> Marker:
    return marker


def _same_count(letter: Any, fresh: Any, *more: Any) -> Fate:
    return _FATE(replace(letter, replay_count=-1), fresh, *more)


def _stale(letter: Any, fresh: Any, *more: Any) -> Fate:
    return _FATE(letter, replace(fresh, hash=None, generation=0), *more)


def _no_fork(recorded: Any, told: Any, top: int) -> Any:
    return head.Wait("forks are not looked for")


def _items_first(self: Follower, state: Any, change: Any, final: int) -> None:
    rollback, items = self.records.record(state, change, final)
    self._publish(items)
    del rollback


PATCHES: dict[str, tuple[str, Callable[[], Any]]] = {
    "1 floor": (
        "PROTOCOL 1: a generation below the floor is refused; services/persister/decide.py",
        lambda: patch.object(decide, "floor_of", lambda number, rollbacks: 0),
    ),
    "1 higher": (
        "PROTOCOL 1: a higher generation replaces another hash; services/persister/decide.py",
        lambda: _decide(_never_replaces),
    ),
    "1 older": (
        "PROTOCOL 1: the same or a lower generation does not replace another hash; services/persister/decide.py",
        lambda: _decide(_always_replaces),
    ),
    "6 tell": (
        "PROTOCOL 6 and 7: a new generation is told to every partition; services/producer/follower.py",
        lambda: patch.multiple(
            follower.Follower, _change=_items_first, _settle=lambda self, state, final: _settled(self, state, final)
        ),
    ),
    "8 fork": (
        "PROTOCOL 8: the node is compared with the headers; services/producer/head.py",
        lambda: patch.object(head, "_fork", _no_fork),
    ),
    "9 superseded": (
        "PROTOCOL 9: an expected hash that does not come is dropped; services/decoder/handler.py",
        lambda: patch.object(Decoder, "failed", _buries_superseded),
    ),
    "10 waiting": (
        "PROTOCOL 10: not there yet is no failed attempt; services/decoder/handler.py",
        lambda: patch.object(Decoder, "failed", _counts_missing),
    ),
    "15 fresh": (
        "PROTOCOL 15: a replayed item has a fresh hash and generation; indexer/replay/items.py",
        lambda: patch.object(replay_run, "fate_of", _stale),
    ),
    "15 count": (
        "PROTOCOL 15: the replay count makes a second failure a new letter; indexer/replay/items.py",
        lambda: patch.object(replay_run, "fate_of", _same_count),
    ),
    "17 deaths": (
        "PROTOCOL 17: the marked record's deaths are counted; indexer/caution.py",
        lambda: patch.object(caution, "after", _no_marker),
    ),
    "17 three": (
        "PROTOCOL 17: only a record that was alone, and more than once, is condemned; indexer/caution.py",
        lambda: patch.object(caution, "DEATHS", 0),
    ),
}


def _settled(self: Follower, state: Any, final: int | None) -> float:
    unsettled = self.records.settle(state, final)
    self._publish([item for item in unsettled.items if item.reason is not Reason.REPLAY])
    self._settle_at = self.clock() + 0.25
    return 0.0


ALL = (*SWITCHES, *PATCHES)


def about(rule: str) -> str:
    return SWITCHES.get(rule) or PATCHES[rule][0]


@contextmanager
def taken_out(rules: frozenset[str]) -> Iterator[None]:
    """Take these rules out of the pure functions; the ports look for theirs themselves."""
    with ExitStack() as stack:
        for rule in rules & PATCHES.keys():
            stack.enter_context(PATCHES[rule][1]())
        yield
