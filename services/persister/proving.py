"""Proves a block whose record has no checksum, as a decoder of our release would; pure.

Such a record is of an older release, or of another program. Nothing can prove what it says of itself: its generation,
job, reason and model version, and the events of other models than ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from indexer.abi.decode import decode_logs
from indexer.abi.models import ModelSet
from indexer.abi.standards import token_transfers
from indexer.chain.rules import ChainRules
from indexer.chain.verify import Mode, verify
from indexer.errors import PoisonError
from indexer.records import DecodedBlock, Proof, TokenTransfers


@dataclass(frozen=True, slots=True)
class Prover:
    """All that a proof needs to know: the chain and the models."""

    chain: ChainRules
    models: ModelSet = ModelSet()  # noqa: RUF009  it is frozen
    wrapped: frozenset[bytes] = frozenset()  # the chain's wrapped native coins
    mode: Mode = "full"

    def proven(self, block: DecodedBlock) -> Proof:
        """Recompute hash and roots, and decode the logs again; return what was found equal.

        Raises PoisonError RECORD_NOT_GENUINE.
        """
        try:
            proofs = verify(block.header, block.transactions, block.logs, self.chain, self._mode(block))
        except PoisonError as error:
            raise _not_genuine(block, f"{error} [{error.code}]") from error
        if wrong := self._wrongly_derived(block):
            raise _not_genuine(block, f"{wrong} do not follow from its logs")
        return proofs

    def _mode(self, block: DecodedBlock) -> Mode:
        """Believe nothing that the block claims; nor prove less than it claims."""
        if self.mode == "consistency" and not block.proofs & ~Proof.CONSISTENT:
            return "consistency"
        return "senders" if self.mode == "senders" or Proof.SENDERS in block.proofs else "full"

    def _wrongly_derived(self, block: DecodedBlock) -> str | None:
        number, logs = block.header.number, block.logs
        if block.model_version != self.models.version:
            coins = self.wrapped | _wrapped_in(block.token_transfers)  # other models may name other coins
            return None if token_transfers(logs, coins) == block.token_transfers else "transfers"
        decoded = decode_logs(logs, number, self.models, self.wrapped)
        if decoded.token_transfers != block.token_transfers:
            return "transfers"
        same = (decoded.decoded_events, decoded.undecoded) == (block.decoded_events, block.undecoded_logs)
        return None if same else "events"


def _wrapped_in(transfers: TokenTransfers) -> frozenset[bytes]:
    pairs = zip(transfers.token_address, transfers.kind, strict=True)
    return frozenset(token for token, kind in pairs if kind != "transfer")


def _not_genuine(block: DecodedBlock, why: str) -> PoisonError:
    text = f"a record without checksum, and not genuine: block {block.header.number}: {why}"
    return PoisonError(text, code="RECORD_NOT_GENUINE")
