"""A replay step by step, on a table and a Kafka in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from indexer.replay.breaker import VANGUARD_SECONDS, Outcomes
from indexer.replay.items import Chosen, Fate, Fresh
from indexer.replay.run import Replayer, carry_out
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
    lose: bool = False  # no broker answers any more as soon as something is committed
    numbers: list[int] = field(default_factory=list)

    def write(self, handled: Sequence[Handled[Sequence[Output]]], offsets: Offsets) -> None:
        self.numbers += [each.offset for each in handled]
        (self.at,) = offsets.values()
        if self.fall:
            raise KeyboardInterrupt
        if self.lose:
            raise OutageError("no broker answers", code="KAFKA_DOWN")

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


def test_a_run_that_was_done_when_ctrl_c_came_stays_done(letters: Letters) -> None:
    replayer = begun(letters, Published())
    carry_out(replayer, lambda _: None, lambda _: None)

    replayer.stop()

    assert (letters.ended, replayer.run.state) == (("done", "150 replayed"), "done")


def test_what_a_lost_transaction_committed_is_marked_before_anything_else_is_done(letters: Letters) -> None:
    kafka = Published(lose=True)
    replayer = begun(letters, kafka, careful=True)

    with pytest.raises(OutageError):
        replayer.step()
    assert letters.marked == 0
    replayer.step()

    assert (letters.marked, kafka.numbers) == (20, list(range(20)))


@pytest.mark.parametrize(("nonce", "name"), [("5e3f", "dlq-replay-7-5e3f"), (None, "dlq-replay-7")])
def test_a_run_has_a_name_of_its_own_and_one_of_an_older_release_the_one_that_it_had(
    letters: Letters, nonce: str | None, name: str
) -> None:
    assert begun(letters, Published(), id=7, nonce=nonce).run.name == name


def test_of_many_letters_the_first_go_ahead_and_stop_the_run_when_they_die_again(letters: Letters) -> None:
    kafka = Published()
    replayer = begun(letters, kafka, careful=True)

    ended = carry_out(replayer, lambda _: letters.come_to("superseded"), lambda _: None)

    assert (ended.state, ended.message) == ("stopped", "20 of 20 letters died again: mend the cause, then resume")
    assert kafka.numbers == list(range(20))


def test_the_others_follow_when_half_of_the_first_are_stored(letters: Letters) -> None:
    waits: list[float] = []
    replayer = begun(letters, Published(), careful=True)

    def store_some(seconds: float) -> None:
        waits.append(seconds)
        letters.come_to("resolved", 4)

    ended = carry_out(replayer, store_some, lambda _: None)

    assert (ended.state, len(waits)) == ("done", 3)


def test_the_others_follow_when_nobody_decides_about_the_first_in_time(letters: Letters) -> None:
    waits: list[float] = []
    kafka = Published()
    replayer = begun(letters, kafka, careful=True, clock=lambda: sum(waits))

    ended = carry_out(replayer, waits.append, lambda _: None)

    assert (ended.state, sum(waits)) == ("done", VANGUARD_SECONDS)
    assert kafka.numbers == list(range(150))


def test_a_run_that_is_resumed_sends_some_ahead_again_and_judges_only_these(letters: Letters) -> None:
    letters.states |= dict.fromkeys(range(20), "superseded")  # somebody has mended what let these die
    kafka = Published(at=20)
    replayer = begun(letters, kafka, careful=True, position=20)

    ended = carry_out(replayer, lambda _: letters.come_to("superseded", 10), lambda _: None)

    assert (ended.state, ended.message) == ("stopped", "10 of 20 letters died again: mend the cause, then resume")
    assert kafka.numbers == list(range(20, 40))


@pytest.mark.parametrize(("careful", "many"), [(False, 150), (True, 100)])
def test_few_letters_go_at_once_and_so_do_those_of_a_run_without_canaries(
    letters: Letters, careful: bool, many: int
) -> None:
    letters.states = dict.fromkeys(range(many), "open")
    waits: list[float] = []

    ended = carry_out(begun(letters, Published(), careful=careful), waits.append, lambda _: None)

    assert (ended.state, waits) == ("done", [])


def test_what_a_rate_allowed_while_the_first_were_waited_for_is_not_made_up_for(letters: Letters) -> None:
    waits: list[float] = []
    replayer = begun(letters, Published(), careful=True, rate=10.0, clock=lambda: sum(waits))

    carry_out(replayer, waits.append, lambda _: None)

    assert sum(waits) == pytest.approx(VANGUARD_SECONDS + 150 / 10.0, abs=0.5)


def begun(
    letters: Letters,
    kafka: Published,
    *,
    careful: bool = False,
    clock: Callable[[], float] = lambda: 0.0,
    **fields: Any,
) -> Replayer:
    run = Run(
        id=1, chain_id=CHAIN, selection={}, actor="me", state="running", total=len(letters.states), position=0,
        canary=0, rate=None, created_at=datetime(2026, 1, 1, tzinfo=UTC), finished_at=None, message=None,
        nonce="5e3f",
    )  # fmt: skip
    nothing = cast(Any, None)
    return Replayer(nothing, replace(run, **fields), kafka, load_topics(), 12, clock=clock, careful=careful)


def _letter(at: int, state: str) -> Chosen:
    value = encode_work_item(BlockWorkItem(CHAIN, at, job_id=1))
    record = Record("blocks.work.low", 3, at, block_key(CHAIN, at), value, ())
    return Chosen(at, at, state, CHAIN, at, 0, record)
