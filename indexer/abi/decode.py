"""All that is decoded from a block's logs, in one call."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from indexer.abi.models import ModelSet
from indexer.abi.standards import token_transfers
from indexer.records import DecodedEvents, Logs, TokenTransfers


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a block's logs say, but for token transfers that were packed before.

    `undecoded`: indexes of logs that a model named but its ABI did not fit; they stay stored raw.
    """

    token_transfers: TokenTransfers
    decoded_events: DecodedEvents
    undecoded: list[int]


def decode_logs(
    logs: Logs, block_number: int, models: ModelSet, wrapped: frozenset[bytes], packed: Container[str] = ()
) -> Decoded:
    """Decode a block's logs; whatever they contain, nothing is raised.

    `wrapped`: the chain's wrapped native coins (`wrapped_native(chain_id)`); those of the models are added.
    `packed`: what compiled code has packed. With `token_transfers`, none are sought here: then `logs` may be only
    those of `models.topics`.
    """
    events, undecoded = models.decode(logs, block_number)
    if "token_transfers" in packed:
        return Decoded(TokenTransfers(), events, undecoded)
    return Decoded(token_transfers(logs, all_wrapped(models, wrapped)), events, undecoded)


def all_wrapped(models: ModelSet, wrapped: frozenset[bytes]) -> frozenset[bytes]:
    """Return the contracts whose Deposit and Withdrawal are transfers: a chain's, and those that models name."""
    return wrapped | models.wrapped_native if models.wrapped_native else wrapped
