"""The changes of balances of one transaction, whoever makes them: blocks that come, and rows that go; pure."""

from __future__ import annotations

from types import ModuleType

from indexer.codec import decode_record
from indexer.codec.columns import pack_fixed, pack_uints
from indexer.records import DecodedBlock, TokenTransfers
from services.persister.packed import PackedBlock, Pieces
from services.persister.rows import Deltas, add_deltas, delta_rows


class Ledger:
    """Adds in the compiled module where it is built, so that there is one sum per balance; else in Python."""

    def __init__(self, native: ModuleType | None) -> None:
        self._native = None if native is None else native.Deltas()
        self._deltas: Deltas = {}

    def __len__(self) -> int:
        """Return how many balances were met."""
        return len(self._deltas) if self._native is None else len(self._native)

    def add(self, block: PackedBlock) -> None:
        """Add what a block's transfers do."""
        content = block.content
        if self._native is not None and isinstance(content, Pieces):
            _accepted(self._native.add_record(content.record))
            return
        decoded = decode_record(content.record) if isinstance(content, Pieces) else content
        assert isinstance(decoded, DecodedBlock)
        self.move(decoded.token_transfers)

    def move(self, transfers: TokenTransfers) -> None:
        """Add what these transfers do."""
        if self._native is None:
            add_deltas(self._deltas, transfers)
            return
        _accepted(
            self._native.add(
                len(transfers.token_address),
                pack_fixed(transfers.token_address, 20),
                pack_uints(transfers.token_id),
                pack_fixed(transfers.from_address, 20),
                pack_fixed(transfers.to_address, 20),
                pack_uints(transfers.amount),
            )
        )

    def rows(self) -> bytes:
        """Return the changes that are not zero as rows (token_address, token_id, holder, delta)."""
        if self._native is None:
            return delta_rows(self._deltas)
        rows: bytes = self._native.rows()
        return rows


def _accepted(done: bool) -> None:
    if not done:
        raise ValueError("transfers that were read before cannot be read again")
