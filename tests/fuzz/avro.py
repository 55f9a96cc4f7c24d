"""Records of `blocks.decoded`, mutated: compiled code and Python make the same rows of them, or the same refusal."""

from __future__ import annotations

import random
from dataclasses import dataclass
from types import ModuleType

from tests.fuzz.mutations import changed_bytes
from tests.support.packing import outcome


class DisagreeError(Exception):
    """Compiled code and Python made different things of the same bytes."""


@dataclass(frozen=True, slots=True)
class AvroFuzz:
    """Genuine records; half of the mutations leave the record's length as it is."""

    records: list[bytes]
    native: ModuleType | None

    def judge(self, rng: random.Random) -> str:
        """Mutate a record and say what became of it; raises DisagreeError."""
        record = rng.choice(self.records)
        value = changed_bytes(record, rng) if rng.random() < 0.5 else _flipped(record, rng)
        in_python = outcome(value, None)
        if self.native is not None and outcome(value, self.native) != in_python:
            raise DisagreeError(f"{len(value)} bytes: rows differ, or the reason why there are none")
        if isinstance(in_python, tuple) and isinstance(in_python[0], str):
            return f"poison: {in_python[0]}"
        return "rows"


def _flipped(record: bytes, rng: random.Random) -> bytes:
    """Columns stay in their places, so that values are changed and not only lengths."""
    found = bytearray(record)
    for _ in range(rng.choice((1, 1, 2, 4))):
        found[rng.randrange(5, len(found))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(found)
