"""What the follower does next, given what it recorded and what a node says; pure (PROTOCOL 6, 8).

A recorded chain of headers reaches from the recorded finalized height to the tip. Hashes link: where the node has our
hash at a height it has our chain below it, so one look at the tip is a look at all of it. A header that somebody
altered does not link, and is replaced by the node's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from indexer.records import BlockRef

BATCH = 64  # headers asked for at once
GAP = 256  # final blocks that are missing: more of them are left to a job of their own


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the tables say; all that the follower knows."""

    next: int  # the height that comes after the tip
    finalized_to: int = -1  # recorded; a fork below it is beyond the window
    refs: Sequence[BlockRef] = ()  # without holes from `finalized_to`, or from where following began, to the tip

    @property
    def tip(self) -> BlockRef | None:
        return self.refs[-1] if self.refs else None


@dataclass(frozen=True, slots=True)
class Told:
    """What one node says: its head, what is final there, and the headers that it was asked for."""

    head: int
    finalized: int
    refs: Mapping[int, BlockRef | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ask:
    """The node is to be asked for these headers before anything can be decided."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now; `again` when the answers did not fit together and are worth asking for at once."""

    why: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """Blocks that follow the tip."""

    refs: tuple[BlockRef, ...]


@dataclass(frozen=True, slots=True)
class Raise:
    """A fork: from `start` on the chain is another, as far as `refs` say; a new generation begins."""

    start: int
    refs: tuple[BlockRef, ...]


@dataclass(frozen=True, slots=True)
class Skip:
    """So much is final and missing, from `first` to before `past`, that a job of its own fetches it."""

    first: int
    past: int


@dataclass(frozen=True, slots=True)
class Stop:
    """The fork lies below height `below`, which was final: nobody knows how deep, a person has to decide."""

    below: int


Step = Ask | Wait | Append | Raise | Skip | Stop


def next_step(recorded: Recorded, told: Told) -> Step:
    """Return the one step that brings what is recorded closer to what the node says.

    - nothing recorded yet: Append from where following begins, or Skip when much of it is final
    - the node's head is below what is final for us: Wait (it lags)
    - the node has our hash at its head, at or below our tip: Wait (a lagging node is no reorg)
    - the node has our tip, but ours do not link below it: Raise from where they do not, with the node's
    - the node has our tip and more: Append, or Skip when much of it is final
    - the node has another hash: Raise at the lowest height where it does, however much shorter its branch
    - … and not even our finalized block: Stop
    - its answers do not link, or one is missing at or below its head: Wait and ask again
    """
    tip = recorded.tip
    if tip is None:
        return _onward(recorded.next, None, told)
    lowest, top = recorded.refs[0].number, min(told.head, tip.number)
    if top < lowest:
        return Wait(f"the node is at {told.head}, {lowest} is final here: it lags")
    if top not in told.refs:
        return Ask((top, *range(tip.number + 1, min(told.head, tip.number + BATCH) + 1)))
    theirs = told.refs[top]
    if theirs is None:
        return Wait(f"the node has no block {top} although its head is {told.head}", again=True)
    if theirs.hash != recorded.refs[top - lowest].hash:
        return _fork(recorded, told, top)
    if top == tip.number and (start := _altered(recorded.refs)) is not None:
        return _mend(start, top, told)
    if told.head <= tip.number:
        return Wait("no new block")
    return _onward(tip.number + 1, tip, told)


def _altered(refs: Sequence[BlockRef]) -> int | None:
    """Return the lowest height that may have been altered: the block after it does not hang on it."""
    for ref, following in pairwise(refs):
        if following.parent_hash != ref.hash:
            return ref.number
    return None


def _mend(start: int, top: int, told: Told) -> Step:
    """Take the node's word from `start` on: its tip is ours, so what hangs below it is the chain."""
    missing = [number for number in range(start, top + 1) if number not in told.refs]
    if missing:
        return Ask(tuple(missing[:BATCH]))
    return _raise(range(start, top + 1), None, told)


def _onward(first: int, tip: BlockRef | None, told: Told) -> Step:
    if told.head < first:
        return Wait("no new block")
    if told.finalized - first >= GAP:
        return Skip(first, told.finalized)
    wanted = range(first, min(told.head, first + BATCH - 1) + 1)
    missing = tuple(number for number in wanted if number not in told.refs)
    if missing:
        return Ask(missing)
    refs = _linked(wanted, tip, told)
    return Append(refs) if refs else Wait(f"the headers from {first} on do not link", again=True)


def _fork(recorded: Recorded, told: Told, top: int) -> Step:
    """Look for the highest block that both have, from `top` down."""
    lowest = recorded.refs[0].number
    for number in range(top, lowest - 1, -1):
        if number not in told.refs:
            return Ask(tuple(range(number, max(lowest, number - BATCH + 1) - 1, -1)))
        theirs, ours = told.refs[number], recorded.refs[number - lowest]
        if theirs is None:
            return Wait(f"the node has no block {number} although its head is {told.head}", again=True)
        if theirs.hash == ours.hash:
            return _raise(range(number + 1, top + 1), ours, told)
    if lowest <= recorded.finalized_to:
        return Stop(lowest)
    return _raise(range(lowest, top + 1), None, told)  # nothing of ours lies below


def _raise(wanted: range, common: BlockRef | None, told: Told) -> Step:
    refs = _linked(wanted, common, told)
    return Raise(wanted.start, refs) if refs else Wait("the headers of the fork do not link", again=True)


def _linked(wanted: range, parent: BlockRef | None, told: Told) -> tuple[BlockRef, ...]:
    """Return the node's headers at these heights if each hangs on the one before; else nothing."""
    refs: list[BlockRef] = []
    for number in wanted:
        ref = told.refs.get(number)
        if ref is None or (parent is not None and ref.parent_hash != parent.hash):
            return ()
        refs.append(ref)
        parent = ref
    return tuple(refs)


def next_look(since_head: float, interval: float) -> float:
    """Return the seconds until the next look: rarely while no block is due, often around the time when one is.

    `interval` is the mean time between the last heads, `since_head` the time since the last one.
    """
    early = 0.75 * interval - since_head
    if early > 0:
        return min(early, 1.0)
    return min(max(0.05, 0.05 * since_head), 1.0)
