"""Where answers come from: a number or a hash in, ready-made JSON out."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Slice(NamedTuple):
    """JSON that lies in a file; read when it is sent, so that no answer is ever held as a whole."""

    fd: int
    offset: int
    size: int


Json = Slice | bytes


class Place(NamedTuple):
    """Where a transaction stands."""

    number: int
    position: int


class Store(Protocol):
    """A chain to answer from. Another branch can be laid over it: only these methods are ever asked."""

    chain_id: int
    head: int  # the highest block

    def block(self, number: int) -> Json | None:
        """The block with full transactions; None where there is none."""

    def receipts(self, number: int) -> Json | None:
        """All receipts of the block, a JSON array; None where there are none."""

    def number_of(self, block_hash: bytes) -> int | None:
        """The number of the block with this hash."""

    def transaction(self, transaction_hash: bytes) -> Place | None:
        """Where the transaction with this hash stands."""

    def balance(self, token: bytes, holder: bytes, token_id: int | None, height: int) -> int | None:
        """What `holder` has of `token` after block `height`; None for a contract that is no such token."""
