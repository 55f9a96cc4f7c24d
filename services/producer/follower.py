"""Follows a chain's head: look, decide, record, tell. It keeps nothing in memory that matters (PROTOCOL 5–8).

    look     the node with the highest head says what it has; `head.next_step` decides about it
    record   one transaction: headers, generation, coverage, what is final; nobody is told before it is committed
    tell     Rollback to every partition, then work items with hash and generation

Killed anywhere, the next follower finds in the tables what was recorded and not told, and tells it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from indexer.errors import IndexerError
from indexer.records import BlockRef, BlockWorkItem, Rollback
from indexer.rpc.heights import HeadView
from services.producer.head import (
    Append,
    Ask,
    Raise,
    Recorded,
    Skip,
    Step,
    Stop,
    Told,
    Wait,
    next_look,
    next_step,
)

log = logging.getLogger(__name__)

_IDLE_SECONDS = 0.5
_AGAIN_SECONDS = 0.1
_SETTLE_SECONDS = 0.25
_MOST_UNSETTLED_SECONDS = 1.0  # while one block comes upon the other
_RESEND_SECONDS = (1.0, 60.0)
_MOST_QUESTIONS = 10_000  # in one look: a fork may lie far below, an endless conversation is a mistake

Change = Append | Raise | Skip | Stop


@dataclass(frozen=True, slots=True)
class State:
    """What the tables say when a step begins."""

    job: int
    wish: str  # the job's state: running, paused, cancelling
    recorded: Recorded
    confirmations: int | None = None  # None: what the node calls finalized
    paused: str | None = None  # by a fork beyond the window
    rollback_to: int | None = None  # what the operator answered to that

    def final(self, view: HeadView) -> int:
        """Return the height that is final when the node is there."""
        return view.finalized if self.confirmations is None else max(view.head - self.confirmations, 0)


@dataclass(frozen=True, slots=True)
class Unsettled:
    """What was recorded and has not had its effect yet."""

    rollbacks: Sequence[tuple[Rollback, Collection[int]]] = ()  # oldest first, with the partitions that lack it
    items: Sequence[BlockWorkItem] = ()  # never published, or lost on the way
    mismatch: Raise | None = None  # stored rows are not those of the headers


class Node(Protocol):
    """The chain, as its endpoints tell it. Both raise an IndexerError when they do not answer."""

    def highest(self) -> HeadView: ...
    def headers(self, endpoint: str, numbers: Sequence[int]) -> dict[int, BlockRef | None]: ...


class Records(Protocol):
    """The tables; every change is a transaction that holds only while the lease is ours."""

    def read(self) -> State | None:
        """Return what is recorded; None while there is nothing to follow, or somebody else does."""

    def record(self, state: State, change: Change, final: int) -> tuple[Rollback | None, list[BlockWorkItem]]:
        """Make the change and return what is to be told; raises LeaseLost."""

    def published(self, items: Sequence[BlockWorkItem]) -> None:
        """Note that the items are in Kafka."""

    def settle(self, state: State, final: int | None) -> Unsettled:
        """Move on what may be trusted, and return what is still to be done; `final` when the tip was just seen."""


class Messages(Protocol):
    """Kafka; both return when the brokers have it, and raise an IndexerError otherwise."""

    def roll_back(self, rollback: Rollback, partitions: Collection[int] | None = None) -> None: ...
    def publish(self, items: Sequence[BlockWorkItem]) -> None: ...


class LeaseLost(IndexerError):  # noqa: N818  # a fact, not a mishap
    """Somebody else follows the chain by now."""

    code = "LEASE_LOST"


@dataclass(slots=True)
class Pulse:
    """When heads come, for the time of the next look, and what metrics show."""

    head: int = -1
    head_at: float = 0.0
    interval: float = 1.0
    forks: int = 0
    paused: bool = False
    outage: str | None = None  # code of what keeps us from looking

    def note(self, head: int, now: float) -> None:
        if head <= self.head:
            return
        if self.head >= 0:
            each = (now - self.head_at) / (head - self.head)
            self.interval = 0.7 * self.interval + 0.3 * min(each, 60.0)
        self.head, self.head_at = head, now


@dataclass(slots=True)
class Follower:
    """One follower; several may run, the lease lets one of them work."""

    node: Node
    records: Records
    messages: Messages
    clock: Callable[[], float]
    pulse: Pulse = field(default_factory=Pulse)
    _settle_at: float = float("-inf")
    _resend: dict[int, tuple[float, float]] = field(default_factory=dict)  # generation → (not before, then wait)
    _doubted: Raise | None = None

    def step(self) -> float:
        """Do what is to be done once; return how many seconds there is nothing to do."""
        try:
            return self._step()
        except LeaseLost:
            log.info("somebody else follows the chain")
            return _IDLE_SECONDS
        except IndexerError:
            self._settle_at = float("-inf")  # what was recorded and not told comes before anything new
            raise

    def _step(self) -> float:
        state = self.records.read()
        if state is None:
            self._settle_at = float("-inf")
            return _IDLE_SECONDS
        if self._settle_at == float("-inf"):  # what a predecessor recorded is told before anything new
            return self._settle(state, None)
        self.pulse.paused = state.paused is not None
        if state.rollback_to is not None and not self.pulse.paused:
            start = min(state.rollback_to + 1, state.recorded.next)
            self._change(state, Raise(start, ()), state.recorded.finalized_to)
            return 0.0
        if state.paused or state.wish != "running":
            self._settle(state, None)
            return _IDLE_SECONDS
        return self._look(state)

    def _look(self, state: State) -> float:
        view = self.node.highest()
        final = state.final(view)
        step = self._decide(state.recorded, view, final)
        now = self.clock()
        self.pulse.note(view.head, now)
        if isinstance(step, Wait):
            if now >= self._settle_at:
                self._settle(state, None if step.again else final)
            return _AGAIN_SECONDS if step.again else self._patience()
        if isinstance(step, Raise) and self._doubts(step, state.recorded):
            return _AGAIN_SECONDS
        self._change(state, step, final)
        if now >= self._settle_at + _MOST_UNSETTLED_SECONDS:
            self._settle(state, None)
        return 0.0

    def _patience(self) -> float:
        """A moment's work is not waited for: what settles takes its time from the pause."""
        return next_look(self.clock() - self.pulse.head_at, self.pulse.interval)

    def _decide(self, recorded: Recorded, view: HeadView, final: int) -> Wait | Change:
        told = Told(view.head, final)
        for _ in range(_MOST_QUESTIONS):
            step: Step = next_step(recorded, told)
            if not isinstance(step, Ask):
                return step
            answers = self.node.headers(view.endpoint, step.numbers)
            told = replace(told, refs={**told.refs, **answers})
        raise AssertionError("the follower asks without end")

    def _doubts(self, step: Raise, recorded: Recorded) -> bool:
        """A branch that is shorter than ours is believed when it is told twice: behind one URL may be several nodes."""
        tip = recorded.tip
        shorter = tip is not None and step.start + len(step.refs) <= tip.number
        if not shorter or step == self._doubted:
            self._doubted = None
            return False
        self._doubted = step
        return True

    def _change(self, state: State, change: Change, final: int) -> None:
        rollback, items = self.records.record(state, change, final)
        if rollback is not None:
            log.warning("fork at block %d: generation %d", rollback.from_number, rollback.generation)
            self.pulse.forks += 1
            self.messages.roll_back(rollback)
            self._resend[rollback.generation] = (self.clock() + _RESEND_SECONDS[0], 2 * _RESEND_SECONDS[0])
        if isinstance(change, Stop):
            log.error("the fork goes below block %d, which was final: the chain is paused", change.below)
        self._publish(items)

    def _publish(self, items: Sequence[BlockWorkItem]) -> None:
        if items:
            self.messages.publish(items)
            self.records.published(items)

    def _settle(self, state: State, final: int | None) -> float:
        """Tell what was recorded and had no effect yet."""
        unsettled = self.records.settle(state, final)
        for rollback, partitions in unsettled.rollbacks:
            not_before, pause = self._resend.get(rollback.generation, (float("-inf"), _RESEND_SECONDS[0]))
            if self.clock() >= not_before:
                self.messages.roll_back(rollback, partitions)
                self._resend[rollback.generation] = (self.clock() + pause, min(2 * pause, _RESEND_SECONDS[1]))
        waiting = {rollback.generation for rollback, _ in unsettled.rollbacks}
        self._resend = {generation: due for generation, due in self._resend.items() if generation in waiting}
        if unsettled.mismatch is not None:
            log.warning("stored rows from block %d on are not the chain's", unsettled.mismatch.start)
            self._change(state, unsettled.mismatch, state.recorded.finalized_to)
        self._publish(unsettled.items)
        self._settle_at = self.clock() + _SETTLE_SECONDS
        return 0.0
