"""One replay run: published in short transactions that also move its position, so that a kill doubles nothing.

    Kafka:       begin → work items of the next letters, position of the run's own group → commit
    PostgreSQL:  marks of these letters, derived from the position

Killed between the two, the run knows from Kafka how far it came and makes the marks when it is taken up again. The
transactional id is the run's: whoever takes it up ends what its predecessor left open (PROTOCOL 14).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from indexer.errors import OutageError, UserError
from indexer.faults import hook
from indexer.inflight import TopicPartition
from indexer.limits import usable
from indexer.outputs import Output
from indexer.pipeline import Handled, Offsets, Rewind
from indexer.replay.breaker import VANGUARD_SECONDS, Ahead, Outcomes, Verdict, vanguard, verdict
from indexer.replay.items import ELSEWHERE, Chosen, Fate, Fresh, fate_of
from indexer.storage import replays
from indexer.storage.jobs import Connection
from indexer.storage.replays import Run
from indexer.topics import Topics

log = logging.getLogger(__name__)

BATCH = 100  # letters in one transaction: readers of the work topics wait for its end
_LOOK_SECONDS = 0.25  # between two looks at what went ahead
_BREAKER_SECONDS = 1.0
_NOTHING = Fresh()


class Transactions(Protocol):
    """A transactional producer of the run, and the position that its transactions commit."""

    def write(self, handled: Sequence[Handled[Sequence[Output]]], offsets: Offsets) -> None:
        """Commit outputs and position together. Raises Rewind when it is not known whether they were."""

    def position(self) -> int | None:
        """Return the committed position; None where there is none. Raises OutageError."""


class Replayer:
    """Publishes a run's letters, a batch at a time; `step` is called until it says that the run ended."""

    def __init__(
        self,
        connection: Connection,
        run: Run,
        transactions: Transactions,
        topics: Topics,
        partitions: int,
        *,
        clock: Callable[[], float],
        patience: float = 60.0,
        careful: bool = False,  # without canaries the first of many letters go ahead all the same
    ) -> None:
        self._connection, self._transactions = connection, transactions
        self._topics, self._partitions = topics, partitions
        self._source = TopicPartition(topics.dlq, 0)  # under which the run's group keeps its position
        self._clock, self._patience = clock, patience
        self.run = run if usable(run.rate) else replace(run, rate=None)  # a row that nobody checked
        self._careful = careful
        self._ahead = Ahead(run.canary) if run.canary and run.position <= run.canary else None
        self._ahead_out_at: float | None = None
        self._began = clock()
        self._sent = 0
        self._look_at = clock() + _BREAKER_SECONDS
        self._found = False  # whether Kafka was asked how far the run is
        self._before: Outcomes | None = None  # what became of letters before the run was taken up: somebody looked

    def step(self) -> float | None:
        """Do the next thing; return how many seconds to wait before the step after it, None when the run ended."""
        if not self._found:
            self._find_position()
        if (wait := self._judge()) is not None or self.run.state != "running":
            return wait
        if self.run.position >= self.run.total:
            self._end("done", self._summary())
            return None
        if (wait := self._too_early()) > 0:
            return wait
        try:
            self._publish()
        except Rewind as told:
            log.info("replay %d: %s; looking how far it is", self.run.id, told)
            self._found = False
        except OutageError:
            self._found = False  # the transaction that it lost may have been committed
            raise
        return 0.0

    def stop(self) -> None:
        """Say that the run was interrupted, once what Kafka has of it is marked; it can be resumed.

        While nobody knows how far Kafka is, the run stays one under way: its letters are left to it, and who resumes
        it settles what was published. One that ended meanwhile stays what it became.
        """
        if self.run.state != "running":
            return
        try:
            self._find_position()
        except OutageError as error:
            log.warning("replay %d: %s; it stays under way until it is resumed", self.run.id, error)
            return
        self._end("stopped", f"interrupted at {self.run.position:,} of {self.run.total:,}")

    def _find_position(self) -> None:
        """Take the position from Kafka, and make the marks that are missing up to there."""
        told = self._transactions.position()
        at = max(told or 0, self.run.position)  # Kafka forgets a group that did nothing for a week
        if at > self.run.position:
            replays.mark(self._connection, self.run, self._fates(self.run.position, at), at)
        self.run = replace(self.run, position=at)
        if self._before is None:
            self._before = Outcomes() if self._ahead else replays.outcomes(self._connection, self.run.id)
            first = vanguard(self.run.total - at) if self._careful and not self._ahead else 0
            self._ahead = Ahead(at + first, canaries=False) if first else self._ahead
        self._found = True

    def _publish(self) -> None:
        most = BATCH if self.run.rate is None else min(BATCH, max(int(self.run.rate / 4), 1))
        end = min(self.run.position + most, self.run.total)
        if self._ahead is not None:
            end = min(end, self._ahead.end)
        fates = self._fates(self.run.position, end)
        outputs = [
            Handled(self._source, fate.letter.position, (fate.output,)) for fate in fates if fate.output is not None
        ]
        self._transactions.write(outputs, {self._source: end})
        hook("replay.between-commit-and-mark")
        replays.mark(self._connection, self.run, fates, end)
        hook("replay.after-mark")
        self._sent += end - self.run.position
        self.run = replace(self.run, position=end)

    def _fates(self, first: int, end: int) -> list[Fate]:
        letters = replays.chosen(self._connection, self.run.id, first, end)
        fresh = replays.fresh(self._connection, self.run.chain_id, _heights(letters))
        return [
            fate_of(
                letter,
                fresh.get(letter.block_number or 0, _NOTHING),
                self.run.id,
                self.run.chain_id,
                self._topics,
                self._partitions,
            )
            for letter in letters
        ]

    # going on, waiting, stopping

    def _judge(self) -> float | None:
        """Look at what became of the letters; return how long to wait for some, None to go on (or to stop)."""
        ahead = self._ahead if self._ahead is not None and self.run.position == self._ahead.end else None
        now = self._clock()
        if ahead is None and now < self._look_at:
            return None
        self._look_at = now + _BREAKER_SECONDS
        found = replays.outcomes(self._connection, self.run.id).since(self._before or Outcomes())
        late = ahead is not None and self._late(ahead, now)
        said = verdict(self.run.position, self._ahead, found, late=late)
        if said is Verdict.STOP:
            self._end("stopped", self._why(found, ahead))
        elif said is Verdict.WAIT:
            return _LOOK_SECONDS
        elif ahead is not None:
            self._ahead = None
            self._began, self._sent = now, 0  # what the rate allowed while we waited is not made up for
        return None

    def _late(self, ahead: Ahead, now: float) -> bool:
        self._ahead_out_at = now if self._ahead_out_at is None else self._ahead_out_at
        patience = self._patience if ahead.canaries else min(self._patience, VANGUARD_SECONDS)
        return now - self._ahead_out_at >= patience

    def _why(self, found: Outcomes, ahead: Ahead | None) -> str:
        canaries = ahead is not None and ahead.canaries
        if canaries and 2 * found.died < found.replayed:
            return f"{found.undecided} canaries have no outcome after {self._patience:g} s"
        who = "canaries" if canaries else "letters"
        return f"{found.died} of {found.replayed} {who} died again: mend the cause, then resume"

    def _too_early(self) -> float:
        if not self.run.rate:
            return 0.0
        return self._began + self._sent / self.run.rate - self._clock()

    def _end(self, state: str, message: str) -> None:
        replays.end(self._connection, self.run.id, state, message)
        self.run = replace(self.run, state=state, message=message)

    def _summary(self) -> str:
        passed = replays.passed_by(self._connection, self.run.id)
        replayed = self.run.total - sum(passed.values())
        words = {
            "stored": "already stored",
            ELSEWHERE: "in other replays",
            "no-block": "about no known block",
            "other-chain": "of another chain",
        }
        return ", ".join(
            [f"{replayed:,} replayed", *(f"{count:,} {words.get(why, why)}" for why, count in sorted(passed.items()))]
        )


def not_done(run: Run) -> Run:
    """Return the run; raises UserError REPLAY_DONE for one that is finished."""
    if run.state == "done":
        raise UserError(f"replay {run.id} is done: {run.message}", code="REPLAY_DONE")
    return run


def take_up(connection: Connection, run: Run) -> Run:
    """Return a run that is not done as one that goes on; what other runs took while it was stopped is left to them."""
    looked_at = run.state == "stopped" and run.position >= run.canary  # whoever resumes it has judged its canaries
    replays.go_on(connection, run)
    return replace(run, state="running", message=None, canary=0 if looked_at else run.canary)


def carry_out(replayer: Replayer, wait: Callable[[float], None], told: Callable[[Run], None]) -> Run:
    """Take all steps; a Kafka that is away is waited for."""
    while True:
        try:
            seconds = replayer.step()
        except OutageError as error:
            log.warning("%s; trying again", error)
            seconds = 1.0
        told(replayer.run)
        if seconds is None or replayer.run.state != "running":
            return replayer.run
        if seconds > 0:
            wait(seconds)


def _heights(letters: Sequence[Chosen]) -> set[int]:
    return {letter.block_number for letter in letters if letter.block_number is not None}
