"""All that is decoded from a block's logs, in one call."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.abi.models import ModelSet
from indexer.abi.standards import token_transfers
from indexer.records import DecodedEvents, Logs, TokenTransfers


@dataclass(frozen=True, slots=True)
class Decoded:
    """`undecoded`: indexes of logs that a model named but its ABI did not fit; they stay stored raw."""

    token_transfers: TokenTransfers
    decoded_events: DecodedEvents
    undecoded: list[int]


def decode_logs(logs: Logs, block_number: int, models: ModelSet, wrapped: frozenset[bytes]) -> Decoded:
    """Decode a block's logs; whatever they contain, nothing is raised.

    `wrapped`: the chain's wrapped native coins (`wrapped_native(chain_id)`); those of the models are added.
    """
    if models.wrapped_native:
        wrapped = wrapped | models.wrapped_native
    events, undecoded = models.decode(logs, block_number)
    return Decoded(token_transfers(logs, wrapped), events, undecoded)
