"""Records of `blocks.decoded`, mutated: each becomes a dead letter, or nothing in it that is proven is wrong.

One item is one of these, by chance:

- a mutated value under the checksum of the genuine one: a dead letter, or the genuine block's rows
- a mutated value without a checksum: a dead letter, or the genuine block in every column that a root or another
  column covers, whatever the record claims
- a mutated value under its own checksum, as if a decoder had made it: the same rows, or the same refusal, by compiled
  code and by Python

Of 8 items, 4 are of the first kind and 2 of each of the others, which take a millisecond.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from indexer.abi.wrapped import wrapped_native
from indexer.chain.rules import rules_for
from indexer.checksum import sealed
from indexer.codec import block_key
from indexer.errors import PoisonError
from indexer.inflight import Record
from indexer.outputs import Headers
from indexer.records import DecodedBlock, Proof, Rollback
from indexer.topics import partition_of
from services.persister.handler import read
from services.persister.packed import PackedBlock
from services.persister.proving import Prover
from tests.fuzz.mutations import changed_bytes
from tests.fuzz.rpc import Original, RpcFuzz, differences
from tests.support.packing import outcome

PARTITIONS = 12
_LARGEST = 40_000  # bytes of a block's answers, which are four times its record


class DisagreeError(Exception):
    """Compiled code and Python made different things of the same bytes."""


class AlteredError(Exception):
    """A mutated record would be stored."""


@dataclass(frozen=True, slots=True)
class AvroFuzz:
    """Genuine records; half of the mutations leave the record's length as it is."""

    originals: list[Original]
    native: ModuleType | None
    provers: dict[int, Prover] = field(default_factory=dict)

    @classmethod
    def of_chains(cls, folder: Path, native: ModuleType | None) -> AvroFuzz:
        """Blocks of the chains that answers are taken from, larger ones too."""
        return cls(RpcFuzz.of_chains(folder, native, _LARGEST).originals, native)

    @property
    def records(self) -> list[bytes]:
        return [original.record for original in self.originals]

    def judge(self, rng: random.Random) -> str:
        """Mutate a record and say what became of it; raises AlteredError or DisagreeError."""
        original = rng.choice(self.originals)
        value = changed_bytes(original.record, rng) if rng.random() < 0.5 else flipped(original.record, rng)
        kind = rng.randrange(8)
        if kind < 4:
            return self._under_the_old_checksum(original, value)
        return self._without_a_checksum(original, value) if kind < 6 else self._as_if_decoded(value)

    def _under_the_old_checksum(self, original: Original, value: bytes) -> str:
        found = self._read(original, value, sealed((), original.record))
        if isinstance(found, PoisonError):
            return f"altered: {found.code}"
        if value != original.record:
            raise AlteredError(f"{len(value)} bytes have the checksum of others")
        return "altered: not at all"

    def _without_a_checksum(self, original: Original, value: bytes) -> str:
        found = self._read(original, value, ())
        if isinstance(found, PoisonError):
            return f"without checksum: {found.code}"
        if not isinstance(found, PackedBlock) or not isinstance(found.content, DecodedBlock):
            raise AlteredError(f"taken for {type(found).__name__}")
        block = found.content
        block.proofs &= ~Proof.SENDERS  # proven if the record claims it, though no decoder did
        if block.model_version != original.decoded.model_version:
            block.decoded_events = original.decoded.decoded_events  # those of models that nobody knows here
        if wrong := differences(original.decoded, block):
            raise AlteredError(f"block {original.number} of chain {original.chain_id}: {', '.join(wrong)}")
        return "without checksum: proven"

    def _as_if_decoded(self, value: bytes) -> str:
        in_python = outcome(value, None)
        if self.native is not None and outcome(value, self.native) != in_python:
            raise DisagreeError(f"{len(value)} bytes: rows differ, or the reason why there are none")
        if isinstance(in_python, tuple) and isinstance(in_python[0], str):
            return f"decoded so: {in_python[0]}"
        return "decoded so: rows"

    def _read(self, original: Original, value: bytes, headers: Headers) -> PackedBlock | Rollback | PoisonError:
        key, partition = block_key(original.chain_id, original.number), partition_of(original.number, PARTITIONS)
        record = Record("blocks.decoded", partition, 0, key, value, headers)
        return read(record, self._prover(original.chain_id), PARTITIONS, self.native)

    def _prover(self, chain_id: int) -> Prover:
        if chain_id not in self.provers:
            self.provers[chain_id] = Prover(rules_for(chain_id), wrapped=wrapped_native(chain_id))
        return self.provers[chain_id]


def flipped(record: bytes, rng: random.Random) -> bytes:
    """Columns stay in their places, so that values are changed and not only lengths."""
    found = bytearray(record)
    for _ in range(rng.choice((1, 1, 2, 4))):
        found[rng.randrange(5, len(found))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(found)
