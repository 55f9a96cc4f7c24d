"""A replay step by step, on a table and a Kafka in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from indexer.codec import block_key, encode_work_item
from indexer.errors import OutageError
from indexer.inflight import Record
from indexer.outputs import Output
from indexer.pipeline import Handled, Offsets
from indexer.records import BlockWorkItem
from indexer.replay import run as under_test
from indexer.replay.breaker import Outcomes
from indexer.replay.items import Chosen, Fate, Fresh
from indexer.replay.run import Replayer
from indexer.storage.replays import Run
from indexer.topics import load_topics

CHAIN = 43114


@dataclass
class Letters:
    """What indexer/storage/replays.py keeps of one run: the state of each letter, by its position."""

    states: dict[int, str]
    marked: int = 0
    ended: tuple[str, str] | None = None

    def chosen(self, connection: Any, run: int, first: int, end: int) -> list[Chosen]:
        return [_letter(at, self.states[at]) for at in range(first, min(end, len(self.states)))]

    def fresh(self, connection: Any, chain_id: int, numbers: Any) -> Mapping[int, Fresh]:
        return {}

    def mark(self, connection: Any, run: Run, fates: Sequence[Fate], position: int) -> None:
        self.states |= {fate.letter.position: "replayed" for fate in fates if fate.outcome == "replayed"}
        self.marked = position

    def end(self, connection: Any, run: int, state: str, message: str) -> None:
        self.ended = (state, message)

    def outcomes(self, connection: Any, run: int) -> Outcomes:
        found = list(self.states.values())
        stored, died = found.count("resolved"), found.count("superseded")
        return Outcomes(found.count("replayed") + stored + died, stored, died)

    def passed_by(self, connection: Any, run: int) -> dict[str, int]:
        return {}

    def come_to(self, state: str, most: int = 10**9) -> None:
        """Let this many of the letters that were replayed have an outcome."""
        waiting = [at for at, each in self.states.items() if each == "replayed"]
        self.states |= dict.fromkeys(waiting[:most], state)


@dataclass
class Published:
    """What Kafka has of the run."""

    at: int | None = None
    away: bool = False
    fall: bool = False  # Ctrl-C as soon as something is committed
    numbers: list[int] = field(default_factory=list)

    def write(self, handled: Sequence[Handled[Sequence[Output]]], offsets: Offsets) -> None:
        self.numbers += [each.offset for each in handled]
        (self.at,) = offsets.values()
        if self.fall:
            raise KeyboardInterrupt

    def position(self) -> int | None:
        if self.away:
            raise OutageError("no broker answers", code="KAFKA_DOWN")
        return self.at


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> Letters:
    found = Letters(dict.fromkeys(range(150), "open"))
    monkeypatch.setattr(under_test, "replays", found)
    return found


def test_what_kafka_has_is_marked_before_an_interrupted_run_is_said_to_have_stopped(letters: Letters) -> None:
    kafka = Published(fall=True)
    replayer = begun(letters, kafka)

    with pytest.raises(KeyboardInterrupt):
        replayer.step()
    assert letters.marked == 0
    replayer.stop()

    assert letters.marked == len(kafka.numbers) > 0
    assert letters.ended == ("stopped", f"interrupted at {letters.marked} of 150")


def test_a_run_of_which_kafka_says_nothing_stays_one_under_way(letters: Letters) -> None:
    kafka = Published(fall=True)
    replayer = begun(letters, kafka)
    with pytest.raises(KeyboardInterrupt):
        replayer.step()

    kafka.away = True
    replayer.stop()

    assert (letters.ended, replayer.run.state) == (None, "running")


def begun(letters: Letters, kafka: Published, **fields: Any) -> Replayer:
    run = Run(
        id=1, chain_id=CHAIN, selection={}, actor="me", state="running", total=len(letters.states), position=0,
        canary=0, rate=None, created_at=datetime(2026, 1, 1, tzinfo=UTC), finished_at=None, message=None,
    )  # fmt: skip
    nothing = cast(Any, None)
    return Replayer(nothing, replace(run, **fields), kafka, load_topics(), 12, clock=lambda: 0.0)


def _letter(at: int, state: str) -> Chosen:
    value = encode_work_item(BlockWorkItem(CHAIN, at, job_id=1))
    record = Record("blocks.work.low", 3, at, block_key(CHAIN, at), value, ())
    return Chosen(at, at, state, CHAIN, at, 0, record)
