"""From a dead letter to the work item that asks for its block again; pure (PROTOCOL 15).

What is kept of a letter, and what is fresh:

- a work item: its job and reason; a repair stays one
- a decoded block: job and reason too, since the persister's letter is replayed as a work item of its block
- bytes that cannot be read, or were altered, with a block number known from the key: a work item of no job, whose
  reason is replay
- always fresh: expected hash and generation; always one more: the replay count
"""

from __future__ import annotations

from dataclasses import dataclass

from indexer import codec
from indexer.checksum import unsealed
from indexer.deadletter import (
    ORIGIN,
    REPLAY_COUNT,
    RUN_ID,
    Headers,
    is_altered,
    own_headers,
    read_letter,
    write_origin,
)
from indexer.errors import PoisonError
from indexer.inflight import Record
from indexer.outputs import Output
from indexer.records import BlockWorkItem, DecodedBlock, Outcome, Reason, Rollback
from indexer.topics import WORK, Topics, partition_of

_NORMAL = WORK[1]

ELSEWHERE = "elsewhere"  # the outcome in this run of a letter that is another one's


@dataclass(frozen=True, slots=True)
class Chosen:
    """A letter of a frozen selection."""

    position: int
    id: int
    state: str
    chain_id: int  # of the deployment; the record may name another
    block_number: int | None
    replay_count: int
    record: Record  # as it lies on the dead-letter topic
    outcome: str | None = None  # in this run; None: not yet

    @property
    def carried(self) -> BlockWorkItem | DecodedBlock | Rollback | Outcome | None:
        """What the letter carries, if it can be believed and can be read."""
        if is_altered(self.record):
            return None
        try:
            return codec.decode_any(self.record.value or b"")
        except PoisonError:
            return None


@dataclass(frozen=True, slots=True)
class Fresh:
    """What is known now of a letter's height."""

    hash: bytes | None = None
    generation: int = 0
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a letter: an output, or why there is none."""

    letter: Chosen
    outcome: str  # replayed | stored | elsewhere | what its state is | other-chain | no-block
    repair: bool = False
    output: Output | None = None


def fate_of(letter: Chosen, fresh: Fresh, run: int, chain_id: int, topics: Topics, partitions: int) -> Fate:
    """Return what becomes of one letter of the run.

    - it has an outcome in this run (left to another when this one was taken up): it keeps it
    - replayed: by another run, since this one had not come to it
    - no longer open, nor set aside: somebody else saw to it meanwhile
    - of another chain, or of no known block: nothing can be asked for
    - its block is stored, and it is no repair: nothing is left to do
    - else: a work item, on the topic where the letter began if that was a work topic
    """
    if letter.outcome is not None:
        return Fate(letter, letter.outcome)
    if letter.state not in ("open", "quarantined"):
        return Fate(letter, ELSEWHERE if letter.state == "replayed" else letter.state)
    carried = letter.carried
    if carried is not None and carried.chain_id != chain_id:
        return Fate(letter, "other-chain")
    if letter.block_number is None:
        return Fate(letter, "no-block")
    about_block = carried if isinstance(carried, BlockWorkItem | DecodedBlock) else None
    item = item_for(letter, letter.block_number, fresh, about_block)
    repair = item.reason is Reason.REPAIR
    if fresh.stored and not repair:
        return Fate(letter, "stored")
    origin = read_letter(letter.record, "").origin
    topic = origin.topic if origin.topic in topics.work else topics.name(_NORMAL)
    own = tuple(own_headers(letter.record.headers))
    headers: Headers = (
        *((name, value) for name, value in unsealed(own) if name != ORIGIN),
        (ORIGIN, write_origin(origin)),
        (REPLAY_COUNT, b"%d" % (letter.replay_count + 1)),
        (RUN_ID, b"%d" % run),
    )
    key, value = codec.block_key(chain_id, item.number), codec.encode_work_item(item)
    output = Output(topic, partition_of(item.number, partitions), key, value, tuple(headers))
    return Fate(letter, "replayed", repair, output)


def item_for(letter: Chosen, number: int, fresh: Fresh, found: BlockWorkItem | DecodedBlock | None) -> BlockWorkItem:
    """Return the work item that asks for the letter's block; `found` is what it carries of one."""
    return BlockWorkItem(
        chain_id=letter.chain_id,
        number=number,
        generation=fresh.generation,
        expected_hash=fresh.hash,
        job_id=None if found is None else found.job_id,
        reason=Reason.REPLAY if found is None else found.reason,
    )
