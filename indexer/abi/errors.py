"""What can be wrong with an ABI or with a log; both stay inside `indexer/abi`."""

from __future__ import annotations


class AbiError(ValueError):
    """An ABI entry, a type or an event signature that cannot be compiled: a mistake in a model."""


class DecodeError(ValueError):
    """A log that does not fit the event it was read as: nothing is wrong with the block."""
